"""Weights of one's own beside those that ship: checked, copied to the user's data, taken away."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

from strokedx_core.anatomy.regions import CHANNELS as ANATOMY_CHANNELS
from strokedx_core.tasks import LESION_TYPES, MODALITIES, TASKS

__all__ = ["install_weights", "remove_weights", "user_folder"]

_CHANNELS = {
    "skull-strip": (1, 1),
    "lesion": (len(MODALITIES) + 3, len(LESION_TYPES)),
    "anatomy": (1, ANATOMY_CHANNELS),
}
"""Task → channels that its network takes and gives."""


def user_folder() -> Path:
    """Where weights are installed: $STROKEDX_WEIGHTS, or a folder of the user's data."""
    named = os.environ.get("STROKEDX_WEIGHTS")
    if named:
        return Path(named)
    from platformdirs import user_data_path

    return user_data_path("strokedx", appauthor=False) / "weights"


def install_weights(path: Path | str, *, name: str | None = None, replace: bool = False) -> str:
    """Check weights and copy them, with their card, to where commands and widgets look for them.

    Parameters
    ----------
    path : path
        `.safetensors` file with its card beside it.
    name : str, optional
        What to call them; as the card does where not given.
    replace : bool
        Whether installed weights of that name may be replaced.

    Returns
    -------
    str
        The name under which they are found.

    Raises
    ------
    WeightsError
        If the file is not the one its card describes, does not fit its architecture, is for no
        task of this program or has not that task's channels, or the name is taken or no name.
    """
    import tomli_w

    from strokedx_core.volume import VolumeError, write_atomically
    from strokedx_core.weights import WeightsError, load_network, read_card, shipped

    path = Path(path)
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path}: weights end in .safetensors")
    card = read_card(path)
    if card.task not in TASKS:
        raise WeightsError(f"{path}: task {card.task!r} is none of {', '.join(TASKS)}")
    if card.task == "caption":
        from strokedx_core.captions.neural import load_captioner

        load_captioner(path)
    else:
        network = load_network(path)
        found = network.config["in_channels"], network.config["out_channels"]
        if found != _CHANNELS[card.task]:
            raise WeightsError(
                f"{path}: task {card.task} takes and gives {_CHANNELS[card.task]} channels, "
                f"this network {found}"
            )
    if not card.spacings_mm or min(card.spacings_mm) <= 0:
        raise WeightsError(f"{path}: the card's spacings_mm must be positive")
    name = name or card.name
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) or name.endswith(".safetensors"):
        raise WeightsError(f"{name!r} is no name for weights: letters, digits, _, - and . are")
    if name in shipped():
        raise WeightsError(f"{name!r} is the name of weights that ship; choose another with --name")
    target = user_folder() / f"{name}.safetensors"
    if target.exists() and not replace:
        raise WeightsError(f"{name!r} is installed already; --replace takes its place")
    text = tomllib.loads(path.with_suffix(".toml").read_text(encoding="utf-8")) | {"name": name}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, [path.read_bytes()])
        write_atomically(target.with_suffix(".toml"), [tomli_w.dumps(text).encode()])
    except (OSError, VolumeError) as error:
        raise WeightsError(f"{target}: not installed: {error}") from error
    return name


def remove_weights(name: str) -> None:
    """Take installed weights away.

    Raises
    ------
    WeightsError
        If none of that name are installed.
    """
    from strokedx_core.weights import WeightsError

    target = user_folder() / f"{name}.safetensors"
    if not target.is_file() or target.parent != user_folder():
        raise WeightsError(f"no weights named {name!r} are installed")
    target.unlink()
    target.with_suffix(".toml").unlink(missing_ok=True)

"""Weights and their cards: find, check, load, write.

Weights are a `.safetensors` file; the card beside it (`.toml`) says what network they belong to,
how they were trained, on what data under which licences, what they reached, and what they are for.
The file is refused where its SHA-256 is not the one on the card.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strokedx_core.weights.installed import install_weights, remove_weights, user_folder

if TYPE_CHECKING:
    import torch

    from strokedx_core.nets.unet3d import UNet3D

__all__ = [
    "Card",
    "WeightsError",
    "available",
    "find_weights",
    "install_weights",
    "load_network",
    "load_tensors",
    "read_card",
    "remove_weights",
    "shipped",
    "write_weights",
]

_FOLDER = Path(__file__).parent


class WeightsError(ValueError):
    """Weights cannot be used; the message names the file and the reason."""


@dataclass(frozen=True)
class Card:
    """What a card says that the program acts on.

    Attributes
    ----------
    name, task : str
    sha256 : str
        Of the `.safetensors` file.
    architecture : mapping
        Arguments of `nets.unet3d.UNet3D`.
    spacings_mm : tuple of float
        Isotropic spacings on which the network is run: the whole head first, then the brain.
    text : mapping
        The whole card.
    """

    name: str
    task: str
    sha256: str
    architecture: Mapping[str, Any]
    spacings_mm: tuple[float, ...]
    text: Mapping[str, Any]


def shipped() -> list[str]:
    """Names of the weights that ship."""
    return _names(_FOLDER)


def available(task: str | None = None) -> list[str]:
    """Names of the weights that ship and then of those installed, of one task or of all.

    Weights whose card cannot be read are of no task.
    """
    names = [*shipped(), *(name for name in _names(user_folder()) if name not in shipped())]
    return [name for name in names if task is None or _task(name) == task]


def _names(folder: Path) -> list[str]:
    # Files that are being written begin with a dot.
    return sorted(path.stem for path in folder.glob("[!.]*.safetensors"))


def _task(name: str) -> str | None:
    try:
        return read_card(name).task
    except WeightsError:
        return None


def find_weights(name_or_path: str | Path) -> Path:
    """Path of the `.safetensors` file of weights by name, shipped or installed, or by path.

    Raises
    ------
    WeightsError
        If there is neither.
    """
    path = Path(name_or_path)
    if path.suffix == ".safetensors":
        if path.is_file():
            return path
        raise WeightsError(f"{path}: no such weights file")
    for folder in (_FOLDER, user_folder()):
        named = folder / f"{name_or_path}.safetensors"
        if named.is_file():
            return named
    raise WeightsError(
        f"no weights named {name_or_path!r}; there are {', '.join(available()) or 'none'}, "
        "or name a .safetensors file"
    )


def read_card(name_or_path: str | Path) -> Card:
    """The card of weights.

    Raises
    ------
    WeightsError
        If the card is missing, is not TOML, or lacks an entry.
    """
    path = find_weights(name_or_path).with_suffix(".toml")
    try:
        text = tomllib.loads(path.read_text(encoding="utf-8"))
        return Card(
            name=text["name"],
            task=text["task"],
            sha256=text["sha256"],
            architecture=text["architecture"],
            spacings_mm=tuple(text["input"]["spacings_mm"]),
            text=text,
        )
    except FileNotFoundError:
        raise WeightsError(f"{path}: the weights' card is missing") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path}: the card is not TOML: {error}") from error
    except KeyError as error:
        raise WeightsError(f"{path}: the card has no entry {error}") from None
    except TypeError as error:
        raise WeightsError(f"{path}: the card is not as it should be: {error}") from None


@lru_cache(maxsize=4)
def _checked(path: Path, modified_ns: int) -> dict[str, torch.Tensor]:
    """Tensors of a file whose hash is the card's; read and checked once per version of the file."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = path.read_bytes()
    found, expected = hashlib.sha256(content).hexdigest(), read_card(path).sha256
    if found != expected:
        raise WeightsError(
            f"{path}: damaged or not the file its card describes "
            f"(SHA-256 {found[:12]}…, the card says {expected[:12]}…)"
        )
    try:
        return load(content)
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a safetensors file: {error}") from error


def load_tensors(name_or_path: str | Path) -> Mapping[str, torch.Tensor]:
    """The tensors of weights, as they are kept.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, or not the one its card describes.
    """
    path = find_weights(name_or_path)
    return _checked(path, path.stat().st_mtime_ns)


def load_network(name_or_path: str | Path, device: torch.device | str = "cpu") -> UNet3D:
    """The network with its weights in float32, ready for inference.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, or does not fit the architecture on its card.
    """
    import torch

    from strokedx_core.nets.unet3d import UNet3D

    path = find_weights(name_or_path)
    tensors = load_tensors(path)
    try:
        with torch.device("meta"):
            network = UNet3D(**read_card(path).architecture)
        state = {
            name: value.float() if value.is_floating_point() else value
            for name, value in tensors.items()
        }
        network.load_state_dict(state, assign=True)
    except (RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: does not fit its card's architecture: {error}") from error
    network = network.to(device).eval().requires_grad_(False)
    # A second call, because the overloads of `to` do not name both.
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network


def write_weights(
    state: Mapping[str, torch.Tensor], card: Mapping[str, Any], path: Path | str
) -> None:
    """Write weights in half precision, and the card beside them.

    Parameters
    ----------
    state : mapping of str to Tensor
        The network's state dict.
    card : mapping
        Entries of the card, TOML values only, or None for what is left out; `sha256` and
        `parameters` are filled in here.
    path : path
        Ends in `.safetensors`.
    """
    import tomli_w
    import torch
    from safetensors.torch import save

    from strokedx_core.volume import write_atomically

    path = Path(path)
    halves = {
        name: value.detach().cpu().to(torch.float16).contiguous()
        if value.is_floating_point()
        else value.detach().cpu().contiguous()
        for name, value in state.items()
    }
    content = save(halves)
    # What batch norm keeps count of is no parameter, nor is a tokenizer.
    counts = ("running_mean", "running_var", "num_batches_tracked", "tokenizer")
    count = sum(value.numel() for name, value in halves.items() if not name.endswith(counts))
    full = {**card, "sha256": hashlib.sha256(content).hexdigest(), "parameters": count}
    # Plain entries go before tables, as TOML wants them.
    ordered = dict(sorted(full.items(), key=lambda item: isinstance(item[1], dict | list)))
    write_atomically(path, [content])
    write_atomically(path.with_suffix(".toml"), [tomli_w.dumps(_without_nothing(ordered)).encode()])


def _without_nothing(value: Any) -> Any:
    """A card's entry without what was left at None, at any depth: TOML has no word for it."""
    if isinstance(value, Mapping):
        return {key: _without_nothing(one) for key, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return [_without_nothing(one) for one in value]
    return value

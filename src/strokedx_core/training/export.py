"""From a run's best checkpoint to weights with their card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from strokedx_core import __version__
from strokedx_core.inference.lesions import PieceRule
from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.training.checkpoint import load_checkpoint
from strokedx_core.training.environment import commit
from strokedx_core.weights import write_weights

__all__ = ["UNSTATED", "card_of", "export_run"]

_WORDS = {
    "skull-strip": (
        "Brain extraction on any MR contrast, with or without the skull",
        "Brain masks of adult heads on T1W, T2W, FLAIR, DWI, B0, ADC and SWI scans.",
        "Trained on adult anatomy without tumours or surgery. Scans must be stored with an "
        "orientation that is roughly right.",
    ),
    "lesion": (
        "Stroke lesions on any subset of T1W, T2W, FLAIR, DWI, B0, ADC and SWI, with clicks",
        "Masks of stroke lesions of adults: general, ischemic, hemorrhagic.",
        "Trained on simulated strokes in adult anatomy without tumours or surgery. No real "
        "haemorrhage was ever seen, in training or validation: hemorrhagic masks are validated on "
        "simulated blood alone.",
    ),
    "anatomy": (
        "Structures, arterial territories and sides of the brain on any MR contrast",
        "Where lesions lie in the brains of adults.",
        "Trained on adult anatomy without tumours or surgery. Territories and lobes are those of "
        "an arterial atlas of many people, laid over label maps by an affine and their own "
        "structures: a person's own may differ by a centimetre.",
    ),
}
"""Task → title, use and limits for the card."""

UNSTATED = {"name": "label maps of the person who trained", "licence": "not stated"}


def _architecture(network: Mapping[str, Any]) -> dict[str, Any]:
    """A network's description as the network itself gives it, without what was left at nothing."""
    with torch.device("meta"):
        return UNet3D(**network).config


def export_run(
    run: Path,
    target: Path,
    *,
    name: str | None = None,
    data: Sequence[Mapping[str, Any]] = (),
    checkpoint: str = "best.pt",
) -> Path:
    """Write the best averaged weights of a run, or those of another checkpoint, and their card.

    Parameters
    ----------
    run : Path
        Run folder of `training.segmentation.train`.
    target : Path
        `.safetensors` file to write; its card goes beside it.
    name : str, optional
        Name of the weights; the file's where not given.
    data : sequence of mapping, optional
        `name`, `licence` and `use` of the label maps trained on; the configuration's where not
        given.
    checkpoint : str
        File of averaged weights in the run folder.

    Returns
    -------
    Path
        `target`.
    """
    best = load_checkpoint(run / checkpoint)
    config = json.loads(best["config"])
    task = best.get("task", "skull-strip")
    title, use, limits = _WORDS[task]
    held_out, unstated = "label maps", UNSTATED
    if config.get("real"):
        names = ", ".join(config["real"]["data_sets"])
        held_out, unstated = "people", UNSTATED | {"name": f"cases of {names}"}
        limits = f"Trained on cases of {names}; how well it does on other scanners is not known."
    # What was learnt on a part of the brain looks at that part in use.
    use_by = {"shape": config["grids"][0]["shape"]} if config.get("part") else {}
    if task == "lesion":
        rule = asdict(PieceRule.of_card(config))
        use_by |= {name: value for name, value in rule.items() if value is not None}
        use_by["near_voxels"] = config.get("near_voxels", False)
    card = card_of(
        best,
        name=name or target.stem,
        task=task,
        title=title,
        architecture=_architecture(config["network"]),
        takes={"spacings_mm": [grid["spacing"] for grid in config["grids"]]} | use_by,
        data=[dict(entry) for entry in data or config.get("data") or [unstated]],
        validated=f"validation Dice, held-out {held_out}, working grid",
        use=use,
        limits=limits,
    )
    write_weights(best["model"], card, target)
    return target


def card_of(
    best: Mapping[str, Any],
    *,
    name: str,
    task: str,
    title: str,
    architecture: Mapping[str, Any],
    takes: Mapping[str, Any],
    data: Sequence[Mapping[str, Any]],
    validated: str,
    use: str,
    limits: str,
) -> dict[str, Any]:
    """The card of a checkpoint's weights, as `weights.write_weights` takes it.

    Parameters
    ----------
    best : mapping
        The checkpoint: its step, scores and configuration.
    name, task, title, architecture, data
        As they stand in the card.
    takes : mapping
        The card's `[input]`.
    validated : str
        What the checkpoint's scores are.
    use, limits : str
        What the weights are for, and what they are not.
    """
    recipe = {key: value for key, value in json.loads(best["config"]).items() if key != "data"}
    if recipe.get("start"):
        recipe["start"] = Path(recipe["start"]).name
    return {
        "name": name,
        "task": task,
        "title": title,
        "architecture": architecture,
        "input": takes,
        "training": {
            "steps": best["step"],
            "program": f"strokedx {__version__}",
            "commit": commit(),
            "recipe": recipe,
        },
        "data": data,
        "results": {validated: best["scores"]},
        "use": {"intended": f"Research use only: not a medical device. {use}", "limits": limits},
    }

"""From a run's best checkpoint to weights with their card."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from strokedx_core.training.checkpoint import load_checkpoint
from strokedx_core.weights import write_weights

__all__ = ["export_run"]

LABEL_MAPS = {
    "name": "whole-head label maps of 20 living people (SynthSeg training label maps)",
    "licence": "Apache-2.0",
    "use": "anatomy that training images were generated from; no scan was trained on",
}


def _commit() -> str:
    """The commit of the code that runs, where it runs from a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def export_run(
    run: Path, target: Path, *, name: str | None = None, data: dict[str, Any] | None = None
) -> Path:
    """Write the best averaged weights of a run, and their card.

    Parameters
    ----------
    run : Path
        Run folder of `training.segmentation.train`.
    target : Path
        `.safetensors` file to write; its card goes beside it.
    name : str, optional
        Name of the weights; the file's where not given.
    data : dict, optional
        `name`, `licence` and `use` of the label maps trained on.

    Returns
    -------
    Path
        `target`.
    """
    best = load_checkpoint(run / "best.pt")
    config = json.loads(best["config"])
    card = {
        "name": name or target.stem,
        "task": "skull-strip",
        "title": "Brain extraction on any MR contrast, with or without the skull",
        "architecture": {"in_channels": 1, **config["network"]},
        "input": {"spacings_mm": [grid["spacing"] for grid in config["grids"]]},
        "training": {
            "steps": best["step"],
            "commit": _commit(),
            "recipe": {key: value for key, value in config.items() if value is not None},
        },
        "data": [data or LABEL_MAPS],
        "results": {"validation Dice, held-out label maps, working grid": best["scores"]},
        "use": {
            "intended": "Research use only: not a medical device. Brain masks of adult heads on "
            "T1W, T2W, FLAIR, DWI, B0, ADC and SWI scans.",
            "limits": "Trained on adult anatomy without tumours or surgery. Scans must be stored "
            "with an orientation that is roughly right.",
        },
    }
    write_weights(best["model"], card, target)
    return target

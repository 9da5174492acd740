"""From a captioner's best checkpoint to weights with their card."""

from __future__ import annotations

import json
from pathlib import Path

from strokedx_core import __version__
from strokedx_core.training.checkpoint import load_checkpoint
from strokedx_core.training.environment import commit
from strokedx_core.training.export import UNSTATED
from strokedx_core.weights import write_weights

__all__ = ["export_captioner"]


def export_captioner(run: Path, target: Path, *, name: str | None = None) -> Path:
    """Write the best averaged weights of a run with their tokenizer, and their card.

    Parameters
    ----------
    run : Path
        Run folder of `training.captioning.train_captioner`.
    target : Path
        `.safetensors` file to write.
    name : str, optional
        Name of the weights; the run folder's where not given.

    Returns
    -------
    Path
        `target`.
    """
    best = load_checkpoint(run / "best.pt")
    config = json.loads(best["config"])
    recipe = {key: value for key, value in config.items() if key != "data"}
    data = config["data"] or [
        UNSTATED | {"name": f"cases of {name}"} for name in config["data_sets"]
    ]
    card = {
        "name": name or run.resolve().name,
        "task": "caption",
        "title": "Captions of a stroke lesion, written by a network from image and mask",
        "architecture": best["architecture"],
        "input": {"spacings_mm": [config["grid"]["spacing"]]},
        "training": {
            "steps": best["step"],
            "program": f"strokedx {__version__}",
            "commit": commit(),
            "recipe": recipe,
        },
        "data": data or [UNSTATED],
        "results": {"validation accuracy by field, before the check": best["scores"]},
        "use": {
            "intended": "Research use only: not a medical device. Texts whose every statement is "
            "checked against measured findings before it is shown.",
            "limits": "Trained on simulated strokes in adult anatomy, and on phrases of this "
            "program; no real haemorrhage was ever seen. Without the check, statements are wrong "
            "as often as the results say.",
        },
    }
    write_weights({**best["model"], "tokenizer": best["tokenizer"]}, card, target)
    return target

"""From a captioner's best checkpoint to weights with their card."""

from __future__ import annotations

import json
from pathlib import Path

from strokedx_core.training.checkpoint import load_checkpoint
from strokedx_core.training.export import UNSTATED, card_of
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
    data = config["data"] or [
        UNSTATED | {"name": f"cases of {name}"} for name in config["data_sets"]
    ]
    card = card_of(
        best,
        name=name or run.resolve().name,
        task="caption",
        title="Captions of a stroke lesion, written by a network from image and mask",
        architecture=best["architecture"],
        takes={"spacings_mm": [config["grid"]["spacing"]]},
        data=data or [UNSTATED],
        validated="validation accuracy by field, before the check",
        use="Texts whose every statement is checked against measured findings before it is shown.",
        limits="Trained on simulated strokes in adult anatomy, and on phrases of this program; no "
        "real haemorrhage was ever seen. Without the check, statements are wrong as often as the "
        "results say.",
    )
    write_weights({**best["model"], "tokenizer": best["tokenizer"]}, card, target)
    return target

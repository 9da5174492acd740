"""The pictures of generator.md.

    python docs/generator_pictures.py --data DIR

DIR holds `head_labels/` and `lesion_masks/`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from strokedx_core.synthesis.head import HeadRecipe, generate
from strokedx_core.synthesis.labels import load_head
from strokedx_core.synthesis.lesion_shapes import load_shapes
from strokedx_core.synthesis.mni import head_to_mni
from strokedx_core.synthesis.stroke import StrokeRecipe, generate_case
from strokedx_core.tasks import MODALITIES

IMAGES = Path(__file__).parent / "images"
HEADS = ("T1W", "T2W", "FLAIR", "DWI", "ADC", "SWI", "random", "random")
FINE = HeadRecipe(shape=(176, 208, 176), spacing=1.2, shift=4.0, rotation=8.0)
BRAIN = StrokeRecipe(
    shape=(112, 136, 112), spacing=1.5, shift=2.0, rotation=6.0, stripped=1.0, random_contrast=0.0
)
STROKES = (
    ("infarct", "hyperacute", ("DWI", "ADC", "FLAIR", "T2W")),
    ("infarct", "acute", ("DWI", "ADC", "FLAIR", "T2W")),
    ("infarct", "subacute", ("DWI", "ADC", "FLAIR", "T2W")),
    ("old infarct", "chronic", ("DWI", "ADC", "FLAIR", "T1W")),
    ("haemorrhage", "acute", ("SWI", "T2W", "FLAIR", "T1W")),
)


def _show(axis: plt.Axes, image: np.ndarray, title: str, mask: np.ndarray | None = None) -> None:
    axis.imshow(image.T, cmap="gray", origin="lower", vmax=np.percentile(image, 99.5))
    if mask is not None and mask.any():
        axis.contour(mask.T, [0.5], colors="orange", linewidths=1)
    axis.set_title(title, fontsize=9)
    axis.axis("off")


def heads(path: Path) -> plt.Figure:
    """One label map, in eight draws of the head generator."""
    head = load_head(path)
    figure, axes = plt.subplots(2, len(HEADS) // 2, figsize=(10, 5.8), layout="constrained")
    for seed, (axis, contrast) in enumerate(zip(axes.flat, HEADS, strict=True)):
        sample = generate(head, seed, contrast=contrast, recipe=FINE)
        brain = sample.target.numpy() > 0.5
        at = int(np.argmax(brain.sum((0, 1))))
        _show(axis, sample.image[:, :, at].numpy(), sample.contrast, brain[:, :, at])
    return figure


def strokes(path: Path, masks: Path) -> plt.Figure:
    """Strokes by stage, each in the sequences that show it."""
    head = load_head(path)
    to_mni, shapes = head_to_mni(head), load_shapes(masks)
    figure, axes = plt.subplots(
        len(STROKES), 4, figsize=(9, 2.6 * len(STROKES)), layout="constrained"
    )
    for row, (kind, stage, sequences) in zip(axes, STROKES, strict=True):
        case = _large(head, to_mni, shapes, kind, stage, sequences)
        lesion = case.target[0].numpy() > 0.5
        at = int(np.argmax(lesion.sum((0, 1))))
        for axis, name in zip(row, sequences, strict=True):
            image = case.image[MODALITIES.index(name)].numpy()
            mask = lesion[:, :, at] if axis is row[-1] else None
            _show(axis, image[:, :, at], f"{stage}, {name}" if kind != "haemorrhage"
                  else f"{stage} blood, {name}", mask)  # fmt: skip
    return figure


def _large(head: object, to_mni: object, shapes: object, kind: str, stage: str,
           sequences: Sequence[str]) -> object:  # fmt: skip
    """The first stroke over 10 ml."""
    for seed in range(100):
        case = generate_case(
            head, to_mni, shapes, seed, sequences=tuple(sequences), kind=kind, stage=stage,
            recipe=BRAIN,
        )  # fmt: skip
        if float(case.target[0].sum()) * case.spacing**3 > 10_000:
            break
    return case


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    label_map = sorted((data / "head_labels").glob("*.nii.gz"))[0]
    heads(label_map).savefig(IMAGES / "generator_heads.png", dpi=80)
    strokes(label_map, data / "lesion_masks").savefig(IMAGES / "generator_strokes.png", dpi=80)

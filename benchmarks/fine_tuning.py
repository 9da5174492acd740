"""What fine-tuning on forty cases of one's own does to the weights that ship.

For each data set's layout, forty generated people are written to disk as that data set's files lie,
all of one scanner and one reader: sequences of its own, dull contrast and bias of its own, masks
drawn a voxel wider than those that the shipped weights learnt. Then the shipped weights are trained
on them by our protocol, and measured on the people kept for the end before and after::

    python benchmarks/fine_tuning.py --data DIR [--layouts nfbs soop …] [--epochs 20]

DIR holds `head_labels/` and `lesion_masks/`. Three in ten training images are generated, as in the
protocols.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from cards import options_of
from scipy import ndimage

from strokedx_core.synthesis.labels import load_head
from strokedx_core.synthesis.lesion_shapes import load_shapes
from strokedx_core.synthesis.mni import head_to_mni
from strokedx_core.synthesis.stroke import StrokeRecipe, generate_case
from strokedx_core.tasks import MODALITIES
from strokedx_core.training.comparison import measure
from strokedx_core.training.protocol import configured
from strokedx_core.training.segmentation import train
from strokedx_core.training.tasks import cases_of
from strokedx_core.weights import find_weights

PEOPLE = 40
RECIPE = StrokeRecipe(shape=(80, 96, 80), spacing=2.5, spacing_jitter=0.0, random_contrast=0.0)
MEDIAN = {"ADC": 800.0}
"""Brain of an image as stored; 500 for all but these."""


class Layout(NamedTuple):
    """How a data set's files lie: protocol, kind of stroke, share of heads without a skull, the
    path of each image and mask but for its ending, {n} being the person's number, and what takes
    the place of the protocol's values."""

    protocol: str
    kind: str
    stripped: float
    paths: Mapping[str, str]
    changes: Mapping[str, Any] = MappingProxyType({})


_LESION = "icpsr38464-lesion-general"
_NFBS = "A{n:08d}/sub-A{n:08d}_ses-NFB3_T1w"
_ICPSR = "images/sub-{n:08x}/sub-{n:08x}_"
_SOOP = "sub-{n}/dwi/sub-{n}_"
_ARC = "sub-M{n}/ses-1/anat/sub-M{n}_ses-1_"
_ATLAS = (
    "Training/R001/sub-r001s{n:03d}/ses-1/anat/sub-r001s{n:03d}_ses-1_space-MNI152NLin2009aSym_"
)
_ISLES = "sub-strokecase{n:04d}/ses-0001/"
_ISLES_STEM = "sub-strokecase{n:04d}_ses-0001_"
LAYOUTS = {
    "nfbs": Layout("nfbs-skull-strip", "none", 0.0, {
        "T1W": _NFBS, "brain": f"{_NFBS}_brainmask",
    }),
    "icpsr38464": Layout(_LESION, "infarct", 1.0, {
        **{name: f"{_ICPSR}{name}_space-orig" for name in ("DWI", "ADC", "B0")},
        "brain": f"{_ICPSR}desc-brain_mask", "lesion": f"{_ICPSR}desc-stroke_mask",
    }),
    "soop": Layout(_LESION, "infarct", 1.0, {
        "DWI": f"{_SOOP}rec-TRACE_dwi", "ADC": f"{_SOOP}rec-ADC_dwi",
        "lesion": f"derivatives/lesion_masks/{_SOOP}space-TRACE_desc-lesion_mask",
    }),
    "arc": Layout(_LESION, "old infarct", 1.0, {
        "T1W": f"{_ARC}T1w", "FLAIR": f"{_ARC}FLAIR",
        "lesion": f"derivatives/lesion_masks/{_ARC}desc-lesion_mask",
    }, {
        "recipe": "lesion_flair", "start": "lesion_flair",
        "generator": {"sets": {"T1W+FLAIR": 1.0}},
    }),
    "atlas-r2": Layout(_LESION, "old infarct", 1.0, {
        "T1W": f"{_ATLAS}T1w", "lesion": f"{_ATLAS}label-L_desc-T1lesion_mask",
    }, {
        "recipe": "lesion_t1w", "start": "lesion_t1w",
        "generator": {"sets": {"T1W": 1.0}},
    }),
    "isles2022": Layout(_LESION, "infarct", 1.0, {
        "DWI": f"{_ISLES}dwi/{_ISLES_STEM}dwi", "ADC": f"{_ISLES}dwi/{_ISLES_STEM}adc",
        "lesion": f"derivatives/{_ISLES}{_ISLES_STEM}msk",
    }),
}  # fmt: skip


def write(layout: Layout, folder: Path, data: Path, cache: Path) -> None:
    """Write the people of a data set."""
    shapes = load_shapes(data / "lesion_masks", cache)
    heads = [load_head(path, cache) for path in sorted((data / "head_labels").glob("*.*"))]
    sequences = tuple(name for name in layout.paths if name in MODALITIES)
    recipe = replace(RECIPE, stripped=layout.stripped)
    rng = np.random.default_rng(len(sequences))
    bias = [ndimage.zoom(rng.uniform(0.6, 1.4, (3, 3, 3)), [n / 3 for n in recipe.shape], order=1)
            for _ in sequences]  # fmt: skip
    rows = ["participant_id\tMedical-history\tLesion-type"]
    for number in range(1, PEOPLE + 1):
        head = heads[number % len(heads)]
        case = generate_case(
            head, head_to_mni(head), shapes, 70_000 + number, sequences=sequences,
            kind=layout.kind, recipe=recipe,
        )  # fmt: skip
        affine = np.diag([case.spacing] * 3 + [1.0])
        brain = case.brain.numpy()
        found: dict[str, np.ndarray] = {}
        for name, field in zip(sequences, bias, strict=True):
            image = case.image[MODALITIES.index(name)].numpy()
            if name != "ADC":
                image = (image / max(1e-6, float(np.median(image[brain])))) ** 0.7 * field
            level = MEDIAN.get(name, 500.0) / float(np.median(image[brain]))
            found[name] = (image * level).clip(0, 30_000).astype(np.int16)
        found["lesion"] = ndimage.binary_dilation(case.target[0].numpy() > 0.5).astype(np.uint8)
        found["brain"] = (
            ndimage.binary_dilation(brain) if layout.kind == "none" else brain
        ).astype(np.uint8)
        for name, stem in layout.paths.items():
            path = folder / f"{stem.format(n=number)}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.Nifti1Image(found[name], affine).to_filename(path)
        rows.append(f"sub-{number:08x}\tnone\tischemic")
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results: dict[str, Any] = {}
    kept_maps = tempfile.TemporaryDirectory()
    for name in options.layouts:
        layout = LAYOUTS[name]
        with tempfile.TemporaryDirectory() as temporary:
            folder, out = Path(temporary) / name, Path(temporary) / "run"
            write(layout, folder, options.data, Path(kept_maps.name))
            # Label maps take minutes to prepare, and are the same for all.
            shutil.copytree(kept_maps.name, out / "cache")
            folders = {name: folder, "head-labels": options.data / "head_labels"}
            if "lesion" in layout.paths:
                folders["lesion-masks"] = options.data / "lesion_masks"
            real = {"data_sets": [name], "validation": 0.15, "test": 0.25}
            changes = {"epochs": options.epochs, "real": real, **layout.changes}
            config = configured(f"strokedx/{layout.protocol}", folders, changes)
            began = time.perf_counter()
            weights = train(config, folders, out, quiet=True)
            seconds = time.perf_counter() - began
            kept = cases_of(config, folders).test
            start = find_weights(str(config.start))
            dices = [
                list(measure(name, config, kept, out, which).dice.values())
                for which in (start, weights)
            ]
        before, after = (float(np.mean(values)) for values in dices)
        better = sum(b > a for a, b in zip(*dices, strict=True))
        results[name] = {
            "before": before, "after": after, "better": better, "of": len(dices[0]),
            "steps": config.steps, "minutes": seconds / 60,
        }  # fmt: skip
        told = f"Dice {before:.3f} before, {after:.3f} after {config.steps} steps "
        told += f"({seconds / 60:.0f} min); better in {better} of {len(dices[0])} people"
        print(f"{name:12} {told}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()

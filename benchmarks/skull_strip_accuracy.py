"""What the skull-stripping weights reach: real scans one by one, generated heads by contrast.

    python benchmarks/skull_strip_accuracy.py --data DIR [--weights NAME|FILE] [--card CARD.toml]

DIR holds `scans_dev/`, `stroke_dev/` and `head_labels/`, laid out as the code below reads them.
With --card the figures are written into a card's `[results]`: the shipped card got them so.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from cards import options_of, write_results
from scipy import ndimage

from strokedx_core.evaluation.metrics import dice
from strokedx_core.inference.skull_strip import skull_strip
from strokedx_core.synthesis.head import HeadRecipe, generate
from strokedx_core.synthesis.labels import load_head
from strokedx_core.volume import read_mask, read_volume, volume_from_array

HELD_OUT = ("seg_19", "seg_20")
CONTRASTS = ("T1W", "T2W", "FLAIR", "DWI", "ADC", "random")
HARSH = HeadRecipe(shape=(192, 224, 192), spacing=1.0, shift=5.0)
"""Everything the generator does to a training image, on a grid of 1 mm."""
PLAIN = replace(
    HARSH, rotation=8.0, scaling=0.08, thick=0.3, motion=0.0, ghost=0.0, stripped=0.0,
    defaced=0.0, crop=0.0, noise=0.04, bias=0.2,
)  # fmt: skip
"""A whole head in a scanner that works."""


def real_scans(data: Path, weights: str | None) -> Iterator[tuple[str, float]]:
    """Dice of each scan against the data set's own mask."""
    for mask_path in sorted((data / "scans_dev").glob("*_brainmask.nii.gz")):
        name = mask_path.name.removesuffix("_brainmask.nii.gz")
        found = skull_strip(mask_path.with_name(f"{name}.nii.gz"), weights=weights).mask
        yield name, dice(found, read_mask(mask_path).data)


def diffusion(data: Path, weights: str | None) -> Iterator[tuple[str, dict[str, float]]]:
    """Volume relative to the reference's, pieces, holes and Dice of diffusion scans."""
    ads = data / "stroke_dev" / "ads_subject01"
    isles = data / "stroke_dev" / "isles2022_sub-strokecase0001"
    reference = read_mask(ads / "brain_mask_ads.nii.gz").data
    case = {f"ads_subject01 {n}": (ads / f"Subject01_{n}.nii.gz", reference) for n in ("DWI", "b0")}
    stem = "sub-strokecase0001_ses-0001"
    # The case was stripped by its authors: what they kept is the reference.
    kept = read_volume(isles / f"{stem}_dwi.nii.gz").data != 0
    for name in ("adc", "dwi"):
        case[f"isles2022 {name.upper()}, stripped"] = (isles / f"{stem}_{name}.nii.gz", kept)
    for name, (path, reference) in case.items():
        found = skull_strip(path, weights=weights).mask
        outside, _ = ndimage.label(np.pad(~found, 1, constant_values=True))
        yield (
            name,
            {
                "volume ratio": found.sum() / reference.sum(),
                "kept": (found & reference).sum() / reference.sum(),
                "Dice": dice(found, reference),
                "pieces": float(ndimage.label(found)[1]),
                "holes": float(outside.max() - 1),
            },
        )


def generated(
    data: Path, weights: str | None, recipe: HeadRecipe, images: int
) -> Iterator[tuple[str, list[float]]]:
    """Dice on generated images of held-out heads, by contrast."""
    heads = [load_head(data / "head_labels" / f"{name}.nii.gz") for name in HELD_OUT]
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    for contrast in CONTRASTS:
        scores = []
        for number in range(len(heads) * images):
            sample = generate(
                heads[number % len(heads)], 9_000 + number, contrast=contrast, recipe=recipe
            )
            volume = volume_from_array(sample.image.numpy(), affine, name=contrast)
            found = skull_strip(volume, weights=weights).mask
            scores.append(dice(found, sample.target.numpy() > 0.5))
        yield contrast, scores


def measure(data: Path, weights: str | None, images: int) -> dict[str, Any]:
    """All figures, printed as they come."""
    results: dict[str, Any] = {}
    scans = {}
    for name, score in real_scans(data, weights):
        print(f"{name:28s} Dice {score:.3f}", flush=True)
        scans[name] = round(score, 3)
    mean = statistics.mean(scans.values())
    print(f"{'mean of nine':28s} Dice {mean:.3f}")
    results["Dice, real scans"] = scans | {"mean": round(mean, 3)}
    results["diffusion scans"] = {}
    for name, figures in diffusion(data, weights):
        print(f"{name:28s} " + ", ".join(f"{k} {v:.3g}" for k, v in figures.items()), flush=True)
        results["diffusion scans"][name] = {key: round(float(v), 3) for key, v in figures.items()}
    for title, recipe in (("plain", PLAIN), ("harsh", HARSH)):
        every: list[float] = []
        table = {}
        for contrast, scores in generated(data, weights, recipe, images):
            every += scores
            table[contrast] = round(statistics.mean(scores), 3)
            print(f"{title} {contrast:8s} mean {table[contrast]:.3f} worst {min(scores):.3f}")
        table |= {"mean": round(statistics.mean(every), 3), "worst": round(min(every), 3)}
        print(f"{title} all: mean {table['mean']:.3f} worst {table['worst']:.3f}", flush=True)
        results[f"Dice, generated heads not trained on, {title}"] = table
    return results


def main() -> None:
    """Measure, print, and write into a card where one is named."""
    parser = options_of(__doc__)
    parser.add_argument("--images", type=int, default=4, help="per held-out head and contrast")
    options = parser.parse_args()
    write_results(options.card, measure(options.data, options.weights, options.images))


if __name__ == "__main__":
    main()

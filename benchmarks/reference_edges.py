"""How tightly references are drawn around infarcts on DWI, real ones and those of the generator.

For each piece of a reference, how far the voxels at its inner and at its outer edge are on the way
from the brightness around (3 to 6 mm away, the median) to that of the middle (the 90th
percentile)::

    python benchmarks/reference_edges.py --data DIR

DIR holds `stroke_dev/`, `head_labels/` and `lesion_masks/`. All is brought to voxels of 2 mm.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from lesion_validation import Cases
from scipy import ndimage

from strokedx_core.components import components
from strokedx_core.synthesis.stroke import StrokeRecipe, generate_case
from strokedx_core.tasks import LESION_TYPES, MODALITIES
from strokedx_core.volume import read_mask, read_volume

SPACING = 2.0
SIZES = ((0.1, 3.0), (3.0, 20.0), (20.0, 60.0), (60.0, np.inf))
RECIPE = replace(
    StrokeRecipe(), spacing=SPACING, shape=(80, 96, 80), spacing_jitter=0.0, random_contrast=0.0
)


def edges(dwi: np.ndarray, marked: np.ndarray, brain: np.ndarray) -> list[tuple[float, ...]]:
    """Volume in ml, inner edge and outer edge of every piece over 0.1 ml."""
    found = []
    pieces = components(marked)
    near = ndimage.binary_dilation(marked, iterations=2)
    for number in range(1, int(pieces.max()) + 1):
        piece = pieces == number
        volume = float(piece.sum()) * SPACING**3 / 1000
        outside = ndimage.distance_transform_edt(~piece)
        ring = (outside >= 1.5) & (outside < 3) & brain & ~near
        inner = piece & ~ndimage.binary_erosion(piece)
        outer = (outside > 0) & (outside <= 1.01) & brain & ~marked
        if volume < SIZES[0][0] or not ring.any() or not outer.any():
            continue
        around, middle = np.median(dwi[ring]), np.percentile(dwi[piece], 90)
        if middle < 1.05 * around:
            continue
        way = [float((dwi[edge].mean() - around) / (middle - around)) for edge in (inner, outer)]
        found.append((volume, *way))
    return found


def real(dwi: Path, reference: Path) -> list[tuple[float, ...]]:
    """Edges of a reference on a real scan."""
    volume, marked = read_volume(dwi), read_mask(reference).data != 0
    sizes = np.linalg.norm(volume.affine[:3, :3], axis=0)
    blur = [0.85 * max(SPACING / size - 1, 0) for size in sizes]
    image = ndimage.zoom(ndimage.gaussian_filter(volume.data, blur), sizes / SPACING, order=1)
    placed = ndimage.zoom(marked.astype(np.float32), sizes / SPACING, order=1) > 0.5
    return edges(image, placed, image > 0.25 * np.percentile(image, 99))


def report(name: str, found: list[tuple[float, ...]]) -> None:
    """Print the means by size."""
    for low, high in SIZES:
        rows = [row for row in found if low <= row[0] < high]
        if rows:
            _, inner, outer = np.mean(rows, axis=0)
            print(f"{name}, {low:g} to {high:g} ml: {len(rows)} pieces, {inner:.2f}, {outer:.2f}")


def main() -> None:
    """Entry."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=36)
    parser.add_argument("--cache", type=Path, help="folder to keep prepared label maps in")
    options = parser.parse_args()
    name = "sub-strokecase0001"
    isles = options.data / "stroke_dev" / f"isles2022_{name}"
    found = real(isles / f"{name}_ses-0001_dwi.nii.gz", isles / f"{name}_ses-0001_msk.nii.gz")
    report("ISLES 2022", found)
    ads = options.data / "stroke_dev" / "ads_subject01"
    report("ADS", real(ads / "Subject01_DWI.nii.gz", ads / "lesion_mask_dagmnet_output.nii.gz"))
    made = []
    with tempfile.TemporaryDirectory() as folder:
        cases = Cases(options.data, options.cache or Path(folder))
        for number in range(options.cases):
            head, to_mni = cases.heads[number % len(cases.heads)]
            case = generate_case(
                head, to_mni, cases.shapes, 6_500_000 + number, sequences=("DWI", "ADC"),
                kind="infarct", stage="acute", recipe=RECIPE,
            )  # fmt: skip
            marked = case.target[LESION_TYPES.index("ischemic")].numpy() > 0.5
            made += edges(case.image[MODALITIES.index("DWI")].numpy(), marked, case.brain.numpy())
    report("generated", made)


if __name__ == "__main__":
    main()

"""A whole examination from one label map: several sequences of one head, each on a grid of its own.

    python -m strokedx_core.synthesis.case seg_01.nii.gz FOLDER

writes sample_T1W.nii.gz, sample_FLAIR.nii.gz, sample_DWI.nii.gz and a true mask beside each
(`_brainmask`). The case that ships with the package was made so. With `--lesion-masks DIR` besides,
it is an acute stroke instead: stroke_DWI.nii.gz and stroke_ADC.nii.gz with the true masks of brain
(`stroke_brainmask`) and infarct (`stroke_lesionmask`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine

from strokedx_core.synthesis.head import HeadRecipe, generate
from strokedx_core.synthesis.labels import Head, load_head
from strokedx_core.synthesis.lesion_shapes import LesionShape, load_shapes
from strokedx_core.synthesis.mni import head_to_mni
from strokedx_core.synthesis.stroke import StrokeRecipe, generate_case
from strokedx_core.tasks import LESION_TYPES, MODALITIES
from strokedx_core.volume import resample

__all__ = ["PROTOCOLS", "Protocol", "synthesise_case", "write_case", "write_stroke"]

_FINE = HeadRecipe(
    shape=(192, 224, 208),
    spacing=1.0,
    spacing_jitter=0.0,
    rotation=4.0,
    scaling=0.05,
    shear=0.02,
    shift=3.0,
    warp=2.0,
    fine_warp=0.5,
    lesions=0.0,
    bias=0.15,
    noise=0.02,
    thick=0.0,
    motion=0.0,
    ghost=0.0,
    stripped=0.0,
    defaced=0.0,
    crop=0.0,
)


_STROKE = StrokeRecipe(
    shape=(112, 136, 104),
    spacing=1.8,
    spacing_jitter=0.0,
    rotation=5.0,
    scaling=0.05,
    shear=0.02,
    shift=3.0,
    warp=2.0,
    fine_warp=0.5,
    bias=0.1,
    noise=0.02,
    thick=0.0,
    motion=0.0,
    ghost=0.0,
    stripped=0.0,
    crop=0.0,
    dropout=0.0,
    random_contrast=0.0,
    wide_ventricles=0.0,
)
_SLICES = (1.8, 1.8, 5.0)


@dataclass(frozen=True)
class Protocol:
    """How one sequence is stored.

    Attributes
    ----------
    spacing : three float
        Voxel size in mm along right-left, posterior-anterior, inferior-superior.
    axes : str
        Orientation of the stored axes, as nibabel names them.
    tilt : float
        Angle in degrees by which the slices are tilted about the left-right axis.
    """

    spacing: tuple[float, float, float]
    axes: str
    tilt: float = 0.0


PROTOCOLS: dict[str, Protocol] = {
    "T1W": Protocol((1.25, 1.25, 1.25), "PSR"),
    "FLAIR": Protocol((0.9, 0.9, 5.0), "LPS", tilt=8.0),
    "DWI": Protocol((1.8, 1.8, 5.0), "LAS", tilt=8.0),
}
"""Sequences of the shipped case: sagittal volume, thick axial slices, coarse axial slices."""


def _affine(shape: tuple[int, ...], spacing: tuple[float, ...], tilt: float) -> np.ndarray:
    """Voxel index to RAS mm of a grid centred on the origin and turned about the x axis."""
    c, s = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ np.diag(spacing)
    affine[:3, 3] = -apply_affine(affine, (np.array(shape) - 1) / 2)
    return affine


def _stored(values: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    """An image in scanner coordinates, in mm."""
    stored = nib.Nifti1Image(values, affine)
    stored.header.set_xyzt_units("mm")
    stored.set_qform(affine, 1)
    stored.set_sform(affine, 1)
    return stored


def synthesise_case(head: Head, seed: int) -> dict[str, tuple[nib.Nifti1Image, nib.Nifti1Image]]:
    """Sequences of one head and the true brain mask of each.

    Parameters
    ----------
    head : Head
    seed : int

    Returns
    -------
    dict of str to (image, mask)
        By modality: int16 images and uint8 masks, in RAS mm with the head's centre near zero.
    """
    case = {}
    for number, (modality, protocol) in enumerate(PROTOCOLS.items()):
        recipe = replace(_FINE, rotation=0.0) if protocol.tilt else _FINE
        sample = generate(head, seed + number, contrast=modality, recipe=recipe, pose_seed=seed)
        fine = sample.image.numpy(), sample.target.numpy()
        x, y, z = (s / recipe.spacing for s in protocol.spacing)
        step = (x, y, z)
        shape = tuple(int(n / d) for n, d in zip(recipe.shape, step, strict=True))
        x, y, z = (
            (n - 1) / 2 - d * (m - 1) / 2 for n, m, d in zip(recipe.shape, shape, step, strict=True)
        )
        image, share = (resample(array, shape, (x, y, z), step) for array in fine)
        affine = _affine(shape, protocol.spacing, protocol.tilt)
        pair = []
        for values in ((200 * image).round().astype(np.int16), (share >= 0.5).astype(np.uint8)):
            stored = _stored(values, affine)
            turn = nib.orientations.ornt_transform(
                nib.io_orientation(affine), nib.orientations.axcodes2ornt(protocol.axes)
            )
            pair.append(stored.as_reoriented(turn))
        case[modality] = (pair[0], pair[1])
    return case


def write_case(head: Head, seed: int, folder: Path) -> None:
    """Write the sequences of `synthesise_case` as `sample_<modality>[_brainmask].nii.gz`."""
    folder.mkdir(parents=True, exist_ok=True)
    for modality, (image, mask) in synthesise_case(head, seed).items():
        nib.save(image, folder / f"sample_{modality}.nii.gz")
        nib.save(mask, folder / f"sample_{modality}_brainmask.nii.gz")


def write_stroke(head: Head, shapes: Sequence[LesionShape], seed: int, folder: Path) -> None:
    """Write an acute infarct on DWI and ADC, thick axial slices, and what is true of it.

    Parameters
    ----------
    head : Head
    shapes : sequence of LesionShape
        Drawn lesions, one of which the infarct takes its shape from.
    seed : int
    folder : Path
    """
    case = generate_case(
        head, head_to_mni(head), shapes, seed, sequences=("DWI", "ADC"), kind="infarct",
        stage="acute", recipe=_STROKE,
    )  # fmt: skip
    x, y, z = (s / _STROKE.spacing for s in _SLICES)
    shape = tuple(int(n / step) for n, step in zip(_STROKE.shape, (x, y, z), strict=True))
    start = [
        (n - 1) / 2 - step * (m - 1) / 2
        for n, m, step in zip(_STROKE.shape, shape, (x, y, z), strict=True)
    ]
    affine = _affine(shape, _SLICES, 0.0)
    made = {
        # A diffusion coefficient of 0.8 x 10^-3 mm²/s is a usual median of a brain.
        "DWI": (250 * case.image[MODALITIES.index("DWI")]).numpy(),
        "ADC": (800 * case.image[MODALITIES.index("ADC")]).numpy(),
        "brainmask": case.brain.float().numpy(),
        "lesionmask": case.target[LESION_TYPES.index("ischemic")].numpy(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, fine in made.items():
        values = resample(fine, shape, (start[0], start[1], start[2]), (x, y, z))
        kind = np.int16 if name in MODALITIES else np.uint8
        nib.save(_stored(values.round().astype(kind), affine), folder / f"stroke_{name}.nii.gz")


def main() -> None:
    """Entry of `python -m strokedx_core.synthesis.case`."""
    parser = argparse.ArgumentParser(description="Synthesise an examination from a label map.")
    parser.add_argument("label_map", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--lesion-masks", type=Path, help="make a stroke, of one of these shapes")
    options = parser.parse_args()
    head = load_head(options.label_map)
    if options.lesion_masks is None:
        write_case(head, options.seed, options.folder)
    else:
        write_stroke(head, load_shapes(options.lesion_masks), options.seed, options.folder)


if __name__ == "__main__":
    main()

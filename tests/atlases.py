"""A small atlas in a space of 4 mm voxels, as files and as a mask's surroundings."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (40, 48, 36)
AFFINE = np.array([[-4.0, 0, 0, 78], [0, 4, 0, -112], [0, 0, 4, -50], [0, 0, 0, 1]])

ROWS = (
    (1, "ACA_L", "anterior cerebral artery", "left", "ACA"),
    (2, "ACA_R", "anterior cerebral artery", "right", "ACA"),
    (5, "LLS_L", "lateral lenticulostriate", "left", "MCA"),
    (6, "LLS_R", "lateral lenticulostriate", "right", "MCA"),
    (7, "MCAF_L", "middle cerebral artery, frontal part", "left", "MCA"),
    (8, "MCAF_R", "middle cerebral artery, frontal part", "right", "MCA"),
    (19, "PCAO_L", "posterior cerebral artery, occipital part", "left", "PCA"),
    (20, "PCAO_R", "posterior cerebral artery, occipital part", "right", "PCA"),
    (31, "LV_L", "lateral ventricle", "left", "ventricle"),
    (32, "LV_R", "lateral ventricle", "right", "ventricle"),
)


def places() -> np.ndarray:
    """MNI coordinates of the voxels: shape (i, j, k, 3), mm."""
    indices = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    return indices @ AFFINE[:3, :3].T + AFFINE[:3, 3]


def labels() -> np.ndarray:
    """An ellipsoid: ACA near the midline, MCA beside it, PCA behind, the ventricle inside."""
    x, y, z = np.moveaxis(places(), -1, 0)
    brain = (x / 66) ** 2 + ((y + 18) / 86) ** 2 + ((z - 15) / 60) ** 2 < 1
    out = np.zeros(SHAPE, np.int16)
    out[brain] = 7
    out[brain & (np.abs(x) < 22)] = 1
    out[brain & (y < -64)] = 19
    out[brain & (np.hypot(np.abs(x) - 26, y) < 12) & (np.abs(z - 8) < 12)] = 5
    out[brain & (np.abs(x) < 14) & (np.abs(y + 10) < 16) & (np.abs(z - 14) < 8)] = 31
    return np.where((out > 0) & (x > 0), out + 1, out).astype(np.int16)


def write(folder: Path) -> tuple[Path, Path]:
    """The image and its table."""
    image, table = folder / "atlas.nii.gz", folder / "atlas.tsv"
    nib.Nifti1Image(labels(), AFFINE).to_filename(image)
    lines = [("index", "short", "name", "side", "territory"), *ROWS]
    table.write_text("\n".join("\t".join(map(str, line)) for line in lines) + "\n")
    return image, table


def write_mask(path: Path, mask: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """A mask as a file."""
    nib.Nifti1Image(mask.astype(np.uint8), affine).to_filename(path)
    return path


def ball(centre: tuple[float, float, float], radius: float) -> np.ndarray:
    """Voxels within so many millimetres of a place."""
    return np.linalg.norm(places() - centre, axis=-1) <= radius

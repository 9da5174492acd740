"""Made-up lesion masks in MNI space."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np


def write_shapes(folder: Path, count: int = 4) -> Path:
    """Balls in MNI space at 1 mm, stored with x to the left: ball_0 on the left, ball_1 right…"""
    folder.mkdir(parents=True, exist_ok=True)
    affine = np.array([[-1, 0, 0, 78], [0, 1, 0, -112], [0, 0, 1, -50], [0, 0, 0, 1]], float)
    i, j, k = np.ogrid[:157, :189, :136]
    for number in range(count):
        x, y, z = (-30 if number % 2 == 0 else 30), -10 + 6 * number, 25
        radius = 8 + 3 * number
        mask = (78 - i - x) ** 2 + (j - 112 - y) ** 2 + (k - 50 - z) ** 2 <= radius**2
        image = nib.Nifti1Image(mask.astype(np.uint8), affine)
        nib.save(image, folder / f"ball-{number}_lesion.nii.gz")
    return folder

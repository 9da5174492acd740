"""How well a mask agrees with a reference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["dice", "volume_ml"]


def dice(mask: NDArray[np.generic], reference: NDArray[np.generic]) -> float:
    """Dice coefficient, ``2 |A ∩ B| / (|A| + |B|)``.

    Parameters
    ----------
    mask, reference : ndarray of the same shape
        Zero is outside, anything else inside.

    Returns
    -------
    float
        From 0 (nothing in common) to 1 (equal). Two empty masks agree: 1.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    Dice LR. Measures of the amount of ecologic association between species. Ecology 1945;26:297.
    """
    if mask.shape != reference.shape:
        raise ValueError(f"mask has shape {mask.shape}, reference has {reference.shape}")
    a, b = mask != 0, reference != 0
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return float(2 * np.count_nonzero(a & b) / total) if total else 1.0


def volume_ml(mask: NDArray[np.generic], affine: NDArray[np.floating]) -> float:
    """Volume inside a mask, in ml.

    Parameters
    ----------
    mask : ndarray, shape (i, j, k)
        Zero is outside, anything else inside.
    affine : ndarray, shape (4, 4)
        Voxel index to mm; oblique and sheared grids are right too.
    """
    return float(np.count_nonzero(mask) * abs(np.linalg.det(affine[:3, :3])) / 1000)

"""Left and right: the plane between the hemispheres, and on which side of it something lies."""

from __future__ import annotations

import numpy as np

from strokedx_core.volume import to_canonical

__all__ = ["BOTH_SIDES", "midplane_of", "side_of"]

BOTH_SIDES = 0.1
"""Share of a lesion across the midline from which it lies on both sides."""


def midplane_of(brain: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Plane between the hemispheres, from the outline of the brain.

    Fitted by least squares to the middles of the brain's rows from left to right, so that a head
    tilted in the scanner keeps its sides.

    Parameters
    ----------
    brain : ndarray of bool, (i, j, k)
    affine : ndarray, (4, 4)
        Voxel index to RAS millimetres.

    Returns
    -------
    ndarray, (4,)
        (a, b, c, d), (a, b, c) of length 1: a x + b y + c z + d is how many millimetres a place
        lies to the right of the plane. x = 0 where there is hardly any brain.
    """
    canonical, affine_ras = to_canonical(brain, affine)
    rows = canonical.any(axis=0)
    if np.count_nonzero(rows) < 100:
        return np.array([1.0, 0.0, 0.0, 0.0])
    first = canonical.argmax(axis=0)[rows]
    last = canonical.shape[0] - 1 - canonical[::-1].argmax(axis=0)[rows]
    voxels = np.column_stack([(first + last) / 2, *np.nonzero(rows)])
    width = (last - first + 1).astype(float)
    places = voxels @ affine_ras[:3, :3].T + affine_ras[:3, 3]
    design = np.column_stack([places[:, 1:], np.ones(len(places))])
    # Rows through the middle of the brain say more than those that graze its surface.
    slopes, *_ = np.linalg.lstsq(design * width[:, None], places[:, 0] * width, rcond=None)
    return np.array([1.0, *-slopes]) / np.linalg.norm([1.0, *-slopes[:2]])


def side_of(x_mm: np.ndarray) -> str:
    """On which side of the midline voxels lie.

    Parameters
    ----------
    x_mm : ndarray, (n,)
        How far to the patient's right of the midline each voxel lies.

    Returns
    -------
    {"left", "right", "both"}
        "both" from a share of `BOTH_SIDES` across the midline.
    """
    right = float(np.mean(x_mm > 0))
    if right > 1 - BOTH_SIDES:
        return "right"
    return "left" if right < BOTH_SIDES else "both"

"""Lesions as bodies: how large and long they are, and on which slices."""

from __future__ import annotations

import numpy as np
from nibabel.affines import apply_affine
from nibabel.orientations import io_orientation
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

__all__ = ["longest_diameter_mm", "slice_axis", "slices_of"]


def longest_diameter_mm(voxels: np.ndarray, affine: np.ndarray) -> float:
    """Distance of the two voxels that lie farthest apart, from centre to centre.

    Parameters
    ----------
    voxels : ndarray of int, (n, 3)
    affine : ndarray, (4, 4)
        Voxel index to millimetres.

    Returns
    -------
    float
        0 for a single voxel.
    """
    places = apply_affine(affine, voxels.astype(float))
    if len(places) > 4:
        # The farthest two are corners of the convex hull, if the voxels do not lie in one plane.
        try:
            places = places[ConvexHull(places).vertices]
        except QhullError:
            places = _outline(places)
    return float(pdist(places).max(initial=0.0))


def _outline(places: np.ndarray) -> np.ndarray:
    """Corners of places that lie in a plane or on a line."""
    centred = places - places.mean(axis=0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    if spread[1] < 1e-6 * spread[0]:
        along = centred @ axes[0]
        return places[[int(along.argmin()), int(along.argmax())]]
    return places[ConvexHull(centred @ axes[:2].T).vertices]


def slice_axis(affine: np.ndarray) -> int:
    """Axis of the array that runs most nearly from inferior to superior."""
    return int(np.flatnonzero(io_orientation(affine)[:, 0] == 2)[0])


def slices_of(voxels: np.ndarray, axis: int) -> tuple[int, int]:
    """First and last index along an axis, counted from 0."""
    return int(voxels[:, axis].min()), int(voxels[:, axis].max())

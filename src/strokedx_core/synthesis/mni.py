"""Where in MNI space a head of the generator lies: an affine from its own anatomy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from strokedx_core.synthesis.contrasts import CLASSES
from strokedx_core.synthesis.labels import DISTANCE_STEP, Head

__all__ = ["head_to_mni"]

_LANDMARKS: dict[str, tuple[float, float, float]] = {
    "thalamus": (11.0, -18.0, 7.0),
    "caudate": (13.0, 10.0, 9.0),
    "putamen": (25.0, 1.0, 0.0),
    "pallidum": (19.0, -4.0, -1.0),
    "hippocampus": (25.0, -16.0, -15.0),
    "cerebellar grey": (23.0, -65.0, -36.0),
}
"""Centroid of each structure's right half in MNI152 space, mm, to about 2 mm; x is mirrored for
the left half."""

_CENTRE = np.array([1.0, -17.0, 14.0])
"""Middle of the brain's bounding box there, mm."""

_PLANES = ((0, -1, -69.0), (0, 1, 71.0), (1, -1, -105.0), (1, 1, 71.0), (2, 1, 76.0))
"""Axis, direction and coordinate (mm) of the planes within which all but the outermost 0.15 % of
the cerebrum lies there."""


def head_to_mni(head: Head) -> Tensor:
    """Affine from voxels of a head to MNI152 space, in mm.

    Least squares over the centroids of deep structures, each side for itself, and the brain's
    outermost planes. Linear, so single structures may be some millimetres off.

    Parameters
    ----------
    head : Head

    Returns
    -------
    Tensor, shape (3, 4), float32
    """
    classes, centre = head.classes.cpu().numpy(), head.centre.cpu().numpy()
    names = tuple(CLASSES)
    here, there = [], []
    for name, (x, y, z) in _LANDMARKS.items():
        voxels = np.argwhere(classes == names.index(name))
        for side in (-1, 1):
            half = voxels[(voxels[:, 0] - centre[0]) * side >= 0]
            if len(half) > 20:
                here.append(half.mean(0))
                there.append((side * x, y, z))
    voxels = np.argwhere(head.distance.cpu().numpy() * DISTANCE_STEP < 0).astype(float)
    brain = np.column_stack([voxels, np.ones(len(voxels))])[::7]
    # Where landmarks are missing, millimetres are millimetres and centres lie on centres.
    prior = np.column_stack([np.eye(3), _CENTRE - centre])
    matrix = _fit(
        prior, [_Row(a, h, t[a]) for h, t in zip(here, there, strict=True) for a in range(3)]
    )
    for _ in range(5):
        rows = [_Row(a, h, t[a]) for h, t in zip(here, there, strict=True) for a in range(3)]
        placed = brain @ matrix.T
        # Only the cerebrum's own planes: how far down a brainstem is kept varies.
        upper = placed[:, 2] > -10
        for axis, sign, goal in _PLANES:
            along = sign * placed[upper, axis]
            outermost = brain[upper][along >= np.quantile(along, 0.9985)]
            rows += [_Row(axis, outermost[:, :3].mean(0), goal)] * 2
        matrix = _fit(prior, rows)
    return torch.from_numpy(matrix.astype(np.float32))


class _Row(NamedTuple):
    """A place in the head, and one of its coordinates in MNI space."""

    axis: int
    place: np.ndarray
    goal: float


def _fit(prior: np.ndarray, rows: list[_Row]) -> np.ndarray:
    """Least squares, held to `prior` where the rows say nothing."""
    matrix = prior.copy()
    hold = np.diag([10.0, 10.0, 10.0, 0.1])
    for axis in range(3):
        mine = [row for row in rows if row.axis == axis]
        if mine:
            places = np.array([[*row.place, 1.0] for row in mine])
            missing = np.array([row.goal for row in mine]) - places @ prior[axis]
            missing = np.concatenate([missing, np.zeros(4)])
            matrix[axis] += np.linalg.lstsq(np.vstack([places, hold]), missing, rcond=None)[0]
    return matrix

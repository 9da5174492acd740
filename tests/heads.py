"""A made-up head: what a scan looks like to code that needs no real one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Head(NamedTuple):
    """A made-up head: image, voxel index to RAS mm, true brain."""

    data: np.ndarray
    affine: np.ndarray
    brain: np.ndarray


def ellipsoid_head(
    shape: tuple[int, int, int] = (64, 72, 60),
    spacing: tuple[float, float, float] = (3.0, 3.0, 3.0),
    seed: int = 0,
) -> Head:
    """Nested ellipsoids: scalp, dark skull, brain, ventricles; the brain holds about 1.3 l.

    Parameters
    ----------
    shape : tuple of int
        Voxels along left-right, posterior-anterior, inferior-superior.
    spacing : tuple of float
        Voxel sizes in mm. The head lies at the middle of the grid whatever its size.
    seed : int
        Of the noise.
    """
    sizes = np.asarray(spacing)
    grid = np.indices(shape, dtype=np.float32)
    middle = (np.asarray(shape) - 1) / 2
    mm = [(grid[axis] - middle[axis]) * sizes[axis] for axis in range(3)]

    def inside(x: float, y: float, z: float) -> np.ndarray:
        return (mm[0] / x) ** 2 + (mm[1] / y) ** 2 + (mm[2] / z) ** 2 <= 1

    brain = inside(64, 80, 61)
    data = np.zeros(shape, np.float32)
    data[inside(78, 95, 76)] = 700
    data[inside(72, 89, 70)] = 60
    data[brain] = 450
    data[inside(58, 74, 55)] = 600
    data[inside(12, 28, 14)] = 120
    data += np.random.default_rng(seed).normal(0, 12, shape).astype(np.float32)
    affine = np.diag([*sizes, 1.0])
    affine[:3, 3] = -middle * sizes
    return Head(data, affine, brain)

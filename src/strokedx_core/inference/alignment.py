"""Sequences of one case laid over each other where the person moved between them.

A rigid movement is looked for that makes the intensities of two images tell the most of each other,
whatever their contrasts. It is taken only where it is large enough to matter and clearly better, on
places that the search has not seen: most pairs lie well as they are, and stay untouched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine
from scipy import ndimage, optimize

from strokedx_core.inference.brain_grid import BrainGrid
from strokedx_core.volume import Volume, resample, to_canonical, working_grid

__all__ = ["Movement", "find_movement"]

POINTS_MM = 4.0
"""Distance of the places that are compared."""

COARSE_MM = 3.0
"""Voxel size to which the moving image is brought: smooth enough for the search to find its way."""

MOST_POINTS = 6000
"""Places that the search looks at; more of them take longer and find nothing else."""

BINS = 24

LEAST_MM = 1.5
"""Displacement, averaged over the brain, from which a movement is worth following: about what two
degrees do."""

FARTHEST_MM = 40.0

LEAST_GAIN = 0.006
"""Normalised mutual information that a movement must add. Between scans of one examination that lie
within 1 mm of each other the best movement added 0.001 to 0.006, and 0.017 or more after they had
been displaced by 3 mm or 3 degrees."""

RADIUS_MM = 50.0  # at which a rotation moves as far as a shift of the same parameter


@dataclass(frozen=True, eq=False)
class Movement:
    """How an image has to be moved to lie on another.

    Attributes
    ----------
    matrix : ndarray, (4, 4)
        Rigid, in RAS millimetres; to be applied to what the image's affine gives.
    displacement_mm : float
        How far it moves the brain, on average.
    degrees : float
        How far it turns it.
    gain : float
        Normalised mutual information that it adds, on places kept out of the search.
    """

    matrix: np.ndarray
    displacement_mm: float
    degrees: float
    gain: float


def find_movement(fixed: Volume, moving: Volume, brain: np.ndarray) -> Movement | None:
    """Find the movement that lays one image over another.

    Parameters
    ----------
    fixed, moving : Volume
        Of one person, of any contrasts and grids.
    brain : ndarray of bool, shape of `fixed`

    Returns
    -------
    Movement or None
        None where the images lie well, or nothing better can be told for sure.

    Notes
    -----
    Normalised mutual information after Studholme et al., "An overlap invariant entropy measure of
    3D medical image alignment" (Pattern Recognition 1999), searched along lines (Powell).
    """
    comparison = _Comparison.of(fixed, moving, brain)
    if comparison is None:
        return None
    searched, held_out = comparison.halves()
    parameters = np.zeros(6)
    for points, step in ((searched.thinned(3), 6.0), (searched, 1.5)):
        parameters = optimize.minimize(
            lambda tried, points=points: -points.information(tried),
            parameters,
            method="Powell",
            options={"xtol": 0.1, "ftol": 1e-4, "maxiter": 6, "direc": np.eye(6) * step},
        ).x
    matrix = comparison.matrix(parameters)
    moved = apply_affine(matrix, comparison.places) - comparison.places
    displacement = float(np.linalg.norm(moved, axis=1).mean())
    gain = held_out.information(parameters) - held_out.information(np.zeros(6))
    if not LEAST_MM <= displacement <= FARTHEST_MM or gain < LEAST_GAIN:
        return None
    turn = np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1, 1)
    return Movement(matrix, displacement, float(np.degrees(np.arccos(turn))), gain)


@dataclass(frozen=True, eq=False)
class _Comparison:
    """Places of the fixed image, the bins of its values there, and the moving image.

    Attributes
    ----------
    places : ndarray, (n, 3)
        RAS millimetres.
    bins : ndarray of int, (n,)
    image : ndarray, (x, y, z)
        The moving image on a coarse grid, in bins, float.
    to_image : ndarray, (4, 4)
        RAS millimetres to voxels of `image`.
    centre : ndarray, (3,)
        What movements turn about.
    """

    places: np.ndarray
    bins: np.ndarray
    image: np.ndarray
    to_image: np.ndarray
    centre: np.ndarray

    @classmethod
    def of(cls, fixed: Volume, moving: Volume, brain: np.ndarray) -> _Comparison | None:
        grid = BrainGrid.around(brain, fixed.affine, POINTS_MM, 1)
        # With a rim: where the brain ends says much of how it lies.
        inside = ndimage.binary_dilation(grid.mask(brain), iterations=1)
        values = grid.image(fixed.data, fixed.affine)
        inside &= values != 0
        places = apply_affine(grid.affine, np.argwhere(inside))
        data, affine = to_canonical(moving.data, moving.affine)
        shape, start, step = working_grid(data.shape, affine, COARSE_MM)
        image = resample(data, shape, start, step)
        placed = np.diag([*step, 1.0])
        placed[:3, 3] = start
        to_image = np.linalg.inv(affine @ placed)
        seen = ndimage.map_coordinates(image, apply_affine(to_image, places).T, order=1)
        if len(places) < 500 or np.ptp(seen) == 0:
            return None
        return cls(
            places,
            _binned(values[inside], values[inside]).astype(np.intp),
            _binned(image, seen),
            to_image,
            places.mean(axis=0),
        )

    def halves(self) -> tuple[_Comparison, _Comparison]:
        """Two sets of places with nothing in common, spread over the whole brain."""
        order = np.random.default_rng(0).permutation(len(self.places))
        count = min(len(order) // 2, MOST_POINTS)
        return self._only(np.sort(order[:count])), self._only(np.sort(order[count:]))

    def thinned(self, every: int) -> _Comparison:
        """Every so many places."""
        return self._only(np.arange(0, len(self.places), every))

    def _only(self, which: np.ndarray) -> _Comparison:
        return _Comparison(
            self.places[which], self.bins[which], self.image, self.to_image, self.centre
        )

    def matrix(self, parameters: np.ndarray) -> np.ndarray:
        """Movement of the moving image, (4, 4): three shifts, then three turns, all in mm."""
        a, b, c = parameters[3:] / RADIUS_MM
        turn_x = [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]
        turn_y = [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
        turn_z = [[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]]
        matrix = np.eye(4)
        matrix[:3, :3] = np.array(turn_z) @ turn_y @ turn_x
        matrix[:3, 3] = self.centre - matrix[:3, :3] @ self.centre + parameters[:3]
        return matrix

    def information(self, parameters: np.ndarray) -> float:
        """Normalised mutual information of the images after a movement, 1 to 2."""
        onto = self.to_image @ np.linalg.inv(self.matrix(parameters))
        voxels = apply_affine(onto, self.places)
        limits = np.array(self.image.shape) - 1
        seen = ((voxels >= 0) & (voxels <= limits)).all(axis=1)
        if np.count_nonzero(seen) < 0.5 * len(seen):
            return 0.0
        values = ndimage.map_coordinates(self.image, voxels[seen].T, order=1, prefilter=False)
        # Each value counts for the two bins it lies between: smooth in the parameters.
        low = np.minimum(values.astype(np.intp), BINS - 2)
        share = values - low
        cell = self.bins[seen] * BINS + low
        joint = np.bincount(cell, 1 - share, BINS * BINS)
        joint += np.bincount(cell + 1, share, BINS * BINS)
        table = joint.reshape(BINS, BINS) / joint.sum()
        together = _entropy(table.ravel())
        alone = _entropy(table.sum(axis=0)) + _entropy(table.sum(axis=1))
        return float(alone / together) if together > 0 else 0.0


def _binned(values: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Values scaled to 0 .. BINS - 1 between the 1st and 99th percentile of a sample."""
    low, high = np.percentile(sample, (1, 99))
    scaled = (values - low) * ((BINS - 1) / max(float(high - low), 1e-12))
    binned: np.ndarray = np.clip(scaled, 0, BINS - 1)
    return binned


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())

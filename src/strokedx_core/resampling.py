"""Arrays between the grid they came on and the grid that networks work on.

Two steps, each with its way back: axis permutations and flips to the closest canonical (RAS)
orientation, which change no value, and separable linear resampling along the three axes. Grids that
lie askew of each other meet in `onto_grid`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)

__all__ = [
    "back_to_grid",
    "from_canonical",
    "onto_grid",
    "resample",
    "to_canonical",
    "working_grid",
]

_BLOCK = 16  # output samples at a time: wide enough for BLAS, narrow enough to skip most zeros

T = TypeVar("T", int, float)
Triple = tuple[float, float, float]


def to_canonical(data: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bring an array to the closest canonical orientation: axes towards right, anterior, superior.

    Parameters
    ----------
    data : ndarray, (i, j, k)
        Any type.
    affine : ndarray, (4, 4)
        Voxel index to RAS millimetres.

    Returns
    -------
    data_ras : ndarray, (x, y, z)
        A view of `data` with axes permuted and flipped.
    affine_ras : ndarray, (4, 4) float64
        Index of `data_ras` to RAS millimetres; still oblique where the grid is.
    """
    affine = np.asarray(affine, np.float64)
    turns = io_orientation(affine)
    return apply_orientation(data, turns), affine @ inv_ornt_aff(turns, data.shape)


def from_canonical(data_ras: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Undo `to_canonical`.

    Parameters
    ----------
    data_ras : ndarray, (x, y, z)
        Array in the closest canonical orientation of the grid.
    affine : ndarray, (4, 4)
        The grid's own affine, the one that `to_canonical` was given.

    Returns
    -------
    data : ndarray, (i, j, k)
        A view of `data_ras`.
    """
    turns = ornt_transform(axcodes2ornt("RAS"), io_orientation(np.asarray(affine, np.float64)))
    data: np.ndarray = apply_orientation(data_ras, turns)
    return data


def working_grid(
    shape: tuple[int, ...], affine: np.ndarray, spacing_mm: float
) -> tuple[tuple[int, int, int], Triple, Triple]:
    """Lay an isotropic grid over the field of view of a volume, along the volume's own axes.

    Both fields of view have the same centre, and the same edges where the length of an axis is a
    whole number of working voxels; elsewhere the working grid reaches out by less than half a voxel
    on either side.

    Parameters
    ----------
    shape : tuple of int
        Shape of the volume.
    affine : ndarray, (4, 4)
        Its affine.
    spacing_mm : float
        Voxel size of the working grid, millimetres.

    Returns
    -------
    shape_out : tuple of int
    start, step : tuple of float
        As `resample` takes them: working voxel o lies at voxel start + step * o of the volume.
    """
    sizes = voxel_sizes(affine)
    # The tolerance keeps rounding in an affine from adding a voxel to a length that divides evenly.
    counts = [
        max(1, int(np.ceil(n * size / spacing_mm - 1e-3)))
        for n, size in zip(shape, sizes, strict=True)
    ]
    step = [float(spacing_mm / size) for size in sizes]
    start = [(n - 1) / 2 - s * (m - 1) / 2 for n, s, m in zip(shape, step, counts, strict=True)]
    return _triple(counts), _triple(start), _triple(step)


def back_to_grid(
    array: np.ndarray, shape: tuple[int, ...], start: Triple, step: Triple
) -> np.ndarray:
    """Bring an array on a working grid back to the grid that the working grid was laid over.

    Parameters
    ----------
    array : ndarray, (x, y, z)
        Values on the working grid, such as probabilities.
    shape : tuple of int
        Shape of the volume's grid.
    start, step : tuple of float
        As `working_grid` gave them.

    Returns
    -------
    ndarray of `shape`, float32
    """
    inverse_start = _triple([-a / b for a, b in zip(start, step, strict=True)])
    return resample(array, shape, inverse_start, _triple([1 / b for b in step]))


def resample(
    data: np.ndarray,
    shape_out: tuple[int, ...],
    start: Triple,
    step: Triple,
    *,
    outside: Literal["edge", "zero"] = "edge",
) -> np.ndarray:
    """Resample an array linearly along its three axes.

    Output voxel o takes the value at input voxel ``start + step * o``, axis by axis. For steps up
    to 1 this is trilinear interpolation. For longer steps the triangle of linear interpolation is
    widened to `step` input voxels on either side, so that detail too fine for the output grid is
    averaged away instead of folded into it; its weights are then tilted by the little that makes
    the filter keep straight lines straight wherever its samples fall.

    Parameters
    ----------
    data : ndarray, (i, j, k)
        Any real or boolean type and memory layout.
    shape_out : tuple of int
    start, step : tuple of float
        In input voxels; steps are positive.
    outside : {"edge", "zero"}
        What lies beyond the input: its outermost values, or zero.

    Returns
    -------
    ndarray of `shape_out`, float32
        In the memory order of `data`, so that no array is shuffled on the way. Where nothing needs
        doing it may be `data` itself.

    Raises
    ------
    ValueError
        If a step is not positive, or `outside` is unknown.
    """
    if outside not in ("edge", "zero"):
        raise ValueError(f"outside is 'edge' or 'zero', not {outside!r}")
    if min(step) <= 0:
        raise ValueError(f"steps are positive, not {step}")
    # Work along memory: slowest axis first, flipped axes read forwards with their weights reversed.
    # BLAS then copies nothing.
    order = sorted(range(3), key=lambda axis: -abs(data.strides[axis]))
    flipped = [data.strides[axis] < 0 for axis in order]
    forwards = tuple(slice(None, None, -1) if flip else slice(None) for flip in flipped)
    out = data.transpose(order)[forwards]
    out = np.asarray(out, np.float32)
    for position, axis in enumerate(order):
        weights = _weights(data.shape[axis], shape_out[axis], start[axis], step[axis], outside)
        out = _along(out, weights[:, ::-1] if flipped[position] else weights, position)
    return out.transpose(np.argsort(order))


def onto_grid(
    data: np.ndarray, affine: np.ndarray, shape_out: tuple[int, ...], affine_out: np.ndarray
) -> np.ndarray:
    """Bring an array onto a grid that lies anywhere, by their affines.

    Where the axes of both grids are parallel this is `resample`. Where they are askew, `resample`
    first averages away detail too fine for the output grid, along the input's own axes, and
    trilinear interpolation does the rest; together they blur about as much as `resample` alone.

    Parameters
    ----------
    data : ndarray, (i, j, k)
        Any real or boolean type and memory layout.
    affine, affine_out : ndarray, (4, 4)
        Voxel indices to RAS millimetres.
    shape_out : tuple of int

    Returns
    -------
    ndarray of `shape_out`, float32
        0 beyond the field of view of the input; its outermost voxels reach to their outer faces.
    """
    # Axes of the input in the order and direction of the output's: the closest "canonical" ones
    # of a space that is not the patient's but the output grid's.
    to_out = np.linalg.inv(affine_out) @ np.asarray(affine, np.float64)
    data, to_out = to_canonical(data, to_out)
    matrix = np.linalg.inv(to_out)
    linear, start = matrix[:3, :3], matrix[:3, 3]
    step = linear.diagonal()
    drift = np.abs(linear - np.diag(step)) @ np.array(shape_out)
    lines = [
        [
            (linear[axis, along] * np.arange(n)).reshape(
                [-1 if a == along else 1 for a in range(3)]
            )
            for along, n in enumerate(shape_out)
        ]
        for axis in range(3)
    ]
    if drift.max() < 0.05:
        out = resample(data, shape_out, _triple(start.tolist()), _triple(step.tolist()))
    else:
        out = _askew(data, shape_out, matrix, voxel_sizes(to_out))
    seen = np.ones((1, 1, 1), bool)
    for size, first, (x, y, z) in zip(data.shape, start, lines, strict=True):
        # Up to a rounding error beyond the outer faces.
        place = first + x + y + z
        seen = seen & (place >= -0.5 - 1e-4) & (place <= size - 0.5 + 1e-4)
    return out if seen.all() else out * seen


def _askew(
    data: np.ndarray, shape_out: tuple[int, ...], matrix: np.ndarray, sizes: np.ndarray
) -> np.ndarray:
    """Interpolate at ``matrix @ output voxel``; `sizes` of the input's voxels in output voxels."""
    from scipy.ndimage import affine_transform

    # A triangle of half this width and interpolation on samples so far apart have together the
    # spread of the triangle that `resample` would use.
    step = np.maximum(1.0, np.sqrt(0.5) / sizes)
    counts = [int(np.ceil((n - 1) / s - 1e-6)) + 1 for n, s in zip(data.shape, step, strict=True)]
    start = [
        (n - 1) / 2 - s * (m - 1) / 2 for n, s, m in zip(data.shape, step, counts, strict=True)
    ]
    coarse = resample(data, tuple(counts), _triple(start), _triple(step))
    onto = np.linalg.inv(np.diag([*step, 1.0]))
    onto[:3, 3] = -np.array(start) / step
    onto = onto @ matrix
    out: np.ndarray = affine_transform(
        coarse, onto[:3, :3], onto[:3, 3], shape_out, np.float32, order=1, mode="nearest"
    )
    return out


def _weights(n_in: int, n_out: int, start: float, step: float, outside: str) -> np.ndarray:
    """Return the filter along one axis: (n_out, n_in), its rows sum to 1 but where zeros begin."""
    at = start + step * np.arange(n_out)
    half = max(1.0, step)
    taps = np.floor(at)[:, None] + np.arange(-np.ceil(half), np.ceil(half) + 2)
    distance = taps - at[:, None]
    weight = np.maximum(0.0, 1.0 - np.abs(distance) / half)
    m0, m1, m2 = (np.sum(weight * distance**power, axis=1, keepdims=True) for power in (0, 1, 2))
    # Least squares with a straight line: the weights sum to 1 and their first moment becomes 0,
    # which for steps up to 1 it is already.
    spread = m0 * m2 - m1**2
    tilt = np.divide(m1, m2, out=np.zeros_like(m1), where=spread > 1e-9)
    weight *= 1.0 - tilt * distance
    weight /= weight.sum(axis=1, keepdims=True)
    inside = np.clip(taps, 0, n_in - 1)
    if outside == "zero":
        weight[taps != inside] = 0.0
    matrix = np.zeros((n_out, n_in))
    np.add.at(matrix, (np.arange(n_out)[:, None], inside.astype(np.intp)), weight)
    return matrix


def _along(data: np.ndarray, matrix: np.ndarray, axis: int) -> np.ndarray:
    """Apply a matrix (n_out, n_in) along an axis of a C-ordered array, skipping most zeros."""
    n_out, n_in = matrix.shape
    if n_out == n_in and np.array_equal(matrix, np.eye(n_in)):
        return data
    matrix = matrix.astype(np.float32)
    shape = (*data.shape[:axis], n_out, *data.shape[axis + 1 :])
    out = np.empty(shape, np.float32)
    if axis == 0:
        data, target = data.reshape(n_in, -1), out.reshape(n_out, -1)
    else:
        target = out
    for first in range(0, n_out, _BLOCK):
        rows = slice(first, min(first + _BLOCK, n_out))
        used = np.flatnonzero(matrix[rows].any(axis=0))
        if not used.size:
            used = np.zeros(1, np.intp)
        columns = slice(used[0], used[-1] + 1)
        block = np.ascontiguousarray(matrix[rows, columns])
        if axis == 0:
            np.matmul(block, data[columns], out=target[rows])
        elif axis == 1:
            np.matmul(block, data[:, columns], out=target[:, rows])
        else:
            np.matmul(data[..., columns], block.T, out=target[..., rows])
    return out


def _triple(values: Sequence[T]) -> tuple[T, T, T]:
    first, second, third = values
    return first, second, third

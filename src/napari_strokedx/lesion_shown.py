"""A lesion mask as a layer and a table show it, and labels of anybody as a mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_strokedx.layers import index_between

if TYPE_CHECKING:
    from napari_strokedx.layers import Source
    from strokedx_core.inference.lesions import LesionResult

__all__ = ["Row", "Shown", "keep_numbers", "mask_on", "shown_on"]


class Row(NamedTuple):
    """A lesion in the table; `voxel` is one of its voxels, in layer axes."""

    number: int
    volume_ml: float
    side: str
    voxel: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Shown:
    """A result as a layer and a table show it.

    Attributes
    ----------
    labels : ndarray of int32
        In layer axes.
    rows : tuple of Row
        Largest lesion first.
    volume_ml : float
        Of all lesions.
    """

    labels: np.ndarray
    rows: tuple[Row, ...]
    volume_ml: float


def mask_on(labels: Source, target: Source) -> np.ndarray:
    """Where labels are not 0, by the nearest voxel; bool, in the layer axes of `target`."""
    mask = np.asarray(labels.array) != 0
    matrix = index_between(target, labels)
    shape = target.array.shape
    if mask.shape == shape and np.allclose(matrix, np.eye(4), atol=1e-3):
        return mask
    from scipy import ndimage

    found: np.ndarray = ndimage.affine_transform(
        mask.astype(np.uint8), matrix[:3, :3], matrix[:3, 3], shape, order=0
    )
    return found != 0


def shown_on(source: Source, result: LesionResult, before: np.ndarray | None = None) -> Shown:
    """Labels and table of a result.

    Parameters
    ----------
    source : Source
        Where the result lies.
    result : LesionResult
    before : ndarray of int, optional
        Labels shown so far, in layer axes: lesions that were there keep their numbers.
    """
    labels = np.ascontiguousarray(source.grid.to_layer(result.labels()))
    lesions = result.lesions()
    numbers = np.arange(len(lesions) + 1, dtype=np.int32)
    if before is not None:
        numbers = keep_numbers(labels, before, len(lesions))
        labels = numbers[labels]
    to_layer = np.linalg.inv(source.grid.native_index(labels.shape))
    rows = []
    for lesion in lesions:
        i, j, k = np.rint(to_layer[:3, :3] @ lesion.index + to_layer[:3, 3]).astype(int).tolist()
        rows.append(Row(int(numbers[lesion.number]), lesion.volume_ml, lesion.side, (i, j, k)))
    return Shown(labels, tuple(rows), result.volume_ml)


def keep_numbers(labels: np.ndarray, before: np.ndarray, count: int) -> np.ndarray:
    """New numbers for lesions 0 to `count`, so that each keeps that of what it mostly was before.

    Parameters
    ----------
    labels, before : ndarray of int
        Of the same shape.
    count : int
        Lesions in `labels`.

    Returns
    -------
    ndarray of int32, (count + 1,)
        No number twice; lesions that are new get the lowest that are free.
    """
    both = (labels != 0) & (before != 0)
    pairs, sizes = np.unique(np.stack([labels[both], before[both]]), axis=1, return_counts=True)
    numbers = np.zeros(count + 1, np.int32)
    for pair in pairs[:, np.argsort(-sizes, kind="stable")].T:
        if numbers[pair[0]] == 0 and pair[1] not in numbers:
            numbers[pair[0]] = pair[1]
    taken = set(numbers.tolist())
    free = (number for number in range(1, 2 * count + 2) if number not in taken)
    for lesion in range(1, count + 1):
        if numbers[lesion] == 0:
            numbers[lesion] = next(free)
    return numbers

"""Lesions on the grid of a network that writes about them: their pieces and their blood."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from strokedx_core.inference.brain_grid import BrainGrid
from strokedx_core.volume import Volume, to_canonical

__all__ = ["blood_on_grid", "lesion_on_grid", "lesion_on_slice", "pieces_on_grid"]

_LEAST = 0.1
"""Share of a voxel of the working grid from which a lesion too small to fill half of any counts."""


def lesion_on_grid(mask: np.ndarray, grid: BrainGrid) -> np.ndarray:
    """A mask as the captioner sees it: float32, 0 or 1.

    Parameters
    ----------
    mask : ndarray of bool
        On the grid that `grid` was laid over.
    grid : BrainGrid
        The captioner's.
    """
    whole = grid.image(mask.astype(np.float32), grid.native_affine)
    placed = (whole >= 0.5).astype(np.float32)
    if not placed.any() and mask.any():
        placed = (whole >= max(_LEAST * whole.max(), 1e-6)).astype(np.float32)
    return placed


def lesion_on_slice(mask: Volume, slice_index: int, grid: BrainGrid) -> np.ndarray:
    """What a mask marks on one of its slices, on the nearest slice of the working grid.

    Parameters
    ----------
    mask : Volume
    slice_index : int
        Along the axis that runs most nearly from inferior to superior.
    grid : BrainGrid
        The captioner's, laid over the mask's.

    Returns
    -------
    ndarray of float32, 0 or 1
    """
    from strokedx_core.captions.measures import slice_axis

    data = mask.data > 0
    # The axis that runs most nearly from inferior to superior, whichever the file has there.
    numbers = np.moveaxis(np.indices(data.shape), 0, -1)[..., slice_axis(mask.affine)]
    canonical, _ = to_canonical(numbers, mask.affine)
    at = int(np.flatnonzero(canonical[0, 0] == slice_index)[0])
    layer = min(max(round((at - grid.start[2]) / grid.step[2]), 0), grid.shape[2] - 1)
    whole = grid.image(data.astype(np.float32), mask.affine)[..., layer]
    part = np.zeros(grid.shape, np.float32)
    part[..., layer] = whole >= 0.5
    if not part.any():
        part[..., layer] = whole >= max(_LEAST, 0.5 * whole.max())
    return part


def blood_on_grid(
    mask: np.ndarray, blood: np.ndarray, marked: np.ndarray, grid: BrainGrid
) -> np.ndarray:
    """Where a lesion is blood: bool.

    Of a lesion too small to fill half of any voxel, blood fills half of what there is of it.

    Parameters
    ----------
    mask, blood : ndarray of bool
        On the grid that `grid` was laid over.
    marked : ndarray of bool
        The mask on the network's grid.
    grid : BrainGrid
        The network's.
    """
    whole, bled = (
        grid.image(part.astype(np.float32), grid.native_affine) for part in (mask, blood)
    )
    found: np.ndarray = marked & (bled > 0) & (bled >= 0.5 * whole)
    return found


def pieces_on_grid(labels: np.ndarray, lesion: np.ndarray, grid: BrainGrid) -> np.ndarray:
    """Which lesion each voxel of the captioner's grid is of.

    Parameters
    ----------
    labels : ndarray of int
        The lesions, numbered from 1 for the largest, on the grid that `grid` was laid over.
    lesion : ndarray of float32
        Of `lesion_on_grid`. Lesions too small for that grid are put into it, one voxel each.
    grid : BrainGrid

    Returns
    -------
    ndarray of int32, shape of `lesion`
        0 where there is no lesion.
    """
    voxels = np.argwhere(labels)
    numbers = labels[tuple(voxels.T)]
    order = np.argsort(numbers, kind="stable")
    voxels, numbers = voxels[order], numbers[order]
    matrix = np.linalg.inv(grid.affine) @ grid.native_affine
    places = np.rint(voxels @ matrix[:3, :3].T + matrix[:3, 3]).astype(int)
    places = np.clip(places, 0, np.subtract(grid.shape, 1))
    pieces = np.zeros(grid.shape, np.int32)
    # Where several fall into one voxel it is the smallest's, for that has no other.
    pieces[tuple(places.T)] = numbers
    kept = np.unique(pieces[lesion > 0])
    middle = [places[numbers == number] for number in np.setdiff1d(numbers, kept)]
    for inside in middle:
        lesion[tuple(inside[len(inside) // 2])] = 1
    if lesion.any() and pieces.any():
        (box,) = ndimage.find_objects(((pieces > 0) | (lesion > 0)).astype(np.int32))
        nearest = ndimage.distance_transform_edt(
            pieces[box] == 0, return_distances=False, return_indices=True
        )
        pieces[box] = pieces[box][tuple(nearest)]
    return pieces * (lesion > 0)

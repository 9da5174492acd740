"""The 48 orders in which the same image may be stored."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np

from strokedx_core.volume import Volume, volume_from_array

AXES = [
    "".join(letters)
    for order in itertools.permutations(("LR", "PA", "IS"))
    for letters in itertools.product(*order)
]


def turned_array(data: np.ndarray, affine: np.ndarray, axes: str) -> tuple[np.ndarray, np.ndarray]:
    """An array with its axes stored towards `axes`, and its affine then."""
    image = nib.Nifti1Image(data, affine)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(affine), nib.orientations.axcodes2ornt(axes)
    )
    image = image.as_reoriented(turn)
    return np.asarray(image.dataobj), image.affine


def turned(data: np.ndarray, affine: np.ndarray, axes: str) -> Volume:
    """The same image with its axes stored towards `axes`."""
    return volume_from_array(*turned_array(data, affine, axes))


def turned_back(mask: np.ndarray, volume: Volume) -> np.ndarray:
    """A mask on the volume's grid, with its axes to the right, anterior and superior."""
    return turned_array(mask.astype(np.uint8), volume.affine, "RAS")[0] > 0

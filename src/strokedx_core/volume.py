"""Volumes: image files to arrays with a place in space, and results to files that lie where it was.

Coordinates are RAS millimetres throughout: x towards the patient's right, y anterior, z superior.
Other modules need no more than this one; files, checks and resampling have a module each.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.nifti1 import Nifti1Header
from nibabel.orientations import aff2axcodes

from strokedx_core.image_reading import (
    SUFFIXES,
    VolumeError,
    image_suffix,
    read_file,
)
from strokedx_core.image_scaling import exact_in_float32, quantised, scaled
from strokedx_core.image_writing import fortran_order, write_atomically, write_file
from strokedx_core.resampling import (
    back_to_grid,
    from_canonical,
    onto_grid,
    resample,
    to_canonical,
    working_grid,
)
from strokedx_core.volume_checks import (
    Flag,
    check_geometry,
    check_is_image,
    check_modality_values,
    check_same_space,
    finite_values,
    one_frame,
)

__all__ = [
    "SUFFIXES",
    "Flag",
    "Volume",
    "VolumeError",
    "back_to_grid",
    "check_modality_values",
    "check_same_space",
    "from_canonical",
    "image_suffix",
    "onto_grid",
    "read_mask",
    "read_volume",
    "resample",
    "same_grid",
    "to_canonical",
    "volume_from_array",
    "working_grid",
    "write_atomically",
    "write_image",
    "write_mask",
    "write_probability",
]


@dataclass(frozen=True, eq=False)
class Volume:
    """One 3-D image on its grid.

    Attributes
    ----------
    data : ndarray, (i, j, k)
        float32 for an image, bool for a mask, in the order of the file.
    affine : ndarray, (4, 4) float64
        Voxel index to RAS millimetres.
    header : Nifti1Header, Nifti2Header or MGHHeader
        As in the file; results take their geometry from it.
    path : Path or None
        Where it was read.
    flags : tuple of Flag
        What was noticed when it was read.
    stored : ndarray or None
        Voxels as in the file, kept where float32 cannot hold them exactly, for writing them back.
    """

    data: np.ndarray
    affine: np.ndarray
    header: Any
    path: Path | None = None
    flags: tuple[Flag, ...] = ()
    stored: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each axis."""
        return self.data.shape

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along each axis, millimetres, from the affine."""
        i, j, k = voxel_sizes(self.affine)
        return float(i), float(j), float(k)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel, millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    @property
    def orientation(self) -> str:
        """Directions that the axes point to most nearly, such as ``"RAS"`` or ``"LPI"``."""
        return "".join(aff2axcodes(self.affine))


def same_grid(one: Volume, other: Volume) -> bool:
    """Whether two volumes have their voxels in the same places, to a thousandth of a millimetre."""
    return one.shape == other.shape and np.allclose(one.affine, other.affine, atol=1e-3)


def read_volume(path: str | os.PathLike[str], *, frame: int | None = None) -> Volume:
    """Read an image.

    Parameters
    ----------
    path : path-like
        NIfTI-1 or NIfTI-2 (``.nii``, ``.nii.gz``) or MGH (``.mgh``, ``.mgz``).
    frame : int, optional
        Which volume of a 4-D image to take, counted from 0.

    Returns
    -------
    Volume
        With flag ``non-finite`` where scattered NaN or infinite voxels were set to 0, and
        ``no-orientation`` where the header does not say how the patient lies.

    Raises
    ------
    VolumeError
        If the file cannot be read, or what it holds is not one 3-D image: complex, colour, 2-D,
        several frames and none chosen, no voxel size, a singular affine, the same value or none
        that is finite throughout, or a mask or label map.
    """
    stored = read_file(path)
    array = one_frame(path, stored.array, frame)
    check_geometry(path, stored.affine, stored.voxel_size)
    data, flags = finite_values(path, scaled(array, stored))
    check_is_image(path, data)
    if not stored.has_orientation:
        said = "the header does not say how the patient lies: left and right are a guess"
        flags += (Flag("no-orientation", said),)
    kept = None if exact_in_float32(stored) else array
    return Volume(data, stored.affine, stored.header, Path(path), flags, kept)


def read_mask(path: str | os.PathLike[str], *, labels: bool = False) -> Volume:
    """Read a mask.

    Parameters
    ----------
    path : path-like
        As for `read_volume`.
    labels : bool
        Take a label map too, such as one with a number for each lesion.

    Returns
    -------
    Volume
        `data` is boolean: True where the file is not 0. It may be empty.

    Raises
    ------
    VolumeError
        As `read_volume`, and if the file holds more than one value besides 0; with `labels`, if it
        holds negative or broken numbers.
    """
    stored = read_file(path)
    array = one_frame(path, stored.array, None)
    check_geometry(path, stored.affine, stored.voxel_size)
    data, flags = finite_values(path, scaled(array, stored))
    mask = data != 0
    value = data.max() or data.min()
    if labels:
        if data.min() < 0 or (data % 1).any():
            raise VolumeError(f"{path}: not a label map (one holds whole numbers from 0 up)")
    elif not np.array_equal(data[mask], np.full(np.count_nonzero(mask), value)):
        raise VolumeError(f"{path}: not a mask (a mask holds 0 and one other value)")
    return Volume(mask, stored.affine, stored.header, Path(path), flags)


def volume_from_array(
    data: np.ndarray, affine: np.ndarray, *, name: str = "array", code: int = 1
) -> Volume:
    """Make a volume of an array that comes from no file, held to the same rules.

    Parameters
    ----------
    data : ndarray, (i, j, k)
        Real numbers.
    affine : ndarray, (4, 4)
        Voxel index to RAS millimetres.
    name : str
        What error messages call it.
    code : int
        NIfTI code of the space: 1 the scanner's, 2 another image's, 4 MNI.

    Returns
    -------
    Volume

    Raises
    ------
    VolumeError
        As `read_volume`.
    """
    data, affine = np.asarray(data), np.array(affine, np.float64)
    if data.dtype.kind not in "biuf":
        raise VolumeError(f"{name}: values of type '{data.dtype}', where real numbers are needed")
    array = one_frame(name, data, None)
    if affine.shape != (4, 4):
        raise VolumeError(f"{name}: the affine is of shape {affine.shape}, not (4, 4)")
    check_geometry(name, affine, ())
    with np.errstate(over="ignore"):
        finite, flags = finite_values(name, array.astype(np.float32))
    check_is_image(name, finite)
    header = Nifti1Header()
    header.set_data_shape(finite.shape)
    header.set_data_dtype(np.float32)
    header.set_xyzt_units("mm")
    header.set_qform(affine, code)
    header.set_sform(affine, code)
    return Volume(finite, affine, header, None, flags)


def write_mask(mask: np.ndarray, like: Volume, path: str | os.PathLike[str]) -> None:
    """Write a mask on the grid of a volume, as unsigned bytes 0 and 1.

    Parameters
    ----------
    mask : ndarray, (i, j, k)
        Boolean, or 0 and 1.
    like : Volume
        The volume it belongs to: shape, affine, qform, sform and their codes, units and voxel sizes
        are taken over as they are.
    path : path-like
        Its ending names the format. Written beside and renamed: never there by half.

    Raises
    ------
    VolumeError
        If the mask is on another grid or holds other values, or the file cannot be written.
    """
    _check_shape(path, mask, like)
    if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
        raise VolumeError(f"{path}: not written, because the mask holds more than 0 and 1")
    stored = mask.view(np.uint8) if mask.dtype == bool else mask.astype(np.uint8)
    write_file(path, stored, like.affine, like.header, describe=False)


def write_image(data: np.ndarray, like: Volume, path: str | os.PathLike[str]) -> None:
    """Write values of the kind that a volume holds, in its own storage type and scaling.

    Parameters
    ----------
    data : ndarray, (i, j, k)
        Values that have not changed since `like` was read come back exactly as they were stored.
        Others are rounded to what the storage type can express.
    like : Volume
        The volume it belongs to; everything in its header is taken over.
    path : path-like
        Its ending names the format. Written beside and renamed: never there by half.

    Raises
    ------
    VolumeError
        If the array is on another grid or holds NaN or infinities, or the file cannot be written.
    """
    _check_shape(path, data, like)
    dtype, slope, inter = np.dtype(np.float32), None, None
    if isinstance(like.header, Nifti1Header) == image_suffix(path).startswith(".nii"):
        dtype = like.header.get_data_dtype()
        slope, inter = like.header.get_slope_inter()
    out = np.empty(data.shape, dtype.newbyteorder("="), order="F")
    # In slabs, so that the cache holds what is worked on, whatever memory order the input has.
    for first in range(0, data.shape[2], 16):
        slab = np.s_[..., first : first + 16]
        values = fortran_order(np.asarray(data[slab]))
        if not np.isfinite(values).all():
            raise VolumeError(f"{path}: not written, because values are NaN or infinite")
        nearest = quantised(values, out.dtype, slope, inter)
        if like.stored is not None and like.stored.dtype == dtype:
            # A voxel of 0 may stand for one that was not finite.
            same = (values == like.data[slab]) & np.isfinite(like.stored[slab])
            nearest = np.where(same, like.stored[slab], nearest)
        out[slab] = nearest
    write_file(path, out, like.affine, like.header)


def write_probability(probability: np.ndarray, like: Volume, path: str | os.PathLike[str]) -> None:
    """Write probabilities on the grid of a volume, as float32.

    Parameters
    ----------
    probability : ndarray, (i, j, k)
    like : Volume
        The volume it belongs to; its geometry is taken over, what it says of its values is not.
    path : path-like
        Its ending names the format. Written beside and renamed: never there by half.

    Raises
    ------
    VolumeError
        If the array is on another grid, or the file cannot be written.
    """
    _check_shape(path, probability, like)
    write_file(path, probability.astype(np.float32), like.affine, like.header, describe=False)


def _check_shape(path: Any, array: np.ndarray, like: Volume) -> None:
    if array.shape != like.shape:
        raise VolumeError(
            f"{path}: not written, because its shape {array.shape} is not the image's {like.shape}"
        )

"""From a NIfTI-1, NIfTI-2 or MGH file to its header and its voxels as stored.

`strokedx_core.volume` is the interface to use; this module knows nothing of what the voxels mean.
Headers are kept exactly as they were in the file, slips of other programs included, so that results
lie where the image lay. ISA-L inflates a head scan in two thirds of the time that zlib takes.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any
from zlib import error as zlib_error

import numpy as np
from isal import igzip, isal_zlib
from nibabel.freesurfer.mghformat import DATA_OFFSET, MGHHeader, footer_dtd, header_dtd
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

__all__ = [
    "MGH_HEADER_SIZE",
    "SUFFIXES",
    "StoredImage",
    "VolumeError",
    "image_suffix",
    "read_file",
    "reason",
    "silent",
]

SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh")
"""Endings of the files that can be read and written."""

MGH_HEADER_SIZE = np.dtype(header_dtd).itemsize
"""Bytes of an MGH header that mean something; the voxels begin a good way behind them."""

_DAMAGED: tuple[Any, ...] = (EOFError, OSError, zlib_error, isal_zlib.error)

silent = logging.getLogger("strokedx_core.silent")
silent.addHandler(logging.NullHandler())
silent.propagate = False
"""Takes nibabel's remarks on headers, which would otherwise appear on the terminal."""


class VolumeError(ValueError):
    """A file or array that cannot be used; the message is one line that names it and the reason."""


@dataclass(frozen=True, eq=False)
class StoredImage:
    """What a file holds, before any of it is judged.

    Attributes
    ----------
    header : Nifti1Header, Nifti2Header or MGHHeader
        As in the file, byte for byte.
    affine : ndarray, (4, 4) float64
        Voxel index to RAS millimetres, from the first of these that is there: sform, qform, voxel
        sizes alone.
    array : ndarray
        Voxels as stored, unscaled, in Fortran order; read-only.
    slope, inter : float or None
        Scaling of the stored values; both None where there is none.
    voxel_size : tuple of float
        Voxel sizes that the header states (mm), which may disagree with the affine.
    has_orientation : bool
        Whether the header says where the patient lies.
    """

    header: Any
    affine: np.ndarray
    array: np.ndarray
    slope: float | None
    inter: float | None
    voxel_size: tuple[float, ...]
    has_orientation: bool


def image_suffix(path: str | os.PathLike[str]) -> str:
    """Return the ending of an image file's name, in lower case.

    Raises
    ------
    VolumeError
        If it is none of `SUFFIXES`.
    """
    name = os.fspath(path).lower()
    for suffix in SUFFIXES:
        if name.endswith(suffix):
            return suffix
    raise VolumeError(f"{path}: not an image file (expected one of {', '.join(SUFFIXES)})")


def read_file(path: str | os.PathLike[str]) -> StoredImage:
    """Read an image file.

    Parameters
    ----------
    path : path-like
        Ends in one of `SUFFIXES`. Whether it is compressed is told from its first bytes.

    Raises
    ------
    VolumeError
        If the file is missing, empty, truncated, damaged, or holds no real numbers on a grid.
    """
    raw = _read_bytes(path)
    mgh = image_suffix(path) in (".mgz", ".mgh")
    try:
        header: Any = _mgh_header(path, raw) if mgh else _nifti_header(path, raw)
        dtype = _real_dtype(path, header)
        shape = tuple(int(n) for n in header.get_data_shape())
        offset = int(header.get_data_offset())
    except VolumeError:
        raise
    except Exception as error:  # nibabel lets many kinds through for a damaged header
        raise VolumeError(
            f"{path}: not an image, or its header is damaged ({reason(error)})"
        ) from error
    if not shape or min(shape) <= 0:
        raise VolumeError(f"{path}: holds no voxels (its shape is {shape})")
    needed, there = prod(shape) * dtype.itemsize, len(raw) - offset
    if offset < 0 or there < needed:
        raise VolumeError(
            f"{path}: truncated (the header promises {needed} bytes of voxels,"
            f" the file holds {max(there, 0)})"
        )
    array = np.frombuffer(raw, dtype, count=prod(shape), offset=offset).reshape(shape, order="F")
    try:
        with np.errstate(all="ignore"):  # a damaged header is judged by what comes out
            return _mgh_image(header, array, raw) if mgh else _nifti_image(header, array)
    except Exception as error:
        raise VolumeError(f"{path}: the header's geometry is damaged ({reason(error)})") from error


def _read_bytes(path: str | os.PathLike[str]) -> bytes:
    try:
        raw = Path(path).read_bytes()
    except FileNotFoundError:
        raise VolumeError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise VolumeError(f"{path}: a folder, not an image file") from None
    except OSError as error:
        raise VolumeError(f"{path}: cannot be read ({error.strerror})") from error
    image_suffix(path)
    if not raw:
        raise VolumeError(f"{path}: the file is empty")
    if raw[:2] == b"\x1f\x8b":
        try:
            inflated: bytes = igzip.decompress(raw)
            return inflated
        except _DAMAGED as error:
            raise VolumeError(
                f"{path}: the compressed data are truncated or damaged ({reason(error)})"
            ) from error
    return raw


def _nifti_header(path: str | os.PathLike[str], raw: bytes) -> Any:
    for kind, size, magic_at, magic in (
        (Nifti1Header, 348, 344, b"n+1"),
        (Nifti2Header, 540, 4, b"n+2"),
    ):
        if size in (int.from_bytes(raw[:4], "little"), int.from_bytes(raw[:4], "big")):
            if len(raw) < size:
                raise VolumeError(f"{path}: truncated (the file ends within its header)")
            if raw[magic_at : magic_at + 3] != magic:
                raise VolumeError(f"{path}: not a NIfTI image with header and voxels in one file")
            return kind.from_fileobj(BytesIO(raw), check=False)
    raise VolumeError(f"{path}: not an image (the file does not begin with a NIfTI header)")


def _mgh_header(path: str | os.PathLike[str], raw: bytes) -> MGHHeader:
    size, footer_size = MGH_HEADER_SIZE, np.dtype(footer_dtd).itemsize
    if int.from_bytes(raw[:4], "big") != 1:
        raise VolumeError(f"{path}: not an image (the file does not begin with an MGH header)")
    if len(raw) < DATA_OFFSET:
        raise VolumeError(f"{path}: truncated (the file ends within its header)")
    # The footer stands behind the voxels; a truncated file has none, and is refused later.
    end = int(MGHHeader(raw[:size] + bytes(footer_size), check=False).get_footer_offset())
    footer = raw[end : end + footer_size].ljust(footer_size, b"\0")
    return MGHHeader(raw[:size] + footer, check=False)


def _mgh_image(header: MGHHeader, array: np.ndarray, raw: bytes) -> StoredImage:
    affine = np.asarray(header.get_affine(), np.float64)
    sizes = tuple(float(size) for size in header["delta"])
    # Asked of the file: where its flag is unset, nibabel fills in the format's default and sets it.
    oriented = int.from_bytes(raw[28:30], "big") == 1
    return StoredImage(header, affine, array, None, None, sizes, oriented)


def _real_dtype(path: str | os.PathLike[str], header: Any) -> np.dtype:
    dtype: np.dtype = header.get_data_dtype()
    if dtype.kind == "c":
        raise VolumeError(
            f"{path}: complex values, where real ones are needed (save the magnitude)"
        )
    if dtype.names is not None:
        raise VolumeError(f"{path}: a colour (RGB) image, where one value a voxel is needed")
    if dtype.kind not in "iuf" or dtype.itemsize == 0:
        raise VolumeError(f"{path}: voxel type '{dtype}', where real numbers are needed")
    return dtype


def _nifti_image(header: Nifti1Header, array: np.ndarray) -> StoredImage:
    # Slips that the standard gives a meaning (qfac 0 stands for 1) are mended in a copy; the header
    # itself stays as it is.
    mended = header.copy()
    mended.check_fix(logger=silent, error_level=40)
    oriented = int(mended["sform_code"]) > 0 or int(mended["qform_code"]) > 0
    slope, inter = mended.get_slope_inter()
    if (slope, inter) == (1.0, 0.0):
        slope = inter = None
    affine = np.asarray(mended.get_best_affine(), np.float64)
    sizes = tuple(float(size) for size in header["pixdim"][1:4])
    return StoredImage(header, affine, array, slope, inter, sizes, oriented)


def reason(error: BaseException) -> str:
    """Return what an exception says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__

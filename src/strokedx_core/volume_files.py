"""Image files as bytes: NIfTI-1, NIfTI-2 and MGH/MGZ to a header and a stored array, and back.

`strokedx_core.volume` is the interface to use; this module knows nothing of what the voxels mean. Headers are kept exactly as they
were in the file, slips of other programs included, so that what is written lies where what was read lay. Compressed files go
through ISA-L, which inflates about 1.7 times and deflates 7 times as fast as zlib does.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any
from zlib import error as zlib_error

import numpy as np
from isal import igzip, isal_zlib
from nibabel.freesurfer.mghformat import MGHHeader, MGHImage
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

__all__ = ["SUFFIXES", "StoredImage", "VolumeError", "image_suffix", "read_file", "write_atomically", "write_file"]

SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh")
"""Endings of the files that can be read and written."""

_DAMAGED = (EOFError, OSError, zlib_error, isal_zlib.error)
_COMPRESSION = 1  # higher levels cost time and gain less than 2 % on head scans
_silent = logging.getLogger("strokedx_core.silent")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


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
        Voxel index to RAS millimetres, by the header's own order of preference (sform, qform, voxel sizes alone).
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
    raise VolumeError(f"{path}: not an image file that can be used (expected {', '.join(SUFFIXES)})")


def read_file(path: str | os.PathLike[str]) -> StoredImage:
    """Read an image file.

    Parameters
    ----------
    path : path-like
        A file with one of `SUFFIXES`. Whether it is compressed is told from what it holds, not from its name.

    Raises
    ------
    VolumeError
        If the file is missing, empty, truncated, damaged, or holds something else than real numbers on a grid.
    """
    raw = _read_bytes(path)
    mgh = image_suffix(path) in (".mgz", ".mgh")
    try:
        header = _mgh_header(path, raw) if mgh else _nifti_header(path, raw)
        dtype = _real_dtype(path, header)
        shape = tuple(int(n) for n in header.get_data_shape())
        offset = int(header.get_data_offset())
    except VolumeError:
        raise
    except Exception as error:  # nibabel lets many kinds through for a damaged header
        raise VolumeError(f"{path}: not an image, or its header is damaged ({_reason(error)})") from error
    if not shape or min(shape) <= 0:
        raise VolumeError(f"{path}: holds no voxels (its shape is {shape})")
    needed, there = prod(shape) * dtype.itemsize, len(raw) - offset
    if offset < 0 or there < needed:
        raise VolumeError(f"{path}: truncated (the header promises {needed} bytes of voxels, the file holds {max(there, 0)})")
    array = np.frombuffer(raw, dtype, count=prod(shape), offset=offset).reshape(shape, order="F")
    try:
        if mgh:
            sizes = tuple(map(float, header["delta"]))
            return StoredImage(header, header.get_affine(), array, None, None, sizes, _has_orientation(raw))
        return _nifti_image(header, array)
    except Exception as error:
        raise VolumeError(f"{path}: the header's geometry is damaged ({_reason(error)})") from error


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
            return igzip.decompress(raw)
        except _DAMAGED as error:
            raise VolumeError(f"{path}: the compressed data are truncated or damaged ({_reason(error)})") from error
    return raw


def _nifti_header(path: str | os.PathLike[str], raw: bytes) -> Nifti1Header:
    for kind, size, magic_at, magic in ((Nifti1Header, 348, 344, b"n+1"), (Nifti2Header, 540, 4, b"n+2")):
        if size in (int.from_bytes(raw[:4], "little"), int.from_bytes(raw[:4], "big")):
            if raw[magic_at : magic_at + 3] != magic:
                raise VolumeError(f"{path}: not a single-file NIfTI image (header and voxels must be in one file)")
            return kind.from_fileobj(BytesIO(raw), check=False)
    raise VolumeError(f"{path}: not an image (the file does not begin with a NIfTI header)")


def _mgh_header(path: str | os.PathLike[str], raw: bytes) -> MGHHeader:
    size = len(MGHHeader().binaryblock)
    start = MGHHeader().get_data_offset()
    if len(raw) < start or int.from_bytes(raw[:4], "big") != 1:
        raise VolumeError(f"{path}: not an image (the file does not begin with an MGH header)")
    # The footer stands behind the voxels; a truncated file has none, and is refused later for its voxels.
    end = int(MGHHeader(raw[:start].ljust(size, b"\0"), check=False).get_footer_offset())
    footer = raw[end : end + size - start].ljust(size - start, b"\0")
    return MGHHeader(raw[:start] + footer, check=False)


def _has_orientation(raw: bytes) -> bool:
    # Read from the file itself: where the flag is unset, nibabel's header fills in the format's default and sets it.
    return int.from_bytes(raw[28:30], "big") == 1


def _real_dtype(path: str | os.PathLike[str], header: Any) -> np.dtype:
    dtype = header.get_data_dtype()
    if dtype.kind == "c":
        raise VolumeError(f"{path}: complex values, where real ones are needed (save the magnitude)")
    if dtype.names is not None:
        raise VolumeError(f"{path}: a colour (RGB) image, where one value a voxel is needed")
    if dtype.kind not in "iuf" or dtype.itemsize == 0:
        raise VolumeError(f"{path}: voxel type '{dtype}' cannot be used (integers or floating-point numbers are needed)")
    return dtype


def _nifti_image(header: Nifti1Header, array: np.ndarray) -> StoredImage:
    # The copy has slips mended that the standard gives a meaning (qfac 0 stands for 1); the header itself is left as it is.
    mended = header.copy()
    mended.check_fix(logger=_silent, error_level=40)
    oriented = int(mended["sform_code"]) > 0 or int(mended["qform_code"]) > 0
    slope, inter = mended.get_slope_inter()
    if (slope, inter) == (1.0, 0.0):
        slope = inter = None
    affine = np.asarray(mended.get_best_affine(), np.float64)
    return StoredImage(header, affine, array, slope, inter, tuple(float(size) for size in header["pixdim"][1:4]), oriented)


def write_file(
    path: str | os.PathLike[str],
    array: np.ndarray,
    affine: np.ndarray,
    header: Any,
    *,
    describe: bool = True,
) -> None:
    """Write an array with the geometry of a header, in the format that the path's suffix names.

    Parameters
    ----------
    path : path-like
        Ends in one of `SUFFIXES`.
    array : ndarray, (i, j, k)
        Stored values, of the type to be written.
    affine : ndarray, (4, 4)
        Voxel index to RAS millimetres. Where the header says the same, its geometry fields are written as they are.
    header : Nifti1Header, Nifti2Header or MGHHeader
        Left unchanged. A header of the other family gives a new one with the same affine.
    describe : bool
        Keep what the header says of the values (scaling, display range, intent, extensions); for a mask none of it is true.

    Raises
    ------
    VolumeError
        If the file cannot be written, or its format cannot hold the affine or the type.
    """
    suffix = image_suffix(path)
    try:
        if suffix in (".mgz", ".mgh"):
            head, tail = _mgh_parts(array, affine, header)
            array = np.asarray(array, array.dtype.newbyteorder(">"))
        else:
            head, array = _nifti_head(array, affine, header, describe)
            tail = b""
    except VolumeError as error:
        raise VolumeError(f"{path}: {error}") from None
    except Exception as error:
        raise VolumeError(f"{path}: cannot be written in this format ({_reason(error)})") from error
    voxels = fortran_order(array).T.data
    if suffix in (".nii.gz", ".mgz"):
        # No name and no time in the gzip header: the same voxels give the same file.
        parts: Iterable[bytes | memoryview] = (igzip.compress(b"".join((head, voxels, tail)), _COMPRESSION, mtime=0),)
    else:
        parts = (head, voxels, tail)
    write_atomically(path, parts)


def _nifti_head(array: np.ndarray, affine: np.ndarray, header: Any, describe: bool) -> tuple[bytes, np.ndarray]:
    if isinstance(header, Nifti1Header) and header.is_single:
        out = header.copy()
    else:
        out = Nifti1Header()
        out.set_xyzt_units("mm")
    pixdim = np.array(out["pixdim"])
    out.set_data_shape(array.shape)
    out.set_data_dtype(array.dtype)
    out["pixdim"] = pixdim  # setting the shape forgets the sizes of further axes
    if not _agrees(out, affine):
        out.set_qform(affine, int(out["qform_code"]) or 1)
        out.set_sform(affine, int(out["sform_code"]) or 1)
    if not describe:
        out.extensions.clear()
        for field in ("cal_min", "cal_max", "intent_p1", "intent_p2", "intent_p3", "intent_code"):
            out[field] = 0
        out["scl_slope"], out["scl_inter"] = 1, 0
        out["descrip"] = out["intent_name"] = out["aux_file"] = b""
    out["vox_offset"] = 0  # worked out from the extensions when written
    buffer = BytesIO()
    out.write_to(buffer)
    return buffer.getvalue(), np.asarray(array, out.get_data_dtype())


def _agrees(header: Any, affine: np.ndarray) -> bool:
    mended = header.copy()
    mended.check_fix(logger=_silent, error_level=40)
    return np.allclose(mended.get_best_affine(), affine, rtol=1e-5, atol=1e-5)


def _mgh_parts(array: np.ndarray, affine: np.ndarray, header: Any) -> tuple[bytes, bytes]:
    if isinstance(header, MGHHeader):
        out = header.copy()
    else:
        out = MGHImage(np.zeros(array.shape, np.uint8), affine).header
    out.set_data_shape(array.shape)
    out.set_data_dtype(array.dtype)
    if not np.allclose(out.get_affine(), affine, rtol=1e-5, atol=1e-4):
        raise VolumeError("the image's axes are not at right angles, which this format cannot hold (use .nii.gz)")
    start = out.get_data_offset()
    return out.binaryblock[:start], out.binaryblock[start:]


def fortran_order(array: np.ndarray) -> np.ndarray:
    """Return the array in Fortran order, copied in blocks that fit the cache where it is not so already."""
    if array.flags.f_contiguous:
        return array
    out, block = np.empty(array.shape, array.dtype, order="F"), 32
    for i in range(0, array.shape[0], block):
        for j in range(0, array.shape[1], block):
            for k in range(0, array.shape[2], block):
                cube = slice(i, i + block), slice(j, j + block), slice(k, k + block)
                out[cube] = array[cube]
    return out


def write_atomically(path: str | os.PathLike[str], parts: Iterable[bytes | memoryview]) -> None:
    """Write a file so that it is there whole or not at all: into a hidden file beside it, which then takes its name.

    Parameters
    ----------
    path : path-like
        A symbolic link is followed; what was there before is replaced.
    parts : iterable of bytes-like

    Raises
    ------
    VolumeError
        If the folder is missing or not writable, the path is a folder, or the disk is full. Nothing is left behind then.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise VolumeError(f"{path}: cannot be written (it is a folder)")
    beside = target.with_name(f".{secrets.token_hex(6)}-{target.name}")
    try:
        try:
            with open(beside, "xb") as stream:
                for part in parts:
                    stream.write(part)
            os.replace(beside, target)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except FileNotFoundError:
        raise VolumeError(f"{path}: cannot be written (no folder '{Path(path).parent}')") from None
    except OSError as error:
        raise VolumeError(f"{path}: cannot be written ({error.strerror or error})") from error


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

"""From voxels and a header to a NIfTI or MGH file that is there whole or not at all.

`strokedx_core.volume` is the interface to use. ISA-L deflates a head scan about seven times as fast
as zlib does, for a file of much the same size.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from isal import igzip
from nibabel.freesurfer.mghformat import DATA_OFFSET, MGHHeader, MGHImage
from nibabel.nifti1 import Nifti1Header

from strokedx_core.image_reading import MGH_HEADER_SIZE, VolumeError, image_suffix, reason, silent

__all__ = ["fortran_order", "write_atomically", "write_file"]

_COMPRESSION = 1  # higher levels cost time and gain less than 2 % on head scans


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
        Voxel index to RAS millimetres. Where the header says the same, its geometry fields are
        written as they are.
    header : Nifti1Header, Nifti2Header or MGHHeader
        Left unchanged. One of the other family is replaced by a new one with the same affine.
    describe : bool
        Keep what the header says of the values (scaling, display range, intent, extensions); of a
        mask none of it is true.

    Raises
    ------
    VolumeError
        If the file cannot be written, or its format cannot hold the type.
    """
    suffix = image_suffix(path)
    try:
        if suffix in (".mgz", ".mgh"):
            head, tail = _mgh_parts(array, affine, header)
            array = np.asarray(array, array.dtype.newbyteorder(">"))
        else:
            head, array = _nifti_head(array, affine, header, describe)
            tail = b""
    except Exception as error:
        raise VolumeError(f"{path}: not possible in this format ({reason(error)})") from error
    voxels = fortran_order(array).T.data
    if suffix in (".nii.gz", ".mgz"):
        # No name and no time in the gzip header: the same voxels give the same file.
        parts: Iterable[bytes | memoryview] = (
            igzip.compress(b"".join((head, voxels, tail)), _COMPRESSION, mtime=0),
        )
    else:
        parts = (head, voxels, tail)
    write_atomically(path, parts)


def _nifti_head(
    array: np.ndarray, affine: np.ndarray, header: Any, describe: bool
) -> tuple[bytes, np.ndarray]:
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
        # Whatever text there is may name the person; NIfTI-2 has fewer fields for it.
        for field in ("descrip", "intent_name", "aux_file", "db_name", "data_type"):
            if field in out.keys():  # noqa: SIM118  # a header is no mapping
                out[field] = b""
    out["vox_offset"] = 0  # worked out from the extensions when written
    buffer = BytesIO()
    out.write_to(buffer)
    return buffer.getvalue(), np.asarray(array, out.get_data_dtype())


def _agrees(header: Any, affine: np.ndarray) -> bool:
    mended = header.copy()
    mended.check_fix(logger=silent, error_level=40)
    return np.allclose(mended.get_best_affine(), affine, rtol=1e-5, atol=1e-5)


def _mgh_parts(array: np.ndarray, affine: np.ndarray, header: Any) -> tuple[bytes, bytes]:
    if isinstance(header, MGHHeader) and np.allclose(header.get_affine(), affine, atol=1e-4):
        out = header.copy()
    else:
        known = header if isinstance(header, MGHHeader) else None
        out = MGHImage(np.zeros(array.shape, np.uint8), affine, known).header
    out["dims"] = (*array.shape, 1)  # set_data_shape would forget the voxel sizes
    out.set_data_dtype(array.dtype)
    block = out.binaryblock
    return block[:MGH_HEADER_SIZE].ljust(DATA_OFFSET, b"\0"), block[MGH_HEADER_SIZE:]


def fortran_order(array: np.ndarray) -> np.ndarray:
    """Return an array in Fortran order, copied in blocks that fit the cache where it must be."""
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
    """Write a file beside its place and rename it, so that it is there whole or not at all.

    Parameters
    ----------
    path : path-like
        A symbolic link is followed; what was there before is replaced.
    parts : iterable of bytes-like

    Raises
    ------
    VolumeError
        If the folder is missing or not writable, the path is a folder, or the disk is full. Nothing
        is left behind then.
    """
    try:
        target = Path(path).resolve()
        if not target.parent.is_dir():
            raise VolumeError(f"{path}: not written, because there is no folder {target.parent}")
        if target.is_dir():
            raise VolumeError(f"{path}: not written, because it is a folder")
        beside = target.with_name(f".{secrets.token_hex(8)}{target.suffix}")
        try:
            with beside.open("xb") as stream:
                for part in parts:
                    stream.write(part)
            beside.replace(target)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except (OSError, RuntimeError) as error:  # RuntimeError: symbolic links in a circle
        reason_given = getattr(error, "strerror", None) or reason(error)
        raise VolumeError(
            f"{path}: not written, because the system refuses ({reason_given})"
        ) from error

"""Layers to NIfTI (or MGH) files that lie where the image lay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from napari_strokedx.grids import grid_of
from strokedx_core.image_writing import write_file
from strokedx_core.volume import Volume, VolumeError
from strokedx_core.volume import write_image as write_like

__all__ = ["SaveError", "write_image", "write_labels"]


class SaveError(OSError):
    """A layer that cannot be saved; the message is one line that names it and the reason.

    No `ValueError`: napari takes those from a writer for "this plugin cannot write", and hides
    what they say.
    """


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except VolumeError as error:
        raise SaveError(str(error)) from error


@_told()
def write_image(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Save an image layer.

    Parameters
    ----------
    path : str
        Ends in .nii.gz, .nii, .mgz or .mgh.
    data : array-like
        Three axes, or four with frames first; the finest level of a multiscale image is saved.
    meta : mapping
        As the second item of `Layer.as_layer_data_tuple`. A layer that was read from a file, or
        computed from one, gives back that file's geometry byte for byte, and its unchanged values.

    Returns
    -------
    list of str
        The path.

    Raises
    ------
    SaveError
        If the layer cannot be a NIfTI image, or the file cannot be written.
    """
    name = meta.get("name", path)
    if meta.get("rgb"):
        raise VolumeError(f"{name}: a colour image, which is not saved as NIfTI")
    array = np.asarray(data[0] if meta.get("multiscale") else data)
    array = array.astype(_storable(name, array.dtype), copy=False)
    grid, native = _on_native_grid(name, array, meta)
    scaled = _scaling(grid.header) is not None
    if scaled and array.dtype.kind == "f" and native.ndim == 3:
        write_like(native, Volume(native, grid.affine, grid.header), path)
        return [path]
    header = grid.header
    if scaled:
        header.set_slope_inter(1, 0)
    write_file(path, native, grid.affine, header)
    return [path]


@_told()
def write_labels(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Save a labels layer in the smallest type of integer that holds its values.

    Parameters and errors are those of `write_image`.
    """
    name = meta.get("name", path)
    array = np.asarray(data[0] if meta.get("multiscale") else data)
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    for kind in (np.uint8, np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            break
    else:
        raise VolumeError(f"{name}: labels from {low} to {high} need more than 32 bits")
    grid, native = _on_native_grid(name, array.astype(kind), meta)
    write_file(path, native, grid.affine, grid.header, describe=False)
    return [path]


def _on_native_grid(name: str, array: np.ndarray, meta: Mapping[str, Any]) -> tuple[Any, Any]:
    if array.ndim not in (3, 4):
        raise VolumeError(f"{name}: {array.ndim}-D, where only 3-D and 4-D layers can be saved")
    grid = grid_of(meta, array.shape, dtype=array.dtype)
    if array.ndim == 3:
        return grid, grid.to_native(array)
    return grid, np.stack([grid.to_native(frame) for frame in array], axis=-1)


def _storable(name: str, dtype: np.dtype) -> np.dtype:
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind not in "iuf":
        raise VolumeError(f"{name}: values of type {dtype}, which are not saved as NIfTI")
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def _scaling(header: Any) -> Sequence[float] | None:
    """Slope and intercept of stored values, or None where they stand for themselves."""
    if not hasattr(header, "get_slope_inter"):
        return None
    slope, inter = header.get_slope_inter()
    return None if slope is None or (slope, inter) == (1, 0) else (slope, inter)

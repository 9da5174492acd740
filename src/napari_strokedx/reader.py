"""Image files to layers, upright and in millimetres, with the true geometry in their metadata."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_strokedx.grids import volume_keywords
from strokedx_core.image_reading import StoredImage, read_file
from strokedx_core.volume import SUFFIXES, Flag, VolumeError, to_canonical
from strokedx_core.volume_checks import check_geometry

if TYPE_CHECKING:
    LayerData = tuple[np.ndarray, dict[str, Any], str]

__all__ = ["get_reader", "read", "read_layer"]

_LABEL_INTENT = 1002
_LABEL_WORDS = re.compile(
    r"(?:^|[-_.+ ])(?:brain)?(?:mask|masks|label|labels|lesion|lesions|seg|dseg|aseg|aparc\w*)"
    r"(?=[-_.+ ]|$)",
    re.IGNORECASE,
)


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[LayerData]] | None:
    """Return the reader for files whose names all end in `.nii`, `.nii.gz`, `.mgz` or `.mgh`."""
    paths = _as_list(path)
    return read if all(name.lower().endswith(SUFFIXES) for name in paths) else None


def read(path: str | Sequence[str]) -> list[LayerData]:
    """Read each file into a layer of its own.

    Raises
    ------
    VolumeError
        One line that names the file and the reason.
    """
    return [read_layer(Path(name)) for name in _as_list(path)]


def _as_list(path: Any) -> list[str]:
    return [os.fspath(path)] if isinstance(path, str | os.PathLike) else [*map(os.fspath, path)]


def read_layer(path: Path, **keywords: Any) -> LayerData:
    """Read one file.

    A file of whole numbers becomes a labels layer where its header says that it holds labels, or a
    word of its name does (mask, label, lesion, seg and the like); everything else an image layer.
    Frames of a 4-D file come first among the axes. Values keep the type they are stored in, unless
    the header scales them.

    Parameters
    ----------
    path : Path
    **keywords
        Further keywords of the layer, which go before those found here.

    Returns
    -------
    tuple
        Data, keywords and type of a layer. See `napari_strokedx.grids` for its axes.

    Raises
    ------
    VolumeError
        If the file cannot be read, or is neither 3-D nor 4-D, or gives its voxels no place.
    """
    stored = read_file(path)
    array = stored.array
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (3, 4):
        raise VolumeError(f"{path}: a {array.ndim}-D image, where a 3-D or 4-D one is needed")
    check_geometry(path, stored.affine, stored.voxel_size)
    flags: tuple[Flag, ...] = ()
    if not stored.has_orientation:
        message = "the header does not say how the patient lies: left and right are a guess"
        flags = (Flag("no-orientation", message),)
    kind = "labels" if _holds_labels(path, stored, array) else "image"
    values = _values(stored, array)
    frames = np.moveaxis(values, 3, 0) if values.ndim == 4 else values[np.newaxis]
    shown = [np.flip(to_canonical(frame, stored.affine)[0].T) for frame in frames]
    data = np.stack(shown) if values.ndim == 4 else np.ascontiguousarray(shown[0])
    found = volume_keywords(
        stored.affine, stored.header, array.shape, path=path, flags=flags, name=_name(path)
    )
    if data.ndim == 4:
        found["scale"] = (1.0, *found["scale"])
        found["translate"] = (0.0, *found["translate"])
        found["axis_labels"] = ("frame", *found["axis_labels"])
        found["units"] = ("pixel", *found["units"])
    if kind == "image":
        found["contrast_limits"] = _window(data)
    return data, {**found, **keywords}, kind


def _name(path: Path) -> str:
    lower = path.name.lower()
    return next((path.name[: -len(end)] for end in SUFFIXES if lower.endswith(end)), path.name)


def _window(data: np.ndarray) -> tuple[float, float] | None:
    """Grey scale that leaves out the few voxels, of fat or flow, that are far brighter than all."""
    sample = data.ravel()[:: data.size // 1_000_000 | 1].astype(np.float64)
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return None
    low, high = (float(value) for value in np.percentile(sample, (0.1, 99.8)))
    return (low, high) if low < high else None


def _holds_labels(path: Path, stored: StoredImage, array: np.ndarray) -> bool:
    if array.dtype.kind not in "iu" or stored.slope is not None:
        return False
    named = _LABEL_WORDS.search(_name(path)) is not None
    if not named and "intent_code" in stored.header:
        named = int(stored.header["intent_code"]) == _LABEL_INTENT
    return named and bool(array.min() >= 0)


def _values(stored: StoredImage, array: np.ndarray) -> np.ndarray:
    """Voxel values in an array of one's own, in native byte order."""
    if stored.slope is None or stored.inter is None:
        return array.astype(array.dtype.newbyteorder("="))
    small = array.dtype.kind in "iu" and array.dtype.itemsize <= 2
    # float32 finds its way back to 16-bit steps; wider types need the wider float.
    near = abs(stored.inter) <= 2**20 * abs(stored.slope)
    kind: Any = np.float32 if small and near else np.float64
    scaled: np.ndarray = array.astype(kind) * kind(stored.slope) + kind(stored.inter)
    return scaled

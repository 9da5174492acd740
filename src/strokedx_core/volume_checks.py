"""What an array must be to count as an image, and the volumes of a case to belong together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np
from nibabel.affines import voxel_sizes

from strokedx_core.image_reading import VolumeError

if TYPE_CHECKING:
    from strokedx_core.volume import Volume

__all__ = [
    "Flag",
    "check_geometry",
    "check_is_image",
    "check_modality_values",
    "check_same_space",
    "finite_values",
    "one_frame",
]

_FEW = 16
"""An image with no more distinct values than this is looked at as a possible label map."""


@dataclass(frozen=True)
class Flag:
    """Something a reader of the result should know, though it stopped nothing.

    Attributes
    ----------
    code : str
        Short name, for programs.
    message : str
        One sentence, for people.
    """

    code: str
    message: str


def check_same_space(volumes: Iterable[Volume] | Mapping[Any, Volume]) -> None:
    """Check that the volumes of one case show the same place.

    Parameters
    ----------
    volumes : iterable of Volume, or mapping to Volume

    Raises
    ------
    VolumeError
        If the fields of view of two of them share less than a tenth of the smaller one.
    """
    boxes = []
    for volume in volumes.values() if isinstance(volumes, Mapping) else volumes:
        corners = np.array(list(product(*((-0.5, n - 0.5) for n in volume.shape))))
        corners = corners @ volume.affine[:3, :3].T + volume.affine[:3, 3]
        boxes.append((volume, corners.min(axis=0), corners.max(axis=0)))
    for (a, low_a, high_a), (b, low_b, high_b) in combinations(boxes, 2):
        shared = np.prod(np.clip(np.minimum(high_a, high_b) - np.maximum(low_a, low_b), 0, None))
        if shared < 0.1 * min(np.prod(high_a - low_a), np.prod(high_b - low_b)):
            raise VolumeError(
                f"{b.path or 'array'}: does not lie where {a.path or 'the other array'} lies"
                f" (centres {_place(low_b, high_b)} and {_place(low_a, high_a)} mm)"
            )


def check_modality_values(volume: Volume, modality: str) -> tuple[Flag, ...]:
    """Check that values are such as the modality can have.

    Parameters
    ----------
    volume : Volume
    modality : str
        One of T1W, T2W, FLAIR, DWI, B0, ADC, SWI.

    Returns
    -------
    tuple of Flag
        ``negative-adc`` where a few voxels of an ADC map are negative, as noise leaves them.

    Raises
    ------
    VolumeError
        If more than a tenth of the voxels of an ADC map that are not 0 are negative.
    """
    if modality.upper() != "ADC":
        return ()
    negative = int(np.count_nonzero(volume.data < 0))
    share = negative / max(1, int(np.count_nonzero(volume.data)))
    if share > 0.1:
        raise VolumeError(
            f"{volume.path or 'array'}: not an ADC map"
            f" ({share:.0%} of its voxels are negative, which diffusion cannot be)"
        )
    if share > 0.001:
        said = f"{negative} voxels of the ADC map are negative ({share:.1%})"
        return (Flag("negative-adc", said),)
    return ()


def one_frame(name: Any, array: np.ndarray, frame: int | None) -> np.ndarray:
    """Return the 3-D array that is meant, as a view; see `read_volume` for what is refused."""
    whole = array.shape
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    frames = array.shape[3] if array.ndim == 4 else 1
    if array.ndim < 3 or min(array.shape[:3]) < 2:
        raise VolumeError(f"{name}: a 2-D image (shape {whole}), where a 3-D one is needed")
    if array.ndim > 4:
        raise VolumeError(f"{name}: {array.ndim}-D (shape {whole}), where a 3-D image is needed")
    if frame is None and frames > 1:
        raise VolumeError(f"{name}: a 4-D image of {frames} frames; choose one (0 to {frames - 1})")
    if frame is not None and not 0 <= frame < frames:
        raise VolumeError(f"{name}: no frame {frame} (the image has frames 0 to {frames - 1})")
    return array[..., frame or 0] if array.ndim == 4 else array


def check_geometry(name: Any, affine: np.ndarray, voxel_size: tuple[float, ...]) -> None:
    """Refuse an affine (4, 4), and voxel sizes stated beside it, that give voxels no place."""
    if any(size == 0 or not np.isfinite(size) for size in voxel_size):
        sizes = " x ".join(f"{size:g}" for size in voxel_size)
        raise VolumeError(f"{name}: voxel size {sizes} mm, where none may be 0")
    if not np.isfinite(affine).all():
        raise VolumeError(f"{name}: the affine holds NaN or infinity")
    lengths = np.prod(voxel_sizes(affine))
    if not 0 < lengths < np.inf or abs(np.linalg.det(affine[:3, :3])) < 1e-3 * lengths:
        raise VolumeError(f"{name}: the affine is singular, so voxels have no place of their own")


def finite_values(name: Any, data: np.ndarray) -> tuple[np.ndarray, tuple[Flag, ...]]:
    """Return `data` with NaN and infinities set to 0, in place, and a flag where there were any."""
    finite = np.isfinite(data)
    bad = data.size - np.count_nonzero(finite)
    if not bad:
        return data, ()
    if bad == data.size:
        raise VolumeError(f"{name}: every voxel is NaN or infinite")
    data[~finite] = 0
    return data, (Flag("non-finite", f"{bad} voxels were NaN or infinite and were set to 0"),)


def check_is_image(name: Any, data: np.ndarray) -> None:
    """Refuse what is constant, a mask or a label map."""
    # Counting the values of a whole image takes a second; a sample settles it for nearly every one.
    # Its step is odd, since one that divides the length of an axis would stay on one face.
    if np.unique(data.ravel(order="K")[:: data.size // 4096 | 1]).size > _FEW:
        return
    low, high = data.min(), data.max()
    if low == high:
        raise VolumeError(f"{name}: constant (every voxel is {low:g})")
    if not ((data != low) & (data != high)).any():
        raise VolumeError(
            f"{name}: a mask (its only values are {low:g} and {high:g}), where an image is needed"
        )
    if low >= 0 and high < 2 * _FEW and not (data % 1).any() and np.unique(data).size <= _FEW:
        raise VolumeError(
            f"{name}: a label map (a few whole numbers up to {high:g}), where an image is needed"
        )


def _place(low: np.ndarray, high: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.0f}" for value in (low + high) / 2) + ")"

"""Whole-head label maps, made ready for the generator."""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from nibabel.affines import voxel_sizes
from scipy import ndimage
from torch import Tensor

from strokedx_core.image_reading import read_file
from strokedx_core.image_scaling import scaled
from strokedx_core.image_writing import write_atomically
from strokedx_core.resampling import to_canonical
from strokedx_core.synthesis.contrasts import BRAIN_CLASSES, CLASSES, class_lookup
from strokedx_core.volume_checks import check_geometry, one_frame

__all__ = ["Head", "brain_of", "load_head", "read_labels", "signed_distance"]

CLOSING_MM = 4.0
"""Sulci narrower than twice this belong to the brain mask."""

DISTANCE_STEP = 0.25
"""Millimetres per unit of the stored distance."""

_RECIPE = 3  # part of the cache's key: raise it when what is stored changes


@dataclass(frozen=True, eq=False)
class Head:
    """A label map as the generator needs it, RAS oriented, 1 mm isotropic.

    Attributes
    ----------
    name : str
    classes : Tensor of uint8, shape (x, y, z)
        Tissue class (index into `contrasts.CLASSES`), with a border of air.
    distance : Tensor of int8, shape (x, y, z)
        Signed distance to the surface of the brain mask in units of `DISTANCE_STEP` mm, negative
        inside, clipped.
    centre : Tensor, shape (3,)
        Centre of the brain's bounding box, in voxels.
    """

    name: str
    classes: Tensor
    distance: Tensor
    centre: Tensor

    def to(self, device: torch.device | str) -> Head:
        """The same head on another device."""
        return Head(
            self.name, self.classes.to(device), self.distance.to(device), self.centre.to(device)
        )


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """Distance in voxels to the surface of `mask`, negative inside, zero between voxels."""
    outside = ndimage.distance_transform_edt(~mask)
    inside = ndimage.distance_transform_edt(mask)
    distance: np.ndarray = np.where(mask, 0.5 - inside, outside - 0.5).astype(np.float32)
    return distance


def brain_of(classes: np.ndarray, closing_mm: float = CLOSING_MM) -> np.ndarray:
    """The brain mask a clinician expects: sulci and ventricles closed, one piece, no holes.

    Parameters
    ----------
    classes : ndarray of uint8, shape (x, y, z)
        Tissue classes at 1 mm.
    closing_mm : float
        Radius of the closing.

    Returns
    -------
    ndarray of bool, shape (x, y, z)
    """
    names = tuple(CLASSES)
    tissue = _largest(np.isin(classes, [names.index(name) for name in BRAIN_CLASSES]))
    # Room all around, or a brain that is cut off at the edge would be closed against that edge.
    margin = math.ceil(closing_mm) + 1
    room = np.pad(tissue, margin)
    grown = ndimage.distance_transform_edt(~room) <= closing_mm
    closed = ndimage.distance_transform_edt(grown) > closing_mm
    closed = closed[(slice(margin, -margin),) * 3]
    # What a closing adds is fluid and dural folds, never skull or scalp that touches the brain.
    allowed = np.isin(classes, [names.index(name) for name in ("csf", "dura", "air")])
    filled: np.ndarray = ndimage.binary_fill_holes(_largest(tissue | (closed & allowed)))
    return filled


def _largest(mask: np.ndarray) -> np.ndarray:
    """The largest of the pieces that hang together by faces."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    found: np.ndarray = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    return found


def read_labels(path: Path | str) -> np.ndarray:
    """Labels of a whole-head label map, RAS oriented, with a border of background.

    Returns
    -------
    ndarray of int, shape (x, y, z)
        Cut to the head; voxel for voxel where `Head` has its classes.

    Raises
    ------
    ValueError
        As `load_head`.
    """
    path = Path(path)
    stored = read_file(path)
    check_geometry(path, stored.affine, stored.voxel_size)
    spacing = voxel_sizes(stored.affine)
    if not np.allclose(spacing, 1, atol=0.05):
        size = " x ".join(f"{length:.3g}" for length in spacing)
        raise ValueError(f"{path}: label maps must be 1 mm isotropic, this one is {size} mm")
    labels, _ = to_canonical(scaled(one_frame(path, stored.array, None), stored), stored.affine)
    if not np.array_equal(labels, np.round(labels)) or labels.min() < 0 or labels.max() >= 1024:
        raise ValueError(f"{path}: not a label map (labels must be integers from 0 to 1023)")
    labels = labels.astype(np.int64)
    if np.count_nonzero(np.isin(labels, CLASSES["white"])) < 1000:
        raise ValueError(f"{path}: no white matter labels (2 and 41) found")
    head = ndimage.find_objects((class_lookup()[labels] > 0).astype(np.uint8))[0]
    return np.ascontiguousarray(np.pad(labels[head], 1))


def load_head(path: Path | str, cache: Path | str | None = None) -> Head:
    """Read a label map, merge its labels to tissue classes, compute the distance to the brain.

    Parameters
    ----------
    path : path
        Label map in FreeSurfer numbers, about 1 mm isotropic, any axis-aligned orientation.
    cache : path, optional
        Folder in which the result (a second or two of work per head) is kept between runs.

    Returns
    -------
    Head

    Raises
    ------
    ValueError
        If the file cannot be read, does not hold integers at 1 mm, or has no brain labels.
    """
    path = Path(path)
    kept = None
    if cache is not None:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        kept = Path(cache) / f"{path.name.split('.')[0]}-{digest}-{_RECIPE}.npz"
        if kept.exists():
            with np.load(kept) as stored:
                return _head(path, stored["classes"], stored["distance"], stored["centre"])
    classes = class_lookup()[read_labels(path)]
    brain = brain_of(classes)
    distance = np.clip(np.round(signed_distance(brain) / DISTANCE_STEP), -127, 127).astype(np.int8)
    corners = np.argwhere(brain)
    centre = ((corners.min(0) + corners.max(0)) / 2).astype(np.float32)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, classes=classes, distance=distance, centre=centre)
        write_atomically(kept, [buffer.getbuffer()])
    return _head(path, classes, distance, centre)


def _head(path: Path, classes: np.ndarray, distance: np.ndarray, centre: np.ndarray) -> Head:
    return Head(
        path.name.split(".")[0],
        torch.from_numpy(classes),
        torch.from_numpy(distance),
        torch.from_numpy(centre),
    )

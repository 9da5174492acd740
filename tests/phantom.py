"""A made-up label map of a whole head, in FreeSurfer numbers, and images of it.

Nested ellipsoids whose two halves mirror each other: as much anatomy as the generator of training
images needs, and nobody's head.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage

from strokedx_core.synthesis.contrasts import CLASSES
from strokedx_core.synthesis.labels import DISTANCE_STEP, Head, signed_distance

BRAIN = (2, 41, 3, 42, 4, 43, 7, 46, 8, 47, 16)
T1W = {
    **dict.fromkeys((2, 41, 7, 46), 600),
    **dict.fromkeys((3, 42, 8, 47), 420),
    **dict.fromkeys((4, 43, 24), 130),
    **{16: 560, 515: 60, 507: 350, 511: 800},
}


def label_map(scale: float = 0.5, stretch: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A head at 1 mm, axes to the right, anterior and superior.

    Parameters
    ----------
    scale : float
        1 is the size of an adult head; the default is quick to work with.
    stretch : float
        Length of the head relative to its width, 1 being usual: makes one head unlike another.

    Returns
    -------
    labels : ndarray of int16, (x, y, z)
    affine : ndarray, (4, 4)
        Voxel index to RAS mm; the origin is the middle of the cerebrum.
    """
    unit = scale * np.array([1, stretch, 1])
    low, high = -unit * (82, 98, 100), unit * (82, 98, 78)
    shape = np.ceil(high - low).astype(int) | 1
    x, y, z = (
        (np.arange(n) + round(start)).reshape([-1 if a == axis else 1 for a in range(3)])
        / unit[axis]
        for axis, (n, start) in enumerate(zip(shape, low, strict=True))
    )

    def ellipsoid(
        axes: tuple[int, int, int], centre: tuple[int, int, int] = (0, 0, 0)
    ) -> np.ndarray:
        place = zip((x, y, z), centre, axes, strict=True)
        return sum(((along - middle) / axis) ** 2 for along, middle, axis in place) <= 1

    labels = np.zeros(shape, np.int16)
    left = np.broadcast_to(x < 0, shape)

    def paint(where: np.ndarray, number: int, right: int | None = None) -> None:
        labels[where & left] = number
        labels[where & ~left] = number if right is None else right

    neck = ellipsoid((56, 66, 60), (0, 10, -50))
    paint(ellipsoid((78, 94, 74)) | neck, 511)
    paint(ellipsoid((75, 91, 71)) | ellipsoid((53, 63, 57), (0, 10, -50)), 507)
    paint(ellipsoid((72, 88, 68)), 515)
    inside = ellipsoid((66, 82, 62))
    paint(inside, 24)
    paint(ellipsoid((62, 78, 58)), 3, 42)
    paint(ellipsoid((57, 73, 53)), 2, 41)
    paint(ellipsoid((9, 30, 14), (-12, 0, 8)) | ellipsoid((9, 30, 14), (12, 0, 8)), 4, 43)
    paint(ellipsoid((42, 30, 22), (0, -40, -34)) & inside, 8, 47)
    paint(ellipsoid((36, 24, 16), (0, -40, -34)) & inside, 7, 46)
    paint(ellipsoid((11, 11, 34), (0, -10, -50)), 16)
    affine = np.eye(4)
    affine[:3, 3] = np.round(low)
    return labels, affine


def write_label_map(
    path: Path, scale: float = 0.5, stretch: float = 1.0, axes: str = "LIA"
) -> Path:
    """Write `label_map` as NIfTI, with its axes stored towards `axes`."""
    image = nib.Nifti1Image(*label_map(scale, stretch))
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    image.as_reoriented(turn).to_filename(path)
    return path


def t1w(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """An image of a label map, of T1 contrast, blurred and with some noise; float32."""
    table = np.zeros(1024, np.float32)
    table[list(T1W)] = list(T1W.values())
    noise = np.random.default_rng(seed).normal(0, 15, labels.shape)
    return np.abs(ndimage.gaussian_filter(table[labels], 0.7) + noise).astype(np.float32)


def ball_head(radius: float, size: int = 96) -> Head:
    """A ball of white matter in the middle of a larger ball of bone, ready for the generator."""
    grid = np.indices((size,) * 3, dtype=np.float32) - (size - 1) / 2
    distance = np.sqrt((grid**2).sum(0))
    names = list(CLASSES)
    classes = np.where(distance <= size / 2 - 2, names.index("bone"), 0).astype(np.uint8)
    classes[distance <= radius] = names.index("white")
    stored = np.clip(np.round(signed_distance(distance <= radius) / DISTANCE_STEP), -127, 127)
    return Head(
        "ball",
        torch.from_numpy(classes),
        torch.from_numpy(stored.astype(np.int8)),
        torch.full((3,), (size - 1) / 2),
    )

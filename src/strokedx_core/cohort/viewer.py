"""Images made small for pages: all slices of a sequence in one picture, and a row of some."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from nibabel.affines import voxel_sizes

from strokedx_core.volume import Volume, onto_grid, to_canonical

__all__ = ["Shown", "montage", "shown"]

FINEST_MM, MOST = 1.6, 112
"""Voxel size of what is shown, at least, and voxels along an axis, at most."""

BRAIN, LESION = 1, 2
"""Bits of the masks."""

COLOURS = {BRAIN: (0, 208, 255), LESION: (255, 140, 0)}
"""The same as in all pictures of masks."""


@dataclass(frozen=True, eq=False)
class Shown:
    """Sequences and masks on one isotropic grid; x to the right, y anterior, z superior.

    Attributes
    ----------
    images : dict of str to ndarray of uint8, (x, y, z)
    masks : ndarray of uint8, (x, y, z)
        `BRAIN` and `LESION`, added up.
    spacing_mm : float
    """

    images: dict[str, np.ndarray]
    masks: np.ndarray
    spacing_mm: float

    @property
    def columns(self) -> int:
        """Slices beside each other in a picture of all."""
        return math.ceil(math.sqrt(self.masks.shape[2]))

    def picture(self, name: str) -> str:
        """All axial slices of a sequence, or of the masks for the name "masks", as a data URL.

        Slice z stands in column z % `columns` and row z // `columns`, its first voxel at the top
        left, x to the right and y downwards.
        """
        volume = self.masks * 80 if name == "masks" else self.images[name]
        x, y, z = volume.shape
        rows = math.ceil(z / self.columns)
        sheet = np.zeros((rows * y, self.columns * x), np.uint8)
        for index in range(z):
            row, column = divmod(index, self.columns)
            sheet[row * y : (row + 1) * y, column * x : (column + 1) * x] = volume[:, :, index].T
        return _data_url(sheet)


def shown(
    volumes: Mapping[str, Volume], first: Volume, brain: np.ndarray, lesion: np.ndarray | None
) -> Shown:
    """Bring everything onto one small grid around the head.

    Parameters
    ----------
    volumes : mapping of str to Volume
    first : Volume
        On whose grid the masks lie.
    brain, lesion : ndarray, shape of `first`
    """
    canonical, affine = to_canonical(first.data, first.affine)
    sizes = voxel_sizes(affine)
    extent = np.array(canonical.shape) * sizes
    spacing = max(FINEST_MM, float(extent.max()) / MOST)
    shape = tuple(max(1, int(length / spacing)) for length in extent)
    steps = spacing / sizes
    placed = affine @ np.diag([*steps, 1.0])
    start = [(n - 1) / 2 - step * (m - 1) / 2
             for n, m, step in zip(canonical.shape, shape, steps, strict=True)]  # fmt: skip
    placed[:3, 3] = (affine @ [*start, 1.0])[:3]
    x, y, z = shape
    grid = (x, y, z)
    masks = BRAIN * _placed(brain, first, grid, placed)
    if lesion is not None:
        masks += LESION * _placed(lesion, first, grid, placed)
    images = {}
    for name, volume in volumes.items():
        values = onto_grid(volume.data, volume.affine, grid, placed)
        inside = values[(masks & BRAIN) > 0]
        inside = inside if inside.size else values
        low, high = float(values.min()), float(np.percentile(inside, 99.5))
        high = high if high > low else low + 1
        images[name] = (255 * np.clip((values - low) / (high - low), 0, 1)).astype(np.uint8)
    return Shown(images, masks, spacing)


def _placed(
    mask: np.ndarray, first: Volume, shape: tuple[int, int, int], affine: np.ndarray
) -> np.ndarray:
    found = onto_grid((mask != 0).astype(np.float32), first.affine, shape, affine) >= 0.5
    return found.astype(np.uint8)


def montage(view: Shown, name: str, count: int = 12) -> str:
    """Axial slices of a sequence with outlines, through the lesion or else the brain, as a data
    URL. Seen from below: the patient's left is on the right."""
    through = view.masks & LESION if (view.masks & LESION).any() else view.masks & BRAIN
    hit = np.flatnonzero(through.any(axis=(0, 1)))
    low, high = (hit[0], hit[-1]) if hit.size else (0, view.masks.shape[2] - 1)
    tiles = []
    for z in np.unique(np.linspace(low, high, count).round().astype(int)):
        grey = np.repeat(view.images[name][:, :, z, None], 3, axis=2)
        for bit, colour in COLOURS.items():
            grey[_outline((view.masks[:, :, z] & bit) > 0)] = colour
        tiles.append(grey[::-1, ::-1].transpose(1, 0, 2))
    columns = min(6, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    tall, wide, _ = tiles[0].shape
    sheet = np.zeros((rows * tall, columns * wide, 3), np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        sheet[row * tall : (row + 1) * tall, column * wide : (column + 1) * wide] = tile
    return _data_url(sheet)


def _outline(mask: np.ndarray) -> np.ndarray:
    """Voxels of a mask that touch one outside of it."""
    inner = mask.copy()
    for axis in (0, 1):
        for step in (1, -1):
            inner &= np.roll(mask, step, axis)
    edge: np.ndarray = mask & ~inner
    return edge


def _data_url(values: np.ndarray) -> str:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(values).save(stream, format="PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")

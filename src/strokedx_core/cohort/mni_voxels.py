"""Masks on a coarse grid of MNI space, small enough to keep with the facts of an examination."""

from __future__ import annotations

import base64
import zlib

import numpy as np
from nibabel.affines import apply_affine

__all__ = ["SHAPE", "STEP_MM", "pack", "unpack"]

STEP_MM = 4.0
SHAPE = (46, 56, 47)
_START = (-90.0, -128.0, -74.0)  # mm, of the first voxel's centre


def pack(mask: np.ndarray, to_mni: np.ndarray) -> str:
    """A mask as text: one bit for each coarse voxel that it touches.

    Parameters
    ----------
    mask : ndarray of bool, (i, j, k)
    to_mni : ndarray, (4, 4)
        Voxel index to MNI152 millimetres.
    """
    coarse = np.zeros(SHAPE, bool)
    voxels = np.argwhere(mask)
    if len(voxels):
        # Voxels thicker than the grid's steps touch all coarse ones that they reach through.
        sizes = np.linalg.norm(to_mni[:3, :3], axis=0)
        counts = np.maximum(1, np.ceil(sizes / STEP_MM)).astype(int)
        offsets = np.stack(
            np.meshgrid(*[(np.arange(n) + 0.5) / n - 0.5 for n in counts], indexing="ij"), -1
        ).reshape(-1, 3)
        for offset in offsets:
            places = apply_affine(to_mni, voxels + offset)
            index = np.rint((places - _START) / STEP_MM).astype(int)
            inside = ((index >= 0) & (index < SHAPE)).all(axis=1)
            coarse[tuple(index[inside].T)] = True
    return base64.b64encode(zlib.compress(np.packbits(coarse).tobytes(), 9)).decode("ascii")


def unpack(text: str) -> np.ndarray:
    """What `pack` made: bool, of `SHAPE`; x to the right, y anterior, z superior."""
    bits = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    return np.unpackbits(bits, count=int(np.prod(SHAPE))).reshape(SHAPE).astype(bool)

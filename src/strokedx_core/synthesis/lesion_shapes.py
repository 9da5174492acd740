"""Lesion masks drawn on scans, as shapes to put into generated heads."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from nibabel.affines import voxel_sizes
from scipy import ndimage
from torch import Tensor

from strokedx_core.image_writing import write_atomically
from strokedx_core.resampling import to_canonical
from strokedx_core.volume import read_mask

__all__ = ["LesionShape", "load_shapes"]


@dataclass(frozen=True, eq=False)
class LesionShape:
    """One lesion in MNI space at 1 mm, cut to its own box.

    Attributes
    ----------
    name : str
    mask : Tensor of bool, shape (x, y, z)
        Axes to the right, anterior and superior.
    start : Tensor, shape (3,)
        MNI coordinate, mm, of the first voxel's centre.
    volume_ml : float
    """

    name: str
    mask: Tensor
    start: Tensor
    volume_ml: float

    @property
    def plausible(self) -> bool:
        """Whether it is neither a slip of the pen nor a whole hemisphere."""
        return 0.1 <= self.volume_ml <= 400

    @property
    def person(self) -> str:
        """Who it was drawn on, by the file's name: what stands before the last underscore."""
        return self.name.rsplit("_", 1)[0]


def load_shapes(folder: Path | str, cache: Path | str | None = None) -> list[LesionShape]:
    """Read every mask of a folder.

    Parameters
    ----------
    folder : path
        NIfTI files of masks in MNI152 space at 1 mm, axis-aligned.
    cache : path, optional
        Folder in which the result is kept between runs; reading 1,500 files takes a minute.

    Returns
    -------
    list of LesionShape, in the order of their file names; empty masks are left out.

    Raises
    ------
    ValueError
        If the folder holds no mask, or one is not on a 1 mm grid.
    """
    folder = Path(folder)
    paths = sorted(p for p in folder.glob("*") if p.name.endswith((".nii", ".nii.gz")))
    if not paths:
        raise ValueError(f"{folder}: no lesion masks (.nii, .nii.gz)")
    kept = None
    if cache is not None:
        stamp = "".join(f"{p.name}:{p.stat().st_size};" for p in paths)
        kept = Path(cache) / f"lesions-{hashlib.sha256(stamp.encode()).hexdigest()[:16]}.pt"
        if kept.exists():
            stored = torch.load(kept, weights_only=True)
            return [
                LesionShape(name, _unpack(bits, shape), start, ml)
                for name, bits, shape, start, ml in stored
            ]
    shapes = []
    for path in paths:
        volume = read_mask(path)
        if not np.allclose(voxel_sizes(volume.affine), 1, atol=0.05):
            raise ValueError(f"{path}: lesion masks must be on a 1 mm grid")
        mask, affine = to_canonical(volume.data, volume.affine)
        boxes = ndimage.find_objects((mask != 0).astype(np.uint8))
        if not boxes:
            continue
        cut = torch.from_numpy(np.ascontiguousarray(mask[boxes[0]] != 0))
        start = affine[:3, 3] + affine[:3, :3] @ [edge.start for edge in boxes[0]]
        name = path.name.split(".")[0]
        start = torch.from_numpy(start.astype(np.float32))
        shapes.append(LesionShape(name, cut, start, float(cut.sum()) / 1000))
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            (s.name, torch.from_numpy(np.packbits(s.mask.numpy())), list(s.mask.shape), s.start,
             s.volume_ml)
            for s in shapes
        ]  # fmt: skip
        buffer = io.BytesIO()
        torch.save(rows, buffer)
        write_atomically(kept, [buffer.getbuffer()])
    return shapes


def _unpack(bits: Tensor, shape: list[int]) -> Tensor:
    count = int(np.prod(shape))
    return torch.from_numpy(np.unpackbits(bits.numpy(), count=count).reshape(shape).astype(bool))

"""What the anatomy network learns: structures and arterial territories on a head's label map."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from strokedx_core.anatomy.atlas import CENTRAL_SULCUS_Y_MM, LOBES, Atlas
from strokedx_core.anatomy.regions import STRUCTURES, TERRITORIES
from strokedx_core.image_writing import write_atomically
from strokedx_core.synthesis.labels import DISTANCE_STEP, Head, read_labels

__all__ = ["HeadAnatomy", "load_anatomy"]

_LEFT = (2, 3, 4, 5, 7, 8, 10, 11, 12, 13, 17, 18, 26, 28)
_RIGHT = (41, 42, 43, 44, 46, 47, 49, 50, 51, 52, 53, 54, 58, 60)
_WHITE = (2, 41, 25, 57)
_CORTEX = (3, 42)
_CEREBELLUM = (7, 8, 46, 47)
_BRAINSTEM = (16, 28, 60)
_TEMPORAL = (17, 18, 53, 54)
_LENTIFORM = (12, 13, 51, 52)
_LABELLED = {
    "caudate": (11, 50, 26, 58),
    "lentiform nucleus": _LENTIFORM,
    "thalamus": (10, 49),
    "brainstem": _BRAINSTEM,
    "cerebellum": _CEREBELLUM,
    "ventricle": (4, 5, 14, 15, 43, 44, 72),
}
"""Structure → labels. The accumbens counts as caudate."""

_OPEN = (24, 28, 60)
"""Labels that belong to none of the structures: fluid in the sulci, and the ventral diencephalon,
which holds parts of thalamus, hypothalamus and midbrain."""

_DEEP_MM = 5.0
"""White matter further than this from any cortex is deep."""

_BELOW, _INFRATENTORIAL = ("BA",), ("SC", "IC")
_PARTS = ("structure", "named", "territory", "right")
_RECIPE = 3  # part of the cache's key: raise it when what is stored changes


@dataclass(frozen=True, eq=False)
class HeadAnatomy:
    """Where in the brain each voxel of a `Head` lies.

    Attributes
    ----------
    structure : Tensor of uint8, shape (x, y, z)
        1 + index into `regions.STRUCTURES`, 0 outside of the brain. Fluid in the sulci has the
        nearest lobe, the ventral diencephalon counts as brainstem.
    named : Tensor of bool, shape (x, y, z)
        Whether the label map itself says so: brain but for those two.
    territory : Tensor of uint8, shape (x, y, z)
        1 + index into `regions.TERRITORIES`, 0 in ventricles and outside of the brain.
    right : Tensor of bool, shape (x, y, z)
    """

    structure: Tensor
    named: Tensor
    territory: Tensor
    right: Tensor


def load_anatomy(
    path: Path | str, head: Head, to_mni: Tensor, atlas: Atlas, cache: Path | str | None = None
) -> HeadAnatomy:
    """Lay the arterial atlas over a label map, within what the labels say.

    Parameters
    ----------
    path : path
        The label map.
    head : Head
        What `labels.load_head` makes of it.
    to_mni : Tensor, shape (3, 4)
        As `mni.head_to_mni` gives it.
    atlas : Atlas
        The arterial atlas of Liu et al.
    cache : path, optional
        Folder in which the result is kept between runs.

    Returns
    -------
    HeadAnatomy

    Raises
    ------
    ValueError
        As `labels.load_head`, or if the atlas is another one.
    """
    path, kept = Path(path), None
    if cache is not None:
        digest = hashlib.sha256(path.read_bytes())
        digest.update(atlas.labels.tobytes())
        kept = Path(cache) / f"{head.name}-anatomy-{digest.hexdigest()[:16]}-{_RECIPE}.npz"
    if kept is not None and kept.exists():
        with np.load(kept) as stored:
            found = [stored[name] for name in _PARTS]
    else:
        found = list(_lay(read_labels(path), head, to_mni.cpu().numpy(), atlas))
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **dict(zip(_PARTS, found, strict=True)))
            write_atomically(kept, [buffer.getbuffer()])
    return HeadAnatomy(*(torch.from_numpy(part).to(head.classes.device) for part in found))


def _lay(
    labels: np.ndarray, head: Head, to_mni: np.ndarray, atlas: Atlas
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    brain = head.distance.cpu().numpy() * DISTANCE_STEP < 0
    if brain.shape != labels.shape:
        raise ValueError(f"{head.name}: the head was made from another label map")
    affine = np.vstack([to_mni, [0, 0, 0, 1]])
    x, y, z = np.einsum("ij,jxyz->ixyz", affine[:3, :3], np.indices(labels.shape, np.float32))
    x, y, z = (c + t for c, t in zip((x, y, z), affine[:3, 3], strict=True))

    right = _nearest(np.isin(labels, _LEFT) | np.isin(labels, _RIGHT), np.isin(labels, _RIGHT))
    territory = _territories(labels, brain, atlas.on_grid(_three(labels.shape), affine), atlas)
    ventricle = np.isin(labels, _LABELLED["ventricle"])
    territory[ventricle | ~brain] = 0

    structure = _lobes(territory, brain, y)
    structure[np.isin(labels, _TEMPORAL)] = 1 + STRUCTURES.index("temporal")
    white = np.isin(labels, _WHITE)
    from_cortex = ndimage.distance_transform_edt(~np.isin(labels, _CORTEX))
    structure[white & (from_cortex > _DEEP_MM)] = 1 + STRUCTURES.index("deep white matter")
    near_lentiform = ndimage.distance_transform_edt(~np.isin(labels, _LENTIFORM)) < 7
    capsule = near_lentiform & (np.abs(x) < 27) & (np.abs(x) > 6)
    corona = (np.abs(x) > 16) & (np.abs(x) < 32) & (z > 14) & (z < 32) & (y > -35) & (y < 22)
    deep = from_cortex > 4
    name = "internal capsule or corona radiata"
    structure[white & deep & (capsule | corona)] = 1 + STRUCTURES.index(name)
    for name, numbers in _LABELLED.items():
        structure[np.isin(labels, numbers)] = 1 + STRUCTURES.index(name)
    structure[~brain] = 0
    return structure, brain & ~np.isin(labels, _OPEN), territory, right


def _territories(
    labels: np.ndarray, brain: np.ndarray, numbers: np.ndarray, atlas: Atlas
) -> np.ndarray:
    """The atlas, drawn to where the label map has brainstem, cerebellum and cerebrum; what it
    leaves free gets the nearest territory."""
    lookup = np.zeros(1 + max(atlas.regions), np.uint8)
    for number, region in atlas.regions.items():
        short = region.short.rsplit("_", 1)[0]
        if short in TERRITORIES:
            lookup[number] = 1 + list(TERRITORIES).index(short)
    if set(lookup) != set(range(1 + len(TERRITORIES))):
        raise ValueError("the atlas lacks some of the arterial territories that are to be learnt")
    found = lookup[numbers]
    stem, cerebellum = np.isin(labels, _BRAINSTEM), np.isin(labels, _CEREBELLUM)
    cerebrum = tuple(t for t in TERRITORIES if t not in (*_BELOW, *_INFRATENTORIAL))
    territory = np.zeros(labels.shape, np.uint8)
    parts = (
        (brain & ~stem & ~cerebellum, cerebrum),
        (stem, (*_BELOW, "PCTP", "ACTP", "SC", "IC")),
        (cerebellum, _INFRATENTORIAL),
    )
    for part, allowed in parts:
        sure = part & np.isin(found, [1 + list(TERRITORIES).index(t) for t in allowed])
        territory[part] = _nearest(sure, found)[part]
    return territory


def _lobes(territory: np.ndarray, brain: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The lobe of the nearest territory that has one."""
    table = np.zeros(1 + len(TERRITORIES), np.uint8)
    for number, short in enumerate(TERRITORIES, start=1):
        if LOBES[short] in STRUCTURES[:5]:
            table[number] = 1 + STRUCTURES.index(LOBES[short])
    lobes = table[territory]
    anterior = territory == 1 + list(TERRITORIES).index("ACA")
    lobes[anterior & (y < CENTRAL_SULCUS_Y_MM)] = 1 + STRUCTURES.index("parietal")
    filled: np.ndarray = np.where(brain, _nearest(lobes > 0, lobes), 0)
    return filled


def _nearest(sure: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values everywhere of the nearest voxel where they are sure."""
    index = ndimage.distance_transform_edt(~sure, return_distances=False, return_indices=True)
    found: np.ndarray = values[tuple(index)]
    return found


def _three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    x, y, z = shape
    return x, y, z

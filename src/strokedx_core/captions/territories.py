"""In which arterial territories and lobes lesions lie, counted voxel by voxel on an atlas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from nibabel.affines import apply_affine

from strokedx_core.anatomy.atlas import CENTRAL_SULCUS_Y_MM, Atlas, Region
from strokedx_core.captions.pattern import border_zone
from strokedx_core.volume import Volume

__all__ = ["Share", "Territories", "Where"]

VENTRICLE = "ventricle"
_PERFORATED = ("deep", "brainstem")

Part = tuple[str, str, str, str]
"""Short name, name, side and group."""


@dataclass(frozen=True)
class Share:
    """How much of a lesion lies in a part of the brain, and how much of that part is lesioned.

    Attributes
    ----------
    part : str
        A territory's short name, an artery's, or a lobe.
    name, side, group : str
        As in the atlas; "" where they do not apply.
    voxels : int
        Of the mask.
    of_lesion, of_part : float
        0 to 1, by volume.
    """

    part: str
    name: str
    side: str
    group: str
    voxels: int
    of_lesion: float
    of_part: float


@dataclass(frozen=True)
class Where:
    """Where voxels lie.

    Attributes
    ----------
    territories, arteries, lobes : tuple of Share
        Those that are touched, largest share first. Territories are the atlas's regions but the
        ventricles, arteries its groups on either side.
    outside : float
        Share of the voxels in no region at all.
    deep : float
        Share in territories of deep perforators and the brainstem.
    border_zone : float
        Share near the border of two arteries; see `pattern.border_zone`.
    """

    territories: tuple[Share, ...]
    arteries: tuple[Share, ...]
    lobes: tuple[Share, ...]
    outside: float
    deep: float
    border_zone: float


class Territories:
    """An atlas on the grid of a mask.

    Parameters
    ----------
    atlas : Atlas
        In the space of the mask's millimetres.
    mask : Volume
    structures : Atlas, optional
        Lobes and deep structures on the mask's grid. Without it they follow from the territories,
        and the mask's space must be MNI152.
    """

    def __init__(self, atlas: Atlas, mask: Volume, structures: Atlas | None = None) -> None:
        self.atlas, self.mask, self.structures = atlas, mask, structures
        self.labels = atlas.on_grid(mask.shape, mask.affine)

    @cached_property
    def ventricles(self) -> np.ndarray:
        """Voxels of the ventricles: bool, (i, j, k)."""
        numbers = [r.index for r in self.atlas.regions.values() if r.group == VENTRICLE]
        return np.isin(self.labels, numbers)

    @cached_property
    def _zone(self) -> np.ndarray:
        zone = border_zone(self.atlas)
        on_grid = Atlas(zone.astype(np.int32), self.atlas.affine, {})
        return on_grid.on_grid(self.mask.shape, self.mask.affine) > 0

    def of(self, voxels: np.ndarray) -> Where:
        """Count.

        Parameters
        ----------
        voxels : ndarray of int, (n, 3)
            Of the mask's grid; at least one.
        """
        numbers = self.labels[tuple(voxels.T)]
        counts = {int(n): int(c) for n, c in zip(*np.unique(numbers, return_counts=True))}  # noqa: B905
        counts.pop(0, None)
        regions = [self.atlas.regions[number] for number in counts]
        fed = [region for region in regions if region.group != VENTRICLE]
        deep = sum(counts[region.index] for region in regions if region.lobe in _PERFORATED)
        return Where(
            self._shares({_territory(r): counts[r.index] for r in fed}, _territory, len(voxels)),
            self._shares(_summed(fed, counts, _artery), _artery, len(voxels)),
            self._lobes(voxels, numbers),
            float(np.mean(numbers == 0)),
            deep / len(voxels),
            float(self._zone[tuple(voxels.T)].mean()),
        )

    def _shares(
        self, counts: dict[Part, int], part_of: Callable[[Region], Part], total: int
    ) -> tuple[Share, ...]:
        whole: dict[Part, int] = {}
        for region in self.atlas.regions.values():
            part = part_of(region)
            whole[part] = whole.get(part, 0) + region.voxels
        return self._sorted(counts, whole, total)

    def _sorted(
        self,
        counts: dict[Part, int],
        whole: dict[Part, int],
        total: int,
        scale: float | None = None,
    ) -> tuple[Share, ...]:
        """Shares, largest first; `scale` is how many voxels of `whole` a voxel of the mask is."""
        scale = self.mask.voxel_ml / self.atlas.voxel_ml if scale is None else scale
        shares = [
            Share(*part, count, count / total, count * scale / whole[part])
            for part, count in counts.items()
        ]
        return tuple(sorted(shares, key=lambda share: (-share.voxels, share.part, share.side)))

    def _lobes(self, voxels: np.ndarray, numbers: np.ndarray) -> tuple[Share, ...]:
        if self.structures is not None:
            found = np.bincount(self.structures.labels[tuple(voxels.T)])
            regions = self.structures.regions
            counts = {_structure(regions[n]): int(c) for n, c in enumerate(found) if n and c}
            whole = {_structure(region): region.voxels for region in regions.values()}
            return self._sorted(counts, whole, len(voxels), 1.0)
        y = apply_affine(self.mask.affine, voxels.astype(float))[:, 1]
        return self._sorted(_lobes_among(self.atlas, numbers, y), _lobes(self.atlas), len(voxels))


def _territory(region: Region) -> Part:
    return region.short, region.name, region.side, region.group


def _artery(region: Region) -> Part:
    return region.group, region.group, region.side, ""


def _structure(region: Region) -> Part:
    return region.lobe, region.lobe, region.side, ""


def _summed(
    regions: list[Region], counts: dict[int, int], part_of: Callable[[Region], Part]
) -> dict[Part, int]:
    sums: dict[Part, int] = {}
    for region in regions:
        part = part_of(region)
        sums[part] = sums.get(part, 0) + counts[region.index]
    return sums


@lru_cache(maxsize=2)
def _lobes(atlas: Atlas) -> dict[Part, int]:
    """Voxels of an atlas in each lobe."""
    voxels = np.argwhere(atlas.labels)
    y = apply_affine(atlas.affine, voxels.astype(float))[:, 1]
    return _lobes_among(atlas, atlas.labels[tuple(voxels.T)], y)


def _lobes_among(atlas: Atlas, numbers: np.ndarray, y_mm: np.ndarray) -> dict[Part, int]:
    """Voxels in each lobe; those without one are not counted."""
    counts: dict[Part, int] = {}
    behind = y_mm < CENTRAL_SULCUS_Y_MM
    all_of = np.bincount(numbers, minlength=max(atlas.regions) + 1)
    behind_of = np.bincount(numbers[behind], minlength=len(all_of))
    for number, region in atlas.regions.items():
        split = {region.lobe: int(all_of[number])}
        if region.group == "ACA" and region.lobe == "frontal":
            parietal = int(behind_of[number])
            split = {"frontal": split["frontal"] - parietal, "parietal": parietal}
        for lobe, voxels in split.items():
            if lobe and voxels:
                part = (lobe, lobe, region.side, "")
                counts[part] = counts.get(part, 0) + voxels
    return counts

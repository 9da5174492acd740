"""A brain whose voxels are told apart: structure, arterial territory, side, MNI coordinate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from strokedx_core.anatomy.atlas import LOBES, Atlas, Region, nearest_labels
from strokedx_core.anatomy.regions import GROUPS, STRUCTURES, TERRITORIES, sided, territory_number
from strokedx_core.volume import Flag

__all__ = ["VENTRICLE", "AnatomyMap"]

VENTRICLE = 1 + STRUCTURES.index("ventricle")
"""Number of the ventricles among the structures."""


@dataclass(frozen=True, eq=False)
class AnatomyMap:
    """Where each voxel of a brain lies.

    Attributes
    ----------
    structure : ndarray of uint8, (i, j, k)
        1 + index into `regions.STRUCTURES`; 0 outside of the brain.
    territory : ndarray of uint8, (i, j, k)
        As `regions.territory_number` numbers them; 0 in ventricles and outside of the brain.
    right : ndarray of bool, (i, j, k)
        The patient's right half of the brain.
    affine : ndarray, (4, 4)
        Voxel index to RAS millimetres.
    to_mni : ndarray, (4, 4)
        RAS millimetres to MNI152 millimetres.
    flags : tuple of Flag
    """

    structure: np.ndarray
    territory: np.ndarray
    right: np.ndarray
    affine: np.ndarray
    to_mni: np.ndarray
    flags: tuple[Flag, ...]

    def onto(self, shape: tuple[int, int, int], affine: np.ndarray) -> AnatomyMap:
        """The same on another grid, by the nearest voxel."""
        structure, territory, right = (
            nearest_labels(part, self.affine, shape, affine)
            for part in (self.structure, self.territory, self.right)
        )
        return AnatomyMap(structure, territory, right, affine, self.to_mni, self.flags)

    @property
    def midplane(self) -> np.ndarray:
        """Plane between the hemispheres, as `midplane.midplane_of` describes it."""
        plane: np.ndarray = self.to_mni[0] / np.linalg.norm(self.to_mni[0, :3])
        return plane

    @property
    def territories(self) -> Atlas:
        """Territories as an atlas of this brain, ventricles by their sides among them."""
        ventricle = self.structure == VENTRICLE
        labels = self.territory.astype(np.int32)
        labels[ventricle] = 2 * len(TERRITORIES) + 1 + self.right[ventricle]
        groups = {short: group for group, shorts in GROUPS.items() for short in shorts}
        counts = np.bincount(labels.ravel(), minlength=2 * len(TERRITORIES) + 3)
        regions = {}
        for short, name in (*TERRITORIES.items(), ("LV", "ventricle")):
            for right in (False, True):
                number = 2 * len(TERRITORIES) + 1 + right
                if short in TERRITORIES:
                    number = territory_number(short, right)
                regions[number] = Region(
                    number, sided(short, right), name, _side(right),
                    groups.get(short, "ventricle"), LOBES[short], int(counts[number]),
                )  # fmt: skip
        return Atlas(labels, self.affine, regions)

    @property
    def structures(self) -> Atlas:
        """Structures as an atlas of this brain."""
        labels = 2 * self.structure.astype(np.int32) - 1 + self.right
        labels[self.structure == 0] = 0
        counts = np.bincount(labels.ravel(), minlength=2 * len(STRUCTURES) + 1)
        regions = {}
        for index, name in enumerate(STRUCTURES):
            for right in (False, True):
                number = 2 * index + 1 + right
                regions[number] = Region(
                    number, sided(name, right), name, _side(right), "", name, int(counts[number])
                )
        return Atlas(labels, self.affine, regions)


def _side(right: bool) -> str:
    return "right" if right else "left"

"""How bright a lesion is beside the same place on the other side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine

from strokedx_core.volume import Volume, onto_grid, same_grid

__all__ = ["CORE_ADC", "Signals", "in_micrometres"]

CORE_ADC = 620.0
"""10^-6 mm²/s, under which tissue is counted to the infarct core (Purushotham et al.,
"Apparent diffusion coefficient threshold for delineation of ischemic core", Int J Stroke 2015)."""

_ENOUGH = 0.5  # share of a lesion whose mirror image must be there


@dataclass(frozen=True, eq=False)
class Signals:
    """Sequences on the grid of a lesion mask, and the plane that mirrors them.

    Attributes
    ----------
    images : mapping of str to ndarray of float32, (i, j, k)
        By modality; the ADC in 10^-6 mm²/s.
    affine : ndarray, (4, 4)
        Of the grid.
    midplane : ndarray, (4,), or None
        a x + b y + c z + d, with (a, b, c) of length 1, is how many millimetres a place lies to the
        right of the midline.
    lesion : ndarray of bool, (i, j, k)
        All lesions: none of them is what another is compared with.
    """

    images: Mapping[str, np.ndarray]
    affine: np.ndarray
    midplane: np.ndarray | None
    lesion: np.ndarray

    @classmethod
    def of(
        cls,
        volumes: Mapping[str, Volume],
        mask: Volume,
        midplane: np.ndarray | None,
        brain: np.ndarray | None = None,
    ) -> Signals:
        """Bring volumes onto the grid of a mask; `brain` is on it too, where it is known."""
        images = {}
        for modality, volume in volumes.items():
            data = volume.data
            if not same_grid(volume, mask):
                data = onto_grid(data, volume.affine, mask.shape, mask.affine)
            images[modality] = in_micrometres(data, brain) if modality == "ADC" else data
        return cls(images, mask.affine, midplane, mask.data)

    def mean(self, modality: str, voxels: np.ndarray) -> float:
        """Mean over voxels, (n, 3)."""
        return float(self.images[modality][tuple(voxels.T)].mean())

    def share_under(self, modality: str, level: float, voxels: np.ndarray) -> float:
        """Share of voxels, (n, 3), between 0 and a level, both excluded."""
        values = self.images[modality][tuple(voxels.T)]
        return float(np.mean((values > 0) & (values < level)))

    def ratio(self, modality: str, voxels: np.ndarray) -> float | None:
        """Mean over voxels by the mean over their mirror image.

        Parameters
        ----------
        modality : str
        voxels : ndarray of int, (n, 3)

        Returns
        -------
        float or None
            None where less than half of the mirror image is tissue outside of all lesions.
        """
        image, mirrored = self.images[modality], self._mirrored(voxels)
        mirrored = mirrored[~self.lesion[tuple(mirrored.T)] & (image[tuple(mirrored.T)] > 0)]
        if len(mirrored) < _ENOUGH * len(voxels):
            return None
        return self.mean(modality, voxels) / float(image[tuple(mirrored.T)].mean())

    def _mirrored(self, voxels: np.ndarray) -> np.ndarray:
        """The voxels nearest to where these lie in the mirror; those outside are left out."""
        assert self.midplane is not None
        places = apply_affine(self.affine, voxels.astype(float))
        normal = self.midplane[:3]
        away = places @ normal + self.midplane[3]
        places = places - 2 * away[:, None] * normal
        there = np.rint(apply_affine(np.linalg.inv(self.affine), places)).astype(int)
        return there[((there >= 0) & (there < self.lesion.shape)).all(axis=1)]


def in_micrometres(adc: np.ndarray, brain: np.ndarray | None = None) -> np.ndarray:
    """An ADC map in 10^-6 mm²/s, whichever power of a thousand it came in.

    Parameters
    ----------
    adc : ndarray
    brain : ndarray of bool, same shape, optional
        Where its median is taken; of all that is positive where not given, which noise in the air
        around a head may make too small.

    Raises
    ------
    ValueError
        If its median is no brain's in any of them.
    """
    inside = adc if brain is None or not brain.any() else adc[brain]
    positive = inside[inside > 0]
    median = float(np.median(positive)) if positive.size else 0.0
    for factor in (1.0, 1e3, 1e6):
        if 200 <= median * factor <= 3000:
            return adc * np.float32(factor)
    raise ValueError(f"the median of the ADC map is {median:g}, which is no unit of a brain's")

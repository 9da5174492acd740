"""Which pattern lesions make: by how many, how long and in whose territory they are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from nibabel.affines import voxel_sizes
from scipy.ndimage import maximum_filter

from strokedx_core.anatomy.atlas import Atlas

__all__ = ["PATTERNS", "border_zone", "pattern_of"]

PATTERNS = ("lacunar", "watershed", "embolic", "multi-territory", "single territory")

LACUNE_MM = 20.0
"""Longest diameter of a recent small subcortical infarct (Wardlaw et al., STRIVE, Lancet Neurol
2013)."""

BORDER_MM = 6.0
"""How far from another artery's territory a border zone reaches, along the axes."""

BORDER_SHARE = 0.7
"""Share of the lesions in border zones from which they are called watershed."""

EMBOLI = 3
"""Lesions, in two territories or more, from which they are called embolic."""

MAIN_SHARE = 0.75
"""Share of the volume in one lesion from which the others are fringes of it, no emboli."""

TERRITORY_SHARE = 0.1
"""Share of the lesions from which a territory counts as affected."""

_BORDERING = (("ACA", "MCA"), ("MCA", "PCA"))


@lru_cache(maxsize=2)
def border_zone(atlas: Atlas) -> np.ndarray:
    """Voxels of an atlas near the border of the ACA's and MCA's, or MCA's and PCA's territories.

    Returns
    -------
    ndarray of bool, of the atlas's shape
    """
    near, inside = {}, {}
    size = [2 * round(BORDER_MM / step) + 1 for step in voxel_sizes(atlas.affine)]
    for group in {name for pair in _BORDERING for name in pair}:
        numbers = [r.index for r in atlas.regions.values() if r.group == group]
        inside[group] = np.isin(atlas.labels, numbers)
        near[group] = maximum_filter(inside[group], size)
    zone = np.zeros(atlas.labels.shape, bool)
    for one, other in _BORDERING:
        zone |= (inside[one] & near[other]) | (inside[other] & near[one])
    return zone


def pattern_of(
    lesions: Sequence[tuple[float, float]],
    of_lesion: Sequence[tuple[str, str, float]],
    deep: float,
    in_border_zone: float,
) -> str:
    """Name the pattern.

    Parameters
    ----------
    lesions : sequence of (volume, diameter)
        Diameters in mm, volumes in any unit.
    of_lesion : sequence of (group, side, share)
        Share of all lesions in each artery's territory that they touch.
    deep : float
        Share in deep perforators' territories and the brainstem.
    in_border_zone : float
        Share in border zones.

    Returns
    -------
    str
        The first of `PATTERNS` that fits.
    """
    territories = [group for group, _, share in of_lesion if share >= TERRITORY_SHARE]
    if len(lesions) == 1 and lesions[0][1] <= LACUNE_MM and deep > 0.5:
        return "lacunar"
    if in_border_zone >= BORDER_SHARE:
        return "watershed"
    volumes = [volume for volume, _ in lesions]
    scattered = len(lesions) >= EMBOLI and max(volumes) < MAIN_SHARE * sum(volumes)
    if scattered and len(of_lesion) > 1:
        return "embolic"
    return "multi-territory" if len(territories) > 1 else "single territory"

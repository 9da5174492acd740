"""Scores that clinicians give the extent of an infarct, and how far the midline is pushed.

ASPECTS after Barber et al., "Validity and reliability of a quantitative computed tomography score",
Lancet 2000, applied to a lesion mask; pc-ASPECTS after Puetz et al., "Extent of hypoattenuation on
CT angiography source images predicts functional outcome in patients with basilar artery occlusion",
Stroke 2008. Both were made for the eye: which part of a region a mask must cover to count is this
program's own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from nibabel.affines import apply_affine

from strokedx_core.anatomy.anatomy_map import AnatomyMap
from strokedx_core.anatomy.regions import GROUPS, STRUCTURES, territory_number
from strokedx_core.volume import to_canonical

__all__ = ["AFFECTED", "ASPECTS_REGIONS", "aspects", "midline_shift_mm", "pc_aspects"]

AFFECTED = 0.2
"""Share of a region that must be lesioned for ASPECTS to take its point."""

TOUCHED_ML = 0.1
"""Lesion in a region from which pc-ASPECTS takes its points."""

GANGLIONIC_MM = 22.0
"""MNI coordinate of the upper end of the basal ganglia: M4 to M6 lie above, M1 to M3 below."""

LATERAL_MM = (8.0, -22.0)
"""MNI coordinates between which the cortex beside the insula lies: M2 and M5; M1 and M4 lie in
front of it, M3 and M6 behind."""

_DEEP_REGIONS = (
    "caudate", "lentiform nucleus", "internal capsule or corona radiata", "insula"
)  # fmt: skip
_LOBES = 4  # structures up to this number are lobes
_LOWEST_MM = -16.0  # MNI coordinate under which cortex belongs to no region of ASPECTS
_MIDBRAIN_MM, _PONS_MM = -22.0, -48.0  # MNI coordinates of their lower ends

ASPECTS_REGIONS = ("C", "L", "IC", "I", "M1", "M2", "M3", "M4", "M5", "M6")
"""Caudate, lentiform nucleus, internal capsule, insula, and six parts of the cortex."""


def aspects(lesion: np.ndarray, anatomy: AnatomyMap) -> dict[str, dict[str, Any]]:
    """ASPECTS of either side.

    Parameters
    ----------
    lesion : ndarray of bool, (i, j, k)
        On the grid of `anatomy`.
    anatomy : AnatomyMap

    Returns
    -------
    dict
        "left" and "right" to "score", 10 where nothing is affected, and the regions "affected".
    """
    number = [1 + STRUCTURES.index(name) for name in _DEEP_REGIONS]
    cortex = [t for t in GROUPS["MCA"] if t not in ("LLS", "MCAI")]
    found = {}
    for side, right in (("left", False), ("right", True)):
        half = anatomy.right == right
        regions = [half & (anatomy.structure == n) for n in number]
        supplied = np.isin(anatomy.territory, [territory_number(t, right) for t in cortex])
        # What of the territory is lobe, not what the lenticulostriate arteries share.
        voxels = np.argwhere(supplied & (anatomy.structure <= _LOBES))
        _, y, z = apply_affine(anatomy.to_mni @ anatomy.affine, voxels.astype(float)).T
        along = np.digitize(y, LATERAL_MM)  # 0 in front, 1 beside, 2 behind
        place = np.where(z >= GANGLIONIC_MM, 3, 0) + along
        place[z < _LOWEST_MM] = -1
        for part in range(6):
            region = np.zeros(lesion.shape, bool)
            region[tuple(voxels[place == part].T)] = True
            regions.append(region)
        # Regions that the image does not show cannot be judged: they keep their point.
        hit = [bool(r.any()) and float(lesion[r].mean()) >= AFFECTED for r in regions]
        affected = [name for name, yes in zip(ASPECTS_REGIONS, hit, strict=True) if yes]
        found[side] = {"score": 10 - len(affected), "affected": affected}
    return found


def pc_aspects(lesion: np.ndarray, anatomy: AnatomyMap) -> dict[str, Any]:
    """Posterior-circulation ASPECTS: a point for each thalamus, cerebellar half and PCA territory,
    two for midbrain and pons.

    Parameters and result are as in `aspects`, without sides.
    """
    voxels = np.argwhere(lesion)
    structure = anatomy.structure[tuple(voxels.T)]
    territory = anatomy.territory[tuple(voxels.T)]
    right = anatomy.right[tuple(voxels.T)]
    z = apply_affine(anatomy.to_mni @ anatomy.affine, voxels.astype(float))[:, 2]
    voxel_ml = abs(float(np.linalg.det(anatomy.affine[:3, :3]))) / 1000
    stem = structure == 1 + STRUCTURES.index("brainstem")
    lobes = ("PCAT", "PCAO")
    parts: list[tuple[str, int, np.ndarray]] = [
        ("midbrain", 2, stem & (z >= _MIDBRAIN_MM)),
        ("pons", 2, stem & (z < _MIDBRAIN_MM) & (z >= _PONS_MM)),
    ]
    for side, half in (("left", ~right), ("right", right)):
        numbers = [territory_number(short, side == "right") for short in lobes]
        cortical = np.isin(territory, numbers) & (structure <= _LOBES)
        for name, there in (
            ("thalamus", structure == 1 + STRUCTURES.index("thalamus")),
            ("cerebellum", structure == 1 + STRUCTURES.index("cerebellum")),
            ("PCA territory", cortical),
        ):
            parts.append((f"{side} {name}", 1, there & half))
    hit = [(n, points) for n, points, at in parts if at.sum() * voxel_ml >= TOUCHED_ML]
    return {"score": 10 - sum(points for _, points in hit), "affected": [name for name, _ in hit]}


def midline_shift_mm(anatomy: AnatomyMap, plane: np.ndarray) -> float | None:
    """How far the hemispheres' border at the septum and third ventricle lies from the midplane.

    Parameters
    ----------
    anatomy : AnatomyMap
    plane : ndarray, (4,)
        As `midplane.midplane_of` fits it to the brain's outline, which a lesion does not move.

    Returns
    -------
    float or None
        Towards the patient's right, mm; None where the image does not show that part.
    """
    right, affine = to_canonical(anatomy.right, anatomy.affine)
    brain, _ = to_canonical(anatomy.structure > 0, anatomy.affine)
    border = brain[:-1] & brain[1:] & (right[1:] & ~right[:-1])
    voxels = np.argwhere(border) + np.array([0.5, 0, 0])
    places = apply_affine(affine, voxels)
    _, y, z = apply_affine(anatomy.to_mni, places).T
    there = (np.abs(y - 2) < 14) & (z > 2) & (z < 16)
    if np.count_nonzero(there) < 8:
        return None
    return float(np.median(places[there] @ plane[:3] + plane[3]))

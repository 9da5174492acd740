"""The parts of the brain that a lesion can lie in, and what each is called.

`STRUCTURES` and `TERRITORIES` are what the anatomy network tells apart, each voxel in one of either
at most; the side is told apart from both.
"""

from __future__ import annotations

__all__ = ["CHANNELS", "GROUPS", "STRUCTURES", "TERRITORIES", "sided", "territory_number"]

STRUCTURES = (
    "frontal",
    "parietal",
    "temporal",
    "occipital",
    "insula",
    "caudate",
    "lentiform nucleus",
    "thalamus",
    "internal capsule or corona radiata",
    "deep white matter",
    "brainstem",
    "cerebellum",
    "ventricle",
)
"""Lobes, whose white matter is what lies near their cortex, and what lies deeper. Number 1 is the
first; 0 is outside of the brain."""

TERRITORIES = {
    "ACA": "anterior cerebral artery",
    "MLS": "medial lenticulostriate",
    "LLS": "lateral lenticulostriate",
    "MCAF": "middle cerebral artery, frontal part",
    "MCAP": "middle cerebral artery, parietal part",
    "MCAT": "middle cerebral artery, temporal part",
    "MCAO": "middle cerebral artery, occipital part",
    "MCAI": "middle cerebral artery, insular part",
    "PCAT": "posterior cerebral artery, temporal part",
    "PCAO": "posterior cerebral artery, occipital part",
    "PCTP": "posterior choroidal and thalamoperforators",
    "ACTP": "anterior choroidal and thalamoperforators",
    "BA": "basilar",
    "SC": "superior cerebellar",
    "IC": "inferior cerebellar",
}
"""Short name → name of the territories of the arterial atlas (Liu et al., "Digital 3D Brain MRI
Arterial Territories Atlas", Scientific Data 2023), without their sides."""

GROUPS = {
    "ACA": ("ACA", "MLS"),
    "MCA": ("LLS", "MCAF", "MCAP", "MCAT", "MCAO", "MCAI"),
    "PCA": ("PCAT", "PCAO", "PCTP", "ACTP"),
    "VB": ("BA", "SC", "IC"),
}
"""Artery → territories, as the atlas groups them; VB is vertebrobasilar."""

CHANNELS = 1 + len(STRUCTURES) + len(TERRITORIES)
"""What the network answers: right half, then structures, then territories."""


def sided(short: str, right: bool) -> str:
    """Short name of a territory with its side, as in the atlas's table."""
    return f"{short}_{'R' if right else 'L'}"


def territory_number(short: str, right: bool) -> int:
    """Number of a territory on one side, 1 to 30, as in the atlas."""
    return 2 * list(TERRITORIES).index(short) + 1 + int(right)

"""Claims: the few things that the neural captioner says of a lesion, each a field and its value.

from strokedx_core.captions.claims import claims_of, borne_out
claims_of(findings)                       # what is true
borne_out(("side", "left"), findings)     # whether something said is
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from strokedx_core.anatomy.regions import GROUPS, STRUCTURES
from strokedx_core.captions.facts import Finding

__all__ = ["FIELDS", "Claim", "borne_out", "claims_of", "number_of", "size_of", "type_of"]

Claim = tuple[str, str]
"""A field and its value."""

FIELDS: dict[str, tuple[str, ...]] = {
    "presence": ("none",),
    "type": ("ischemic", "hemorrhagic", "both"),
    "side": ("left", "right", "both"),
    "territory": tuple(GROUPS),
    "lobe": STRUCTURES,
    "size": ("small", "medium", "large"),
    "number": ("one", "few", "many"),
}
"""Field → values. A case without a lesion has the presence alone; `both` of the types is an infarct
with blood in it; the side is where nearly all of the lesions lie, as the finding `side` has it."""

SMALL_ML, LARGE_ML = 5.0, 50.0
"""Under the first a lesion is small, over the second it is large."""

FEW = 4
"""Lesions up to which they are few."""

NAMED_SHARE = 0.25
"""Share of the lesions in a part of the brain from which it is true that they lie there."""

BLOOD_SHARE = 0.75
"""Share of blood from which a lesion is a haemorrhage and no infarct with blood in it."""

SOME_BLOOD = 0.02
"""Share of blood from which there is any."""


def size_of(volume_ml: float) -> str:
    """The size class of a volume in ml."""
    return "small" if volume_ml < SMALL_ML else "large" if volume_ml > LARGE_ML else "medium"


def number_of(count: int) -> str:
    """The class of a number of lesions."""
    return "one" if count == 1 else "few" if count <= FEW else "many"


def type_of(blood: float) -> str:
    """The type of a lesion, of which this share is blood."""
    return "hemorrhagic" if blood >= BLOOD_SHARE else "both" if blood >= SOME_BLOOD else "ischemic"


def claims_of(found: Mapping[str, Finding]) -> dict[str, str]:
    """What is true of the lesions of a case or of a slice.

    Parameters
    ----------
    found : mapping of str to Finding
        Findings of a case or a slice, by the names that `captions.schema` explains.

    Returns
    -------
    dict of str to str
        By field; what is not assessable is not there.
    """
    count = _count(found)
    if count == 0:
        return {"presence": "none"}
    claims: dict[str, str] = {}
    if count is not None:
        claims["number"] = number_of(count)
    if _known(found, "volume"):
        claims["size"] = size_of(found["volume"].value)
    if _known(found, "hemorrhagic"):
        claims["type"] = type_of(found["hemorrhagic"].value)
    if _known(found, "side"):
        claims["side"] = found["side"].value
    for field, name in (("territory", "arteries"), ("lobe", "lobes")):
        shares = _shares(found, name)
        if shares:
            claims[field] = max(shares, key=lambda part: shares[part])
    return {field: claims[field] for field in FIELDS if field in claims}


def borne_out(claim: Claim, found: Mapping[str, Finding]) -> bool | None:
    """Whether findings bear out what was said; None where they cannot tell.

    Several arteries or lobes may be named truly: each that holds `NAMED_SHARE` of the lesions, and
    the one that holds most. Both sides may be where any lesion lies on the other.
    """
    field, value = claim
    truth = claims_of(found)
    if field == "presence":
        return truth.get("presence") == "none"
    if "presence" in truth:
        return False
    if field in ("territory", "lobe"):
        name = "arteries" if field == "territory" else "lobes"
        shares = _shares(found, name)
        if not shares:
            # Known, they lie in none: those in a ventricle, of an artery.
            return False if _known(found, name) else None
        return truth[field] == value or shares.get(value, 0.0) >= NAMED_SHARE
    if claim == ("side", "both") and _known(found, "bilateral"):
        return bool(found["bilateral"].value) or truth.get("side") == "both"
    return truth[field] == value if field in truth else None


def _known(found: Mapping[str, Finding], name: str) -> bool:
    return name in found and found[name].known


def _count(found: Mapping[str, Finding]) -> int | None:
    if _known(found, "count"):
        return int(found["count"].value)
    return len(found["lesions"].value) if _known(found, "lesions") else None


def _shares(found: Mapping[str, Finding], name: str) -> dict[str, float]:
    """Share of the lesions by part, both sides together."""
    if not _known(found, name):
        return {}
    shares: dict[str, float] = {}
    rows: list[dict[str, Any]] = found[name].value
    for row in rows:
        shares[row["part"]] = shares.get(row["part"], 0.0) + row["of_lesion"]
    return shares

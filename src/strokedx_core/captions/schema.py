"""Findings as JSON: what each is called, how it was measured, and a schema that files keep to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from strokedx_core.anatomy.midplane import BOTH_SIDES
from strokedx_core.captions.case_measure import BLEED_ML, MISMATCH_FLAIR
from strokedx_core.captions.facts import CaseFindings, Finding
from strokedx_core.captions.pattern import (
    BORDER_MM,
    BORDER_SHARE,
    EMBOLI,
    LACUNE_MM,
    MAIN_SHARE,
    TERRITORY_SHARE,
)
from strokedx_core.captions.scores import AFFECTED, ASPECTS_REGIONS, TOUCHED_ML
from strokedx_core.captions.signals import CORE_ADC

__all__ = ["ANYWHERE", "CASE", "LESION", "SLICE", "VERSION", "findings_json", "json_schema"]

VERSION = "1.1"
"""Of the format. The first number changes when a reader of the old one would go wrong."""

ANYWHERE = {
    "volume": "Voxels times their volume.",
    "side": "The patient's; both from a share of "
    f"{BOTH_SIDES:.0%} of the voxels across the plane between the hemispheres.",
    "slices": "First and last slice that is touched, counted from 0, along the array's axis that "
    "runs most nearly from inferior to superior.",
    "territories": "Voxels in each region of the atlas but the ventricles; shares by volume.",
    "arteries": "The same, for the atlas's groups of territories on either side.",
    "lobes": "The same, for lobes and deep structures as the anatomy network finds them; without "
    "it, for the lobe that each region lies in: of the anterior cerebral artery's territory, what "
    "lies behind the central sulcus at the medial wall is parietal.",
    "outside_atlas": "Share of the voxels in no region of the atlas.",
    "dwi_ratio": "Mean DWI by the mean over the mirror image, lesions left out.",
    "adc_ratio": "Mean ADC by the mean over the mirror image, lesions left out.",
    "flair_ratio": "Mean FLAIR by the mean over the mirror image, lesions left out.",
    "low_adc": f"Share of the voxels with an ADC under {CORE_ADC:g} x 10^-6 mm²/s.",
    "hemorrhagic": "Share of the voxels that the mask of blood marks.",
}
"""Findings of a lesion and of all of them together, and how each is measured."""

LESION = {
    **ANYWHERE,
    "diameter": "Distance of the two voxels farthest apart, centre to centre.",
    "centroid": "Mean place of the voxels, in the image's own space.",
    "centroid_mni": "Mean place of the voxels in MNI152 space.",
    "peak_mni": "Place of the voxel that is brightest on DWI, in MNI152 space.",
}
"""Findings of one lesion."""

SLICE = {
    "lesions": "Numbers of the lesions that are on it.",
    "area": "Voxels times the area of a voxel in the slice.",
    "diameter": "Of the lesion that is longest there: distance of its two voxels farthest apart in "
    "the slice, centre to centre.",
    **{name: ANYWHERE[name] for name in ("side", "territories", "arteries", "lobes",
                                         "outside_atlas")},
}  # fmt: skip
"""Findings of all lesions on one slice."""

CASE = {
    **ANYWHERE,
    "count": "Pieces of the mask that hang together by faces, edges or corners of voxels.",
    "bilateral": "Whether there are lesions on both sides.",
    "pattern": "The first that fits: lacunar (one lesion, up to "
    f"{LACUNE_MM:g} mm long, most of it in perforators' territories or the brainstem); watershed "
    f"({BORDER_SHARE:.0%} within {BORDER_MM:g} mm of the border of anterior and middle, or middle "
    f"and posterior cerebral artery); embolic ({EMBOLI} lesions or more in two arteries' "
    f"territories, none of them with {MAIN_SHARE:.0%} of the volume); multi-territory (two or more "
    f"with {TERRITORY_SHARE:.0%} of the volume each); single territory.",
    "dwi_flair_mismatch": f"DWI ratio of {MISMATCH_FLAIR:g} or more where the FLAIR ratio is less.",
    "hemorrhagic_volume": "Voxels of the lesions that the mask of blood marks, times their volume.",
    "aspects": "ASPECTS of either side: 10 less one for each of ten regions of the middle cerebral "
    f"artery of which {AFFECTED:.0%} or more is lesioned.",
    "pc_aspects": "Posterior-circulation ASPECTS: 10 less one for each thalamus, half of the "
    "cerebellum and territory of a posterior cerebral artery, and two for midbrain and pons, with "
    f"{TOUCHED_ML:g} ml of lesion or more.",
    "midline_shift": "Median distance of the border between the hemispheres, at septum and third "
    "ventricle, from the plane fitted to the brain's outline; positive towards the right.",
    "ventricular_extension": f"Whether {BLEED_ML:g} ml of blood or more lie in ventricles.",
}
"""Findings of a case."""


def findings_json(found: CaseFindings) -> dict[str, Any]:
    """Findings as JSON values, numbers rounded to six digits.

    Parameters
    ----------
    found : CaseFindings

    Returns
    -------
    dict
        As `json_schema` describes it.
    """
    return {
        "schema": "strokedx-findings",
        "version": VERSION,
        "case": {name: _entry(finding) for name, finding in found.findings.items()},
        "lesions": [
            {
                "number": lesion.number,
                **{name: _entry(finding) for name, finding in lesion.findings.items()},
            }
            for lesion in found.lesions
        ],
        "slices": [
            {
                "index": one.index,
                **{name: _entry(finding) for name, finding in one.findings.items()},
            }
            for one in found.slices
        ],
        "how": {"case": CASE, "lesions": LESION, "slices": SLICE},
    }


def _entry(finding: Finding) -> dict[str, Any]:
    if not finding.known:
        return {"not_assessable": finding.reason}
    entry = {"value": _rounded(finding.value)}
    return entry | ({"unit": finding.unit} if finding.unit else {})


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return value


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) that `findings_json` keeps to."""
    number, text, share = {"type": "number"}, {"type": "string"}, {"$ref": "#/$defs/shares"}
    fraction = {"type": "number", "minimum": 0, "maximum": 1}
    positive = {"type": "number", "minimum": 0}
    place = {"type": "array", "items": number, "minItems": 3, "maxItems": 3}
    index = {"type": "integer", "minimum": 0}

    def score(regions: Sequence[str] | None) -> dict[str, Any]:
        items = {"enum": list(regions)} if regions else text
        return {
            "type": "object",
            "properties": {
                "score": {"type": "integer", "minimum": 0, "maximum": 10},
                "affected": {"type": "array", "items": items},
            },
            "required": ["score", "affected"],
            "additionalProperties": False,
        }

    sided = {side: score(ASPECTS_REGIONS) for side in ("left", "right")}
    kinds: dict[str, Any] = {
        "lesions": {"type": "array", "items": index, "minItems": 1}, "area": positive,
        "volume": positive, "hemorrhagic_volume": positive, "diameter": positive,
        "side": {"enum": ["left", "right", "both"]},
        "slices": {"type": "array", "items": index, "minItems": 2, "maxItems": 2},
        "territories": share, "arteries": share, "lobes": share,
        "outside_atlas": fraction, "low_adc": fraction, "hemorrhagic": fraction,
        "dwi_ratio": positive, "adc_ratio": positive, "flair_ratio": positive,
        "centroid": place, "centroid_mni": place, "peak_mni": place,
        "count": index,
        "bilateral": {"type": "boolean"}, "dwi_flair_mismatch": {"type": "boolean"},
        "ventricular_extension": {"type": "boolean"},
        "pattern": text,
        "aspects": {
            "type": "object", "properties": sided, "required": ["left", "right"],
            "additionalProperties": False,
        },
        "pc_aspects": score(None), "midline_shift": number,
    }  # fmt: skip

    def entry(name: str) -> dict[str, Any]:
        known = {
            "type": "object",
            "properties": {"value": kinds[name], "unit": text},
            "required": ["value"],
            "additionalProperties": False,
        }
        unknown = {
            "type": "object",
            "properties": {"not_assessable": text},
            "required": ["not_assessable"],
            "additionalProperties": False,
        }
        return {"oneOf": [known, unknown]}

    def body(names: dict[str, str], more: dict[str, Any]) -> dict[str, Any]:
        properties = {name: {"description": how, **entry(name)} for name, how in names.items()}
        return {
            "type": "object",
            "properties": more | properties,
            "required": [*more, *names],
            "additionalProperties": False,
        }

    shares = {
        "type": "object",
        "properties": {
            "part": text, "name": text, "side": text, "group": text,
            "voxels": index, "of_lesion": fraction, "of_part": positive,
        },
        "additionalProperties": False,
    }  # fmt: skip
    shares["required"] = list(shares["properties"])  # type: ignore[call-overload]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Findings of StrokeDx, version {VERSION}",
        "type": "object",
        "properties": {
            "schema": {"const": "strokedx-findings"},
            "version": {"const": VERSION},
            "case": body(CASE, {}),
            "lesions": {"type": "array", "items": body(LESION, {"number": index})},
            "slices": {"type": "array", "items": body(SLICE, {"index": index})},
            "how": {"type": "object"},
        },
        "required": ["schema", "version", "case", "lesions", "slices", "how"],
        "$defs": {"shares": {"type": "array", "items": shares}},
    }

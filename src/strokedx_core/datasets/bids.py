"""BIDS data sets (Gorgolewski et al., Scientific Data 2016) with masks among their derivatives:
SOOP, ARC, ISLES 2022, and any other.

Images are told by their suffix (`_T1w`, `_T2w`, `_FLAIR`, `_dwi` with `rec-TRACE` or `rec-ADC`,
`_adc`, `_swi`, `_T2starw`), masks by `lesion` or `brain` in the names of files that end in `_mask`.
"""

from __future__ import annotations

import re

from strokedx_core.datasets.layout import ANY_IMAGE, Layout, named

__all__ = ["ARC", "BIDS", "ISLES2022", "SOOP"]

_SUB = re.compile(r"(?:^|/)(?P<person>sub-[A-Za-z0-9]+)(?=[/_])")
_SES = re.compile(r"(?:^|[/_])ses-(?P<session>[A-Za-z0-9]+)(?=[/_])")
# `(?!.*derivatives)` keeps processed images from being taken for raw ones.
_RAW = r"^(?!.*derivatives/).*"
_ANAT = {
    "T1W": named(rf"{_RAW}_t1w"),
    "T2W": named(rf"{_RAW}_t2w"),
    "FLAIR": named(rf"{_RAW}_flair"),
}
_DIFFUSION = {
    "ADC": named(rf"{_RAW}(_rec-adc_dwi|_adc)"),
    "B0": named(rf"{_RAW}(_rec-b0_dwi|_b0|_sbref)"),
}

BIDS = Layout(
    name="bids",
    title="a BIDS data set",
    example="sub-01/anat/sub-01_T1w.nii.gz",
    person=_SUB,
    session=_SES,
    roles={
        **_ANAT,
        **_DIFFUSION,
        "DWI": named(rf"{_RAW}(_rec-trace)?_dwi"),
        "SWI": named(rf"{_RAW}_(swi|t2starw|t2star|gre)"),
        "acute lesion mask": named(r"desc-lesionacute_mask"),
        "chronic lesion mask": named(r"desc-lesionchronic_mask"),
        "lesion mask": named(r"(lesion[^/]*_mask|lesion_?mask|_msk)"),
        "brain mask": named(r"(brain[^/]*_mask|brain_?mask)"),
    },
    needed=(ANY_IMAGE, "lesion mask"),
)
"""Any BIDS data set with lesion masks."""

SOOP = Layout(
    name="soop",
    title="SOOP (ds004889)",
    example="sub-1/dwi/sub-1_rec-TRACE_dwi.nii.gz",
    person=_SUB,
    roles={
        "T1W": _ANAT["T1W"],
        "FLAIR": _ANAT["FLAIR"],
        "ADC": named(rf"{_RAW}_rec-adc_dwi"),
        "DWI": named(rf"{_RAW}_rec-trace_dwi"),
        "lesion mask": named(r"_space-trace_desc-lesion_mask"),
        "acute lesion mask": named(r"_space-trace_desc-lesionacute_mask"),
        "chronic lesion mask": named(r"_space-trace_desc-lesionchronic_mask"),
    },
    needed=("DWI", "lesion mask"),
    lesion_type="ischemic",
)
"""SOOP, OpenNeuro ds004889: acute ischaemic strokes of 1,715 people (Absher et al., 2024). Mirrors
store `.nii`, or each image inside a folder of its own name."""

ARC = Layout(
    name="arc",
    title="ARC (ds004884)",
    example="sub-M2001/ses-1/anat/sub-M2001_ses-1_T1w.nii.gz",
    person=_SUB,
    session=_SES,
    roles={**_ANAT, "lesion mask": named(r"_desc-lesion_mask")},
    needed=(ANY_IMAGE, "lesion mask"),
    lesion_type="ischemic",
)
"""ARC, OpenNeuro ds004884: chronic strokes of 230 people with aphasia (Gibson et al., 2024)."""

ISLES2022 = Layout(
    name="isles2022",
    title="ISLES 2022",
    example="sub-strokecase0001/ses-0001/dwi/sub-strokecase0001_ses-0001_dwi.nii.gz",
    person=_SUB,
    session=_SES,
    roles={
        "DWI": named(rf"{_RAW}_dwi"),
        "ADC": named(rf"{_RAW}_adc"),
        "FLAIR": _ANAT["FLAIR"],
        "lesion mask": named("_msk"),
    },
    needed=("DWI", "lesion mask"),
    lesion_type="ischemic",
)
"""ISLES 2022: acute and subacute ischaemic strokes of 250 people (Hernandez Petzsche et al.,
Scientific Data 2022). DWI, ADC and mask share a grid, FLAIR has its own."""

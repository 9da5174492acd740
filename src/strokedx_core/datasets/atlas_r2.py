"""ATLAS R2.0: T1W images of chronic strokes in MNI space (Liew et al., Scientific Data 2022).

`Training/R001/sub-r001s001/ses-1/anat/sub-r001s001_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz` and
`…_label-L_desc-T1lesion_mask.nii.gz` beside it; people of the test part have no mask.
"""

from __future__ import annotations

import re

from strokedx_core.datasets.layout import Layout, named

__all__ = ["LAYOUT"]

LAYOUT = Layout(
    name="atlas-r2",
    title="ATLAS R2.0",
    example="sub-r001s001_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz",
    person=re.compile(r"(?:^|/)(?P<person>sub-r\d{3}s\d{3})(?=[/_])", re.IGNORECASE),
    session=re.compile(r"(?:^|[/_])ses-(?P<session>[A-Za-z0-9]+)(?=[/_])"),
    roles={"T1W": named("_t1w"), "lesion mask": named("_desc-t1lesion_mask")},
    needed=("T1W", "lesion mask"),
)

"""NFBS, the Neurofeedback Skull-stripped repository: T1W heads of 125 people with brain masks.

`A00028185/sub-A00028185_ses-NFB3_T1w.nii.gz`, and beside it `…_T1w_brain.nii.gz` (stripped) and
`…_T1w_brainmask.nii.gz`. Some mirrors keep the files without a folder for each person.
"""

from __future__ import annotations

import re

from strokedx_core.datasets.layout import Layout, named

__all__ = ["LAYOUT"]

LAYOUT = Layout(
    name="nfbs",
    title="NFBS",
    example="sub-A00028185_ses-NFB3_T1w.nii.gz",
    person=re.compile(r"(?:^|/)(?:sub-)?(?P<person>A\d{8})(?=[/_])"),
    session=re.compile(r"_ses-(?P<session>[A-Za-z0-9]+)_"),
    roles={
        "brain mask": named("_T1w_brainmask"),
        "stripped image": named("_T1w_brain"),
        "T1W": named("_T1w"),
    },
    needed=("T1W", "brain mask"),
    strict=True,
)

"""NFBS, the Neurofeedback Skull-stripped repository: T1W heads of 125 people with brain masks.

`A00028185/sub-A00028185_ses-NFB3_T1w.nii.gz`, and beside it `…_T1w_brain.nii.gz` (stripped) and
`…_T1w_brainmask.nii.gz`. Some mirrors keep the files without a folder for each person.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from strokedx_core.datasets.cases import CaseFiles, DataSetError, Survey, image_files, one_of

__all__ = ["survey"]

_NAME = re.compile(
    r"sub-(?P<person>[A-Za-z0-9]+)_ses-(?P<session>[A-Za-z0-9]+)_T1w"
    r"(?P<role>|_brain|_brainmask)\.nii(?:\.gz)?$"
)
_ROLES = {"": "T1w image", "_brainmask": "brain mask"}


def survey(folder: Path) -> Survey:
    """Find everybody in a folder as downloaded.

    Raises
    ------
    DataSetError
        If it is no folder of NFBS, or somebody has two files for one role.
    """
    people: dict[tuple[str, str], dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    files = image_files(folder)
    for path in files:
        match = _NAME.search(path.name)
        if match:
            people[match["person"], match["session"]][match["role"]].append(path)
    if not people:
        raise DataSetError(
            f"{folder}: not NFBS: none of its {len(files)} images is named like "
            f"sub-A00028185_ses-NFB3_T1w.nii.gz (the first is {files[0].name})"
        )
    cases, left_out = [], {}
    for (person, session), roles in sorted(people.items()):
        image, mask = (one_of(roles[role], said, person) for role, said in _ROLES.items())
        if image is None or mask is None:
            missing = [said for role, said in _ROLES.items() if not roles[role]]
            left_out[f"{person}, session {session}"] = f"no {' and no '.join(missing)}"
        else:
            cases.append(CaseFiles("nfbs", person, session, {"T1W": image}, brain=mask))
    return Survey(tuple(cases), left_out)

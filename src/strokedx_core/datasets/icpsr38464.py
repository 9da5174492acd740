"""ICPSR 38464: acute strokes of 2,888 people with DWI, ADC, B0, masks and history.

How the folders nest differs between copies, so everything below the folder is grouped by the
`sub-` and eight hexadecimal digits in its path: `*DWI_space-orig.nii.gz`, `*ADC_space-orig`,
`*B0_space-orig`, `*desc-brain_mask`, `*desc-stroke_mask`. `participants.tsv` says of each person
`Lesion-type` and `Medical-history`, for whose labels `dictionary.json` may have sentences.
"""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from pathlib import Path

from strokedx_core.datasets.cases import CaseFiles, DataSetError, Survey, image_files, one_of

__all__ = ["survey"]

_PERSON = re.compile(r"sub-[0-9a-f]{8}(?![0-9a-zA-Z])")
_ROLES = {
    "DWI": re.compile(r"dwi_space-orig\.nii(\.gz)?$", re.IGNORECASE),
    "ADC": re.compile(r"adc_space-orig\.nii(\.gz)?$", re.IGNORECASE),
    "B0": re.compile(r"b0_space-orig\.nii(\.gz)?$", re.IGNORECASE),
    "FLAIR": re.compile(r"flair_space-orig\.nii(\.gz)?$", re.IGNORECASE),
    "T1W": re.compile(r"t1w?_space-orig\.nii(\.gz)?$", re.IGNORECASE),
    "brain mask": re.compile(r"desc-brain_mask\.nii(\.gz)?$", re.IGNORECASE),
    "stroke mask": re.compile(r"desc-stroke_mask\.nii(\.gz)?$", re.IGNORECASE),
}
_NEEDED = ("DWI", "brain mask", "stroke mask")
_TYPES = {"ischemic": "ischemic", "ischaemic": "ischemic", "hemorrhagic": "hemorrhagic",
          "haemorrhagic": "hemorrhagic"}  # fmt: skip


def survey(folder: Path) -> Survey:
    """Find everybody in a folder as downloaded.

    Raises
    ------
    DataSetError
        If it is no folder of this data set, somebody has two files for one role, or the table of
        participants cannot be read.
    """
    people: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    files = image_files(folder)
    for path in files:
        persons = set(_PERSON.findall(path.relative_to(folder).as_posix()))
        role = next((name for name, ending in _ROLES.items() if ending.search(path.name)), None)
        if len(persons) == 1 and role is not None:
            people[persons.pop()][role].append(path)
    if not people:
        raise DataSetError(
            f"{folder}: not ICPSR 38464: no image of a person (sub- and eight hexadecimal digits) "
            f"among its {len(files)} (the first is {files[0].relative_to(folder)})"
        )
    table, sentences = _table(folder), _sentences(folder)
    cases, left_out = [], {}
    for person, roles in sorted(people.items()):
        found = {role: one_of(roles[role], role, person) for role in _ROLES}
        missing = [role for role in _NEEDED if found[role] is None]
        if missing:
            left_out[person] = f"no {' and no '.join(missing)}"
            continue
        row = table.get(person, {})
        history = row.get("Medical-history", "")
        cases.append(
            CaseFiles(
                "icpsr38464",
                person,
                None,
                {r: p for r, p in found.items() if p is not None and "mask" not in r},
                brain=found["brain mask"],
                lesion=found["stroke mask"],
                lesion_type=_TYPES.get(row.get("Lesion-type", "").strip().lower()),
                history={name: value for name, value in row.items() if value},
                text=sentences.get(history, history) or None,
            )
        )
    # Somebody in the table without any image is missing too.
    left_out |= dict.fromkeys(sorted(table.keys() - people.keys()), "no image")
    return Survey(tuple(cases), left_out)


def _table(folder: Path) -> dict[str, dict[str, str]]:
    path = one_of(sorted(folder.rglob("participants.tsv")), "table of participants", str(folder))
    if path is None:
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataSetError(f"{path}: {error}") from error
    if not rows or "participant_id" not in rows[0]:
        raise DataSetError(f"{path}: no column participant_id")
    people = {}
    for row in rows:
        name = (row.pop("participant_id") or "").strip()
        if name in people:
            raise DataSetError(f"{path}: {name} stands there twice")
        people[name] = {k: (v or "").strip() for k, v in row.items() if k is not None}
    return people


def _sentences(folder: Path) -> dict[str, str]:
    """The sentence that the dictionary has for each label of the history."""
    path = one_of(sorted(folder.rglob("dictionary.json")), "dictionary", str(folder))
    if path is None:
        return {}
    try:
        levels = json.loads(path.read_text(encoding="utf-8"))["Medical-history"]["Levels"]
        return {str(label): str(sentence) for label, sentence in levels.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataSetError(f"{path}: no Levels of Medical-history in it ({error})") from error

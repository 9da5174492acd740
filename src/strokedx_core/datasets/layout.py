"""Layouts: which file of a folder belongs to whom, and in what role.

A data set is described by a `Layout`; `gather` sorts the files of a folder by it without judging,
`survey` makes cases of those who are complete and says what the others lack.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from strokedx_core.datasets.cases import CaseFiles, DataSetError, Survey, image_files, one_of
from strokedx_core.tasks import MODALITIES

__all__ = ["ANY_IMAGE", "Gathered", "Layout", "Who", "gather", "named", "read_table", "survey"]

Who = tuple[str, str]
"""Person, and session; "" where there are none."""

ANY_IMAGE = "image"
"""Among the needed roles: any one sequence will do."""

LESION_MASKS = ("lesion mask", "acute lesion mask", "chronic lesion mask")
"""Roles of lesion masks; the first that is there is what is trained on."""

Table = Mapping[str, Mapping[str, str]]


def named(ending: str) -> re.Pattern[str]:
    """Files whose names end like this, before `.nii` or `.nii.gz`, in upper or lower case."""
    return re.compile(rf"{ending}\.nii(\.gz)?$", re.IGNORECASE)


@dataclass(frozen=True)
class Layout:
    """How a data set's folder is laid out.

    Attributes
    ----------
    name : str
        As in `datasets.DATA_SETS`.
    title : str
    example : str
        Path of an image of it, for messages.
    person : Pattern
        Found in an image's path below the folder; its group `person` is whose it is.
    session : Pattern or None
        Likewise for the group `session`.
    roles : mapping of str to Pattern
        Role → what such a file's path looks like; the first that fits counts. Roles are sequences,
        one of `tasks.MODALITIES`, "brain mask", `LESION_MASKS`, or others that nothing needs.
    needed : tuple of str
        Roles without which nobody is complete; `ANY_IMAGE` is any sequence.
    lesion_type : str or None
        What all lesions of the data set are.
    type_column : str
        Column of `participants.tsv` that says the lesion type.
    text : callable, optional
        Folder → what makes a sentence of a row of the table.
    strict : bool
        Whether two files for one role of somebody are an error; otherwise who has them is left out.
    """

    name: str
    title: str
    example: str
    person: re.Pattern[str]
    roles: Mapping[str, re.Pattern[str]]
    needed: tuple[str, ...]
    session: re.Pattern[str] | None = None
    lesion_type: str | None = None
    type_column: str = ""
    text: Callable[[Path], Callable[[Mapping[str, str]], str | None]] | None = None
    strict: bool = False


@dataclass(frozen=True)
class Gathered:
    """The files of a folder, sorted.

    Attributes
    ----------
    folder : Path
    people : mapping of Who to mapping of str to list of Path
        Everybody seen, in a file's or folder's name or the table; by role, their files.
    unplaced : list of Path
        Images that are nobody's, or in no known role.
    table : mapping of str to mapping of str to str
        Rows of `participants.tsv` by person.
    """

    folder: Path
    people: Mapping[Who, Mapping[str, list[Path]]]
    unplaced: list[Path] = field(default_factory=list)
    table: Table = field(default_factory=dict)


def gather(folder: Path, layout: Layout) -> Gathered:
    """Sort the files of a folder.

    Raises
    ------
    DataSetError
        If it holds no image, no person of this data set, or a table that cannot be read.
    """
    files, unplaced = image_files(folder), []
    people: dict[Who, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for path in files:
        relative = path.relative_to(folder).as_posix()
        who = _who(relative, layout)
        role = next((r for r, pattern in layout.roles.items() if pattern.search(relative)), None)
        if who is None or role is None:
            unplaced.append(path)
        else:
            people[who][role].append(path)
    if not people:
        raise DataSetError(
            f"{folder}: not {layout.title}: none of its {len(files)} images is named like "
            f"{layout.example} (the first is {files[0].relative_to(folder)})"
        )
    # A folder of somebody's without any image is somebody all the same.
    here = {person for person, _ in people}
    for path in sorted(p for p in folder.rglob("*") if p.is_dir()):
        who = _who(f"{path.relative_to(folder).as_posix()}/", layout)
        if who is not None and who[0] not in here:
            people[who[0], ""] = {}
            here.add(who[0])
    table = read_table(folder)
    for person in table.keys() - here:
        people[person, ""] = {}
    return Gathered(folder, dict(sorted(people.items())), unplaced, table)


def _who(path: str, layout: Layout) -> Who | None:
    persons = {match["person"] for match in layout.person.finditer(path)}
    if len(persons) != 1:
        return None
    session = layout.session.search(path) if layout.session else None
    return persons.pop(), session["session"] if session else ""


def missing_roles(roles: Mapping[str, object], layout: Layout) -> list[str]:
    """Needed roles for which somebody has no file."""
    there = {role for role, files in roles.items() if files}

    def has(role: str) -> bool:
        if role == ANY_IMAGE:
            return bool(there & set(MODALITIES))
        if role == LESION_MASKS[0]:
            return bool(there & set(LESION_MASKS))
        return role in there

    return [role for role in layout.needed if not has(role)]


def survey(folder: Path, layout: Layout) -> Survey:
    """Make cases of everybody who is complete.

    Raises
    ------
    DataSetError
        As `gather`, or if the layout is strict and somebody has two files for one role.
    """
    gathered = gather(folder, layout)
    sentence = layout.text(folder) if layout.text else None
    cases, left_out = [], {}
    for (person, session), files in gathered.people.items():
        called = f"{person}, session {session}" if session else person
        if not files:
            left_out[called] = "no image"
            continue
        try:
            roles = {role: one_of(files.get(role, []), role, called) for role in layout.roles}
        except DataSetError as error:
            if layout.strict:
                raise
            left_out[called] = str(error).removeprefix(f"{called}: ")
            continue
        missing = missing_roles(roles, layout)
        if missing:
            left_out[called] = f"no {' and no '.join(missing)}"
            continue
        row = gathered.table.get(person, {})
        said = row.get(layout.type_column, "").strip().lower().replace("aemic", "emic")
        said = said.replace("haem", "hem")
        kind = said if said in ("ischemic", "hemorrhagic") else layout.lesion_type
        lesions = [roles[role] for role in LESION_MASKS if roles.get(role) is not None]
        cases.append(
            CaseFiles(
                layout.name,
                person,
                session or None,
                {r: path for r, path in roles.items() if path is not None and r in MODALITIES},
                brain=roles.get("brain mask"),
                lesion=lesions[0] if lesions else None,
                lesion_type=kind,
                history={name: value for name, value in row.items() if value},
                text=sentence(row) if sentence else None,
            )
        )
    return Survey(tuple(cases), left_out)


def read_table(folder: Path) -> dict[str, dict[str, str]]:
    """Rows of `participants.tsv` by person; none where there is no such file.

    Raises
    ------
    DataSetError
        If there are two, or it cannot be read, or somebody stands in it twice.
    """
    tables: Iterable[Path] = sorted(
        path for path in folder.rglob("participants.tsv") if "derivatives" not in path.parts
    )
    path = one_of(tables, "table of participants", str(folder))
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

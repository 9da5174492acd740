"""Which examinations a study has: from a BIDS folder, or from a table."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from strokedx_core.datasets.bids import BIDS
from strokedx_core.datasets.cases import DataSetError
from strokedx_core.datasets.layout import gather
from strokedx_core.tasks import MODALITIES

__all__ = ["REFERENCE", "CohortError", "Exam", "chosen", "find_exams"]

REFERENCE = ("DWI", "FLAIR", "T2W", "T1W", "SWI", "ADC", "B0")
"""Results lie on the grid of the first of these that is there."""


class CohortError(ValueError):
    """A study cannot be worked on as asked; the message says why."""


@dataclass(frozen=True)
class Exam:
    """One examination of one person.

    Attributes
    ----------
    subject : str
        Without `sub-`.
    session : str
        Without `ses-`; "" where there is none.
    images : mapping of str to Path
        By modality, the one on whose grid results lie first.
    problem : str
        Why it cannot be worked on; "" where it can.
    """

    subject: str
    session: str = ""
    images: Mapping[str, Path] = field(default_factory=dict)
    problem: str = ""

    @property
    def name(self) -> str:
        """As BIDS begins the names of its files."""
        return f"sub-{self.subject}" + (f"_ses-{self.session}" if self.session else "")

    @property
    def folder(self) -> Path:
        """Where its results lie, below the output folder."""
        at = Path(f"sub-{self.subject}")
        return at / f"ses-{self.session}" if self.session else at


def find_exams(bids_dir: Path, table: Path | None = None) -> list[Exam]:
    """Everybody in a folder or a table, those who cannot be worked on with the reason.

    Parameters
    ----------
    bids_dir : Path
        A BIDS data set, or the folder that a table's relative paths start from.
    table : Path, optional
        Tab-separated: columns `subject`, `session` (which may be missing), and one a sequence.

    Raises
    ------
    CohortError
        If there is no such folder, nobody in it, or the table cannot be read.
    """
    if not bids_dir.is_dir():
        raise CohortError(f"{bids_dir}: no such folder")
    if table is not None:
        return _from_table(bids_dir, table)
    try:
        gathered = gather(bids_dir, BIDS)
    except DataSetError as error:
        raise CohortError(f"{error}; describe a folder that is not BIDS by --table") from error
    exams = []
    for (person, session), files in gathered.people.items():
        images: dict[str, Path] = {}
        problem = ""
        for modality in REFERENCE:
            paths = files.get(modality, [])
            if len(paths) > 1:
                named = " and ".join(path.relative_to(bids_dir).as_posix() for path in paths)
                problem = problem or f"{len(paths)} files for its {modality}: {named}"
            elif paths:
                images[modality] = paths[0]
        if not images and not problem:
            problem = "no image of a known sequence"
        exams.append(Exam(person.removeprefix("sub-"), session, images, problem))
    return exams


def _from_table(folder: Path, table: Path) -> list[Exam]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t")
            rows, columns = list(reader), list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CohortError(f"{table}: {error}") from error
    unknown = set(columns) - {"subject", "session", *MODALITIES}
    if "subject" not in columns or unknown:
        told = f"unknown {', '.join(sorted(unknown))}" if unknown else "no column subject"
        raise CohortError(
            f"{table}: {told}; its columns are subject, session and {', '.join(MODALITIES)}, "
            "with tabs between them"
        )
    exams, seen = [], set()
    for number, row in enumerate(rows, start=2):
        subject = (row["subject"] or "").strip().removeprefix("sub-")
        session = (row.get("session") or "").strip().removeprefix("ses-")
        if not subject.isalnum() or not (session.isalnum() or not session):
            raise CohortError(
                f"{table}: line {number}: subject and session are letters and digits, "
                f"not {subject!r}, {session!r}"
            )
        if (subject, session) in seen:
            raise CohortError(f"{table}: line {number}: {subject} {session} stands there twice")
        seen.add((subject, session))
        paths = {name: (row.get(name) or "").strip() for name in REFERENCE}
        images = {name: folder / path for name, path in paths.items() if path}
        problem = "" if images else "no image is named in the table"
        exams.append(Exam(subject, session, images, problem))
    if not exams:
        raise CohortError(f"{table}: nobody stands in it")
    return exams


def chosen(
    exams: Sequence[Exam],
    subjects: Sequence[str] = (),
    sessions: Sequence[str] = (),
    shard: tuple[int, int] = (1, 1),
) -> list[Exam]:
    """Those with one of these labels, and of them the share of a shard.

    Parameters
    ----------
    exams : sequence of Exam
    subjects, sessions : sequence of str
        With or without `sub-` and `ses-`; all where none is named.
    shard : (i, n)
        Every n-th from the i-th on, counted from 1.

    Raises
    ------
    CohortError
        If somebody named is not there.
    """
    names = [name.removeprefix("sub-") for name in subjects]
    visits = [name.removeprefix("ses-") for name in sessions]
    missing = set(names) - {exam.subject for exam in exams}
    if missing:
        raise CohortError(f"nobody is called {', '.join(sorted(missing))}")
    found = [
        exam
        for exam in exams
        if (not names or exam.subject in names) and (not visits or exam.session in visits)
    ]
    if not found:
        raise CohortError(f"nobody has the session {', '.join(visits)}")
    number, count = shard
    return found[number - 1 :: count]

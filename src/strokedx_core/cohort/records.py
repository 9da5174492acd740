"""What is kept of each examination: whether it is done, with what, and what came of it.

A record lies with the results; it is written last, so that results with a record are whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from strokedx_core import __version__
from strokedx_core.cohort.exams import Exam
from strokedx_core.weights import read_card

__all__ = [
    "OUTSIDE",
    "STEPS",
    "Options",
    "Outcome",
    "fingerprint",
    "put_in_place",
    "read_outcome",
    "record_of",
    "staging",
    "write_outcome",
]

STEPS = ("brain", "lesion", "caption")
"""What can be done, each with what stands before it."""

RECORD = "record.json"
OUTSIDE = ".strokedx"
"""Folder for what is no result: failures, half-made results, locks."""


@dataclass(frozen=True)
class Options:
    """What is asked of everybody.

    Attributes
    ----------
    steps : tuple of str
        Of `STEPS`.
    lesion_type, language, device : str
    """

    steps: tuple[str, ...] = STEPS
    lesion_type: str = "general"
    language: str = "en"
    device: str = "auto"


@dataclass(frozen=True)
class Outcome:
    """What came of one examination.

    Attributes
    ----------
    name, subject, session : str
    status : {"done", "failed", "skipped"}
    reason : str
        Why it failed or was skipped.
    seconds : float
    flags : tuple of str
        Quality flags, as "code: message".
    facts : mapping
        Numbers for the page of the study.
    """

    name: str
    subject: str
    session: str
    status: str
    reason: str = ""
    seconds: float = 0.0
    flags: tuple[str, ...] = ()
    facts: Mapping[str, Any] | None = None


def fingerprint(exam: Exam, options: Options) -> dict[str, Any]:
    """All that decides the results: hashes of the inputs and weights, options, version.

    Raises
    ------
    OSError
        If an input cannot be read.
    """
    return {
        "version": __version__,
        "options": {**asdict(options), "steps": list(options.steps)},
        "weights": weights_of(exam, options),
        "inputs": {name: _hash(path) for name, path in exam.images.items()},
    }


def weights_of(exam: Exam, options: Options) -> dict[str, str]:
    """SHA-256 by name of the weights that an examination needs."""
    from strokedx_core.tasks import TASKS

    names = [TASKS["skull-strip"].default_weights]
    if {"lesion", "caption"} & set(options.steps):
        asked = TASKS["lesion"].all_weights_for(exam.images, options.lesion_type)
        names += [name for _, name in asked]
    if "caption" in options.steps:
        names.append(TASKS["anatomy"].default_weights)
    return {name: read_card(name).sha256 for name in names}


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record_of(exam: Exam, out: Path) -> dict[str, Any] | None:
    """The record of results that are whole; None where there is none."""
    try:
        record: dict[str, Any] = json.loads((out / exam.folder / RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    files = record.get("files", [])
    whole = files and all((out / exam.folder / name).is_file() for name in files)
    return record if whole else None


def staging(exam: Exam, out: Path) -> Path:
    """A new folder beside the results, to make them in."""
    folder = out / OUTSIDE / "staging" / f"{exam.name}-{uuid.uuid4().hex[:8]}"
    folder.mkdir(parents=True)
    return folder


def put_in_place(
    staged: Path, exam: Exam, out: Path, made: Mapping[str, Any], outcome: Outcome
) -> None:
    """Move results to where they belong, the record among them.

    Parameters
    ----------
    staged : Path
        Of `staging`; gone afterwards.
    exam : Exam
    out : Path
    made : mapping
        Of `fingerprint`.
    outcome : Outcome
    """
    files = sorted(p.relative_to(staged).as_posix() for p in staged.rglob("*") if p.is_file())
    record = {"made": made, "outcome": asdict(outcome), "files": files}
    (staged / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    for path in staged.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    target = out / exam.folder
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        old = staged.with_name(f"{staged.name}-old")
        target.rename(old)
        staged.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        staged.rename(target)


def write_outcome(outcome: Outcome, out: Path) -> None:
    """Keep what came of an examination that has no results."""
    folder = out / OUTSIDE / "outcomes"
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{outcome.name}.{os.getpid()}.partial"
    beside.write_text(json.dumps(asdict(outcome)), encoding="utf-8")
    beside.replace(folder / f"{outcome.name}.json")


def read_outcome(exam: Exam, out: Path) -> Outcome:
    """What came of an examination, from its record or from what was kept of its failure."""
    kept = out / OUTSIDE / "outcomes" / f"{exam.name}.json"
    record = record_of(exam, out)
    try:
        values = record["outcome"] if record is not None else json.loads(kept.read_text("utf-8"))
    except (OSError, ValueError, KeyError):
        reason = exam.problem or "not run yet"
        return Outcome(exam.name, exam.subject, exam.session, "skipped", reason)
    return Outcome(**{**values, "flags": tuple(values["flags"])})


def forget_outcome(exam: Exam, out: Path) -> None:
    """Drop what was kept of a failure that is one no more."""
    (out / OUTSIDE / "outcomes" / f"{exam.name}.json").unlink(missing_ok=True)
    (out / "crash" / f"{exam.name}.txt").unlink(missing_ok=True)


def clear_staging(out: Path, exams: Sequence[Exam]) -> None:
    """Drop half-made results that a killed run left of these examinations."""
    names = {exam.name for exam in exams}
    for folder in (out / OUTSIDE / "staging").glob("*-*"):
        if folder.name.removesuffix("-old").rsplit("-", 1)[0] in names:
            shutil.rmtree(folder, ignore_errors=True)

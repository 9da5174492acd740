"""Examinations on disk: what a data set's folder holds of each person, and what it lacks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["CaseFiles", "DataSetError", "Survey", "image_files", "one_of"]

_NIFTI = (".nii", ".nii.gz")


class DataSetError(ValueError):
    """A folder is not what it should be; the message names it and what was found."""


@dataclass(frozen=True)
class CaseFiles:
    """One examination of one person, as files.

    Attributes
    ----------
    dataset : str
        Name of the data set, as in `datasets.DATA_SETS`.
    person : str
    session : str or None
    images : mapping of str to Path
        By modality, one of `tasks.MODALITIES`.
    brain, lesion : Path or None
        Reference masks.
    lesion_type : str or None
        "ischemic" or "hemorrhagic", as the data set's table says.
    history : mapping of str to str
        What the table says of the person, by its own columns.
    text : str or None
        The sentence that the data set has for the person's history.
    """

    dataset: str
    person: str
    session: str | None
    images: Mapping[str, Path]
    brain: Path | None = None
    lesion: Path | None = None
    lesion_type: str | None = None
    history: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None

    @property
    def key(self) -> str:
        """Tells the examination from all others; can be part of a file's name."""
        parts = (self.dataset, self.person, self.session or "")
        return re.sub(r"[^A-Za-z0-9.-]+", "-", "_".join(part for part in parts if part))


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    Attributes
    ----------
    cases : tuple of CaseFiles
        Complete ones, in the order of their keys.
    left_out : mapping of str to str
        Person, and which files are missing: every person seen is in one of the two.
    """

    cases: tuple[CaseFiles, ...]
    left_out: Mapping[str, str]


def image_files(folder: Path) -> list[Path]:
    """All NIfTI files below a folder, sorted.

    Raises
    ------
    DataSetError
        If there is no such folder, or no such file in it.
    """
    if not folder.is_dir():
        raise DataSetError(f"{folder}: no such folder")
    found = sorted(p for p in folder.rglob("*") if p.name.endswith(_NIFTI) and p.is_file())
    if not found:
        raise DataSetError(f"{folder}: no NIfTI file (.nii, .nii.gz) in it or below it")
    return found


def one_of(files: Iterable[Path], role: str, person: str) -> Path | None:
    """The only file for a role, None where there is none.

    Raises
    ------
    DataSetError
        If there are two: which one is meant is not guessed.
    """
    found = list(files)
    if len(found) > 1:
        names = " and ".join(str(path) for path in found)
        raise DataSetError(f"{person}: two files for its {role}: {names}")
    return found[0] if found else None

"""Looks at all files of a data set and says, person by person, what is wrong with them.

from strokedx_core.datasets.check import check
report = check("icpsr38464", Path("ICPSR_38464"))
report.counts()      # adds up to the people found
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from strokedx_core.datasets import layout_of
from strokedx_core.datasets.layout import LESION_MASKS, Layout, Who, gather, missing_roles
from strokedx_core.tasks import MODALITIES
from strokedx_core.volume import VolumeError, read_mask, read_volume

__all__ = ["FAULTS", "VERSION", "Checked", "Fault", "Report", "check", "check_steps"]

VERSION = "1.0"
"""Of the JSON."""

FAULTS = {
    "incomplete": "a needed file is missing",
    "duplicate": "two files for one role",
    "unreadable": "a file cannot be read",
    "left-right": "left and right contradict each other",
    "grid": "a mask lies on the grid of none of the images",
    "empty mask": "nothing is marked",
    "not 0/1": "a mask holds more than two values",
}
"""Fault → what it means, the gravest first: of somebody with several, the first is counted."""

_NEVER_EMPTY = ("brain mask", LESION_MASKS[0])
"""Masks that mark something in everybody; of lesions by their age there may be none."""

_CLOSE = 1e-2
"""Relative to the voxel, how far apart the corners of grids that are one may lie."""


@dataclass(frozen=True)
class Fault:
    """Something wrong.

    Attributes
    ----------
    kind : str
        One of `FAULTS`.
    message : str
        Naming files and what was found.
    """

    kind: str
    message: str


@dataclass(frozen=True)
class Checked:
    """One examination.

    Attributes
    ----------
    person, session : str
        The session is "" where the data set has none.
    files : mapping of str to list of str
        By role, below the folder.
    faults : tuple of Fault
    """

    person: str
    session: str
    files: Mapping[str, list[str]]
    faults: tuple[Fault, ...]

    @property
    def status(self) -> str:
        """The gravest fault, or "complete"."""
        kinds = {fault.kind for fault in self.faults}
        return next((kind for kind in FAULTS if kind in kinds), "complete")


@dataclass(frozen=True)
class Report:
    """What a folder holds.

    Attributes
    ----------
    data_set : str
    folder : Path
    people : tuple of Checked
        Everybody seen, each examination once.
    unplaced : tuple of str
        Images below the folder that belong to nobody, or in no known role.
    """

    data_set: str
    folder: Path
    people: tuple[Checked, ...]
    unplaced: tuple[str, ...] = field(default=())

    def counts(self) -> dict[str, int]:
        """Examinations by status; they add up to all that were found."""
        counts = dict.fromkeys(("complete", *FAULTS), 0)
        for one in self.people:
            counts[one.status] += 1
        return counts

    def json(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {
            "schema": "strokedx-dataset-check",
            "version": VERSION,
            "data_set": self.data_set,
            "folder": str(self.folder),
            "found": len(self.people),
            "counts": self.counts(),
            "unplaced": list(self.unplaced),
            "people": [{**asdict(one), "status": one.status} for one in self.people],
        }


def check(name: str, folder: Path, *, quick: bool = False) -> Report:
    """Look at everybody in a data set's folder.

    Parameters
    ----------
    name : str
        One of `datasets.DATA_SETS`.
    folder : Path
        As downloaded.
    quick : bool
        Look at headers alone: what is in images and masks is not read.

    Raises
    ------
    DataSetError
        If there is no such data set, or the folder is not one of it.
    """
    steps = check_steps(name, folder, quick=quick)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            report: Report = stop.value
            return report


def check_steps(
    name: str, folder: Path, *, quick: bool = False
) -> Generator[tuple[int, int], None, Report]:
    """As `check`, yielding how many of how many were looked at; the report is what it returns."""
    layout = layout_of(name)
    gathered = gather(folder, layout)
    people = []
    for number, (who, files) in enumerate(gathered.people.items()):
        yield number, len(gathered.people)
        people.append(_checked(who, files, layout, folder, quick))
    unplaced = tuple(path.relative_to(folder).as_posix() for path in gathered.unplaced)
    return Report(layout.name, folder, tuple(people), unplaced)


def _checked(
    who: Who, files: Mapping[str, list[Path]], layout: Layout, folder: Path, quick: bool
) -> Checked:
    faults = [Fault("incomplete", f"no {role}") for role in missing_roles(files, layout)]
    for role, paths in files.items():
        if len(paths) > 1:
            named = " and ".join(path.relative_to(folder).as_posix() for path in paths)
            faults.append(Fault("duplicate", f"{len(paths)} files for its {role}: {named}"))
    headers: dict[str, Any] = {}
    for role, paths in files.items():
        for path in paths:
            header, found = _look(path, role, quick)
            faults += found
            if header is not None and len(paths) == 1:
                headers[role] = header
    faults += _grids(headers)
    told = {
        role: [p.relative_to(folder).as_posix() for p in paths] for role, paths in files.items()
    }
    return Checked(*who, told, tuple(faults))


def _look(path: Path, role: str, quick: bool) -> tuple[Any, list[Fault]]:
    """A file's image object without its data, and what is wrong with the file."""
    faults: list[Fault] = []
    try:
        image: Any = nib.load(path)
        codes = [image.header.get(name, 0) for name in ("qform_code", "sform_code")]
    except Exception as error:  # whatever nibabel meets in a damaged header
        return None, [Fault("unreadable", f"{path.name}: {error}")]
    if all(int(code) > 0 for code in codes):
        forms = [image.get_qform(), image.get_sform()]
        if _right(forms[0]) != _right(forms[1]):
            faults.append(
                Fault("left-right", f"{path.name}: qform and sform have left and right exchanged")
            )
    if quick:
        return image, faults
    mask = role not in MODALITIES and "mask" in role
    try:
        if not mask:
            read_volume(path)
            return image, faults
        values = np.unique(np.asanyarray(image.dataobj))
        if len(values) > 2 or not set(values.tolist()) <= {0, 1}:
            shown = ", ".join(f"{value:g}" for value in values[:5].astype(float))
            more = ", …" if len(values) > 5 else ""
            faults.append(Fault("not 0/1", f"{path.name}: its values are {shown}{more}"))
        elif role in _NEVER_EMPTY and not read_mask(path).data.any():
            faults.append(Fault("empty mask", f"{path.name}: nothing is marked"))
    except (VolumeError, OSError, EOFError, ValueError) as error:
        told = str(error)
        faults.append(Fault("unreadable", told if path.name in told else f"{path.name}: {told}"))
    return image, faults


def _grids(headers: Mapping[str, Any]) -> list[Fault]:
    """Masks that lie on the grid of none of the images."""
    images = {role: one for role, one in headers.items() if role in MODALITIES}
    faults = []
    for role, mask in headers.items():
        if role not in ("brain mask", *LESION_MASKS) or not images:
            continue
        if any(_same(mask, image) for image in images.values()):
            continue
        mirrored = [
            name
            for name, image in images.items()
            if mask.shape[:3] == image.shape[:3] and _right(mask.affine) != _right(image.affine)
        ]
        if mirrored:
            told = f"{role} and {mirrored[0]} have left and right exchanged"
            faults.append(Fault("left-right", told))
            continue
        shapes = ", ".join(f"{name} {_size(image)}" for name, image in images.items())
        faults.append(Fault("grid", f"{role} {_size(mask)} lies on no image's grid: {shapes}"))
    return faults


def _same(one: Any, other: Any) -> bool:
    if one.shape[:3] != other.shape[:3]:
        return False
    corners = np.array(np.meshgrid(*[[0, n - 1] for n in one.shape[:3]])).reshape(3, -1).T
    apart = nib.affines.apply_affine(one.affine, corners)
    apart = apart - nib.affines.apply_affine(other.affine, corners)
    voxel = nib.affines.voxel_sizes(one.affine).min()
    return bool(np.linalg.norm(apart, axis=1).max() <= _CLOSE * max(voxel, 1e-6))


def _size(image: Any) -> str:
    shape = "×".join(str(n) for n in image.shape[:3])
    return f"{shape} at {'×'.join(f'{s:.3g}' for s in nib.affines.voxel_sizes(image.affine))} mm"


def _right(affine: np.ndarray) -> tuple[int, bool]:
    """Which voxel axis runs most nearly from left to right, and whether towards the right."""
    turns = nib.orientations.io_orientation(affine)
    axis = int(np.flatnonzero(turns[:, 0] == 0)[0]) if (turns[:, 0] == 0).any() else 0
    return axis, bool(turns[axis, 1] > 0)

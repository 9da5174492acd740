"""Data sets as their holders have them on disk, to lists of examinations.

from strokedx_core.datasets import find_cases
cases = find_cases("nfbs", Path("NFBS_Dataset"))
"""

from __future__ import annotations

from pathlib import Path

from strokedx_core.datasets import atlas_r2, bids, icpsr38464, layout, nfbs
from strokedx_core.datasets.cases import CaseFiles, DataSetError, Survey
from strokedx_core.datasets.layout import Layout

__all__ = [
    "DATA_SETS",
    "CaseFiles",
    "DataSetError",
    "Survey",
    "find_cases",
    "layout_of",
    "survey",
]

DATA_SETS: dict[str, Layout] = {
    one.name: one
    for one in (
        nfbs.LAYOUT, icpsr38464.LAYOUT, bids.SOOP, bids.ARC, atlas_r2.LAYOUT, bids.ISLES2022,
        bids.BIDS,
    )
}  # fmt: skip
"""Name of a data set → how its folder is laid out."""


def layout_of(name: str) -> Layout:
    """The layout of a data set by its name, in upper or lower case and with any separators.

    Raises
    ------
    DataSetError
        If there is no such data set.
    """

    def plain(text: str) -> str:
        return "".join(letter for letter in text.lower() if letter.isalnum())

    for known, found in DATA_SETS.items():
        if plain(known) == plain(name):
            return found
    raise DataSetError(f"no data set {name!r}; there are {', '.join(DATA_SETS)}")


def survey(name: str, folder: Path) -> Survey:
    """Find everybody in a data set's folder, complete or not.

    Raises
    ------
    DataSetError
        If there is no such data set, the folder is not one of it, or somebody has two files for
        one role.
    """
    return layout.survey(folder, layout_of(name))


def find_cases(name: str, folder: Path) -> list[CaseFiles]:
    """The complete examinations in a data set's folder; `survey` says who is left out, and why.

    Raises
    ------
    DataSetError
        As `survey`, and if nobody is complete.
    """
    found = survey(name, folder)
    if not found.cases:
        said = "; ".join(f"{person}: {why}" for person, why in list(found.left_out.items())[:3])
        raise DataSetError(f"{folder}: nobody is complete in it ({said})")
    return list(found.cases)

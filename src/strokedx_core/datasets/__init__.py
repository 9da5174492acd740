"""Data sets as their holders have them on disk, to lists of examinations.

from strokedx_core.datasets import find_cases
cases = find_cases("nfbs", Path("NFBS_Dataset"))
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from strokedx_core.datasets import icpsr38464, nfbs
from strokedx_core.datasets.cases import CaseFiles, DataSetError, Survey

__all__ = ["DATA_SETS", "CaseFiles", "DataSetError", "Survey", "find_cases", "survey"]

DATA_SETS: dict[str, Callable[[Path], Survey]] = {
    "nfbs": nfbs.survey,
    "icpsr38464": icpsr38464.survey,
}
"""Name of a data set → what finds everybody in its folder."""


def survey(name: str, folder: Path) -> Survey:
    """Find everybody in a data set's folder, complete or not.

    Raises
    ------
    DataSetError
        If there is no such data set, or the folder is not one of it.
    """
    if name not in DATA_SETS:
        raise DataSetError(f"no data set {name!r}; there are {', '.join(DATA_SETS)}")
    return DATA_SETS[name](folder)


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

"""What is known of the lesions of a case: facts, or why there are none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from strokedx_core.anatomy.anatomy_map import AnatomyMap

__all__ = ["CaseFindings", "Finding", "LesionFindings", "SliceFindings"]


@dataclass(frozen=True)
class Finding:
    """One measured fact, or why it could not be measured.

    Attributes
    ----------
    value : object
        A number, word, list or truth value; None where it is not assessable.
    unit : str
    reason : str
        Why it is not assessable; "" where it is.
    """

    value: Any = None
    unit: str = ""
    reason: str = ""

    @property
    def known(self) -> bool:
        """Whether it was measured."""
        return not self.reason


@dataclass(frozen=True)
class LesionFindings:
    """Findings of one lesion.

    Attributes
    ----------
    number : int
        Its label, from 1 for the largest.
    findings : dict of str to Finding
        By the names that `captions.schema` explains.
    """

    number: int
    findings: dict[str, Finding]


@dataclass(frozen=True)
class SliceFindings:
    """Findings of all lesions on one slice.

    Attributes
    ----------
    index : int
        Of the slice, counted from 0, along the axis that the finding `slices` names.
    findings : dict of str to Finding
        By the names that `captions.schema` explains.
    """

    index: int
    findings: dict[str, Finding]


@dataclass(frozen=True, eq=False)
class CaseFindings:
    """Findings of a case.

    Attributes
    ----------
    findings : dict of str to Finding
        Of all lesions together, by the names that `captions.schema` explains.
    lesions : tuple of LesionFindings
        Largest first.
    slices : tuple of SliceFindings
        Of the slices that hold a lesion.
    labels : ndarray of int32
        On the mask's grid, the number of the lesion at each voxel.
    anatomy : AnatomyMap, optional
        The parts of the brain that they were measured on, on the mask's grid.
    """

    findings: dict[str, Finding]
    lesions: tuple[LesionFindings, ...]
    slices: tuple[SliceFindings, ...]
    labels: np.ndarray
    anatomy: AnatomyMap | None = None

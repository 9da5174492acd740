"""Captions of a lesion layer as one table: what layers show, users edit, and files keep."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from strokedx_core.image_writing import write_atomically

__all__ = ["LEVELS", "CaptionRow", "CaptionSheet", "Spot", "middle_of"]

LEVELS = {"case": "Case", "lesion": "Lesion", "slice": "Slice"}
"""Level → its name in the table."""


@dataclass(frozen=True)
class CaptionRow:
    """One caption.

    Attributes
    ----------
    level : {"case", "lesion", "slice"}
    number : int
        Of the lesion, from 1 for the largest; of the slice along the layer's axis, from 0.
    text : str
    written : str
        As the program wrote it: another text was put there by a user.
    """

    level: str
    number: int
    text: str
    written: str

    @property
    def edited(self) -> bool:
        """Whether a user changed it."""
        return self.text != self.written


@dataclass(frozen=True, eq=False)
class Spot:
    """Where a lesion is labelled.

    Attributes
    ----------
    number : int
        Of the lesion.
    value : int
        Of its label in the layer.
    label : str
        A few words.
    voxels : ndarray of int, (n, 3)
        In layer axes.
    """

    number: int
    value: int
    label: str
    voxels: np.ndarray


def middle_of(voxels: np.ndarray) -> np.ndarray:
    """The one of voxels, (n, 3), that lies nearest to their centroid."""
    nearest: np.ndarray = voxels[np.argmin(((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1))]
    return nearest


@dataclass(frozen=True, eq=False)
class CaptionSheet:
    """All captions of a case.

    Attributes
    ----------
    rows : tuple of CaptionRow
        The case, then lesions, then slices.
    spots : tuple of Spot
        Lesions, largest first.
    slice_axis : int
        Axis of the layer along which slices are counted.
    about : dict
        What files say of where the captions come from.
    """

    rows: tuple[CaptionRow, ...]
    spots: tuple[Spot, ...]
    slice_axis: int
    about: dict[str, Any] = field(default_factory=dict)

    def text(self, level: str, number: int = 0) -> str:
        """A caption; "" where there is none."""
        found = (row.text for row in self.rows if (row.level, row.number) == (level, number))
        return next(found, "")

    def edit(self, index: int, text: str) -> CaptionSheet:
        """The same with another text in one row."""
        rows = list(self.rows)
        rows[index] = replace(rows[index], text=text)
        return replace(self, rows=tuple(rows))

    def with_edits_of(self, other: CaptionSheet) -> CaptionSheet:
        """The same with what a user put into another sheet, where both were written alike."""
        kept = {(row.level, row.number, row.written): row.text for row in other.rows if row.edited}
        rows = tuple(
            replace(row, text=kept.get((row.level, row.number, row.written), row.text))
            for row in self.rows
        )
        return replace(self, rows=rows)

    def plain(self) -> str:
        """All captions as text, one a line; lines of slices last."""
        return "\n".join(row.text for row in self.rows) + "\n"

    def table(self) -> str:
        """All captions separated by tabs."""
        stream = io.StringIO()
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(("level", "number", "text", "edited"))
        for row in self.rows:
            number = "" if row.level == "case" else row.number
            writer.writerow((row.level, number, row.text, "yes" if row.edited else "no"))
        return stream.getvalue()

    def save(self, path: Path, **more: Any) -> None:
        """Write JSON, TSV or plain text, by the path's ending.

        Raises
        ------
        ValueError
            If it ends in none of .json, .tsv and .txt.
        """
        kinds = {
            ".json": lambda: self._json(more),
            ".tsv": self.table,
            ".txt": self.plain,
        }
        if path.suffix not in kinds:
            raise ValueError(f"{path.name}: captions are saved as {', '.join(kinds)}")
        write_atomically(path, [kinds[path.suffix]().encode("utf-8")])

    def _json(self, more: dict[str, Any]) -> str:
        rows = [
            {"level": row.level, "number": row.number, "text": row.text, "written": row.written}
            for row in self.rows
        ]
        content = {**self.about, **more, "captions": rows}
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

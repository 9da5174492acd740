"""ICPSR 38464: acute strokes of 2,888 people with DWI, ADC, B0, masks and history.

How the folders nest differs between copies, so everything below the folder is grouped by the
`sub-` and eight hexadecimal digits in its path: `*DWI_space-orig.nii.gz`, `*ADC_space-orig`,
`*B0_space-orig`, `*desc-brain_mask`, `*desc-stroke_mask`. `participants.tsv` says of each person
`Lesion-type` and `Medical-history`, for whose labels `dictionary.json` may have sentences: a
person's text is made of both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from strokedx_core.datasets.cases import DataSetError, one_of
from strokedx_core.datasets.layout import Layout, named

__all__ = ["LAYOUT"]


_TOLD = ("Medical-history", "Lesion-type")
"""Columns that a person's text is made of."""


def _sentences(folder: Path) -> Callable[[Mapping[str, str]], str | None]:
    """The sentences that the dictionary has for somebody's history and lesion; else the labels."""
    path = one_of(sorted(folder.rglob("dictionary.json")), "dictionary", str(folder))
    known: dict[str, dict[str, str]] = {column: {} for column in _TOLD}
    if path is not None:
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            for column in _TOLD:
                # Some copies have sentences for histories alone.
                entry = told[column] if column == _TOLD[0] else told.get(column, {"Levels": {}})
                known[column] = {str(key): str(words) for key, words in entry["Levels"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataSetError(f"{path}: no Levels of Medical-history in it ({error})") from error

    def text(row: Mapping[str, str]) -> str | None:
        labels = {column: row.get(column, "") for column in _TOLD}
        said = [known[column].get(label, label) for column, label in labels.items()]
        return " ".join(f"{part.strip().rstrip('.')}." for part in said if part.strip()) or None

    return text


LAYOUT = Layout(
    name="icpsr38464",
    title="ICPSR 38464",
    example="sub-02e8eb42_DWI_space-orig.nii.gz",
    person=re.compile(r"(?P<person>sub-[0-9a-f]{8})(?![0-9a-zA-Z])"),
    roles={
        "DWI": named("dwi_space-orig"),
        "ADC": named("adc_space-orig"),
        "B0": named("b0_space-orig"),
        "FLAIR": named("flair_space-orig"),
        "T1W": named("t1w?_space-orig"),
        "brain mask": named("desc-brain_mask"),
        "lesion mask": named("desc-stroke_mask"),
    },
    needed=("DWI", "brain mask", "lesion mask"),
    type_column="Lesion-type",
    text=_sentences,
    strict=True,
)

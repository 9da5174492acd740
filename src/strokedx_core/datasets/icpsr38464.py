"""ICPSR 38464: acute strokes of 2,888 people with DWI, ADC, B0, masks and history.

How the folders nest differs between copies, so everything below the folder is grouped by the
`sub-` and eight hexadecimal digits in its path: `*DWI_space-orig.nii.gz`, `*ADC_space-orig`,
`*B0_space-orig`, `*desc-brain_mask`, `*desc-stroke_mask`. `participants.tsv` says of each person
`Lesion-type` and `Medical-history`, for whose labels `dictionary.json` may have sentences.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from strokedx_core.datasets.cases import DataSetError, one_of
from strokedx_core.datasets.layout import Layout, named

__all__ = ["LAYOUT"]


def _sentences(folder: Path) -> Callable[[Mapping[str, str]], str | None]:
    """The sentence that the dictionary has for the label of somebody's history; else the label."""
    path = one_of(sorted(folder.rglob("dictionary.json")), "dictionary", str(folder))
    known: dict[str, str] = {}
    if path is not None:
        try:
            levels = json.loads(path.read_text(encoding="utf-8"))["Medical-history"]["Levels"]
            known = {str(label): str(sentence) for label, sentence in levels.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataSetError(f"{path}: no Levels of Medical-history in it ({error})") from error

    def sentence(row: Mapping[str, str]) -> str | None:
        history = row.get("Medical-history", "")
        return known.get(history, history) or None

    return sentence


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

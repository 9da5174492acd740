"""What an evaluation of lesion masks leaves behind: table, summary, page of the worst cases."""

from __future__ import annotations

import csv
import html
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO, StringIO
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from strokedx_core.evaluation.lesions import MEASURES, LesionScores
from strokedx_core.evaluation.pages import page, paragraph, picture, table
from strokedx_core.evaluation.pictures import mask_overlay
from strokedx_core.evaluation.summary import CONFIDENCE, RESAMPLES, Interval, LesionSummary
from strokedx_core.volume import Flag, Volume

__all__ = [
    "RULES",
    "CaseResult",
    "cases_csv",
    "count_sentence",
    "draw_case",
    "number",
    "summary_json",
    "with_interval",
    "worst_first",
    "worst_page",
]

RULES = (
    "Lesions are 26-connected pieces of a mask. One of the reference counts as found if the "
    "prediction marks any voxel of it; one of the prediction is false if it touches no voxel of "
    "the reference.",
    "Both masks empty: every score is 1 and every distance 0. One of them empty: every score is 0, "
    "and there is no Hausdorff distance.",
    "Volume difference: prediction less reference. Hausdorff 95 %: the larger of both directions' "
    "95th percentiles.",
    f"Intervals: {CONFIDENCE:.0%} percentile bootstrap over cases, {RESAMPLES} draws.",
)
"""How the numbers come about, for people who read them without this code."""

_COUNTS = ("reference_lesions", "predicted_lesions", "found_lesions", "missed_lesions",
           "false_lesions")  # fmt: skip


@dataclass(frozen=True)
class CaseResult:
    """One case and how its prediction agrees with its reference."""

    case: str
    prediction: Path
    reference: Path
    scores: LesionScores
    flags: tuple[Flag, ...] = ()


def worst_first(results: Iterable[CaseResult]) -> list[CaseResult]:
    """Cases by Dice; among equals, those whose volume is wrong by most come first.

    Cases whose masks are equal are left out.
    """
    wrong = (result for result in results if result.scores.dice < 1)
    return sorted(
        wrong, key=lambda r: (r.scores.dice, -r.scores.absolute_volume_difference_ml, r.case)
    )


def cases_csv(results: Iterable[CaseResult]) -> str:
    """One line a case; a measure that a case does not have is left blank."""
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("case", *MEASURES, *_COUNTS, "prediction", "reference", "flags"))
    for result in results:
        numbers = [_json_number(getattr(result.scores, name)) for name in (*MEASURES, *_COUNTS)]
        flags = "; ".join(flag.message for flag in result.flags)
        writer.writerow((result.case, *numbers, result.prediction, result.reference, flags))
    return stream.getvalue()


def summary_json(
    results: Sequence[CaseResult], summary: LesionSummary, seed: int, about: Mapping[str, Any]
) -> str:
    """The summary, the rules, and whatever else there is to say `about` the run."""
    counts = asdict(summary)
    measures = {
        name: {
            "cases": estimate.count,
            "mean": _json_interval(estimate.mean),
            "median": _json_interval(estimate.median),
        }
        for name, estimate in summary.measures.items()
    }
    flags = {r.case: [asdict(flag) for flag in r.flags] for r in results if r.flags}
    content = {
        **about,
        "rules": RULES,
        "bootstrap": {"confidence": CONFIDENCE, "resamples": RESAMPLES, "seed": seed},
        **counts,
        "measures": measures,
        "worst_first": [result.case for result in worst_first(results)],
        "flags": flags,
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def draw_case(
    result: CaseResult,
    prediction: np.ndarray,
    reference: Volume,
    image: np.ndarray | None,
) -> bytes:
    """Outline both masks of a case on slices that hold either, as a PNG file.

    Parameters
    ----------
    result : CaseResult
    prediction : ndarray, shape (i, j, k)
    reference : Volume
        On the same grid.
    image : ndarray, shape (i, j, k), optional
        The scan on that grid; without one, the ground is black.
    """
    scores = result.scores
    title = (
        f"{result.case}: Dice {scores.dice:.3f}, predicted {scores.predicted_ml:.2f} ml, "
        f"reference {scores.reference_ml:.2f} ml"
    )
    stream = BytesIO()
    mask_overlay(
        np.zeros(reference.shape, np.float32) if image is None else image,
        prediction,
        reference.affine,
        stream,
        title,
        reference=reference.data,
        through=(prediction != 0) | reference.data,
    )
    return stream.getvalue()


def worst_page(
    drawn: Sequence[tuple[CaseResult, bytes]],
    summary: LesionSummary,
    remarks: Iterable[str],
    notice: str,
) -> str:
    """Make a page of pictures, with the numbers beside them and the summary above.

    Parameters
    ----------
    drawn : sequence of (CaseResult, bytes)
        Cases, worst first, and what `draw_case` made of them.
    summary : LesionSummary
    remarks : iterable of str
        What a reader has to know of the run, such as files that were left alone.
    notice : str
    """
    rows = [
        (MEASURES[name], str(e.count), with_interval(name, e.mean), with_interval(name, e.median))
        for name, e in summary.measures.items()
    ]
    parts = [paragraph(text) for text in (count_sentence(summary), *remarks)]
    parts.append(table(("Measure", "Cases", "Mean", "Median"), rows))
    parts += [paragraph(rule) for rule in RULES]
    if drawn:
        parts.append("<h2>Worst cases by Dice</h2>")
        parts.append(paragraph("The outline of the prediction is orange, the reference's blue."))
    for result, png in drawn:
        scores = result.scores
        parts.append(f"<h3>{html.escape(result.case)}</h3>")
        parts.append(
            paragraph(
                ", ".join(
                    f"{label} {number(name, getattr(scores, name))}"
                    for name, label in MEASURES.items()
                )
                + f". {scores.found_lesions} of {scores.reference_lesions} lesions found, "
                f"{scores.false_lesions} false."
            )
        )
        parts += [paragraph(f"Flag: {flag.message}") for flag in result.flags]
        parts.append(picture(png, f"{result.case}, outlines of prediction and reference"))
    return page("StrokeDx: lesion masks against references", notice, parts)


def count_sentence(summary: LesionSummary) -> str:
    """Cases and lesions in words."""
    said = (
        f"Cases: {summary.cases}. Lesions: {summary.found_lesions} of {summary.reference_lesions} "
        f"found, {summary.false_lesions} false."
    )
    if summary.empty_references:
        said += (
            f" Empty references: {summary.empty_references}, of which {summary.left_empty} with an "
            "empty prediction."
        )
    return said


def number(name: str, value: float) -> str:
    """A measure as people read it: scores with three decimals, mm and ml with two."""
    if isnan(value):
        return "–"
    return f"{value:.2f}" if name.endswith(("_mm", "_ml")) else f"{value:.3f}"


def with_interval(name: str, interval: Interval) -> str:
    """A mean or median with its confidence interval, where there is one."""
    said = number(name, interval.value)
    if isnan(interval.low):
        return said
    return f"{said} ({number(name, interval.low)} to {number(name, interval.high)})"


def _json_interval(interval: Interval) -> dict[str, float | None]:
    return {
        "value": _json_number(interval.value),
        "low": _json_number(interval.low),
        "high": _json_number(interval.high),
    }


def _json_number(value: float) -> float | None:
    return None if isnan(value) else round(value, 6)

"""What a measure comes to over many cases, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np

from strokedx_core.evaluation.lesions import MEASURES, LesionScores

__all__ = [
    "CONFIDENCE",
    "RESAMPLES",
    "Estimate",
    "Interval",
    "LesionSummary",
    "summarise",
    "summarise_lesions",
]

CONFIDENCE = 0.95
"""Share of resamples that a confidence interval holds."""

RESAMPLES = 5000
_BLOCK = 2_000_000  # numbers drawn at a time, whatever the count of cases


@dataclass(frozen=True)
class Interval:
    """A number with its confidence interval; the bounds are NaN where one case cannot give any."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """One measure over cases.

    Attributes
    ----------
    count : int
        Cases that have the measure.
    mean, median : Interval
        NaN throughout where no case has it.
    """

    count: int
    mean: Interval
    median: Interval


def summarise(values: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Mean and median of a measure, with bootstrap confidence intervals over cases.

    Cases are drawn with replacement, as many as there are; the interval runs from the 2.5th to the
    97.5th percentile of what such draws give (percentile bootstrap).

    Parameters
    ----------
    values : sequence of float
        One a case. NaN stands for a case that has no such measure, and is left out.
    seed : int
        The same seed gives the same intervals.
    resamples : int
        How many times to draw.

    Returns
    -------
    Estimate

    References
    ----------
    Efron B, Tibshirani RJ. An Introduction to the Bootstrap. Chapman & Hall 1993, chapter 13.
    """
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    if not known.size:
        nothing = Interval(nan, nan, nan)
        return Estimate(0, nothing, nothing)
    random = np.random.default_rng(seed)
    means, medians = [], []
    left = resamples if known.size > 1 else 0
    while left:
        rows = min(left, max(1, _BLOCK // known.size))
        drawn = known[random.integers(known.size, size=(rows, known.size))]
        means.append(drawn.mean(axis=1))
        medians.append(np.median(drawn, axis=1))
        left -= rows
    return Estimate(
        int(known.size),
        _interval(float(known.mean()), means),
        _interval(float(np.median(known)), medians),
    )


def _interval(value: float, drawn: list[np.ndarray]) -> Interval:
    if not drawn:
        return Interval(value, nan, nan)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(drawn), (tail, 1 - tail))
    return Interval(value, float(low), float(high))


@dataclass(frozen=True)
class LesionSummary:
    """Lesion masks of many cases.

    Attributes
    ----------
    cases : int
    reference_lesions, found_lesions, false_lesions : int
        Over all cases; see `LesionScores`.
    empty_references : int
        Cases without a lesion.
    left_empty : int
        Of those, the ones whose prediction is empty too.
    measures : dict of str to Estimate
        For each of `MEASURES`.
    """

    cases: int
    reference_lesions: int
    found_lesions: int
    false_lesions: int
    empty_references: int
    left_empty: int
    measures: dict[str, Estimate]


def summarise_lesions(scores: Sequence[LesionScores], *, seed: int = 0) -> LesionSummary:
    """Sum up lesion scores over cases.

    Parameters
    ----------
    scores : sequence of LesionScores
        One a case.
    seed : int
        For `summarise`; all measures see the same draws of cases where all cases have them.
    """
    empty = [score for score in scores if score.reference_lesions == 0]
    return LesionSummary(
        cases=len(scores),
        reference_lesions=sum(score.reference_lesions for score in scores),
        found_lesions=sum(score.found_lesions for score in scores),
        false_lesions=sum(score.false_lesions for score in scores),
        empty_references=len(empty),
        left_empty=sum(score.predicted_lesions == 0 for score in empty),
        measures={
            name: summarise([getattr(score, name) for score in scores], seed=seed)
            for name in MEASURES
        },
    )

"""Statements on a case as a whole: the person, the signal of lesions, scores of their extent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from strokedx_core.captions.case_measure import MISMATCH_FLAIR
from strokedx_core.captions.facts import Finding
from strokedx_core.captions.history import History

__all__ = ["Statement", "history_statements", "score_statements", "signal_statements"]

Words = Mapping[str, Any]
"""Words and templates of a language, as in its file."""

SHIFT_MM = 3.0
"""Shift of the midline from which it is said; less is within what heads differ by."""


@dataclass(frozen=True)
class Statement:
    """Something said, and the findings it rests on.

    Attributes
    ----------
    text : str
    rests_on : tuple of str
        Places in the JSON of the findings, such as "lesions.1.volume".
    """

    text: str
    rests_on: tuple[str, ...]


def history_statements(words: Words, history: History) -> list[Statement]:
    """What the table knows of the person."""
    say, parts, rests = words["case"], [], []
    if history.age is not None:
        parts.append(say["age"].format(age=round(history.age)))
        rests.append("history.age")
    if history.sex is not None:
        parts.append(say[history.sex])
        rests.append("history.sex")
    if history.nihss is not None:
        parts.append(say["nihss"].format(nihss=round(history.nihss)))
        rests.append("history.nihss")
    if history.prior_stroke is not None:
        parts.append(say["prior_stroke" if history.prior_stroke else "no_prior_stroke"])
        rests.append("history.prior_stroke")
    if not parts:
        return []
    text = say["history"].format(parts=words["separator"].join(parts))
    return [Statement(_capital(text), tuple(rests))]


def signal_statements(
    words: Words, case: Mapping[str, Finding], volume: Callable[[float], str]
) -> list[Statement]:
    """How dark, and on which sequences; `volume` puts millilitres into words."""
    say, statements = words["case"], []
    if case["adc_ratio"].known and case["low_adc"].known:
        text = say["adc"].format(
            percent=round(100 * case["adc_ratio"].value), low=round(100 * case["low_adc"].value)
        )
        statements.append(Statement(text, ("case.adc_ratio", "case.low_adc")))
    # Where DWI does not show the lesion, nothing is to be said of FLAIR beside it.
    mismatch, shown = case["dwi_flair_mismatch"], case["dwi_ratio"]
    if mismatch.known and shown.known and shown.value >= MISMATCH_FLAIR:
        text = say["mismatch" if mismatch.value else "no_mismatch"]
        statements.append(Statement(text, ("case.dwi_flair_mismatch",)))
    blood = case["hemorrhagic_volume"]
    if blood.known and blood.value > 0:
        text = say["hemorrhagic"].format(volume=volume(blood.value))
        statements.append(Statement(text, ("case.hemorrhagic_volume",)))
        if case["ventricular_extension"].value:
            text = say["ventricular_extension"]
            statements.append(Statement(text, ("case.ventricular_extension",)))
    return statements


def score_statements(
    words: Words, case: Mapping[str, Finding], lesion_type: str
) -> list[Statement]:
    """Shift of the midline and, of what may be an infarct, ASPECTS where a region is affected."""
    say, statements = words["case"], []
    shift = case["midline_shift"]
    if shift.known and abs(shift.value) >= SHIFT_MM:
        text = say["shift"].format(
            shift=round(abs(shift.value)), side=say["right" if shift.value > 0 else "left"]
        )
        statements.append(Statement(text, ("case.midline_shift",)))
    if lesion_type != "hemorrhagic" and case["aspects"].known:
        sides = case["aspects"].value
        hit = [side for side in ("left", "right") if sides[side]["affected"]]
        for side in hit:
            text = say["aspects"].format(
                side=say[side],
                score=sides[side]["score"],
                regions=words["separator"].join(sides[side]["affected"]),
            )
            statements.append(Statement(text, (f"case.aspects.{side}",)))
    if lesion_type != "hemorrhagic" and case["pc_aspects"].known:
        score = case["pc_aspects"].value
        if score["affected"]:
            regions = [say["pc_region"][name] for name in score["affected"]]
            text = say["pc_aspects"].format(
                score=score["score"], regions=words["separator"].join(regions)
            )
            statements.append(Statement(text, ("case.pc_aspects",)))
    return statements


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

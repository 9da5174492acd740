"""Findings in words: a line for a lesion, a sentence for a slice, a paragraph for a case.

Nothing is said that was not measured, and every statement names the findings it rests on. Words and
templates are data, one file for each of `LANGUAGES`.

from strokedx_core.captions.wording import Wording
Wording("en", "ischemic").case(findings).text
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from strokedx_core.captions.facts import CaseFindings, Finding, LesionFindings, SliceFindings
from strokedx_core.captions.history import History
from strokedx_core.captions.statements import (
    Statement,
    history_statements,
    score_statements,
    signal_statements,
)
from strokedx_core.tasks import LESION_TYPES

__all__ = ["LANGUAGES", "Caption", "Statement", "Wording"]

_FOLDER = Path(__file__).parent / "languages"

LANGUAGES = tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))
"""Codes of the languages that there are words for."""

NAMED_SHARE = 0.1
"""Share of a lesion from which a lobe or an artery's territory is named."""

MOST_NAMED = 3
"""Lobes, and arteries, that are named at most."""

SURE_SHARE = 0.5
"""Share of a lesion in one artery's territory under which it is said with "possibly"."""

LEAST_ML = 0.01
"""What is smaller is said to be under it."""


@dataclass(frozen=True)
class Caption:
    """Words on a lesion, a slice or a case.

    Attributes
    ----------
    text : str
    statements : tuple of Statement
        In the order of the text.
    """

    text: str
    statements: tuple[Statement, ...]


@lru_cache
def _words(language: str) -> Mapping[str, Any]:
    if language not in LANGUAGES:
        raise ValueError(f"language must be {', '.join(LANGUAGES)}, not {language!r}")
    return tomllib.loads((_FOLDER / f"{language}.toml").read_text(encoding="utf-8"))


class Wording:
    """Words of one language for lesions of one type.

    Parameters
    ----------
    language : str
        One of `LANGUAGES`.
    lesion_type : str
        One of `tasks.LESION_TYPES`: what a lesion is called.

    Raises
    ------
    ValueError
        If there is no such language or type.
    """

    def __init__(self, language: str = "en", lesion_type: str = "general") -> None:
        if lesion_type not in LESION_TYPES:
            raise ValueError(f"lesion type must be {', '.join(LESION_TYPES)}, not {lesion_type!r}")
        self._say, self._type = _words(language), lesion_type
        self._one, self._many = self._say["type"][lesion_type]

    @property
    def notice(self) -> str:
        """What every caption goes with."""
        return self._say["notice"]

    def lesion(self, lesion: LesionFindings) -> Caption:
        """One line on a lesion."""
        at = f"lesions.{lesion.number}."
        what = Statement(self._part("what", what=self._one), (f"{at}volume",))
        parts = [what, *self._parts(lesion.findings, at)]
        line = self._say["lesion"]["line"]
        text = line.format(number=lesion.number, parts=self._joined(parts))
        return Caption(text, tuple(parts))

    def label(self, lesion: LesionFindings) -> Caption:
        """A few words beside a lesion: number, size, and the part it mostly lies in."""
        at, found = f"lesions.{lesion.number}.", lesion.findings
        volume = found["volume"].value
        template = "small_volume" if volume < LEAST_ML else "volume"
        parts = [Statement(self._part(template, volume=self._volume(volume)), (f"{at}volume",))]
        for name, words in (("lobes", "lobe"), ("arteries", "artery")):
            if found[name].known and found[name].value:
                share = found[name].value[0]
                place = self._say[words].get(share["part"], {}).get(share["side"])
                if place:
                    parts.append(Statement(place, (f"{at}{name}",)))
                    break
        else:
            if found["side"].known:
                parts.append(Statement(self._say["side"][found["side"].value], (f"{at}side",)))
        line = self._say["lesion"]["line"]
        return Caption(line.format(number=lesion.number, parts=self._joined(parts)), tuple(parts))

    def slice(self, one: SliceFindings) -> Caption:
        """One sentence on a slice."""
        at, say, found = f"slices.{one.index}.", self._say["slice"], one.findings
        count = len(found["lesions"].value)
        number, what = int(count > 1), self._many if count > 1 else self._one
        counted = say["count"][number].format(count=count, what=what)
        area = self._number(found["area"].value / 100, (1, 10, 2))
        parts = [
            Statement(counted, (f"{at}lesions",)),
            Statement(say["area"].format(area=area), (f"{at}area",)),
        ]
        if round(found["diameter"].value):
            length = say["diameter"][number].format(diameter=round(found["diameter"].value))
            parts.append(Statement(length, (f"{at}diameter",)))
        parts += self._places(found, at)
        text = say["line"].format(index=one.index, parts=self._joined(parts))
        return Caption(text, tuple(parts))

    def case(self, found: CaseFindings, history: History | None = None) -> Caption:
        """A paragraph on a case, with what is known of the person before it."""
        say, case = self._say["case"], found.findings
        statements = history_statements(self._say, history or History())
        count = len(found.lesions)
        if not count:
            what = self._one
            statements.append(Statement(say["nothing"].format(what=what), ("case.count",)))
            return self._paragraph(statements)
        statements.append(self._counted(found))
        parts = self._parts(found.lesions[0].findings, "lesions.1.")
        if count == 1:
            said = {"lesions.1.volume", "lesions.1.side"}
            parts = [part for part in parts if not said & set(part.rests_on)]
        if parts:
            text = say["largest"][int(count > 1)].format(parts=self._joined(parts))
            rests = tuple(name for part in parts for name in part.rests_on)
            statements.append(Statement(text, rests))
        if case["pattern"].known:
            pattern = self._say["pattern"][case["pattern"].value]
            said = say["pattern"].format(pattern=pattern)
            statements.append(Statement(said, ("case.pattern",)))
        statements += signal_statements(self._say, case, self._volume)
        statements += score_statements(self._say, case, self._type)
        return self._paragraph(statements)

    def _counted(self, found: CaseFindings) -> Statement:
        case, count = found.findings, len(found.lesions)
        side = ""
        rests: tuple[str, ...] = ("case.count", "case.volume")
        if case["side"].known:
            both = case["bilateral"].value
            name = "both" if both else case["side"].value
            side = self._say["separator"] + self._say["side"][name]
            rests = (*rests, "case.side", "case.bilateral")
        text = self._say["case"]["count"][int(count > 1)].format(
            what=self._many if count > 1 else self._one,
            count=count,
            volume=self._volume(case["volume"].value),
            side=side,
        )
        return Statement(text, rests)

    def _parts(self, found: Mapping[str, Finding], at: str) -> list[Statement]:
        """Size, side, place and signal of a lesion."""
        volume = found["volume"].value
        template = "small_volume" if volume < LEAST_ML else "volume"
        parts = [Statement(self._part(template, volume=self._volume(volume)), (f"{at}volume",))]
        if round(found["diameter"].value):
            length = self._part("diameter", diameter=round(found["diameter"].value))
            parts.append(Statement(length, (f"{at}diameter",)))
        parts += self._places(found, at)
        if found["adc_ratio"].known:
            ratio = self._part("adc", percent=round(100 * found["adc_ratio"].value))
            parts.append(Statement(ratio, (f"{at}adc_ratio",)))
        blood = found["hemorrhagic"]
        if blood.known and round(100 * blood.value):
            share = self._part("hemorrhagic", percent=round(100 * blood.value))
            parts.append(Statement(share, (f"{at}hemorrhagic",)))
        return parts

    def _places(self, found: Mapping[str, Finding], at: str) -> list[Statement]:
        parts = []
        for name, words in (("lobes", "lobe"), ("arteries", "artery")):
            if not found[name].known:
                continue
            shares = [
                share
                for share in found[name].value
                if share["of_lesion"] >= NAMED_SHARE and share["part"] in self._say[words]
            ]
            if shares:
                sure = name == "lobes" or shares[0]["of_lesion"] >= SURE_SHARE
                named = [self._share(share, words) for share in shares[:MOST_NAMED]]
                text = self._part(
                    name if sure else f"possible_{name}", **{name: self._listed(named)}
                )
                parts.append(Statement(text, (f"{at}{name}",)))
        side = found["side"]
        # A part that is named has its side in its name.
        if side.known and (not parts or side.value == "both"):
            text = self._part("side", side=self._say["side"][side.value])
            parts.insert(0, Statement(text, (f"{at}side",)))
        return parts

    def _share(self, share: Mapping[str, Any], words: str) -> str:
        sides = self._say[words][share["part"]]
        name = sides.get(share["side"], share["part"])
        percent = round(100 * share["of_lesion"])
        return name if percent == 100 else self._part("share", name=name, percent=percent)

    def _part(self, template: str, **values: object) -> str:
        return self._say["part"][template].format(**values)

    def _joined(self, parts: Sequence[Statement]) -> str:
        return self._say["separator"].join(part.text for part in parts)

    def _listed(self, names: Sequence[str]) -> str:
        *most, last = names
        return self._say["separator"].join(most) + (self._say["and"] if most else "") + last

    def _volume(self, ml: float) -> str:
        return self._number(max(ml, LEAST_ML), (1, 10, 2))

    def _number(self, value: float, rounding: tuple[float, float, int]) -> str:
        """A number with fewer digits after the point the larger it is."""
        low, high, most = rounding
        digits = most if value < low else 0 if value >= high else 1
        return f"{value:.{digits}f}".replace(".", self._say["decimal"])

    def _paragraph(self, statements: list[Statement]) -> Caption:
        text = " ".join([*(statement.text for statement in statements), self.notice])
        return Caption(text, tuple(statements))

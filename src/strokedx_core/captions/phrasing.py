"""Claims to text in varied phrasings, and text back to claims.

from strokedx_core.captions.phrasing import read, write
write({"type": "ischemic", "side": "left"}, np.random.default_rng(0))
read("Infarction, left-sided. Small.")
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from strokedx_core.captions.claims import FIELDS, Claim

__all__ = ["Said", "read", "say", "write"]

_FIRST = ("presence", "type")
_BREAK = 0.3
"""Share of the commas that are full stops instead."""


@dataclass(frozen=True)
class Said:
    """A phrase of a text.

    Attributes
    ----------
    text : str
    claim : (str, str) or None
        Field and value; None where the phrase says nothing that is known.
    ends : bool
        Whether a sentence ends behind it.
    """

    text: str
    claim: Claim | None
    ends: bool = False


@lru_cache
def _phrases() -> Mapping[Claim, tuple[str, ...]]:
    path = Path(__file__).with_name("phrases.toml")
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return {
        (field, value): tuple(tables[field][value])
        for field, values in FIELDS.items()
        for value in values
    }


@lru_cache
def _meanings() -> Mapping[str, Claim]:
    return {phrase.lower(): claim for claim, phrases in _phrases().items() for phrase in phrases}


def write(claims: Mapping[str, str], rng: np.random.Generator) -> str:
    """Say claims, in an order and with phrases drawn at random.

    Parameters
    ----------
    claims : mapping of str to str
        By field, as `claims.claims_of` gives them.
    rng : numpy.random.Generator

    Returns
    -------
    str
        Phrases with commas or full stops between them. What kind of lesion it is comes first.
    """
    first = [field for field in _FIRST if field in claims]
    others = [field for field in claims if field not in _FIRST]
    order = first + [others[n] for n in rng.permutation(len(others))]
    phrases = [str(rng.choice(_phrases()[field, claims[field]])) for field in order]
    return say(phrases, rng.random(len(phrases)) < _BREAK)


def say(phrases: Iterable[str], breaks: Iterable[bool] = ()) -> str:
    """Phrases as sentences; `breaks` says behind which of them one ends."""
    text, ends = "", [*breaks]
    for number, phrase in enumerate(phrases):
        if not text or text.endswith("."):
            text += (" " if text else "") + phrase[:1].upper() + phrase[1:]
        else:
            text += f", {phrase}"
        if number < len(ends) and ends[number]:
            text += "."
    return text if text.endswith(".") or not text else f"{text}."


def read(text: str) -> list[Said]:
    """The phrases of a text, and what each claims."""
    parts = ((part.strip(), end) for part, end in re.findall(r"([^.,;]+)([.,;]?)", text))
    return [Said(part, _meanings().get(part.lower()), end == ".") for part, end in parts if part]

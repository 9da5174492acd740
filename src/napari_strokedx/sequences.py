"""Which MR sequence a layer shows, guessed from its name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from strokedx_core.tasks import MODALITIES

__all__ = ["guess_sequence", "guess_sequences"]

# What comes first wins: "t2_flair" is FLAIR, "dwi_b0" is B0, "t2star" is SWI.
_PATTERNS = {
    "FLAIR": r"flair|tirm|dark_?fluid",
    "SWI": r"swi|swan|susceptibility|t2_?(s|star|\*)(?![a-z])w?|gre|hemo|haemo",
    "ADC": r"d?adc|apparent_?diffusion",
    "B0": r"b_?=?_?0+|low_?b|no_?diffusion",
    "DWI": r"dwi|trace(w|wi)?|diff(usion)?|iso(tropic)?|b_?=?_?[1-9]\d{2,}",
    "T1W": r"t1w?i?(ce|c|gd|post)?|mp2?_?rage|bravo|spgr|tfl",
    "T2W": r"t2w?i?",
}
assert set(_PATTERNS) == set(MODALITIES)

_NO_SCAN = (
    r"mask|msk|seg(mentation)?|dseg|lesions?|labels?|roi|prob(ability)?|t[12]_?map|t[12]_?rho"
)


def guess_sequence(name: str) -> str | None:
    """Guess which of `tasks.MODALITIES` a name speaks of.

    Parameters
    ----------
    name : str
        Of a layer or a file, such as ``"sub-01_DWI"``, ``"adc"`` or ``"t2_flair"``.

    Returns
    -------
    str or None
        None where the name speaks of none of them, or of a mask.
    """
    words = _words(name)
    if _search(_NO_SCAN, words):
        return None
    return next((found for found in _PATTERNS if _search(_PATTERNS[found], words)), None)


def guess_sequences(names: Sequence[str], *, preferred: int | None = None) -> list[str | None]:
    """Guess the sequences of the layers that belong to one case, each sequence once.

    Parameters
    ----------
    names : sequence of str
    preferred : int, optional
        Index of a layer whose case is meant; the last one with a sequence in its name by default.

    Returns
    -------
    list of str or None
        One for each name. None where the layer shows no sequence that could be made out, belongs
        to another case (``sub-02_DWI`` beside ``sub-01_DWI``), or shows again what another layer of
        the case shows.
    """
    guesses = [guess_sequence(name) for name in names]
    cases = [_case(name, guess) for name, guess in zip(names, guesses, strict=True)]
    known = [index for index, guess in enumerate(guesses) if guess is not None]
    if not known:
        return guesses
    meant = cases[preferred if preferred in known else known[-1]]
    shown: dict[str, set[str]] = {}
    for index in known:
        shown.setdefault(cases[index], set()).add(str(guesses[index]))
    chosen: list[str | None] = [None] * len(names)
    # The case that is meant first, then newer layers before older ones.
    for index in sorted(known, key=lambda index: (cases[index] != meant, -index)):
        case = cases[index]
        subjects = _subject(case), _subject(meant)
        another = case != meant and (
            bool(shown[case] & shown[meant]) or (all(subjects) and subjects[0] != subjects[1])
        )
        if not another and guesses[index] not in chosen:
            chosen[index] = guesses[index]
    return chosen


def _words(name: str) -> str:
    """Lower case, with an underscore between words: "isoDWI-b1000" is "iso_dwi_b1000"."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z0-9*=]+", "_", name.lower())


def _search(pattern: str, words: str) -> re.Match[str] | None:
    return re.search(rf"(?<![a-z0-9])({pattern})(?![a-z0-9])", words)


def _case(name: str, guess: str | None) -> str:
    """What names of one case have in common."""
    words = _words(name)
    if subject := _subject(words):
        session = re.search(r"ses_[a-z0-9]+", words)
        return f"{subject}_{session.group() if session else ''}"
    match = None if guess is None else _search(_PATTERNS[guess], words)
    return words if match is None else words[: match.start()].strip("_")


def _subject(words: str) -> str:
    match = re.search(r"(?<![a-z0-9])(sub|subject|patient|pat|case)_?[a-z]*\d+", words)
    return match.group() if match else ""

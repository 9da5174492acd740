"""What a table of participants says of a person: only what stands there, nothing guessed."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

__all__ = ["History", "HistoryError", "read_history"]

_PERSON = ("participant_id", "subject", "subject_id", "id")
_NOTHING = ("", "n/a", "na", "nan", "none", "unknown")
_SEXES = {"m": "male", "male": "male", "f": "female", "female": "female"}
_ANSWERS = {"1": True, "1.0": True, "yes": True, "y": True, "true": True,
            "0": False, "0.0": False, "no": False, "n": False, "false": False}  # fmt: skip


class HistoryError(ValueError):
    """A table of participants cannot be used; the message names the file and the reason."""


@dataclass(frozen=True)
class History:
    """What is known of a person; None is unknown.

    Attributes
    ----------
    age : float or None
        Years.
    sex : {"male", "female", None}
    nihss : float or None
        National Institutes of Health Stroke Scale, 0 to 42.
    prior_stroke : bool or None
    """

    age: float | None = None
    sex: str | None = None
    nihss: float | None = None
    prior_stroke: bool | None = None


def read_history(table: Path, person: str) -> History:
    """Read what a table says of a person.

    Parameters
    ----------
    table : Path
        Tab-separated, with a column participant_id, subject, subject_id or id. Read are the columns
        age, sex, nihss and priorstroke, in any case, with or without "_", "-" and spaces.
    person : str
        With or without "sub-".

    Returns
    -------
    History
        A number out of range and a code that does not explain itself, such as 1 for a sex, are left
        unknown.

    Raises
    ------
    HistoryError
        If the table cannot be read, or holds the person not at all or more than once.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t")
            names = {_plain(name): name for name in reader.fieldnames or ()}
            column = next((names[_plain(n)] for n in _PERSON if _plain(n) in names), None)
            if column is None:
                raise HistoryError(f"{table}: no column {', '.join(_PERSON)}; is it tab-separated?")
            wanted = person.removeprefix("sub-")
            rows = [r for r in reader if (r[column] or "").strip().removeprefix("sub-") == wanted]
    except (OSError, UnicodeDecodeError) as error:
        raise HistoryError(f"{table}: {error}") from error
    if len(rows) != 1:
        raise HistoryError(f"{table}: {person} stands there {len(rows)} times, not once")

    def cell(name: str) -> str:
        value = (rows[0].get(names.get(name, "")) or "").strip().lower()
        return "" if value in _NOTHING else value

    return History(
        age=_number(cell("age"), 0, 120),
        sex=_SEXES.get(cell("sex")),
        nihss=_number(cell("nihss"), 0, 42),
        prior_stroke=_ANSWERS.get(cell("priorstroke")),
    )


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _number(text: str, low: float, high: float) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if low <= value <= high else None

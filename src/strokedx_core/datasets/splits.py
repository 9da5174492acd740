"""Who is trained on, validated on and kept for the end: divided once, kept in a file.

People are divided, not examinations: nobody is on two sides. Each part has its share of every
stroke type and lesion size.

from strokedx_core.datasets.splits import make_split
split = make_split(find_cases("soop", folder), seed=0)
split.write(Path("split.json"))
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from strokedx_core.captions.claims import size_of
from strokedx_core.datasets.cases import CaseFiles, DataSetError
from strokedx_core.volume import VolumeError, read_mask, write_atomically

__all__ = ["PARTS", "Place", "Split", "extend_split", "make_split", "read_split", "stratum_of"]

PARTS = ("train", "validation", "test")
VERSION = 1


@dataclass(frozen=True)
class Place:
    """Where somebody belongs.

    Attributes
    ----------
    part : str
        One of `PARTS`.
    fold : int or None
        0 up to one less than the number of folds; None of the people kept for the end.
    stratum : str
        Stroke type and lesion size, as far as they are known.
    """

    part: str
    fold: int | None
    stratum: str


@dataclass(frozen=True)
class Split:
    """A division of people.

    Attributes
    ----------
    seed, folds : int
    validation, test : float
        Shares of the people.
    people : mapping of str to Place
        By "data set person".
    """

    seed: int
    folds: int
    validation: float
    test: float
    people: Mapping[str, Place]

    def divide(
        self, cases: Iterable[CaseFiles], fold: int | None = None
    ) -> tuple[list[CaseFiles], list[CaseFiles], list[CaseFiles]]:
        """Cases to train on, to validate on, and kept for the end.

        Parameters
        ----------
        cases : iterable of CaseFiles
        fold : int, optional
            Validate on this fold, and train on all others; without it, the parts are as written.

        Raises
        ------
        DataSetError
            If somebody is not in the file, or there is no such fold.
        """
        if fold is not None and not 0 <= fold < self.folds:
            raise DataSetError(f"there is no fold {fold}; they are 0 to {self.folds - 1}")
        parts: dict[str, list[CaseFiles]] = {name: [] for name in PARTS}
        unknown = []
        for case in cases:
            place = self.people.get(key_of(case))
            if place is None:
                unknown.append(key_of(case))
                continue
            part = place.part
            if fold is not None and part != "test":
                part = "validation" if place.fold == fold else "train"
            parts[part].append(case)
        if unknown:
            shown = ", ".join(sorted(set(unknown))[:5])
            raise DataSetError(
                f"{len(set(unknown))} people are not in the split ({shown}): "
                "`strokedx datasets split` with the same file adds them"
            )
        return parts["train"], parts["validation"], parts["test"]

    def write(self, path: Path) -> None:
        """Keep it, as JSON."""
        content = {"schema": "strokedx-split", "version": VERSION, **asdict(self)}
        write_atomically(path, [json.dumps(content, indent=1, sort_keys=True).encode()])


def key_of(case: CaseFiles) -> str:
    """Whom a case is of."""
    return f"{case.dataset} {case.person}"


def read_split(path: Path) -> Split:
    """Read what `Split.write` kept.

    Raises
    ------
    DataSetError
        If it is no such file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        people = {person: Place(**place) for person, place in content["people"].items()}
        split = Split(
            int(content["seed"]), int(content["folds"]), float(content["validation"]),
            float(content["test"]), people,
        )  # fmt: skip
    except OSError as error:
        raise DataSetError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataSetError(f"{path}: not a file of `strokedx datasets split` ({error})") from error
    wrong = sorted(person for person, place in people.items() if place.part not in PARTS)
    if content.get("version") != VERSION or wrong:
        what = f"the part of {wrong[0]}" if wrong else f"version {content.get('version')}"
        raise DataSetError(f"{path}: {what} is not known")
    return split


def make_split(
    cases: Sequence[CaseFiles],
    *,
    seed: int = 0,
    validation: float = 0.15,
    test: float = 0.15,
    folds: int = 5,
    strata: Mapping[str, str] | None = None,
) -> Split:
    """Divide people.

    Parameters
    ----------
    cases : sequence of CaseFiles
    seed : int
        The same people and seed divide alike.
    validation, test : float
        Shares of the people.
    folds : int
        The people not kept for the end are in as many folds.
    strata : mapping of str to str, optional
        "data set person" → stratum; read from the masks where not given.

    Raises
    ------
    DataSetError
        If there are too few people for each part.
    """
    empty = Split(seed, folds, validation, test, {})
    return extend_split(empty, cases, strata=strata)


def extend_split(
    split: Split, cases: Sequence[CaseFiles], *, strata: Mapping[str, str] | None = None
) -> Split:
    """A split with the people it does not hold yet; those it holds stay where they are.

    Parameters and errors are those of `make_split`.
    """
    new = [case for case in cases if key_of(case) not in split.people]
    strata = strata if strata is not None else strata_of(new)
    people = sorted({key_of(case) for case in new})
    if len(people) + len(split.people) < 3:
        raise DataSetError(f"{len(people)} people are too few to divide; 3 are needed")
    places = dict(split.people)
    by_stratum: dict[str, list[str]] = defaultdict(list)
    order = np.random.default_rng(split.seed).permutation(len(people))
    for number in order:
        by_stratum[strata.get(people[number], "")].append(people[number])
    shares = {
        "test": split.test,
        "validation": split.validation,
        "train": 1 - split.test - split.validation,
    }
    counts = {part: sum(p.part == part for p in places.values()) for part in shares}
    in_fold = [sum(p.fold == fold for p in places.values()) for fold in range(split.folds)]
    for stratum, members in sorted(by_stratum.items()):
        # What a stratum is owed of each part is given in turn, so that small ones are spread too.
        here = dict.fromkeys(shares, 0)
        for number, person in enumerate(members, start=1):
            total = sum(counts.values()) + 1

            def owed(part: str, number: int = number, total: int = total) -> tuple[float, float]:
                return (
                    round(shares[part] * number - here[part], 9),  # noqa: B023
                    shares[part] * total - counts[part],
                )

            part = max(shares, key=owed)
            fold = None
            if part != "test":
                fold = min(range(split.folds), key=lambda n: (in_fold[n], n))
                in_fold[fold] += 1
            here[part] += 1
            counts[part] += 1
            places[person] = Place(part, fold, stratum)
    _fill_empty(places, counts, shares)
    return replace(split, people=dict(sorted(places.items())))


def _fill_empty(
    places: dict[str, Place], counts: dict[str, int], wanted: Mapping[str, float]
) -> None:
    """A part without anybody takes somebody from the largest."""
    for part in ("validation", "test"):
        if counts[part] or not wanted[part]:
            continue
        giver = max(counts, key=lambda name: counts[name])
        person = sorted(p for p, place in places.items() if place.part == giver)[-1]
        fold = None if part == "test" else places[person].fold or 0
        places[person] = replace(places[person], part=part, fold=fold)
        counts[giver] -= 1
        counts[part] += 1


def strata_of(cases: Iterable[CaseFiles]) -> dict[str, str]:
    """The stratum of each person: that of the first examination with a lesion mask."""
    found: dict[str, str] = {}
    for case in cases:
        if not found.get(key_of(case)):
            found[key_of(case)] = stratum_of(case)
    return found


def stratum_of(case: CaseFiles) -> str:
    """Stroke type and size class of a case's lesion; "" where neither is known."""
    size = ""
    if case.lesion is not None:
        try:
            mask = read_mask(case.lesion)
            ml = float((mask.data > 0).sum()) * mask.voxel_ml
            size = size_of(ml) if ml else "empty"
        except VolumeError:
            size = "unreadable"
    return " ".join(part for part in (case.lesion_type or "", size) if part)

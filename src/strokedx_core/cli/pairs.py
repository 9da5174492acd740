"""Which prediction belongs to which reference, by the names of their files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from strokedx_core.cli.outputs import stem

__all__ = ["Pair", "Pairing", "PairingError", "match"]


class PairingError(ValueError):
    """The files given cannot be matched."""


@dataclass(frozen=True)
class Pair:
    """One case to evaluate."""

    case: str
    prediction: Path
    reference: Path
    image: Path | None = None


@dataclass(frozen=True)
class Pairing:
    """What belongs together, and what stays alone.

    Attributes
    ----------
    pairs : tuple of Pair
        In the order of their names.
    predictions_alone, references_alone : tuple of Path
        Files without a counterpart.
    other_names : tuple of Path
        Images that do not end in the suffix asked for.
    """

    pairs: tuple[Pair, ...]
    predictions_alone: tuple[Path, ...] = ()
    references_alone: tuple[Path, ...] = ()
    other_names: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Side:
    """Files of one side, and what to cut off their names."""

    given: Path
    suffix: str
    files: tuple[Path, ...]
    others: tuple[Path, ...]

    def name(self, path: Path) -> str:
        return stem(path).removesuffix(self.suffix)

    def repeats(self) -> bool:
        return max(Counter(self.name(path) for path in self.files).values()) > 1

    def cases(self, by_path: bool) -> dict[str, Path]:
        named: dict[str, Path] = {}
        for path in self.files:
            case = self.name(path)
            if by_path:
                below = path.parent.relative_to(self.given).as_posix()
                case = "/".join(part for part in (below, case) if part not in ("", ".")) or "."
            if case in named:
                raise PairingError(f"{named[case]} and {path} are both named {case}")
            named[case] = path
        return named


def match(
    predictions: Path,
    references: Path,
    images: Path | None = None,
    *,
    suffixes: Sequence[str] = ("", "", ""),
) -> Pairing:
    """Match predictions, references and images.

    Two files belong together, whatever they are called. Of two folders (and what lies below them)
    those files do that have the same name once the image's ending and the suffix are cut off; where
    such a name comes twice in a folder, the path below the folder is part of the name.

    Parameters
    ----------
    predictions, references : Path
        Two image files, or two folders.
    images : Path, optional
        Scans to draw masks on: an image file for two files, or a folder for two folders.
    suffixes : sequence of 3 str
        What the names of predictions, references and images end in before the image's ending;
        others are not looked at.

    Raises
    ------
    PairingError
        If a path is missing, files are mixed with folders, one name stands for two files, or
        nothing belongs together.
    """
    given = [path for path in (predictions, references, images) if path is not None]
    for path in given:
        if not path.exists():
            raise PairingError(f"{path}: no such file or folder")
    folders = [path.is_dir() for path in given]
    if predictions.samefile(references) and not any(folders):
        raise PairingError(f"{references} would be compared with itself")
    if not any(folders):
        return Pairing((Pair(stem(predictions), predictions, references, images),))
    if not all(folders):
        raise PairingError(
            f"give files or folders, not both: {given[folders.index(True)]} is a folder,"
            f" {given[folders.index(False)]} is a file"
        )
    sides = [_side(path, suffix) for path, suffix in zip(given, suffixes, strict=False)]
    by_path = any(side.repeats() for side in sides[:2])
    predicted, true = (side.cases(by_path) for side in sides[:2])
    shown = sides[2].cases(by_path) if images is not None else {}
    both = sorted(predicted.keys() & true.keys())
    if not both:
        raise PairingError(
            f"no prediction has the name of a reference ({_example(sides[0], predicted)};"
            f" {_example(sides[1], true)}); suffixes can be cut off with --prediction-suffix and"
            " --reference-suffix"
        )
    for case in both:
        if predicted[case].samefile(true[case]):
            raise PairingError(f"{true[case]} would be compared with itself")
    return Pairing(
        tuple(Pair(case, predicted[case], true[case], shown.get(case)) for case in both),
        tuple(predicted[case] for case in sorted(predicted.keys() - true.keys())),
        tuple(true[case] for case in sorted(true.keys() - predicted.keys())),
        tuple(path for side in sides[:2] for path in side.others),
    )


def _side(folder: Path, suffix: str) -> _Side:
    from strokedx_core.volume import SUFFIXES

    images = [
        path
        for path in sorted(folder.rglob("*"))
        if path.name.lower().endswith(SUFFIXES)
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not images:
        raise PairingError(f"{folder}: holds no images ({', '.join(SUFFIXES)})")
    taken = tuple(path for path in images if stem(path).endswith(suffix))
    if not taken:
        raise PairingError(f"{folder}: no image has a name that ends in {suffix}")
    return _Side(folder, suffix, taken, tuple(path for path in images if path not in taken))


def _example(side: _Side, cases: dict[str, Path]) -> str:
    first = next(iter(sorted(cases)))
    return f"{side.given} holds {first}" + (" and others" if len(cases) > 1 else "")

"""Captions of a case as commands make them: what was asked for, and the files that come of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from strokedx_core.cli.report import write_json, write_text
from strokedx_core.tasks import LESION_TYPES

if TYPE_CHECKING:
    from strokedx_core.captions.facts import CaseFindings
    from strokedx_core.captions.history import History
    from strokedx_core.captions.neural import NeuralCaption
    from strokedx_core.captions.wording import Caption
    from strokedx_core.volume import Flag

__all__ = ["Asked", "CaptionError", "Captions", "HistoryOption", "LanguageOption", "SubjectOption"]

HistoryOption = Annotated[
    Path | None, typer.Option(metavar="TSV", help="Table of participants; takes --subject.")
]
SubjectOption = Annotated[str | None, typer.Option(metavar="ID", help="Who it is in that table.")]
LanguageOption = Annotated[str, typer.Option(metavar="CODE", help="en or de.")]

Captions = dict[str, list[tuple[int, "Caption"]]]
"""By level (case, lesion, slice): the number of what is described, and its caption."""


class CaptionError(ValueError):
    """What was asked for cannot be said; the message says why."""


@dataclass(frozen=True)
class Asked:
    """How a case is to be put in words.

    Attributes
    ----------
    language, lesion_type : str
    history : History
        What is known of the person.
    """

    language: str
    lesion_type: str
    history: History

    @classmethod
    def checked(
        cls, language: str, lesion_type: str, table: Path | None, subject: str | None
    ) -> Asked:
        """What the options say, with the person looked up.

        Raises
        ------
        CaptionError
            If there is no such language or type, or a table without a subject.
        HistoryError
            If the table does not hold the person.
        """
        from strokedx_core.captions.history import History, read_history
        from strokedx_core.captions.wording import LANGUAGES

        if lesion_type not in LESION_TYPES:
            raise CaptionError(f"--type must be {', '.join(LESION_TYPES)}, not {lesion_type!r}")
        if language not in LANGUAGES:
            raise CaptionError(f"--language must be {', '.join(LANGUAGES)}, not {language!r}")
        if (table is None) != (subject is None):
            raise CaptionError("--history and --subject belong together: give both")
        person = read_history(table, subject) if table and subject else History()
        return cls(language, lesion_type, person)

    def captions(self, found: CaseFindings) -> Captions:
        """Put findings in words, at every level."""
        from strokedx_core.captions.wording import Wording

        words = Wording(self.language, self.lesion_type)
        return {
            "case": [(0, words.case(found, self.history))],
            "lesion": [(one.number, words.lesion(one)) for one in found.lesions],
            "slice": [(one.index, words.slice(one)) for one in found.slices],
        }

    def write(
        self,
        path: Path,
        inputs: Mapping[str, Path],
        flags: Iterable[Flag],
        captions: Captions,
        found: CaseFindings,
        written: NeuralCaption | None = None,
    ) -> None:
        """Write captions and findings as JSON, and a table of the captions beside it."""
        from strokedx_core.captions.schema import findings_json

        ((_, whole),) = captions["case"]
        content: dict[str, Any] = {
            "inputs": {name: str(source) for name, source in inputs.items()},
            "language": self.language,
            "type": self.lesion_type,
            "history": asdict(self.history),
            "flags": [asdict(flag) for flag in flags],
            "captions": {
                "case": asdict(whole),
                "lesions": [{"number": n, **asdict(caption)} for n, caption in captions["lesion"]],
                "slices": [{"index": n, **asdict(caption)} for n, caption in captions["slice"]],
            },
            "findings": findings_json(found),
        }
        if written is not None:
            content["captions"]["neural"] = asdict(written)
        stream = io.StringIO()
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(("level", "number", "text"))
        for level, entries in captions.items():
            for number, caption in entries:
                writer.writerow((level, "" if level == "case" else number, caption.text))
        write_json(path, content)
        write_text(path.with_suffix(".tsv"), stream.getvalue())

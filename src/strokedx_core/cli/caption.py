"""``strokedx caption``: lesions in words, each statement resting on findings."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from strokedx_core.cli.findings import (
    AdcOption,
    AtlasOption,
    BloodOption,
    BrainOption,
    DwiOption,
    FlairOption,
    InMniOption,
    Inputs,
    MaskOption,
    QuietOption,
    TableOption,
)
from strokedx_core.cli.outputs import OutputError, check_report
from strokedx_core.cli.report import write_json, write_text
from strokedx_core.tasks import LESION_TYPES

if TYPE_CHECKING:
    from strokedx_core.captions.findings import CaseFindings
    from strokedx_core.captions.history import History
    from strokedx_core.captions.wording import Caption, Wording

__all__ = ["command"]


class Length(StrEnum):
    """How much is said on the terminal."""

    LINE = "line"
    SLICE = "slice"
    CASE = "case"


class _UnusableError(Exception):
    """What was asked for cannot be done; the message says why."""


def command(
    lesion: MaskOption,
    dwi: DwiOption = None,
    adc: AdcOption = None,
    flair: FlairOption = None,
    blood: BloodOption = None,
    brain: BrainOption = None,
    lesion_type: Annotated[
        str, typer.Option("--type", metavar="|".join(LESION_TYPES), help="What the mask marks.")
    ] = LESION_TYPES[0],
    history: Annotated[
        Path | None, typer.Option(metavar="TSV", help="Table of participants; takes --subject.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option(metavar="ID", help="Who it is in that table.")
    ] = None,
    length: Annotated[
        Length, typer.Option(help="A line for each lesion, a sentence for each slice, or a text.")
    ] = Length.CASE,
    language: Annotated[str, typer.Option(metavar="CODE", help="en or de.")] = "en",
    in_mni: InMniOption = False,
    atlas: AtlasOption = None,
    table: TableOption = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.json", help="Captions of all three lengths "
                     "and findings, as JSON, and a table of the captions beside it."),
    ] = None,
    quiet: QuietOption = False,
) -> None:  # fmt: skip
    """Say what the lesions of a mask are: how large, where, how bright, and whose.

    Only what was measured is said, and of the person only what the table holds.
    """
    from strokedx_core.anatomy.atlas import AtlasError
    from strokedx_core.captions.history import History, HistoryError, read_history
    from strokedx_core.captions.wording import LANGUAGES, Wording
    from strokedx_core.volume import VolumeError

    given = {"DWI": dwi, "ADC": adc, "FLAIR": flair}
    images = {modality: path for modality, path in given.items() if path is not None}
    inputs = Inputs(lesion, images, blood, brain, in_mni, atlas, table)
    try:
        if lesion_type not in LESION_TYPES:
            raise _UnusableError(f"--type must be {', '.join(LESION_TYPES)}, not {lesion_type!r}")
        if language not in LANGUAGES:
            raise _UnusableError(f"--language must be {', '.join(LANGUAGES)}, not {language!r}")
        if (history is None) != (subject is None):
            raise _UnusableError("--history and --subject belong together: give both")
        sources = [*inputs.named.values(), *([history] if history else [])]
        if output is not None:
            check_report(sources, output, output.with_suffix(".tsv"))
        person = History()
        if history is not None and subject is not None:
            person = read_history(history, subject)
        found, flags = inputs.measure()
    except (
        AtlasError, HistoryError, OutputError, VolumeError, _UnusableError, OSError
    ) as error:  # fmt: skip
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    wording = Wording(language, lesion_type)
    captions = _captions(wording, found, person)
    if output is not None:
        about = {
            "inputs": {name: str(path) for name, path in inputs.named.items()},
            "language": language,
            "type": lesion_type,
            "history": asdict(person),
            "flags": [asdict(flag) for flag in flags],
        }
        _write(output, about, captions, found)
    if not quiet:
        if length is Length.CASE or not found.lesions:
            typer.echo(captions["case"][0][1].text)
        else:
            level = "lesion" if length is Length.LINE else "slice"
            for _, caption in captions[level]:
                typer.echo(caption.text)
            typer.echo(wording.notice)
        for flag in flags:
            typer.echo(f"  {flag.code}: {flag.message}")


def _captions(
    wording: Wording, found: CaseFindings, person: History
) -> dict[str, list[tuple[int, Caption]]]:
    """By level: the number of what is described, and its caption."""
    return {
        "case": [(0, wording.case(found, person))],
        "lesion": [(one.number, wording.lesion(one)) for one in found.lesions],
        "slice": [(one.index, wording.slice(one)) for one in found.slices],
    }


def _write(
    output: Path,
    about: dict[str, Any],
    captions: dict[str, list[tuple[int, Caption]]],
    found: CaseFindings,
) -> None:
    from strokedx_core.captions.schema import findings_json

    ((_, whole),) = captions["case"]
    content: dict[str, Any] = {
        **about,
        "captions": {
            "case": asdict(whole),
            "lesions": [{"number": n, **asdict(caption)} for n, caption in captions["lesion"]],
            "slices": [{"index": n, **asdict(caption)} for n, caption in captions["slice"]],
        },
        "findings": findings_json(found),
    }
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
    writer.writerow(("level", "number", "text"))
    for level, entries in captions.items():
        for number, caption in entries:
            writer.writerow((level, "" if level == "case" else number, caption.text))
    write_json(output, content)
    write_text(output.with_suffix(".tsv"), stream.getvalue())

"""``strokedx datasets``: what a data set's folder holds, and how its people are divided."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strokedx_core.cli.report import write_json

if TYPE_CHECKING:
    from strokedx_core.datasets.check import Report

__all__ = ["app"]

app = typer.Typer(
    help="Data sets as downloaded: what is there, what is wrong, who is trained on.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="nfbs, icpsr38464, soop, arc, atlas-r2, isles2022, or bids for others."
    ),
]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="As downloaded.")]

_SHOWN = 20
"""Faults that are told on the terminal; all are in the JSON."""


@app.command("check")
def check(
    name: Name,
    folder: Folder,
    json: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Everybody with files and faults, as JSON.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Read headers alone, not what is in the images.")
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress bar.")] = False,
) -> None:
    """Look at everybody in a data set's folder, and say what is missing or wrong.

    Nobody is dropped: the numbers add up to all that were found.
    """
    from rich.progress import Progress

    from strokedx_core.datasets import DataSetError
    from strokedx_core.datasets.check import check_steps

    try:
        if json is not None and json.is_dir():
            raise DataSetError(f"{json}: is a folder")
        steps = check_steps(name, folder, quick=quick)
        with Progress(disable=quiet, transient=True) as bar:
            task = bar.add_task("looking at people", total=None)
            while True:
                try:
                    done, total = next(steps)
                except StopIteration as stop:
                    report: Report = stop.value
                    break
                bar.update(task, completed=done, total=total)
        if json is not None:
            write_json(json, report.json())
    except (DataSetError, OSError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(_table(report))


def _table(report: Report) -> str:
    """Counts, and the first faults, in words."""
    from strokedx_core.datasets.check import FAULTS

    people = {one.person for one in report.people}
    count = len(report.people)
    lines = [f"{report.folder}: {report.data_set}, {len(people)} people, {count} examinations"]
    meaning = {"complete": "nothing is wrong", **FAULTS}
    for status, number in report.counts().items():
        lines.append(f"  {number:6d}  {status:<12} {meaning[status]}")
    lines.append(f"  {count:6d}  in all")
    if report.unplaced:
        lines.append(
            f"{len(report.unplaced)} images belong to nobody or in no known role, such as "
            f"{report.unplaced[0]}"
        )
    faults = [
        (" ".join(part for part in (one.person, one.session) if part), fault)
        for one in report.people
        for fault in one.faults
    ]
    lines += [f"{who}: {fault.kind}: {fault.message}" for who, fault in faults[:_SHOWN]]
    if len(faults) > _SHOWN:
        lines.append(f"and {len(faults) - _SHOWN} more faults; --json OUT has all")
    return "\n".join(lines)


@app.command("split")
def split(
    name: Name,
    folder: Folder,
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="FILE.json",
            help="Kept and used again: people it holds stay where they are, new ones are added.",
        ),
    ],
    seed: Annotated[int, typer.Option(min=0, help="The same seed divides alike.")] = 0,
    validation: Annotated[float, typer.Option(min=0.01, max=0.45, help="Share of people.")] = 0.15,
    test: Annotated[float, typer.Option(min=0.01, max=0.45, help="Share of people.")] = 0.15,
    folds: Annotated[int, typer.Option(min=2, help="Of the people not kept for the end.")] = 5,
) -> None:  # fmt: skip
    """Divide the people of a data set by stroke type and lesion size, nobody on two sides."""
    from collections import Counter

    from strokedx_core.datasets import DataSetError, find_cases
    from strokedx_core.datasets.splits import PARTS, extend_split, make_split, read_split

    try:
        cases = find_cases(name, folder)
        if output.exists():
            kept = read_split(output)
            made = extend_split(kept, cases)
            told = f"{len(kept.people)} people were in {output}, {{new}} are new"
            told = told.format(new=len(made.people) - len(kept.people))
        else:
            made = make_split(cases, seed=seed, validation=validation, test=test, folds=folds)
            told = f"{len(made.people)} people"
        made.write(output)
    except (DataSetError, OSError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{output}: {told}")
    strata = sorted({place.stratum for place in made.people.values()})
    rows = Counter((place.stratum, place.part) for place in made.people.values())
    width = max(len(stratum or "all") for stratum in strata)
    typer.echo("  ".join(["".ljust(width), *(part.rjust(10) for part in PARTS)]))
    for stratum in strata:
        numbers = [str(rows[stratum, part]).rjust(10) for part in PARTS]
        typer.echo("  ".join([(stratum or "all").ljust(width), *numbers]))

"""``strokedx cohort``: everybody in a BIDS folder, and pages to read."""

from __future__ import annotations

import shlex
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strokedx_core.tasks import LESION_TYPES

if TYPE_CHECKING:
    from strokedx_core.cohort.engine import Where
    from strokedx_core.cohort.exams import Exam
    from strokedx_core.cohort.records import Options, Outcome

__all__ = ["command"]


class Level(StrEnum):
    """As BIDS Apps have it."""

    PARTICIPANT = "participant"
    GROUP = "group"


def command(
    bids_dir: Annotated[Path, typer.Argument(metavar="BIDS_DIR", help="The study.")],
    out_dir: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Where results go.")],
    level: Annotated[
        Level, typer.Argument(help="Work on everybody, or make the page of the study.")
    ],
    participant_label: Annotated[
        list[str] | None, typer.Option(metavar="LABEL", help="Only these; may be given again.")
    ] = None,
    session_label: Annotated[
        list[str] | None, typer.Option(metavar="LABEL", help="Only these; may be given again.")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.tsv",
            help="For a folder that is not BIDS: columns subject, session, and one a sequence "
            "(T1W, T2W, FLAIR, DWI, B0, ADC, SWI) with paths below BIDS_DIR.",
        ),
    ] = None,
    steps: Annotated[
        str, typer.Option(metavar="STEPS", help="brain, or brain,lesion, or brain,lesion,caption.")
    ] = "brain,lesion,caption",
    lesion_type: Annotated[
        str,
        typer.Option("--type", metavar="|".join(LESION_TYPES), help="What counts as a lesion."),
    ] = LESION_TYPES[0],
    language: Annotated[str, typer.Option(help="Of the captions: en, de.")] = "en",
    workers: Annotated[
        int | None,
        typer.Option(
            min=0, help="Processes of this machine; as many as it can bear where not given. 0 "
            "works in this process.",
        ),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler, tcp://HOST:PORT.")
    ] = None,
    cluster: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Jobs of SLURM, PBS or LSF, as the file says."),
    ] = None,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="The I-th of N parts, for a job array without Dask.")
    ] = "1/1",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run and what is missing.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
) -> None:  # fmt: skip
    """Find brain and lesions of everybody in a study, say what they are, and report.

    Nobody's failure ends the run; who is done already is left alone. A run that was stopped goes on
    when the same command is given again.
    """
    from strokedx_core.cohort.exams import CohortError, chosen, find_exams
    from strokedx_core.cohort.lock import only_one

    try:
        options = _options(steps, lesion_type, language, device)
        part = _shard(shard)
        exams = find_exams(bids_dir, table)
        exams = chosen(exams, participant_label or (), session_label or (), part)
        if out_dir.exists() and not out_dir.is_dir():
            raise CohortError(f"{out_dir}: not a folder")
        if dry_run:
            typer.echo(_plan(exams, options, out_dir))
            return
        where = _where(workers, scheduler, cluster, part)
        with only_one(out_dir, part):
            if level is Level.PARTICIPANT:
                repeat = _repeat(bids_dir, out_dir, table, options)
                failed = _run(exams, options, out_dir, where, repeat, part, quiet)
            else:
                failed = _report(exams, out_dir, quiet)
    except CohortError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    except OSError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    if failed:
        raise typer.Exit(1)


def _options(steps: str, lesion_type: str, language: str, device: str) -> Options:
    from strokedx_core.captions.wording import LANGUAGES
    from strokedx_core.cohort.exams import CohortError
    from strokedx_core.cohort.records import STEPS, Options

    wanted = tuple(step.strip() for step in steps.split(","))
    if wanted != STEPS[: len(wanted)]:
        raise CohortError(f"--steps are {', '.join(STEPS)}, each with those before it, not {steps}")
    if lesion_type not in LESION_TYPES:
        raise CohortError(f"--type must be {', '.join(LESION_TYPES)}, not {lesion_type!r}")
    if language not in LANGUAGES:
        raise CohortError(f"--language must be {', '.join(LANGUAGES)}, not {language!r}")
    return Options(wanted, lesion_type, language, device)


def _shard(text: str) -> tuple[int, int]:
    from strokedx_core.cohort.exams import CohortError

    first, _, second = text.partition("/")
    if not (first.isdigit() and second.isdigit() and 1 <= int(first) <= int(second)):
        raise CohortError(f"--shard is I/N with I from 1 to N, not {text!r}")
    return int(first), int(second)


def _where(
    workers: int | None, scheduler: str | None, cluster: Path | None, part: tuple[int, int]
) -> Where:
    from strokedx_core.cohort.engine import ClusterFile, Here, LocalWorkers, Scheduler
    from strokedx_core.cohort.exams import CohortError

    given = [workers is not None, scheduler is not None, cluster is not None]
    if sum(given) > 1:
        raise CohortError("only one of --workers, --scheduler and --cluster can be used")
    if scheduler is not None:
        return Scheduler(scheduler)
    if cluster is not None:
        return ClusterFile(cluster)
    if workers == 0 or (workers is None and part != (1, 1)):
        return Here()
    return LocalWorkers(workers)


def _repeat(bids_dir: Path, out_dir: Path, table: Path | None, options: Options) -> list[str]:
    """Words that repeat one examination, to which its labels are added."""
    words = ["strokedx", "cohort", str(bids_dir), str(out_dir), "participant", "--workers", "0"]
    words += ["--steps", ",".join(options.steps), "--type", options.lesion_type]
    return words + (["--table", str(table)] if table else [])


def _plan(exams: list[Exam], options: Options, out: Path) -> str:
    from strokedx_core.cohort.records import record_of

    lines, ready = [], 0
    for exam in exams:
        if exam.problem:
            lines.append(f"{exam.name}: cannot run: {exam.problem}")
            continue
        ready += 1
        before = ", has results" if record_of(exam, out) else ""
        lines.append(f"{exam.name}: {', '.join(exam.images)}{before}")
    lines.append(f"{ready} of {len(exams)} examinations would run: {', '.join(options.steps)}")
    return "\n".join(lines)


def _run(
    exams: list[Exam],
    options: Options,
    out: Path,
    where: Where,
    repeat: list[str],
    part: tuple[int, int],
    quiet: bool,
) -> int:
    """Work on everybody; how many failed."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from strokedx_core.cohort.engine import run
    from strokedx_core.cohort.records import clear_staging
    from strokedx_core.cohort.status import counts, describe_dataset, write_status

    def command(exam: Exam) -> str:
        words = [*repeat, "--participant-label", exam.subject]
        return shlex.join([*words, *(["--session-label", exam.session] if exam.session else [])])

    clear_staging(out, exams)
    describe_dataset(out)
    outcomes: list[Outcome] = []
    began = time.perf_counter()
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"), disable=quiet,
    )  # fmt: skip
    with bar:
        task = bar.add_task("examinations", total=len(exams), note="")
        for outcome in run(exams, options, out, where, command):
            outcomes.append(outcome)
            note = ", ".join(f"{n} {status}" for status, n in counts(outcomes).items())
            note += f", {len(exams) - len(outcomes)} left"
            bar.update(task, completed=len(outcomes), note=note)
            if outcome.status == "failed":
                bar.console.print(f"{outcome.name}: {outcome.reason}", soft_wrap=True)
    name = "status.tsv" if part == (1, 1) else f"status-{part[0]}-of-{part[1]}.tsv"
    write_status(outcomes, out / name)
    found = counts(outcomes)
    if not quiet:
        told = ", ".join(f"{number} {status}" for status, number in found.items())
        typer.echo(f"{out / name}: {told}, {time.perf_counter() - began:.1f} s")
        typer.echo(f"the page of the study: {shlex.join([*repeat[:4], 'group'])}")
    return found["failed"]


def _report(exams: list[Exam], out: Path, quiet: bool) -> int:
    """Make the page of the study."""
    from strokedx_core.cohort.records import read_outcome
    from strokedx_core.cohort.status import counts, describe_dataset, write_status
    from strokedx_core.cohort.study_page import write_study_page

    outcomes = [read_outcome(exam, out) for exam in exams]
    describe_dataset(out)
    write_status(outcomes, out / "status.tsv")
    page = write_study_page(exams, outcomes, out)
    if not quiet:
        told = ", ".join(f"{number} {status}" for status, number in counts(outcomes).items())
        typer.echo(f"{page}: {told}")
    return 0

"""The command ``strokedx``: one file for each subcommand.

What a command needs it imports when it runs, so that ``strokedx --help`` answers at once and a
single scan never pays for a library it does not use.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import Annotated

import typer

from strokedx_core import __version__
from strokedx_core.cli import (
    analyze,
    caption,
    cohort,
    datasets,
    demo,
    evaluate,
    findings,
    protocols,
    runs,
    segment,
    skull_strip,
    train,
    weights,
)
from strokedx_core.cli.libraries import load_libraries

__all__ = ["app", "main"]

_PREDICTING = ("skull-strip", "segment", "analyze")

app = typer.Typer(
    name="strokedx",
    help="Brain extraction on any MR contrast, stroke lesions and their captions. "
    "Research use only: not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"strokedx {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Say which version."),
    ] = False,
) -> None:
    pass


app.command("skull-strip")(skull_strip.command)
app.command("segment")(segment.command)
app.command("analyze")(analyze.command)
app.command("caption")(caption.command)
app.command("findings")(findings.command)
app.command("cohort")(cohort.command)
app.command("demo")(demo.command)
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(datasets.app, name="datasets")
app.add_typer(train.app, name="train")
app.add_typer(runs.app, name="runs")
app.add_typer(weights.app, name="weights")
app.command("compare-protocols")(protocols.compare)


def main() -> None:
    """Entry point of the console script."""
    command, *words = sys.argv[1:] or [""]
    if command in _PREDICTING and words and not {"-h", "--help"} & set(words):
        load_libraries()
    try:
        app()
    except SystemExit as stop:
        _leave(stop.code)
        raise


def _leave(code: str | int | None) -> None:
    """End the process at once where PyTorch was imported.

    The interpreter takes all that PyTorch brought apart piece by piece before it ends, which is a
    tenth of the time of a single scan. What other modules asked for at exit is done, and whatever
    still runs is waited for by the interpreter's own way out.
    """
    busy = any(t is not threading.main_thread() and not t.daemon for t in threading.enumerate())
    if "torch" not in sys.modules or isinstance(code, str) or busy:
        return
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)

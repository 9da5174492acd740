"""``strokedx runs``: what training runs have come to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(
    help="Look at training runs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    pass


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Run folder.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another.")],
) -> None:
    """Print what two runs were told differently, and their metrics side by side."""
    from strokedx_core.training.run_comparison import RunError, compare_runs

    try:
        typer.echo(compare_runs(first, second))
    except RunError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None

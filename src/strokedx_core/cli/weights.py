"""``strokedx weights``: which weights ship, and what their cards say."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(
    help="List the weights that ship, and show their cards.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_() -> None:
    """Name the weights that ship, their size, and the tasks they are the default for."""
    from strokedx_core.tasks import TASKS
    from strokedx_core.weights import available, find_weights, read_card

    for name in available():
        size = find_weights(name).stat().st_size / 1e6
        tasks = [task.name for task in TASKS.values() if task.default_weights == name]
        default = f" (default of {', '.join(tasks)})" if tasks else ""
        title = read_card(name).text.get("title", "")
        typer.echo(f"{name}  {size:.1f} MB  {title}{default}")


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME|FILE", help="As `strokedx weights list` has it; or a file."),
    ],
) -> None:
    """Print a card: architecture, training, data and licences, measured results, limits."""
    from strokedx_core.weights import WeightsError, find_weights

    try:
        card = find_weights(name).with_suffix(".toml").read_text(encoding="utf-8")
    except (WeightsError, OSError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(card.rstrip())

"""``strokedx weights``: which there are, what their cards say, and one's own beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(
    help="List weights, show their cards, and install those of a training.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_() -> None:
    """Name the weights there are, their size, and the tasks they are the default for."""
    from strokedx_core.tasks import TASKS
    from strokedx_core.weights import WeightsError, available, find_weights, read_card, shipped

    for name in available():
        size = find_weights(name).stat().st_size / 1e6
        tasks = [task.name for task in TASKS.values() if task.default_weights == name]
        notes = [f"default of {', '.join(tasks)}"] if tasks else []
        try:
            card = read_card(name)
        except WeightsError as error:
            typer.echo(f"{name}  unusable: {error}")
            continue
        if name not in shipped():
            notes.append(f"installed, for {card.task}")
        noted = f" ({'; '.join(notes)})" if notes else ""
        typer.echo(f"{name}  {size:.1f} MB  {card.text.get('title', '')}{noted}")


@app.command()
def install(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE.safetensors", help="Of a run folder, its card beside it."),
    ],
    name: Annotated[
        str | None, typer.Option(help="What to call them; otherwise as their card does.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of installed ones of that name.")
    ] = False,
) -> None:
    """Check weights, and copy them to where commands and widgets find them by name.

    Refused are files that are damaged or not what their card says, that do not fit its
    architecture, or that are for another task than it names.
    """
    from strokedx_core.weights import WeightsError, install_weights, read_card

    try:
        installed = install_weights(file, name=name, replace=replace)
    except WeightsError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(
        f"installed: {installed}, for {read_card(installed).task}\n"
        f"use them with --weights {installed}, or choose them under Model in the widget"
    )


@app.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of installed weights.")],
) -> None:
    """Take installed weights away."""
    from strokedx_core.weights import WeightsError, remove_weights

    try:
        remove_weights(name)
    except WeightsError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None


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

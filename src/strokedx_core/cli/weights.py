"""``strokedx weights``: which weights ship, and what their cards say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import strokedx_core

__all__ = ["app"]

app = typer.Typer(
    help="List the weights that ship, and show their cards.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
# Not asked of strokedx_core.weights, which needs PyTorch: cards are text.
_FOLDER = Path(strokedx_core.__file__).parent / "weights"


def _cards() -> dict[str, Path]:
    return {
        card.stem: card
        for card in sorted(_FOLDER.glob("*.toml"))
        if card.with_suffix(".safetensors").exists()
    }


@app.command("list")
def list_() -> None:
    """Name the weights that ship, their size, and the tasks they are the default for."""
    from strokedx_core.tasks import TASKS

    for name, card in _cards().items():
        size = card.with_suffix(".safetensors").stat().st_size / 1e6
        tasks = [task.name for task in TASKS.values() if task.default_weights == name]
        default = f"  default for {', '.join(tasks)}" if tasks else ""
        typer.echo(f"{name}  {size:.1f} MB{default}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `strokedx weights list` has it.")],
) -> None:
    """Print a card: architecture, training, data and licences, measured results, limits."""
    cards = _cards()
    if name not in cards:
        typer.echo(f"Error: no weights named {name}; there are {', '.join(cards)}", err=True)
        raise typer.Exit(2)
    typer.echo(cards[name].read_text(encoding="utf-8").rstrip())

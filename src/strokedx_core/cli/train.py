"""``strokedx train``: train a task's network again, or on label maps of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(
    help="Train networks. A run that was stopped goes on when the same command is given again.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _tasks() -> None:
    """Keep the task's name on the command line while there is one task."""


@app.command("skull-strip")
def skull_strip(
    head_labels: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Whole-head label maps in FreeSurfer numbers, 1 mm: .nii, .nii.gz, .mgz.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="RUN", help="Run folder: checkpoints, curves, slices, weights and card."
        ),
    ],
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml", help="Recipe; without it, that of the weights that ship."
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress bar.")] = False,
) -> None:
    """Train skull stripping on images generated from label maps.

    Needs no scans. On several processors or GPUs, run it with torchrun:
    torchrun --nproc-per-node N -m strokedx_core.training.segmentation, with the same options.
    """
    if not head_labels.is_dir():
        typer.echo(f"Error: {head_labels}: no such folder", err=True)
        raise typer.Exit(2)
    if out.exists() and not out.is_dir():
        typer.echo(f"Error: {out}: not a folder", err=True)
        raise typer.Exit(2)
    from strokedx_core.training.config import DEFAULT_RECIPE, ConfigError, read_config

    try:
        recipe = read_config(config or DEFAULT_RECIPE)
        from strokedx_core.training.segmentation import train

        weights = train(recipe, head_labels, out, quiet=quiet)
    except ConfigError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    except FloatingPointError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"weights: {weights}\ncard:    {weights.with_suffix('.toml')}")
    typer.echo(f"use them with: strokedx skull-strip SCAN -o BRAIN --weights {weights}")

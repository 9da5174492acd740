"""``strokedx train``: train a task's network again, or on label maps of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import typer
from typer.core import TyperGroup

from strokedx_core.cli import protocols

__all__ = ["app"]


class _Train(TyperGroup):
    """``train --protocol NAME FOLDER`` is ``train protocol --protocol NAME FOLDER``."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        named = any(word == "--protocol" or word.startswith("--protocol=") for word in args)
        if named and args[0] != "protocol":
            args = ["protocol", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Train,
    help="Train networks. A run that was stopped goes on when the same command is given again. "
    "`strokedx train --protocol NAME FOLDER --out RUN` trains on a data set by a named protocol.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


HeadLabels = Annotated[
    Path,
    typer.Option(
        metavar="DIR",
        help="Whole-head label maps in FreeSurfer numbers, 1 mm: .nii, .nii.gz, .mgz.",
    ),
]
LesionMasks = Annotated[
    Path,
    typer.Option(metavar="DIR", help="Lesion masks in MNI152 space, 1 mm: .nii, .nii.gz."),
]
Out = Annotated[
    Path,
    typer.Option(metavar="RUN", help="Run folder: checkpoints, curves, slices, weights and card."),
]
Config = Annotated[
    Path | None,
    typer.Option(metavar="FILE.toml", help="Recipe; without it, that of the weights that ship."),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress bar.")]


@app.command("skull-strip")
def skull_strip(
    head_labels: HeadLabels, out: Out, config: Config = None, quiet: Quiet = False
) -> None:
    """Train skull stripping on images generated from label maps.

    Needs no scans. On several processors or GPUs, run it with torchrun:
    torchrun --nproc-per-node N -m strokedx_core.training.segmentation, with the same options.
    """
    weights = _train("skull-strip", {"head-labels": head_labels}, out, config, quiet)
    typer.echo(f"use them with: strokedx skull-strip SCAN -o BRAIN --weights {weights}")


@app.command("lesion")
def lesion(
    head_labels: HeadLabels,
    lesion_masks: LesionMasks,
    out: Out,
    config: Config = None,
    quiet: Quiet = False,
) -> None:
    """Train stroke lesions, and clicks on them, on simulated strokes.

    Needs no scans: heads come from label maps, infarcts take their shape from drawn masks. On
    several processors or GPUs, run it with torchrun: torchrun --nproc-per-node N -m
    strokedx_core.training.segmentation --task lesion, with the same options.
    """
    folders = {"head-labels": head_labels, "lesion-masks": lesion_masks}
    weights = _train("lesion", folders, out, config, quiet)
    typer.echo(f"use them with: strokedx segment --dwi SCAN -o LESION --weights {weights}")


@app.command("anatomy")
def anatomy(
    head_labels: HeadLabels,
    lesion_masks: LesionMasks,
    atlas: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="The arterial atlas of Liu et al. in MNI152 space; its table beside it, as .tsv.",
        ),
    ],
    out: Out,
    config: Config = None,
    quiet: Quiet = False,
) -> None:
    """Train the parts of the brain, on generated brains with and without strokes.

    Needs no scans. On several processors or GPUs, run it with torchrun: torchrun --nproc-per-node N
    -m strokedx_core.training.segmentation --task anatomy, with the same options.
    """
    if not atlas.is_file():
        typer.echo(f"Error: {atlas}: no such file", err=True)
        raise typer.Exit(2)
    folders = {"head-labels": head_labels, "lesion-masks": lesion_masks}
    _train("anatomy", folders, out, config, quiet, {"atlas": atlas})


@app.command("caption")
def caption(
    out: Out,
    head_labels: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Whole-head label maps; with the next two options."),
    ] = None,
    lesion_masks: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Lesion masks in MNI152 space, 1 mm.")
    ] = None,
    atlas: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The arterial atlas of Liu et al.; its table beside it."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FOLDER",
            help="A data set whose texts are learnt in place of generated ones, such as "
            "icpsr38464=FOLDER.",
        ),
    ] = None,
    config: Config = None,
    quiet: Quiet = False,
) -> None:
    """Train the captioner, on generated strokes and their findings or on a data set's own texts."""
    named = [word.partition("=") for word in data or []]
    folders = {name: Path(folder) for name, _, folder in named}
    given = {"head-labels": head_labels, "lesion-masks": lesion_masks, "atlas": atlas}
    folders |= {name: path for name, path in given.items() if path is not None}
    with protocols.errors_in_words():
        from strokedx_core.training.caption_config import RECIPE, read_caption_config
        from strokedx_core.training.captioning import train_captioner
        from strokedx_core.training.config import ConfigError

        for path in folders.values():
            if not path.exists():
                raise ConfigError(f"{path}: no such file or folder")
        recipe = read_caption_config(config or RECIPE)
        if named:
            names = tuple(name for name, _, _ in named)
            recipe = recipe.model_copy(update={"data_sets": names, "data": ()})
        weights = train_captioner(recipe, folders, out, quiet=quiet)
    typer.echo(f"weights: {weights}\ncard:    {weights.with_suffix('.toml')}")


@app.command("caption-type")
def caption_type(
    head_labels: HeadLabels,
    lesion_masks: LesionMasks,
    out: Out,
    config: Config = None,
    quiet: Quiet = False,
) -> None:
    """Train the network that tells the captioner what type of stroke a lesion is.

    Needs no scans: it learns from simulated infarcts, haemorrhages, and infarcts with blood.
    """
    with protocols.errors_in_words():
        from strokedx_core.training.lesion_typer import train_lesion_typer
        from strokedx_core.training.tables import ConfigError
        from strokedx_core.training.typer_config import RECIPE, read_typer_config

        folders = {"head-labels": head_labels, "lesion-masks": lesion_masks}
        for folder in folders.values():
            if not folder.is_dir():
                raise ConfigError(f"{folder}: no such folder")
        weights = train_lesion_typer(read_typer_config(config or RECIPE), folders, out, quiet=quiet)
    typer.echo(f"weights: {weights}\ncard:    {weights.with_suffix('.toml')}")


def _train(
    task: str,
    folders: dict[str, Path],
    out: Path,
    config: Path | None,
    quiet: bool,
    files: Mapping[str, Path] = MappingProxyType({}),
) -> Path:
    """Train, and say where the weights are; errors in words, with exit code 2."""
    for folder in folders.values():
        if not folder.is_dir():
            typer.echo(f"Error: {folder}: no such folder", err=True)
            raise typer.Exit(2)
    if out.exists() and not out.is_dir():
        typer.echo(f"Error: {out}: not a folder", err=True)
        raise typer.Exit(2)
    from strokedx_core.training.config import RECIPES, read_config

    with protocols.errors_in_words():
        recipe = read_config(config or RECIPES[task], task)
        from strokedx_core.training.segmentation import train

        weights = train(recipe, {**folders, **files}, out, quiet=quiet)
    typer.echo(f"weights: {weights}\ncard:    {weights.with_suffix('.toml')}")
    return weights


app.command("protocol")(protocols.train_by_protocol)

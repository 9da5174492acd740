"""``strokedx train --protocol`` and ``strokedx compare-protocols``: training on a data set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["compare", "errors_in_words", "train_by_protocol"]

SPLIT = "split.json"

HeadLabels = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Whole-head label maps: generated images are mixed in."),
]
LesionMasks = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Lesion masks in MNI space: shapes of generated strokes."),
]
Changes = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE.toml", help="Values in place of the protocol's."),
]
SplitFile = Annotated[
    Path | None,
    typer.Option(
        "--split",
        metavar="FILE.json",
        help="Division of the people, as `strokedx datasets split` keeps it; made where there is "
        "no such file. Without it, a file in the run folder.",
    ),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress bar.")]


@contextmanager
def errors_in_words() -> Iterator[None]:
    """One line in place of a traceback: exit code 2 for what was asked, 1 for what went wrong."""
    from strokedx_core.training.config import ConfigError
    from strokedx_core.training.failures import BadCasesError, NoMemoryError
    from strokedx_core.volume import VolumeError

    try:
        yield
    except ConfigError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    except (FloatingPointError, BadCasesError, NoMemoryError, OSError, VolumeError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None


def train_by_protocol(
    protocol: Annotated[
        str, typer.Option(metavar="NAME", help="Such as seed/nfbs-skull-strip; a wrong one lists.")
    ],
    folder: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", help="Of each data set, as downloaded.")
    ],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Run folder.")],
    head_labels: HeadLabels = None,
    lesion_masks: LesionMasks = None,
    config: Changes = None,
    split: SplitFile = None,
    fold: Annotated[
        int | None, typer.Option(min=0, help="Validate on this fold of the division.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train on a data set of one's own by a named protocol, and measure on people kept for the end.

    seed/… are those of the project this one grew from; strokedx/… start from the weights that ship.
    On several processors or GPUs: torchrun --nproc-per-node N -m
    strokedx_core.training.segmentation --protocol NAME --data DATASET=FOLDER --out RUN.
    """
    with errors_in_words():
        from strokedx_core.training.comparison import run_protocol, table
        from strokedx_core.training.config import ConfigError, read_toml
        from strokedx_core.training.protocol import is_caption, read_protocol

        changes = read_toml(config) if config else {}
        kept = split or out / SPLIT
        if is_caption(protocol):
            _train_caption(protocol, folder, out, changes, kept, quiet)
            return
        if fold is not None:
            changes["real"] = {**changes.get("real", {}), "fold": fold}
        names = read_protocol(protocol, changes).data_sets
        if len(names) != len(folder):
            raise ConfigError(f"{protocol} takes the folders of {', '.join(names)}, in this order")
        folders = _folders(dict(zip(names, folder, strict=True)), head_labels, lesion_masks)
        _say_mixing(protocol, changes, folders)
        folders["split"] = kept
        result = run_protocol(protocol, folders, out, changes=changes, quiet=quiet)
    typer.echo(table([result]))
    typer.echo(f"weights: {result.weights}\ncard:    {result.weights.with_suffix('.toml')}")


def compare(
    data_set: Annotated[str, typer.Argument(metavar="DATASET", help="Such as NFBS.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="As downloaded.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the run folders go.")] = Path(
        "protocols"
    ),
    only: Annotated[
        str | None, typer.Option(metavar="TASK", help="Such as lesion-general; otherwise all.")
    ] = None,
    head_labels: HeadLabels = None,
    lesion_masks: LesionMasks = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Tables [seed] and [strokedx] of other values."),
    ] = None,
    split: SplitFile = None,
    quiet: Quiet = False,
) -> None:
    """Train by the original project's protocol and by ours, on the same people, and compare.

    Both are measured on people that neither has seen, each image on its own grid. A comparison that
    was stopped goes on when the same command is given again.
    """
    with errors_in_words():
        from strokedx_core.training.comparison import run_protocol, table
        from strokedx_core.training.config import ConfigError, read_toml
        from strokedx_core.training.protocol import is_caption, protocol_names

        changes = read_toml(config) if config else {}
        if set(changes) - {"seed", "strokedx"}:
            raise ConfigError(f"{config}: only the tables [seed] and [strokedx] are known")
        name = "".join(letter for letter in data_set.lower() if letter.isalnum())
        whole = [known.removeprefix("seed/") for known in protocol_names() if known[:5] == "seed/"]
        tasks = [known for known in whole if known.startswith(f"{name}-")]
        tasks = [known for known in tasks if only in (None, known.removeprefix(f"{name}-"))]
        if not tasks:
            raise ConfigError(f"no protocol for {data_set} {only or ''}; there are {whole}")
        folders = _folders({name: folder}, head_labels, lesion_masks)
        folders["split"] = split or out / f"{name}-{SPLIT}"
        for task in tasks:
            if is_caption(f"seed/{task}"):
                _compare_captions(task, folders, out, changes, quiet)
                continue
            results = []
            for side in ("seed", "strokedx"):
                protocol, told = f"{side}/{task}", changes.get(side, {})
                _say_mixing(protocol, told, folders)
                run = out / f"{side}-{task}"
                results.append(run_protocol(protocol, folders, run, changes=told, quiet=quiet))
            typer.echo(f"\n{table(results)}")


def _train_caption(
    protocol: str,
    folder: list[Path],
    out: Path,
    changes: dict[str, Any],
    split: Path,
    quiet: bool,
) -> None:
    """Train a captioner by a protocol, and say what came of it."""
    from strokedx_core.training.caption_protocol import (
        caption_table,
        read_caption_protocol,
        run_caption_protocol,
    )
    from strokedx_core.training.config import ConfigError

    names = read_caption_protocol(protocol, changes).data_sets
    if len(names) != len(folder):
        raise ConfigError(f"{protocol} takes the folders of {', '.join(names)}, in this order")
    folders = _folders(dict(zip(names, folder, strict=True)), None, None) | {"split": split}
    result = run_caption_protocol(protocol, folders, out, changes=changes, quiet=quiet)
    typer.echo(caption_table([result]))
    typer.echo(f"weights: {result.weights}\ncard:    {result.weights.with_suffix('.toml')}")


def _compare_captions(
    task: str, folders: dict[str, Path], out: Path, changes: dict[str, Any], quiet: bool
) -> None:
    from strokedx_core.training.caption_protocol import caption_table, run_caption_protocol

    results = [
        run_caption_protocol(
            f"{side}/{task}", folders, out / f"{side}-{task}",
            changes=changes.get(side, {}), quiet=quiet,
        )
        for side in ("seed", "strokedx")
    ]  # fmt: skip
    typer.echo(f"\n{caption_table(results)}")


def _folders(
    data_sets: dict[str, Path], head_labels: Path | None, lesion_masks: Path | None
) -> dict[str, Path]:
    """All folders by name; those that are missing are an error."""
    from strokedx_core.training.config import ConfigError

    given = {**data_sets, "head-labels": head_labels, "lesion-masks": lesion_masks}
    folders = {name: path for name, path in given.items() if path is not None}
    for path in folders.values():
        if not path.is_dir():
            raise ConfigError(f"{path}: no such folder")
    return folders


def _say_mixing(protocol: str, changes: dict[str, Any], folders: dict[str, Path]) -> None:
    from strokedx_core.training.protocol import read_protocol

    real = read_protocol(protocol, changes).config.real
    if real is not None and real.share < 1 and "head-labels" not in folders:
        typer.echo(
            f"{protocol}: no --head-labels, so all images are real; "
            f"{100 * (1 - real.share):.0f} % would be generated",
            err=True,
        )

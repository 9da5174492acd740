"""Options that name the sequences of a case, in any order, and what they come to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from strokedx_core.volume import Volume

__all__ = [
    "AdcOption",
    "B0Option",
    "BValueOption",
    "DwiOption",
    "FlairOption",
    "SequenceError",
    "SwiOption",
    "T1wOption",
    "T2wOption",
    "check_sequences",
    "in_order",
    "read_sequences",
]

_ORDER = "strokedx.sequences.order"


class SequenceError(ValueError):
    """The sequences that were named cannot be used together; the message says why."""


def _remember(ctx: typer.Context, param: typer.CallbackParam, path: Path | None) -> Path | None:
    """Keep the order in which the sequences are named: the first gives the result its grid."""
    if path is not None and param.name is not None:
        ctx.meta.setdefault(_ORDER, []).append(param.name.upper())
    return path


def _sequence(option: str, what: str) -> Any:
    return typer.Option(option, metavar="FILE", help=what, callback=_remember)


T1wOption = Annotated[Path | None, _sequence("--t1w", "T1-weighted.")]
T2wOption = Annotated[Path | None, _sequence("--t2w", "T2-weighted.")]
FlairOption = Annotated[Path | None, _sequence("--flair", "FLAIR.")]
DwiOption = Annotated[Path | None, _sequence("--dwi", "Diffusion-weighted, b about 1000.")]
B0Option = Annotated[Path | None, _sequence("--b0", "Diffusion series at b = 0.")]
AdcOption = Annotated[Path | None, _sequence("--adc", "Apparent diffusion coefficient.")]
SwiOption = Annotated[Path | None, _sequence("--swi", "Susceptibility- or T2*-weighted.")]
BValueOption = Annotated[
    float | None,
    typer.Option(
        "--b-value", metavar="N", help="b-value of the DWI, s/mm²: computes the ADC from B0."
    ),
]


def in_order(ctx: typer.Context, given: dict[str, Path | None]) -> dict[str, Path]:
    """The sequences that were named, by modality, in the order of the command line."""
    named = ((modality, given[modality]) for modality in ctx.meta.get(_ORDER, []))
    return {modality: path for modality, path in named if path is not None}


def check_sequences(paths: dict[str, Path], b_value: float | None) -> None:
    """Refuse what cannot work, before anything is read.

    Raises
    ------
    SequenceError
    """
    if not paths:
        raise SequenceError("no sequence was given: name at least one, such as --dwi FILE")
    if b_value is not None:
        if not b_value > 0:
            raise SequenceError(f"--b-value must be positive, not {b_value:g}")
        if "ADC" in paths:
            raise SequenceError("--b-value computes the ADC, but --adc gives it already")
        if not {"DWI", "B0"} <= set(paths):
            raise SequenceError("--b-value computes the ADC from --dwi and --b0: give both")


def read_sequences(paths: dict[str, Path], b_value: float | None) -> dict[str, Volume]:
    """The volumes in the order given; the computed ADC comes last."""
    from strokedx_core.diffusion import adc_from
    from strokedx_core.volume import read_volume

    volumes = {modality: read_volume(path) for modality, path in paths.items()}
    if b_value is not None:
        volumes["ADC"] = adc_from(volumes["DWI"], volumes["B0"], b_value)
    return volumes

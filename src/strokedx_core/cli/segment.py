"""``strokedx segment``: the stroke lesions of one case, from any of its sequences."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from strokedx_core.cli.libraries import import_inference
from strokedx_core.cli.outputs import OutputError, check_images
from strokedx_core.cli.report import NOTICE, write_report
from strokedx_core.cli.sequences import (
    AdcOption,
    B0Option,
    BValueOption,
    DwiOption,
    FlairOption,
    SequenceError,
    SwiOption,
    T1wOption,
    T2wOption,
    check_sequences,
    in_order,
    read_sequences,
)
from strokedx_core.cli.skull_strip import Device
from strokedx_core.tasks import LESION_TYPES

if TYPE_CHECKING:
    from strokedx_core.inference.segment import Click, LesionResult
    from strokedx_core.volume import Volume

__all__ = ["command"]

_SHOWN = 10  # lesions on the terminal; the report has all of them


class _UnusableError(Exception):
    """What was asked for cannot be done; the message says why."""


def command(
    ctx: typer.Context,
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="LESION",
            help="Lesion mask to write, on the grid of the first sequence given.",
        ),
    ],
    lesion_type: Annotated[
        str,
        typer.Option("--type", metavar="|".join(LESION_TYPES), help="What counts as a lesion."),
    ] = LESION_TYPES[0],
    t1w: T1wOption = None,
    t2w: T2wOption = None,
    flair: FlairOption = None,
    dwi: DwiOption = None,
    b0: B0Option = None,
    adc: AdcOption = None,
    swi: SwiOption = None,
    b_value: BValueOption = None,
    probability: Annotated[
        Path | None,
        typer.Option("-p", "--probability", metavar="FILE", help="Probability to write."),
    ] = None,
    strip: Annotated[
        bool,
        typer.Option("--skull-strip/--no-skull-strip", help="Find the brain first."),
    ] = True,
    click: Annotated[
        list[str] | None,
        typer.Option(
            metavar="I,J,K,+",
            help="Voxel of the first sequence, counted from 0, that is lesion (+) or is not (-); "
            "may be given again and again.",
        ),
    ] = None,
    previous: Annotated[
        Path | None,
        typer.Option(metavar="MASK", help="Mask to start the clicks from, any program's."),
    ] = None,
    threshold: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Probability from which a voxel counts as lesion."),
    ] = 0.5,
    device: Annotated[
        Device, typer.Option(help="auto takes CUDA, then Apple's MPS, then the processor.")
    ] = Device.AUTO,
    weights: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="Weights other than the default (weights list)."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write lesions, times and flags as JSON."),
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
) -> None:
    """Find stroke lesions in any of the sequences of one case.

    The mask lies on the grid of the first sequence on the command line; the others may lie on grids
    of their own. Clicks are applied to it one after the other.
    """
    from strokedx_core.volume import VolumeError

    given = {
        "T1W": t1w, "T2W": t2w, "FLAIR": flair, "DWI": dwi, "B0": b0, "ADC": adc, "SWI": swi
    }  # fmt: skip
    paths = in_order(ctx, given)
    sources = [*paths.values(), *([previous] if previous else [])]
    start = time.perf_counter()
    try:
        _check(lesion_type, threshold)
        check_sequences(paths, b_value)
        clicks = [_parsed(text) for text in click or ()]
        if previous is not None and not clicks:
            raise _UnusableError("--previous is where clicks start from: give at least one --click")
        check_images(sources, {"-o": output, "-p": probability}, report)
        volumes = read_sequences(paths, b_value)
        result = _segment(
            volumes,
            previous,
            clicks,
            lesion_type=lesion_type,
            device=device.value,
            weights=weights,
            threshold=threshold,
            skull_strip=strip,
        )
        _write(result, output, probability)
    except (OutputError, SequenceError, VolumeError, _UnusableError, OSError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    entry = _entry(result, paths, output, probability, time.perf_counter() - start)
    if report is not None:
        write_report(report, "cases", [entry])
    if not quiet:
        typer.echo(_describe(entry))
        typer.echo(NOTICE)


def _check(lesion_type: str, threshold: float) -> None:
    """Refuse what cannot work, before anything is read."""
    if lesion_type not in LESION_TYPES:
        raise _UnusableError(f"--type must be {', '.join(LESION_TYPES)}, not {lesion_type!r}")
    if not 0 < threshold < 1:
        raise _UnusableError(f"--threshold must lie between 0 and 1, not {threshold}")


def _parsed(text: str) -> Click:
    from strokedx_core.inference.segment import Click

    *places, sign = text.replace(" ", "").split(",")
    try:
        i, j, k = (int(place) for place in places)
    except ValueError:
        sign = ""
    if sign not in ("+", "-"):
        raise _UnusableError(f"--click takes I,J,K,+ or I,J,K,- in whole voxels, not {text!r}")
    return Click((i, j, k), sign == "+")


def _segment(
    volumes: dict[str, Volume], previous: Path | None, clicks: list[Click], **options: Any
) -> LesionResult:
    import numpy as np

    from strokedx_core.volume import read_mask

    start = None
    if previous is not None:
        mask, first = read_mask(previous), next(iter(volumes.values()))
        if mask.shape != first.shape or not np.allclose(mask.affine, first.affine, atol=1e-2):
            raise _UnusableError(f"{previous}: not on the grid of {first.path}")
        start = mask.data
    import_inference()
    from strokedx_core.inference.devices import DeviceError
    from strokedx_core.inference.segment import ClickError, segment_lesions
    from strokedx_core.weights import WeightsError

    try:
        return segment_lesions(volumes, clicks=clicks, previous=start, **options)
    except (ClickError, DeviceError, WeightsError) as error:
        raise _UnusableError(error) from None


def _write(result: LesionResult, output: Path, probability: Path | None) -> None:
    from strokedx_core.volume import write_mask, write_probability

    for path in (output, probability):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
    write_mask(result.mask, result.volume, output)
    if probability is not None:
        write_probability(result.probability, result.volume, probability)


def _entry(
    result: LesionResult,
    paths: dict[str, Path],
    output: Path,
    probability: Path | None,
    seconds: float,
) -> dict[str, Any]:
    """What came of it, as it stands in the report."""
    return {
        "inputs": {modality: str(path) for modality, path in paths.items()},
        "type": result.lesion_type,
        "mask": str(output),
        "probability": None if probability is None else str(probability),
        "lesion_ml": round(result.volume_ml, 3),
        "lesions": [
            {
                "number": lesion.number,
                "ml": round(lesion.volume_ml, 3),
                "side": lesion.side,
                "centre_ras_mm": [round(place, 1) for place in lesion.centre],
                "voxel": list(lesion.index),
            }
            for lesion in result.lesions()
        ],
        "brain_ml": round(float(result.brain.sum()) * result.volume.voxel_ml, 3),
        "device": result.device,
        "seconds": {
            **{step: round(took, 3) for step, took in result.seconds.items()},
            "total": round(seconds, 3),
        },
        "flags": [{"code": flag.code, "message": flag.message} for flag in result.flags],
    }


def _describe(entry: dict[str, Any]) -> str:
    count, kind = len(entry["lesions"]), "" if entry["type"] == "general" else f"{entry['type']} "
    lines = [
        f"{count or 'no'} {kind}lesion{'' if count == 1 else 's'}, {entry['lesion_ml']:.2f} ml, "
        f"{entry['seconds']['total']:.1f} s on {entry['device']}"
    ]
    lines += [
        f"  {lesion['number']}: {lesion['ml']:.2f} ml, {lesion['side']}, at voxel "
        f"{','.join(map(str, lesion['voxel']))}"
        for lesion in entry["lesions"][:_SHOWN]
    ]
    if count > _SHOWN:
        lines.append(f"  and {count - _SHOWN} smaller ones")
    lines += [f"  {entry[name]}" for name in ("mask", "probability") if entry[name]]
    lines += [f"  {flag['code']}: {flag['message']}" for flag in entry["flags"]]
    return "\n".join(lines)

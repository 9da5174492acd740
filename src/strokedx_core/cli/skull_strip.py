"""``strokedx skull-strip``: brain mask and stripped image of one scan or of many."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from strokedx_core.cli.libraries import import_inference
from strokedx_core.cli.outputs import OutputError, Outputs, plan
from strokedx_core.cli.progress import progress
from strokedx_core.cli.report import NOTICE, write_report

if TYPE_CHECKING:
    from strokedx_core.inference.skull_strip import SkullStripResult

__all__ = ["NOTICE", "Device", "command"]


class Device(StrEnum):
    """What the network runs on."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


def command(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Scans: .nii, .nii.gz, .mgz, .mgh.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="BRAIN|DIR",
            help="Stripped image to write; or a folder for NAME_brain.nii.gz and NAME_mask.nii.gz "
            "of each input.",
        ),
    ] = None,
    mask: Annotated[
        Path | None, typer.Option("-m", "--mask", metavar="MASK", help="Brain mask to write.")
    ] = None,
    device: Annotated[
        Device, typer.Option(help="auto takes CUDA, then Apple's MPS, then the processor.")
    ] = Device.AUTO,
    weights: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="Weights other than the default (weights list)."),
    ] = None,
    frame: Annotated[
        int | None, typer.Option(min=0, help="Which frame of a 4-D scan, counted from 0.")
    ] = None,
    threshold: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Probability from which a voxel counts as brain."),
    ] = 0.5,
    report: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write volumes, times and flags as JSON."),
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
) -> None:
    """Find the brain in MR scans of any contrast, and write its mask and the stripped image.

    Results lie on the grid of the scan they came from. A scan that cannot be read is reported,
    nothing is written for it, the others go on, and the exit code is 2.
    """
    try:
        jobs = plan(inputs, output, mask, report)
        options = _options(device, weights, threshold)
        entries = []
        with progress("Skull stripping", len(jobs), quiet) as advance:
            for job in jobs:
                entry = _strip(job, frame, options)
                entries.append(entry)
                if "error" in entry:
                    typer.echo(f"Error: {entry['error']}", err=True)
                elif not quiet:
                    typer.echo(_describe(entry))
                advance()
    except (OutputError, _UnusableError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    failed = sum("error" in entry for entry in entries)
    if report is not None:
        write_report(report, "scans", entries)
    if failed and len(jobs) > 1:
        typer.echo(f"{failed} of {len(jobs)} inputs failed; see above.", err=True)
    if not quiet and failed < len(jobs):
        typer.echo(NOTICE)
    if failed:
        raise typer.Exit(2)


class _UnusableError(Exception):
    """No scan can be processed with what was asked for; the message says why."""


def _options(device: Device, weights: str | None, threshold: float) -> dict[str, Any]:
    """Arguments of `skull_strip`, checked as far as that is possible without PyTorch."""
    from strokedx_core.weights import WeightsError, read_card

    if not 0 < threshold < 1:
        raise _UnusableError(f"--threshold must lie between 0 and 1, not {threshold}")
    if weights is not None:
        try:
            read_card(weights)
        except WeightsError as error:
            raise _UnusableError(error) from None
    return {"device": device.value, "weights": weights, "threshold": threshold}


def _strip(job: Outputs, frame: int | None, options: dict[str, Any]) -> dict[str, Any]:
    """Process one scan; what came of it, as it stands in the report."""
    from strokedx_core.volume import VolumeError, read_volume

    start = time.perf_counter()
    entry: dict[str, Any] = {"input": str(job.source)}
    try:
        # Read first: a file that is no scan is refused without waiting for PyTorch.
        volume = read_volume(job.source, frame=frame)
        read = time.perf_counter() - start
        import_inference()
        from strokedx_core.inference.devices import DeviceError
        from strokedx_core.inference.skull_strip import skull_strip
        from strokedx_core.weights import WeightsError

        imported = time.perf_counter()
        try:
            result = skull_strip(volume, **options)
        except (DeviceError, WeightsError) as error:
            raise _UnusableError(error) from None
        predicted = time.perf_counter()
        _write(result, job)
    except (VolumeError, OSError) as error:
        return entry | {"error": str(error)}
    end = time.perf_counter()
    seconds = {
        "read": read,
        "import": imported - start - read,
        **result.seconds,
        "write": end - predicted,
        "total": end - start,
    }
    return entry | {
        "brain": None if job.brain is None else str(job.brain),
        "mask": None if job.mask is None else str(job.mask),
        "brain_ml": round(result.volume_ml, 3),
        "device": result.device,
        "seconds": {step: round(took, 3) for step, took in seconds.items()},
        "flags": [{"code": flag.code, "message": flag.message} for flag in result.flags],
    }


def _write(result: SkullStripResult, job: Outputs) -> None:
    from strokedx_core.volume import write_image, write_mask

    for path in job.files:
        path.parent.mkdir(parents=True, exist_ok=True)
    if job.mask is not None:
        write_mask(result.mask, result.volume, job.mask)
    if job.brain is not None:
        write_image(result.brain(), result.volume, job.brain)


def _describe(entry: dict[str, Any]) -> str:
    lines = [
        f"{entry['input']}: brain {entry['brain_ml']:.0f} ml, "
        f"{entry['seconds']['total']:.1f} s on {entry['device']}"
    ]
    lines += [f"  {entry[kind]}" for kind in ("brain", "mask") if entry[kind]]
    lines += [f"  {flag['code']}: {flag['message']}" for flag in entry["flags"]]
    return "\n".join(lines)

"""``strokedx analyze``: a case from its sequences to a page: brain, lesions, findings, captions."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strokedx_core.cli.caption_files import (
    Asked,
    CaptionError,
    HistoryOption,
    LanguageOption,
    SubjectOption,
)
from strokedx_core.cli.libraries import import_inference
from strokedx_core.cli.report import NOTICE, write_text
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
    import numpy as np

    from strokedx_core.cli.caption_files import Captions
    from strokedx_core.inference.lesions import LesionResult
    from strokedx_core.volume import Volume

__all__ = ["command"]

BRAIN, LESION, PROBABILITY = "brain_mask.nii.gz", "lesion_mask.nii.gz", "lesion_probability.nii.gz"
CAPTIONS, PAGE = "captions.json", "report.html"


def command(
    ctx: typer.Context,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for all results.")
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
    history: HistoryOption = None,
    subject: SubjectOption = None,
    language: LanguageOption = "en",
    device: Annotated[
        Device, typer.Option(help="auto takes CUDA, then Apple's MPS, then the processor.")
    ] = Device.AUTO,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
) -> None:
    """Find brain and lesions of a case, measure them, say what they are, and draw a page.

    Masks lie on the grid of the first sequence on the command line.
    """
    from strokedx_core.captions.history import HistoryError
    from strokedx_core.volume import VolumeError

    given = {
        "T1W": t1w, "T2W": t2w, "FLAIR": flair, "DWI": dwi, "B0": b0, "ADC": adc, "SWI": swi
    }  # fmt: skip
    paths = in_order(ctx, given)
    start = time.perf_counter()
    try:
        check_sequences(paths, b_value)
        if output.exists() and not output.is_dir():
            raise SequenceError(f"-o takes a folder, and {output} is a file")
        asked = Asked.checked(language, lesion_type, history, subject)
        volumes = read_sequences(paths, b_value)
        result = _segment(volumes, lesion_type, device.value)
        text = _write(output, paths, volumes, result, asked, device.value)
    except (
        CaptionError, HistoryError, SequenceError, VolumeError, OSError
    ) as error:  # fmt: skip
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    if not quiet:
        typer.echo(text)
        for flag in result.flags:
            typer.echo(f"  {flag.code}: {flag.message}")
        typer.echo(f"  {output / PAGE}, {time.perf_counter() - start:.1f} s on {result.device}")


def _segment(volumes: dict[str, Volume], lesion_type: str, device: str) -> LesionResult:
    import_inference()
    from strokedx_core.inference.devices import DeviceError
    from strokedx_core.inference.segment import segment_lesions

    try:
        return segment_lesions(volumes, lesion_type=lesion_type, device=device)
    except DeviceError as error:
        raise SequenceError(str(error)) from None


def _write(
    folder: Path,
    paths: dict[str, Path],
    volumes: dict[str, Volume],
    result: LesionResult,
    asked: Asked,
    device: str,
) -> str:
    """All files; the caption of the case."""
    from strokedx_core.captions.describe import describe_steps
    from strokedx_core.inference.prediction import finish
    from strokedx_core.volume import write_mask, write_probability

    first = result.volume
    folder.mkdir(parents=True, exist_ok=True)
    write_mask(result.brain, first, folder / BRAIN)
    write_mask(result.mask, first, folder / LESION)
    write_probability(result.probability, first, folder / PROBABILITY)
    found, _ = finish(
        describe_steps(replace(first, data=result.mask), volumes, brain=result.brain, device=device)
    )
    captions = asked.captions(found)
    asked.write(folder / CAPTIONS, paths, result.flags, captions, found)
    ((_, whole),) = captions["case"]
    write_text(folder / PAGE, _page(result, whole.text, captions))
    return whole.text


def _page(result: LesionResult, text: str, captions: Captions) -> str:
    """The case on one page: text, pictures, and the captions of lesions and slices."""
    from strokedx_core.evaluation.pages import page, paragraph, picture, table

    volume = result.volume
    brain_ml = float(result.brain.sum()) * volume.voxel_ml
    parts = [
        paragraph(text),
        *(paragraph(f"Flag: {flag.message}") for flag in result.flags),
        "<h2>Lesions</h2>",
        picture(_drawn(volume, result.mask, "Lesions"), "outlines of the lesions on the scan")
        if result.mask.any()
        else paragraph("None is marked."),
        *(paragraph(caption.text) for _, caption in captions["lesion"]),
        "<h2>Brain</h2>",
        picture(
            _drawn(volume, result.brain, f"Brain, {brain_ml:.0f} ml"),
            "outline of the brain on the scan",
        ),
    ]
    if captions["slice"]:
        parts.append("<h2>Slices</h2>")
        rows = [(str(number), caption.text) for number, caption in captions["slice"]]
        parts.append(table(("Slice", "Caption"), rows))
    return page("StrokeDx: lesions of a case", NOTICE, parts)


def _drawn(volume: Volume, mask: np.ndarray, title: str) -> bytes:
    from strokedx_core.evaluation.pictures import mask_overlay

    stream = io.BytesIO()
    mask_overlay(volume.data, mask, volume.affine, stream, title)
    return stream.getvalue()

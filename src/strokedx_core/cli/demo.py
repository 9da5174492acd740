"""``strokedx demo``: the whole way from scans to masks and pictures, on a case that ships."""

from __future__ import annotations

import html
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from strokedx_core.cli.libraries import import_inference
from strokedx_core.cli.skull_strip import NOTICE, Device

__all__ = ["command"]

_INTRODUCTION = (
    "A head made by StrokeDx's own generator: nobody's scan, and its true brain mask is known. "
    "Each sequence has a grid of its own."
)
_STROKE = "Another head from the generator, with an acute infarct on DWI and ADC."


def command(
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for masks and pictures.")
    ] = Path("demo_output"),
    device: Annotated[
        Device, typer.Option(help="auto takes CUDA, then Apple's MPS, then the processor.")
    ] = Device.AUTO,
) -> None:
    """Find brain and lesion in the samples that ship with StrokeDx, and say what is there.

    Needs no data and no network connection. Open DIR/index.html afterwards.
    """
    from strokedx_core.sample import sample_case

    typer.echo(_INTRODUCTION)
    out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    import_inference()
    from strokedx_core.evaluation import pictures

    typer.echo(f"Libraries loaded in {time.perf_counter() - start:.1f} s.")
    rows = []
    for modality, (scan, truth) in sample_case().items():
        row = _one(modality, scan, truth, out, device.value)
        rows.append(row)
        typer.echo(_line(row))
    typer.echo(_STROKE)
    stroke = _stroke(out, device.value)
    typer.echo(_stroke_line(stroke))
    page = out / "index.html"
    page.write_text(_page(rows, stroke, pictures.CONVENTION), encoding="utf-8")
    typer.echo(f"Masks, stripped images, pictures and captions: {page}")
    typer.echo(f"All of it took {time.perf_counter() - start:.1f} s. {NOTICE}")


def _one(modality: str, scan: Path, truth: Path, out: Path, device: str) -> dict[str, Any]:
    """Strip one scan and write what comes of it."""
    from strokedx_core.evaluation.metrics import dice
    from strokedx_core.evaluation.pictures import mask_overlay
    from strokedx_core.inference.skull_strip import skull_strip
    from strokedx_core.volume import read_mask, read_volume, write_image, write_mask

    name = scan.name.removesuffix(".nii.gz")
    clock = _Clock()
    volume = read_volume(scan)
    clock.lap("read")
    result = skull_strip(volume, device=device)
    clock.lap("find the brain")
    write_mask(result.mask, volume, out / f"{name}_mask.nii.gz")
    write_image(result.brain(), volume, out / f"{name}_brain.nii.gz")
    clock.lap("write")
    reference = read_mask(truth).data
    agreement = dice(result.mask, reference)
    mask_overlay(
        volume.data,
        result.mask,
        volume.affine,
        out / f"{name}.png",
        f"{modality}: brain {result.volume_ml:.0f} ml, Dice {agreement:.3f}",
        reference=reference,
    )
    clock.lap("draw")
    return {
        "modality": modality,
        "name": name,
        "grid": f"{' × '.join(map(str, volume.shape))} voxels of "
        f"{' × '.join(f'{size:.3g}' for size in volume.spacing)} mm",
        "brain_ml": result.volume_ml,
        "true_ml": float(reference.sum()) * volume.voxel_ml,
        "dice": agreement,
        "seconds": clock.laps,
        "device": result.device,
        "flags": [flag.message for flag in result.flags],
    }


def _stroke(out: Path, device: str) -> dict[str, Any]:
    """Find the lesion of the sample with a stroke, and describe it."""
    from strokedx_core.captions.describe import describe_steps
    from strokedx_core.captions.wording import Wording
    from strokedx_core.evaluation.metrics import dice
    from strokedx_core.evaluation.pictures import mask_overlay
    from strokedx_core.inference.prediction import finish
    from strokedx_core.inference.segment import segment_lesions
    from strokedx_core.sample import sample_stroke
    from strokedx_core.volume import read_mask, read_volume, write_mask

    sample = sample_stroke()
    clock = _Clock()
    volumes = {modality: read_volume(path) for modality, path in sample.scans.items()}
    clock.lap("read")
    result = segment_lesions(volumes, lesion_type="ischemic", device=device)
    clock.lap("find brain and lesion")
    first = result.volume
    lesion = replace(first, data=result.mask)
    found, _ = finish(describe_steps(lesion, volumes, brain=result.brain, device=device))
    words = Wording("en", "ischemic")
    clock.lap("tell where it is")
    write_mask(result.mask, first, out / "stroke_lesion_mask.nii.gz")
    write_mask(result.brain, first, out / "stroke_brain_mask.nii.gz")
    clock.lap("write")
    reference = read_mask(sample.lesion).data
    agreement = dice(result.mask, reference)
    mask_overlay(
        first.data,
        result.mask,
        first.affine,
        out / "stroke_lesion.png",
        f"DWI: lesion {result.volume_ml:.1f} ml, Dice {agreement:.3f}",
        reference=reference,
    )
    clock.lap("draw")
    return {
        "lesion_ml": result.volume_ml,
        "true_ml": float(reference.sum()) * first.voxel_ml,
        "dice": agreement,
        "caption": words.case(found).text,
        "lesions": [words.lesion(one).text for one in found.lesions],
        "seconds": clock.laps,
        "device": result.device,
        "flags": [flag.message for flag in result.flags],
    }


class _Clock:
    """Seconds of each step."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        now = time.perf_counter()
        self.laps[step], self._last = now - self._last, now


def _seconds(row: dict[str, Any]) -> str:
    return ", ".join(f"{step} {took:.2f} s" for step, took in row["seconds"].items())


def _line(row: dict[str, Any]) -> str:
    lines = [
        f"{row['modality']:>5}  {row['grid']}",
        f"       brain {row['brain_ml']:.0f} ml (truly {row['true_ml']:.0f} ml), "
        f"Dice {row['dice']:.3f}, on {row['device']}",
        f"       {_seconds(row)}",
        *(f"       flag: {message}" for message in row["flags"]),
    ]
    return "\n".join(lines)


def _stroke_line(stroke: dict[str, Any]) -> str:
    lines = [
        f"       lesion {stroke['lesion_ml']:.1f} ml (truly {stroke['true_ml']:.1f} ml), "
        f"Dice {stroke['dice']:.3f}, on {stroke['device']}",
        f"       {_seconds(stroke)}",
        *(f"       flag: {message}" for message in stroke["flags"]),
        f"       {stroke['caption']}",
    ]
    return "\n".join(lines)


def _page(rows: Sequence[dict[str, Any]], stroke: dict[str, Any], convention: str) -> str:
    from strokedx_core.evaluation.pages import page, paragraph, table

    head = ("Sequence", "Grid", "Brain", "True brain", "Dice", "Steps")
    cells = [
        (
            row["modality"],
            row["grid"],
            f"{row['brain_ml']:.0f} ml",
            f"{row['true_ml']:.0f} ml",
            f"{row['dice']:.3f}",
            _seconds(row),
        )
        for row in rows
    ]
    parts = [paragraph(_INTRODUCTION), table(head, cells)]
    for row in rows:
        name, modality = row["name"], html.escape(row["modality"])
        parts.append(f"<h2>{modality}</h2>")
        parts += [paragraph(f"Flag: {message}") for message in row["flags"]]
        parts.append(f'<img src="{name}.png" alt="{modality} with the outline of the brain mask">')
        parts.append(
            f'<p>Files: <a href="{name}_mask.nii.gz">mask</a>, '
            f'<a href="{name}_brain.nii.gz">stripped image</a></p>'
        )
    parts += [
        "<h2>Stroke</h2>",
        paragraph(_STROKE),
        paragraph(stroke["caption"]),
        *(paragraph(f"Flag: {message}") for message in stroke["flags"]),
        '<img src="stroke_lesion.png" alt="DWI with the outline of the lesion mask">',
        *(paragraph(line) for line in stroke["lesions"]),
        table(
            ("Lesion", "True lesion", "Dice", "Steps"),
            [(
                f"{stroke['lesion_ml']:.1f} ml",
                f"{stroke['true_ml']:.1f} ml",
                f"{stroke['dice']:.3f}",
                _seconds(stroke),
            )],
        ),
        '<p>Files: <a href="stroke_lesion_mask.nii.gz">lesion mask</a>, '
        '<a href="stroke_brain_mask.nii.gz">brain mask</a></p>',
        paragraph(convention),
    ]  # fmt: skip
    return page("StrokeDx demo: brain, lesion, caption", NOTICE, parts)

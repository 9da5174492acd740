"""``strokedx evaluate``: masks against references, case by case and summed up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strokedx_core import __version__
from strokedx_core.cli.outputs import OutputError
from strokedx_core.cli.pairs import Pair, Pairing, PairingError, match
from strokedx_core.cli.progress import progress
from strokedx_core.cli.report import NOTICE

if TYPE_CHECKING:
    from strokedx_core.evaluation.lesion_report import CaseResult
    from strokedx_core.evaluation.summary import LesionSummary

__all__ = ["app"]

app = typer.Typer(
    help="Measure masks against references.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _tasks() -> None:
    """Keep the task's name on the command line while there is one task."""


@app.command()
def lesion(
    predictions: Annotated[
        Path, typer.Argument(metavar="PREDICTIONS", help="Lesion mask, or folder of masks.")
    ],
    references: Annotated[
        Path, typer.Argument(metavar="REFERENCES", help="Reference mask, or folder of masks.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="DIR",
            help="Folder for cases.csv, summary.json and worst_cases.html.",
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(metavar="FILE|DIR", help="Scans to draw the worst cases on."),
    ] = None,
    prediction_suffix: Annotated[
        str,
        typer.Option(metavar="TEXT", help="What predictions' names end in, such as _lesion."),
    ] = "",
    reference_suffix: Annotated[
        str, typer.Option(metavar="TEXT", help="What references' names end in, such as _msk.")
    ] = "",
    image_suffix: Annotated[
        str, typer.Option(metavar="TEXT", help="What scans' names end in, such as _dwi.")
    ] = "",
    labels: Annotated[
        bool,
        typer.Option(
            "--labels", help="Take label maps too: every number but 0 is lesion, whatever it is."
        ),
    ] = False,
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst cases to draw.")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the confidence intervals.")] = 0,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
) -> None:
    """Compare lesion masks with references.

    Two files belong together, whatever they are called. In two folders, and below them, those files
    do that have the same name once the image's ending and the suffix given for their side are cut
    off; where a name comes twice in a folder, the path below the folder is part of the name. Files
    that stay alone are named and not counted.

    Lesions are 26-connected pieces of a mask; one of the reference is found if the prediction marks
    any voxel of it, one of the prediction is false if it touches no voxel of the reference. Where
    reference and prediction are both empty, every score is 1; where one of them is, every score
    is 0.

    If a mask cannot be read, or lies on another grid than its reference, nothing is written and the
    exit code is 2.
    """
    suffixes = (prediction_suffix, reference_suffix, image_suffix)
    try:
        _check_output(out, images)
        found = match(predictions, references, images, suffixes=suffixes)
    except (OutputError, PairingError, OSError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    remarks = _remarks(found, images)
    for remark in remarks:
        typer.echo(f"Warning: {remark}", err=True)
    results = _measure(found.pairs, labels, quiet)
    from strokedx_core.evaluation.lesion_report import (
        cases_csv,
        summary_json,
        worst_first,
        worst_page,
    )
    from strokedx_core.evaluation.summary import summarise_lesions
    from strokedx_core.volume import VolumeError

    summary = summarise_lesions([result.scores for result in results], seed=seed)
    if out is not None:
        pairs = {pair.case: pair for pair in found.pairs}
        about = {
            "program": f"strokedx {__version__}",
            "notice": NOTICE,
            "predictions": str(predictions),
            "references": str(references),
            "predictions_without_reference": [str(path) for path in found.predictions_alone],
            "references_without_prediction": [str(path) for path in found.references_alone],
        }
        drawn = worst_first(results)[:worst]
        try:
            pictures = [_draw(result, pairs[result.case], labels) for result in drawn]
            files = {
                "cases.csv": cases_csv(results),
                "summary.json": summary_json(results, summary, seed, about),
                "worst_cases.html": worst_page(
                    list(zip(drawn, pictures, strict=True)), summary, remarks, NOTICE
                ),
            }
            _write(out, files)
        except (VolumeError, OSError) as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(2) from None
    if not quiet:
        typer.echo("\n".join(_table(results, summary)))
        if out is not None:
            typer.echo(f"Written: {out / 'cases.csv'}, summary.json, worst_cases.html")
        typer.echo(NOTICE)


def _check_output(out: Path | None, images: Path | None) -> None:
    if out is not None and out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; --out takes a folder")
    if images is not None and out is None:
        raise OutputError("--images is for the pictures, which need a folder: name one with --out")


def _remarks(found: Pairing, images: Path | None) -> list[str]:
    """Sentences on every file that is left out."""
    without_image = [pair.case for pair in found.pairs if images is not None and not pair.image]
    lists = (
        ("Predictions without a reference, not counted", found.predictions_alone),
        ("References without a prediction, not counted", found.references_alone),
        ("Names without the suffix asked for, not looked at", found.other_names),
        ("Cases without a scan to draw on", without_image),
    )
    return [
        f"{what} ({len(names)}): {', '.join(map(str, names))}" for what, names in lists if names
    ]


def _measure(pairs: Sequence[Pair], labels: bool, quiet: bool) -> list[CaseResult]:
    """Read and compare all cases; every one that cannot be is named before the command ends."""
    from strokedx_core.evaluation.lesion_report import CaseResult
    from strokedx_core.evaluation.lesions import compare_lesions, in_order_of
    from strokedx_core.volume import Flag, VolumeError, read_mask

    results, failed = [], 0
    with progress("Comparing", len(pairs), quiet) as advance:
        for pair in pairs:
            try:
                prediction = read_mask(pair.prediction, labels=labels)
                reference = read_mask(pair.reference, labels=labels)
                mask = in_order_of(prediction, reference)
            except VolumeError as error:
                hint = "" if labels or "not a mask" not in str(error) else "; see --labels"
                typer.echo(f"Error: {error}{hint}", err=True)
                failed += 1
                continue
            scores = compare_lesions(mask, reference.data, reference.affine)
            flags = tuple(
                Flag(flag.code, f"{volume.path}: {flag.message}")
                for volume in (prediction, reference)
                for flag in volume.flags
            )
            results.append(CaseResult(pair.case, pair.prediction, pair.reference, scores, flags))
            advance()
    if failed:
        if len(pairs) > 1:
            typer.echo(f"{failed} of {len(pairs)} cases cannot be compared; see above.", err=True)
        raise typer.Exit(2)
    return results


def _draw(result: CaseResult, pair: Pair, labels: bool) -> bytes:
    """Picture of one case, read anew: all of them at once might not fit in memory."""
    from strokedx_core.evaluation.lesion_report import draw_case
    from strokedx_core.evaluation.lesions import in_order_of
    from strokedx_core.volume import check_same_space, onto_grid, read_mask, read_volume

    prediction = read_mask(pair.prediction, labels=labels)
    reference = read_mask(pair.reference, labels=labels)
    image = None
    if pair.image is not None:
        scan = read_volume(pair.image)
        check_same_space((reference, scan))
        image = onto_grid(scan.data, scan.affine, reference.shape, reference.affine)
    return draw_case(result, in_order_of(prediction, reference), reference, image)


def _write(out: Path, files: dict[str, str]) -> None:
    from strokedx_core.volume import write_atomically

    out.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_atomically(out / name, [text.encode()])


def _table(results: Sequence[CaseResult], summary: LesionSummary) -> list[str]:
    """Lines for the terminal: a table of cases and one of measures."""
    from strokedx_core.evaluation.lesion_report import count_sentence, number, with_interval
    from strokedx_core.evaluation.lesions import MEASURES

    short = {
        "dice": "Dice",
        "lesion_f1": "F1",
        "lesion_precision": "prec.",
        "lesion_recall": "recall",
        "surface_dice": "surface",
        "hausdorff95_mm": "HD95 mm",
        "reference_ml": "ref. ml",
        "predicted_ml": "pred. ml",
        "volume_difference_ml": "diff. ml",
    }
    wide = max(len("case"), *(len(result.case) for result in results))
    lines = [f"{'case':{wide}}" + "".join(f"{head:>9}" for head in short.values())]
    for result in results:
        cells = (number(name, getattr(result.scores, name)) for name in short)
        lines.append(f"{result.case:{wide}}" + "".join(f"{cell:>9}" for cell in cells))
        lines += [f"  {flag.code}: {flag.message}" for flag in result.flags]
    lines += ["", count_sentence(summary)]
    if summary.cases > 1:
        lines += ["", f"{'':26}{'cases':>6}  {'mean (95 % interval)':28}median (95 % interval)"]
        for name, estimate in summary.measures.items():
            mean, median = with_interval(name, estimate.mean), with_interval(name, estimate.median)
            lines.append(f"{MEASURES[name]:26}{estimate.count:>6}  {mean:28}{median}")
    return lines

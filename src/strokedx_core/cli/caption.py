"""``strokedx caption``: lesions in words, each statement resting on findings."""

from __future__ import annotations

from enum import StrEnum
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
from strokedx_core.cli.findings import (
    AtlasOption,
    BloodOption,
    BrainOption,
    InMniOption,
    Inputs,
    MaskOption,
    QuietOption,
    TableOption,
)
from strokedx_core.cli.outputs import OutputError, check_report
from strokedx_core.cli.report import NOTICE
from strokedx_core.cli.sequences import (
    AdcOption,
    B0Option,
    DwiOption,
    FlairOption,
    SwiOption,
    T1wOption,
    T2wOption,
    in_order,
)
from strokedx_core.tasks import LESION_TYPES

if TYPE_CHECKING:
    from strokedx_core.captions.facts import CaseFindings
    from strokedx_core.captions.neural import NeuralCaption

__all__ = ["command"]


class Length(StrEnum):
    """How much is said on the terminal."""

    LINE = "line"
    SLICE = "slice"
    CASE = "case"


_LEVELS = {Length.LINE: "lesion", Length.SLICE: "slice", Length.CASE: "case"}


def command(
    ctx: typer.Context,
    lesion: MaskOption,
    dwi: DwiOption = None,
    adc: AdcOption = None,
    flair: FlairOption = None,
    t1w: T1wOption = None,
    t2w: T2wOption = None,
    b0: B0Option = None,
    swi: SwiOption = None,
    blood: BloodOption = None,
    brain: BrainOption = None,
    lesion_type: Annotated[
        str, typer.Option("--type", metavar="|".join(LESION_TYPES), help="What the mask marks.")
    ] = LESION_TYPES[0],
    history: HistoryOption = None,
    subject: SubjectOption = None,
    length: Annotated[
        Length, typer.Option(help="A line for each lesion, a sentence for each slice, or a text.")
    ] = Length.CASE,
    language: LanguageOption = "en",
    in_mni: InMniOption = False,
    atlas: AtlasOption = None,
    table: TableOption = None,
    neural: Annotated[
        bool,
        typer.Option(
            help="Let a network write too, from the images; what the findings do not bear out is "
            "struck."
        ),
    ] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="Its weights, other than the default (weights list)."
        ),
    ] = None,
    type_weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="Those of the network that tells the type beside it."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE.json",
            help="Captions of all three lengths and findings, as JSON, and a table of the captions "
            "beside it.",
        ),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Say what the lesions of a mask are: how large, where, how bright, and whose.

    Only what was measured is said, and of the person only what the table holds.
    """
    from strokedx_core.anatomy.atlas import AtlasError
    from strokedx_core.captions.history import HistoryError
    from strokedx_core.volume import VolumeError

    given = {
        "T1W": t1w, "T2W": t2w, "FLAIR": flair, "DWI": dwi, "B0": b0, "ADC": adc, "SWI": swi
    }  # fmt: skip
    images = in_order(ctx, given)
    inputs = Inputs(lesion, images, blood, brain, in_mni, atlas, table)
    try:
        if output is not None:
            sources = [*inputs.named.values(), *([history] if history else [])]
            check_report(sources, output, output.with_suffix(".tsv"))
        asked = Asked.checked(language, lesion_type, history, subject)
        if neural and not images:
            raise CaptionError("--neural needs an image: give one at least, such as --dwi FILE")
        if (weights or type_weights) and not neural:
            raise CaptionError("--weights and --type-weights are the network's: give --neural too")
        _check_weights(weights, type_weights)
        found, flags = inputs.measure()
        captions = asked.captions(found)
        written = None
        if neural:
            written = _written(inputs, found, lesion_type, weights, type_weights)
        if output is not None:
            asked.write(output, inputs.named, flags, captions, found, written)
    except (
        AtlasError, CaptionError, HistoryError, OutputError, VolumeError, OSError
    ) as error:  # fmt: skip
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    if quiet:
        return
    level = _LEVELS[length] if found.lesions else "case"
    for _, caption in captions[level]:
        typer.echo(caption.text)
    if written is not None:
        typer.echo(f"network, checked: {written.checked or 'nothing that is borne out'}")
        struck = [part.text for part in written.statements if part.verdict == "struck"]
        if struck:
            typer.echo(f"  struck: {', '.join(struck)}")
    if level != "case":
        typer.echo(NOTICE)
    for flag in flags:
        typer.echo(f"  {flag.code}: {flag.message}")


def _check_weights(*given: str | None) -> None:
    """Refuse weights that are not there before anything is measured."""
    from strokedx_core.weights import WeightsError, read_card

    try:
        for weights in given:
            if weights is not None:
                read_card(weights)
    except WeightsError as error:
        raise CaptionError(str(error)) from None


def _written(
    inputs: Inputs,
    found: CaseFindings,
    lesion_type: str,
    weights: str | None,
    type_weights: str | None,
) -> NeuralCaption:
    """What the network writes about the case."""
    from strokedx_core.captions.neural import write_caption
    from strokedx_core.inference.prediction import finish
    from strokedx_core.inference.skull_strip import skull_strip_steps
    from strokedx_core.volume import onto_grid, read_mask, read_volume, same_grid
    from strokedx_core.weights import WeightsError

    mask = read_mask(inputs.lesion)
    volumes = {modality: read_volume(path) for modality, path in inputs.images.items()}
    if inputs.brain is not None:
        brain = read_mask(inputs.brain).data > 0
    else:
        first = next(iter(volumes.values()))
        brain = finish(skull_strip_steps(first)).mask
        if not same_grid(first, mask):
            brain = onto_grid(brain, first.affine, mask.shape, mask.affine) >= 0.5
    try:
        return write_caption(
            mask, volumes, brain, found, lesion_type=lesion_type, weights=weights,
            closer=type_weights,
        )  # fmt: skip
    except WeightsError as error:
        raise CaptionError(str(error)) from None

"""``strokedx findings``: what can be measured of a lesion mask, as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from strokedx_core.cli.libraries import import_inference
from strokedx_core.cli.outputs import OutputError, check_report
from strokedx_core.cli.report import NOTICE, write_json
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

if TYPE_CHECKING:
    from strokedx_core.captions.facts import CaseFindings
    from strokedx_core.volume import Flag

__all__ = [
    "AtlasOption",
    "BloodOption",
    "BrainOption",
    "InMniOption",
    "Inputs",
    "MaskOption",
    "QuietOption",
    "TableOption",
    "command",
]

MaskOption = Annotated[Path, typer.Option(metavar="MASK", help="Lesion mask, any program's.")]
BloodOption = Annotated[
    Path | None,
    typer.Option(
        "--hemorrhagic", metavar="MASK", help="Which part is blood, on the lesion mask's grid."
    ),
]
BrainOption = Annotated[
    Path | None,
    typer.Option(
        metavar="MASK",
        help="Brain mask on the same grid; without one, the brain is looked for in a sequence.",
    ),
]
InMniOption = Annotated[
    bool, typer.Option("--in-mni", help="The lesion mask lies in MNI152 space.")
]
AtlasOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Your own atlas of territories, in MNI152 space."),
]
TableOption = Annotated[
    Path | None,
    typer.Option("--atlas-labels", metavar="TSV",
                 help="Its table: index, short, name, side, territory."),
]  # fmt: skip
QuietOption = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")]


@dataclass(frozen=True)
class Inputs:
    """Files that findings are measured from."""

    lesion: Path
    images: dict[str, Path]
    blood: Path | None
    brain: Path | None
    in_mni: bool
    atlas: Path | None
    table: Path | None

    @property
    def named(self) -> dict[str, Path]:
        """Those that were given, by what they are."""
        others = {
            "hemorrhagic": self.blood, "brain": self.brain, "atlas": self.atlas,
            "atlas labels": self.table,
        }  # fmt: skip
        given = {name: path for name, path in others.items() if path is not None}
        return {"lesion": self.lesion, **self.images, **given}

    def measure(self) -> tuple[CaseFindings, tuple[Flag, ...]]:
        """Read them, and measure; and what was noticed when the brain had to be looked for.

        Raises
        ------
        AtlasError, VolumeError
            If a file cannot be used, or files do not fit each other.
        """
        from strokedx_core.anatomy.atlas import AtlasError, read_atlas
        from strokedx_core.captions.describe import describe_steps
        from strokedx_core.inference.prediction import finish
        from strokedx_core.volume import VolumeError, read_mask, read_volume, same_grid

        if (self.atlas is None) != (self.table is None):
            raise AtlasError("--atlas and --atlas-labels belong together: give both")
        if self.atlas is not None and not (self.in_mni or self.images):
            raise AtlasError(
                "an atlas is of use for a mask in MNI space, or beside an image: say --in-mni, or "
                "give one"
            )
        mask = read_mask(self.lesion)
        volumes = {modality: read_volume(path) for modality, path in self.images.items()}
        brain = None
        if self.brain is not None:
            inside = read_mask(self.brain)
            if not same_grid(inside, mask):
                raise VolumeError(f"{self.brain}: not on the grid of {self.lesion}")
            brain = inside.data
        steps = describe_steps(
            mask,
            volumes,
            brain=brain,
            in_mni=self.in_mni,
            atlas=read_atlas(self.atlas, self.table) if self.atlas and self.table else None,
            hemorrhagic=None if self.blood is None else read_mask(self.blood),
        )
        if volumes:
            import_inference()
        found, flags = finish(steps)
        return found, (*mask.flags, *flags)


def command(
    ctx: typer.Context,
    lesion: MaskOption,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="JSON to write.")],
    dwi: DwiOption = None,
    adc: AdcOption = None,
    flair: FlairOption = None,
    t1w: T1wOption = None,
    t2w: T2wOption = None,
    b0: B0Option = None,
    swi: SwiOption = None,
    blood: BloodOption = None,
    brain: BrainOption = None,
    in_mni: InMniOption = False,
    atlas: AtlasOption = None,
    table: TableOption = None,
    quiet: QuietOption = False,
) -> None:
    """Measure the lesions of a mask: volumes, sides, slices, territories, signal.

    What lacks an input is in the JSON too, with the reason why it is not assessable.
    """
    from strokedx_core.anatomy.atlas import AtlasError
    from strokedx_core.captions.schema import findings_json
    from strokedx_core.volume import VolumeError

    given = {
        "T1W": t1w, "T2W": t2w, "FLAIR": flair, "DWI": dwi, "B0": b0, "ADC": adc, "SWI": swi
    }  # fmt: skip
    images = in_order(ctx, given)
    inputs = Inputs(lesion, images, blood, brain, in_mni, atlas, table)
    try:
        check_report(list(inputs.named.values()), output)
        found, flags = inputs.measure()
    except (AtlasError, OutputError, VolumeError, OSError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    content = findings_json(found)
    about = {
        "inputs": {name: str(path) for name, path in inputs.named.items()},
        "flags": [asdict(flag) for flag in flags],
    }
    write_json(output, {**about, **content})
    if not quiet:
        typer.echo(_describe(content))
        for flag in flags:
            typer.echo(f"  {flag.code}: {flag.message}")
        typer.echo(f"  {output}")
        typer.echo(NOTICE)


def _describe(content: dict[str, Any]) -> str:
    """The case in a line, and each lesion in one."""
    case, lesions = content["case"], content["lesions"]
    count = case["count"]["value"]
    lines = [f"{count or 'no'} lesion{'' if count == 1 else 's'}, {_of(case, 'volume'):.2f} ml"]
    pattern = case["pattern"].get("value")
    if pattern:
        lines[0] += f", {pattern}"
    for lesion in lesions:
        line = f"  {lesion['number']}: {_of(lesion, 'volume'):.2f} ml, "
        line += f"{_of(lesion, 'diameter'):.0f} mm long"
        if "value" in lesion["side"]:
            line += f", {lesion['side']['value']}"
        for share in lesion["arteries"].get("value", [])[:2]:
            line += f", {share['part']} {share['side']} {share['of_lesion']:.0%}"
        lines.append(line)
    missing: dict[str, list[str]] = {}
    for name, entry in case.items():
        if "not_assessable" in entry:
            missing.setdefault(entry["not_assessable"], []).append(name)
    lines += [f"  not assessable, {why}: {', '.join(names)}" for why, names in missing.items()]
    return "\n".join(lines)


def _of(findings: dict[str, Any], name: str) -> Any:
    return findings[name]["value"]

"""Where results go, settled before any work starts, so that no file is ever lost to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["OutputError", "Outputs", "check_images", "check_report", "plan", "stem"]

_SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh")


class OutputError(ValueError):
    """The outputs asked for cannot be written without losing a file."""


@dataclass(frozen=True)
class Outputs:
    """Files to write for one input; None where nothing was asked for."""

    source: Path
    brain: Path | None
    mask: Path | None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that will be written."""
        return tuple(path for path in (self.brain, self.mask) if path is not None)


def _suffix(path: Path) -> str:
    return next((end for end in _SUFFIXES if path.name.lower().endswith(end)), "")


def stem(path: Path) -> str:
    """Name of an image file without its ending: ``head`` for ``scans/head.nii.gz``."""
    return path.name.removesuffix(path.name[len(path.name) - len(_suffix(path)) :])


def plan(
    sources: Sequence[Path],
    output: Path | None,
    mask: Path | None,
    report: Path | None = None,
) -> list[Outputs]:
    """Name the output files of every input.

    Parameters
    ----------
    sources : sequence of Path
        Scans.
    output : Path, optional
        An image file for the brain of the only scan; or a folder, which receives
        ``NAME_brain.nii.gz`` and ``NAME_mask.nii.gz`` of each.
    mask : Path, optional
        An image file for the mask of the only scan.
    report : Path, optional
        Another file that the same command writes.

    Raises
    ------
    OutputError
        If nothing would be written, if two outputs share a name, or if an output is an input.
    """
    if output is None and mask is None and report is None:
        raise OutputError("nothing to write: name the stripped image with -o or the mask with -m")
    folder = None
    if output is not None and (output.is_dir() or not _suffix(output)):
        folder = output
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is a file without an image's ending; -o takes an image")
    if len(sources) > 1:
        if mask is not None:
            raise OutputError("-m names one mask, but there are several inputs: give -o a folder")
        if output is not None and folder is None:
            raise OutputError(f"there are several inputs, so -o takes a folder, not {output}")
    if mask is not None and (mask.is_dir() or not _suffix(mask)):
        raise OutputError(f"-m takes a file ending in .nii.gz or .nii, not {mask}")

    planned = []
    for source in sources:
        if folder is None:
            planned.append(Outputs(source, output, mask))
        else:
            name = stem(source)
            default = folder / f"{name}_mask.nii.gz"
            planned.append(Outputs(source, folder / f"{name}_brain.nii.gz", mask or default))
    claims = [(path, str(outputs.source)) for outputs in planned for path in outputs.files]
    if report is not None:
        claims.append((report, "the report"))
    _refuse_losses(sources, claims)
    return planned


def check_images(
    sources: Sequence[Path], images: Mapping[str, Path | None], report: Path | None = None
) -> None:
    """Check the image files that a command writes for one case.

    Parameters
    ----------
    sources : sequence of Path
        What the command reads.
    images : mapping of str to Path
        What it writes, by the option that names it; None where nothing was asked for.
    report : Path, optional
        Another file that it writes.

    Raises
    ------
    OutputError
        If a file has no image's ending, two outputs share a name, or an output is an input.
    """
    claims = [(path, option) for option, path in images.items() if path is not None]
    for path, option in claims:
        if path.is_dir() or not _suffix(path):
            raise OutputError(f"{option} takes a file ending in .nii.gz or .nii, not {path}")
    if report is not None:
        claims.append((report, "the report"))
    _refuse_losses(sources, claims)


def check_report(sources: Sequence[Path], report: Path, table: Path | None = None) -> None:
    """Check the files of text that a command writes.

    Raises
    ------
    OutputError
        If it is a folder, has an image's ending or is an input.
    """
    if report.is_dir() or _suffix(report):
        raise OutputError(f"-o takes a file of text such as findings.json, not {report}")
    beside = [] if table is None else [(table, "the table")]
    _refuse_losses(sources, [(report, "-o"), *beside])


def _key(path: Path) -> str:
    # Some file systems take Head.nii and head.nii for the same file.
    return str(path.resolve()).casefold()


def _refuse_losses(sources: Sequence[Path], claims: Sequence[tuple[Path, str]]) -> None:
    inputs = {_key(source) for source in sources}
    written: dict[str, str] = {}
    for path, owner in claims:
        key = _key(path)
        if key in inputs:
            raise OutputError(f"{path} is an input and would be overwritten")
        if key in written:
            raise OutputError(f"{path} would hold the results of both {written[key]} and {owner}")
        written[key] = owner

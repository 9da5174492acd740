"""Two heads that ship with the package: made by StrokeDx's own generator, so nobody's data.

One without a stroke: each modality lies on a grid of its own, as in an examination, with the true
brain mask on it. And one with an acute infarct, on DWI and ADC.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from strokedx_core.tasks import MODALITIES

__all__ = ["Stroke", "sample_case", "sample_stroke"]

_FOLDER = Path(__file__).parent


def sample_case() -> dict[str, tuple[Path, Path]]:
    """Files of the sample case.

    Returns
    -------
    dict
        Modality to (scan, true brain mask), both NIfTI files inside the installed package, in the
        order of `strokedx_core.tasks.MODALITIES`.

    Raises
    ------
    FileNotFoundError
        If the installation lacks them.
    """
    case = {}
    for modality in MODALITIES:
        scan = _FOLDER / f"sample_{modality}.nii.gz"
        mask = _FOLDER / f"sample_{modality}_brainmask.nii.gz"
        if scan.exists() and mask.exists():
            case[modality] = (scan, mask)
    if not case:
        raise FileNotFoundError(f"no sample case in {_FOLDER}: the installation is incomplete")
    return case


class Stroke(NamedTuple):
    """Files of the sample with an infarct.

    Attributes
    ----------
    scans : dict of str to Path
        By modality, all on one grid.
    brain, lesion : Path
        True masks on that grid.
    """

    scans: dict[str, Path]
    brain: Path
    lesion: Path


def sample_stroke() -> Stroke:
    """Files of the sample with an acute infarct.

    Raises
    ------
    FileNotFoundError
        If the installation lacks them.
    """
    scans = {name: _FOLDER / f"stroke_{name}.nii.gz" for name in ("DWI", "ADC")}
    stroke = Stroke(
        scans, _FOLDER / "stroke_brainmask.nii.gz", _FOLDER / "stroke_lesionmask.nii.gz"
    )
    for path in (*scans.values(), stroke.brain, stroke.lesion):
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: the installation is incomplete")
    return stroke

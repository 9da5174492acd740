"""A head that ships with the package: made by StrokeDx's own generator, so nobody's data.

Each modality lies on a grid of its own, as in an examination, with the true brain mask on it.
"""

from __future__ import annotations

from pathlib import Path

from strokedx_core.tasks import MODALITIES

__all__ = ["sample_case"]

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

"""What plugin tests share: viewers without windows, grids of every orientation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

if TYPE_CHECKING:
    from napari.components import ViewerModel

AXES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


def pytest_configure() -> None:
    """Leave alone what the user of this machine has set in napari."""
    os.environ.setdefault("NAPARI_CONFIG", "")
    import napari.qt.threading  # noqa: F401  # imports all that warns at import


def grid(
    code: str = "RAS",
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    degrees: tuple[float, float, float] = (0.0, 0.0, 0.0),
    origin: tuple[float, float, float] = (-40.0, 12.5, 7.0),
) -> np.ndarray:
    """Affine, (4, 4), of a grid whose axes point as `code` says, turned by Euler angles."""
    affine = np.eye(4)
    for axis, letter in enumerate(code):
        row, sign = AXES[letter]
        affine[:3, axis] = 0
        affine[row, axis] = sign * spacing[axis]
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ affine[:3, :3]
    affine[:3, 3] = origin
    return affine


@pytest.fixture
def viewer() -> ViewerModel:
    """A viewer without a window, with the plugin's readers at hand."""
    from napari.components import ViewerModel
    from npe2 import PluginManager

    PluginManager.instance().discover()
    return ViewerModel()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes an array with an affine, as nibabel does it, and returns the path."""

    def to_file(
        data: np.ndarray,
        affine: np.ndarray,
        name: str = "scan.nii.gz",
        codes: tuple[int, int] = (1, 2),
        scaling: tuple[float, float] | None = None,
        intent: int = 0,
    ) -> Path:
        kind = nib.MGHImage if name.endswith((".mgz", ".mgh")) else nib.Nifti1Image
        image = kind(data, affine)
        if kind is nib.Nifti1Image:
            image.header.set_xyzt_units("mm", "sec")
            image.header["descrip"] = b"made for a test"
            image.header["intent_code"] = intent
            image.set_qform(affine, codes[0])
            image.set_sform(affine, codes[1])
            if scaling is not None:
                image.header.set_slope_inter(*scaling)
        path = tmp_path / name
        image.to_filename(path)
        return path

    return to_file


@pytest.fixture
def messages() -> Iterator[list[str]]:
    """Texts of the notifications that napari would show meanwhile."""
    from napari.utils.notifications import notification_manager

    seen: list[str] = []

    def note(notification: object) -> None:
        seen.append(str(getattr(notification, "message", notification)))

    notification_manager.notification_ready.connect(note)
    yield seen
    notification_manager.notification_ready.disconnect(note)

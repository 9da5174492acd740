"""What type of stroke a lesion is, told by a network that looks at it more closely.

from strokedx_core.captions.lesion_type import close_view, load_typer, type_odds
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from strokedx_core.captions.on_grid import blood_on_grid, lesion_on_grid
from strokedx_core.inference.brain_grid import BrainGrid
from strokedx_core.inference.lesion_case import sequences_on_grid
from strokedx_core.nets.lesion_typer import LesionTyper
from strokedx_core.volume import Volume
from strokedx_core.weights import WeightsError, find_weights, load_tensors, read_card

__all__ = ["CloseView", "close_view", "load_typer", "type_odds"]

_MARGIN = 6
"""Voxels around a lesion that are looked at too."""


@dataclass(frozen=True, eq=False)
class CloseView:
    """A cut-out around a lesion, x to the right, y anterior, z superior.

    Attributes
    ----------
    image : ndarray, shape (7, x, y, z), float32
        Normalised sequences, 0 where there is none.
    lesion : ndarray of bool, shape (x, y, z)
    blood : ndarray of bool, shape (x, y, z)
        The part of it that is blood, where it was told.
    """

    image: np.ndarray
    lesion: np.ndarray
    blood: np.ndarray


def close_view(
    mask: np.ndarray,
    images: Mapping[str, Volume],
    brain: np.ndarray,
    affine: np.ndarray,
    spacing_mm: float,
    multiple: int = 1,
    *,
    blood: np.ndarray | None = None,
) -> CloseView:
    """Cut out what lies around a lesion, as the network sees it in use and in training.

    Parameters
    ----------
    mask : ndarray of bool
        The lesion, one voxel at least.
    images : mapping of str to Volume
        As `inference.lesion_case.read_sequences` gives them, on any grid.
    brain : ndarray of bool, shape of the mask
    affine : ndarray, (4, 4)
        Of the mask.
    spacing_mm : float
        Voxel size of the cut-out.
    multiple : int
        Its sizes are multiples of it.
    blood : ndarray of bool, shape of the mask, optional
    """
    grid = BrainGrid.around(brain, affine, spacing_mm, multiple)
    image, _, _ = sequences_on_grid(images, brain, grid, spacing_mm)
    lesion = lesion_on_grid(mask, grid) > 0
    bled = np.zeros_like(lesion) if blood is None else blood_on_grid(mask, blood, lesion, grid)
    at = np.argwhere(lesion)
    if not len(at):  # Wholly beyond the grid, which holds the brain: all of that is looked at.
        return CloseView(image, lesion, bled)
    low, high = at.min(0) - _MARGIN, at.max(0) + _MARGIN + 1
    size = -(-(high - low) // multiple) * multiple
    x, y, z = (
        slice(max(first, 0), min(first + count, limit))
        for first, count, limit in zip(low, size, lesion.shape, strict=True)
    )
    i, j, k = (
        slice(part.start - first, part.stop - first)
        for part, first in zip((x, y, z), low, strict=True)
    )

    def cut(values: np.ndarray) -> np.ndarray:
        out = np.zeros((*values.shape[:-3], *size), values.dtype)
        out[..., i, j, k] = values[..., x, y, z]
        return out

    return CloseView(cut(image), cut(lesion), cut(bled))


def load_typer(weights: str | Path, device: torch.device | str = "cpu") -> LesionTyper:
    """The network that tells the type, ready for inference.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, or does not fit the architecture on its card.
    """
    path = find_weights(weights)
    tensors = load_tensors(path)
    try:
        with torch.device("meta"):
            typer = LesionTyper(**read_card(path).architecture)
        typer.load_state_dict({n: t.float() for n, t in tensors.items()}, assign=True)
    except (RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: does not fit its card's architecture: {error}") from error
    typer = typer.to(device).eval().requires_grad_(False)
    typer.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return typer


@torch.no_grad()
def type_odds(typer: LesionTyper, view: CloseView, spacing_mm: float) -> Tensor:
    """Log-probabilities of `nets.lesion_typer.TYPES`, shape (3,): mean over the view and its mirror
    image."""
    device = next(typer.parameters()).device
    image, lesion = (torch.from_numpy(part).to(device) for part in (view.image, view.lesion))
    sides = ((image, lesion), (image.flip(1), lesion.flip(0)))
    told = [typer(*side, spacing_mm)[0].log_softmax(0) for side in sides]
    return torch.stack(told).mean(0)

"""Clicks as the lesion network sees them, and the clicks a user would make on its errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

__all__ = ["draw_clicks", "simulate_clicks"]

SIGMA = 2.0
"""Width of a drawn click, in voxels."""

_REACH = 6
"""How far from its point a click is drawn, in voxels; what lies beyond is less than 1 %."""


def draw_clicks(
    shape: Sequence[int],
    points: Sequence[Sequence[float]],
    device: torch.device | str = "cpu",
) -> Tensor:
    """A Gaussian of height 1 at each point; where two overlap, the higher one counts.

    Parameters
    ----------
    shape : sequence of int
        Shape (x, y, z) of the working grid.
    points : sequence of (x, y, z)
        In voxels of that grid; those outside of it are drawn as far as they reach into it.
    device : torch.device or str

    Returns
    -------
    Tensor, shape `shape`, float32, 0 to 1
    """
    drawn = torch.zeros(tuple(shape), device=device)
    for point in points:
        box, profiles = [], []
        for axis, (centre, size) in enumerate(zip(point, shape, strict=True)):
            first = max(0, round(centre) - _REACH)
            last = min(size, round(centre) + _REACH + 1)
            box.append(slice(first, max(first, last)))
            place = torch.arange(first, max(first, last), device=device) - centre
            profile = torch.exp(-place.square() / (2 * SIGMA**2))
            profiles.append(profile.view([-1 if a == axis else 1 for a in range(3)]))
        part = drawn[tuple(box)]
        drawn[tuple(box)] = torch.maximum(part, profiles[0] * profiles[1] * profiles[2])
    return drawn


def simulate_clicks(
    found: np.ndarray, truth: np.ndarray, count: int, rng: np.random.Generator | None = None
) -> list[tuple[tuple[int, int, int], bool]]:
    """Where a user would click to mend a mask: in the middle of its largest errors.

    Parameters
    ----------
    found, truth : ndarray of bool, shape (x, y, z)
    count : int
        Clicks at most; fewer where there are fewer errors.
    rng : numpy.random.Generator, optional
        Given, a click lands on a random voxel of the inner half of the error in place of its
        innermost one, as a hand does.

    Returns
    -------
    list of (voxel, positive)
        A positive click lies on what was missed, a negative one on what was taken in wrongly.
    """
    errors = []
    for wrong, positive in ((truth & ~found, True), (found & ~truth, False)):
        pieces, found_count = ndimage.label(wrong)
        sizes = np.bincount(pieces.ravel(), minlength=found_count + 1)
        for number, box in enumerate(ndimage.find_objects(pieces), start=1):
            errors.append((int(sizes[number]), number, box, pieces, positive))
    errors.sort(key=lambda error: error[0], reverse=True)
    clicks = []
    for _, number, box, pieces, positive in errors[:count]:
        depth = ndimage.distance_transform_edt(np.pad(pieces[box] == number, 1))[1:-1, 1:-1, 1:-1]
        if rng is None:
            inner = np.argwhere(depth == depth.max())[:1]
        else:
            inner = np.argwhere(depth >= depth.max() / 2)
        chosen = inner[0 if rng is None else int(rng.integers(len(inner)))]
        voxel = tuple(int(edge.start + place) for edge, place in zip(box, chosen, strict=True))
        clicks.append((voxel, positive))
    return clicks  # type: ignore[return-value]

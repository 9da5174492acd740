"""Predict a volume of any size patch by patch, one `yield` a patch.

A generator rather than a call: whoever drives it shows progress between patches, and cancels by
closing it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

import torch
from torch import Tensor

__all__ = ["sliding_window"]


def _starts(size: int, patch: int, overlap: float) -> list[int]:
    if size == patch:
        return [0]
    step = max(1, int(patch * (1 - overlap)))
    count = -(-(size - patch) // step) + 1
    return [min(index * step, size - patch) for index in range(count)]


def _importance(patch: tuple[int, int, int], device: torch.device) -> Tensor:
    """Gaussian weight of each voxel of a patch, an eighth of the patch wide."""
    weight = torch.ones((), device=device)
    for size in patch:
        place = torch.arange(size, device=device) - (size - 1) / 2
        weight = weight[..., None] * torch.exp(-0.5 * (place / (size / 8)) ** 2)
    return weight.clamp_min(1e-3)


def sliding_window(
    image: Tensor,
    predict: Callable[[Tensor], Tensor],
    patch: tuple[int, int, int],
    *,
    overlap: float = 0.25,
) -> Generator[tuple[int, int], None, Tensor]:
    """Weighted mean of the predictions of overlapping patches.

    Parameters
    ----------
    image : Tensor, shape (1, channels, x, y, z)
        Smaller sides than the patch's are padded with zeros, and the result cut back.
    predict : callable
        From a patch, shape (1, channels, *patch), to a tensor of the same spatial shape.
    patch : three int
    overlap : float
        Share of a patch that the next one covers again.

    Yields
    ------
    done, total : int
        Patches.

    Returns
    -------
    Tensor, shape (1, out channels, x, y, z), float32

    Notes
    -----
    Patches are weighted by a Gaussian as in Isensee et al., "nnU-Net" (Nature Methods 2021).
    """
    shape = tuple(image.shape[2:])
    padding: list[int] = []
    for size, wanted in zip(reversed(shape), reversed(patch), strict=True):
        missing = max(0, wanted - size)
        padding += [missing // 2, missing - missing // 2]
    before = padding[::-1][1::2]
    image = torch.nn.functional.pad(image, padding)
    grid = [
        (x, y, z)
        for x in _starts(image.shape[2], patch[0], overlap)
        for y in _starts(image.shape[3], patch[1], overlap)
        for z in _starts(image.shape[4], patch[2], overlap)
    ]
    alone = len(grid) == 1
    weight = torch.ones((), device=image.device) if alone else _importance(patch, image.device)
    total: Tensor | None = None
    weights = torch.zeros(image.shape[2:], device=image.device)
    for number, start in enumerate(grid):
        where = tuple(slice(s, s + p) for s, p in zip(start, patch, strict=True))
        found = predict(image[(slice(None), slice(None), *where)]).float()
        if total is None:
            total = torch.zeros((1, found.shape[1], *image.shape[2:]), device=image.device)
        total[(slice(None), slice(None), *where)] += weight * found
        weights[where] += weight
        yield number + 1, len(grid)
    assert total is not None
    inside = tuple(slice(b, b + s) for b, s in zip(before, shape, strict=True))
    return (total / weights)[(slice(None), slice(None), *inside)]

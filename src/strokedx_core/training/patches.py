"""From a whole case to a training image: a patch of it, turned, stretched, blurred and noisy."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from monai.transforms.compose import Compose
from monai.transforms.intensity.dictionary import (
    RandAdjustContrastd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
)
from monai.transforms.spatial.dictionary import RandAffined, RandFlipd
from torch import Tensor

__all__ = ["augment", "cut_patch"]

_WAYS = Compose(
    [
        RandFlipd(("image", "target"), prob=0.5, spatial_axis=0),
        RandAffined(
            ("image", "target"),
            prob=0.7,
            rotate_range=[0.2] * 3,
            scale_range=[0.1] * 3,
            translate_range=[2.0] * 3,
            mode=("bilinear", "nearest"),
            padding_mode="zeros",
        ),
        RandGaussianSmoothd(
            "image", prob=0.2, sigma_x=(0.3, 0.8), sigma_y=(0.3, 0.8), sigma_z=(0.3, 0.8)
        ),
        RandAdjustContrastd("image", prob=0.3, gamma=(0.7, 1.4)),
        RandScaleIntensityd("image", prob=0.5, factors=0.2, channel_wise=True),
        RandGaussianNoised("image", prob=0.3, std=0.05),
    ]
)
"""MONAI's transforms in the order in which they are applied."""


def cut_patch(
    image: Tensor,
    target: Tensor,
    shape: tuple[int, int, int],
    foreground: float,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """A part of a case, padded with zeros where the case is smaller.

    Parameters
    ----------
    image, target : Tensor, shape (channels, x, y, z)
    shape : three int
        Of the patch.
    foreground : float
        Probability that the patch lies around a voxel that is marked, as near as the case's edges
        allow; otherwise it lies anywhere.
    rng : Generator

    Returns
    -------
    image, target : Tensor, shape (channels, *shape)
    """
    sizes = target.shape[1:]
    middle = [int(rng.integers(size)) for size in sizes]
    wanted = rng.random() < foreground
    # Drawn as one number of all voxels: a large case has too many to list their places.
    marked = (target > 0).any(0).flatten().nonzero()[:, 0] if wanted else torch.zeros(0)
    if len(marked):
        place = int(marked[int(rng.integers(len(marked)))])
        middle = [int(at) for at in np.unravel_index(place, tuple(sizes))]
    parts: list[slice] = [slice(None)]
    padding: list[int] = []
    for at, size, count in zip(middle, sizes, shape, strict=True):
        low = min(max(at - count // 2, 0), max(size - count, 0))
        parts.append(slice(low, low + count))
        missing = max(0, count - size)
        padding = [missing // 2, missing - missing // 2, *padding]
    return F.pad(image[tuple(parts)], padding), F.pad(target[tuple(parts)], padding)


def augment(
    image: Tensor, target: Tensor, rng: np.random.Generator, *, zero_stays: bool
) -> tuple[Tensor, Tensor]:
    """Another image of the same case.

    Parameters
    ----------
    image, target : Tensor, shape (channels, x, y, z), float32
    rng : Generator
    zero_stays : bool
        Whether voxels of exactly 0 have been cut away, and stay 0 whatever noise there is.

    Returns
    -------
    image, target : Tensor
        Of the same shapes. Values of the target are those that were there.
    """
    _WAYS.set_random_state(seed=int(rng.integers(2**32)))
    count = len(target)
    # What is there of each sequence moves along with it.
    moving = torch.cat((target, (image != 0).to(target)))
    changed = _WAYS({"image": image, "target": moving})
    new, marks = changed["image"].as_tensor(), changed["target"].as_tensor()
    if zero_stays:
        new = new * marks[count:]
    # Beyond the edges nothing is marked; a channel that is not known is known nowhere.
    unknown = (target < 0).flatten(1).any(1)[:, None, None, None]
    return new.clamp_min(0), torch.where(unknown, target.new_tensor(-1.0), marks[:count])

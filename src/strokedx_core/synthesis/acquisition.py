"""What is done to one head between its tissue and its stored image, on the image's grid.

Lesions and signal loss change the tissue, acquisition blurs and slices it, defacing and cropping
take parts away. Strengths are drawn here; the means are in `artefacts`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from strokedx_core.synthesis import artefacts
from strokedx_core.synthesis.artefacts import smooth_field, uniform
from strokedx_core.synthesis.contrasts import NAMES as CLASS_NAMES

if TYPE_CHECKING:
    from strokedx_core.synthesis.head import HeadRecipe

__all__ = ["acquire", "add_lesions", "crop", "face_of", "lose_signal", "resolve"]


def add_lesions(image: Tensor, distance: Tensor, means: Tensor, rng: Generator) -> Tensor:
    """Patches of other brightness in the brain, so that none is taken for the outside."""
    shape = tuple(image.shape)
    field = smooth_field(shape, int(uniform(5, 14, rng)), rng, image.device)[0]
    where = (field > uniform(1.0, 2.2, rng)) & (distance < uniform(-2, 1, rng))
    white = means[CLASS_NAMES.index("white")]
    fluid = means[CLASS_NAMES.index("csf")]
    level = fluid if uniform(0, 1, rng) < 0.4 else white * uniform(0.2, 2.2, rng)
    if uniform(0, 1, rng) < 0.35:
        # A fresh infarct on DWI outshines everything else in the head.
        level = white * uniform(1.5, 6, rng)
    keep = uniform(0, 0.6, rng)
    return torch.where(where, keep * image + (1 - keep) * level, image)


def lose_signal(image: Tensor, distance: Tensor, spacing: float, rng: Generator) -> Tensor:
    """Dark places at the brain's lower surface, where EPI loses signal next to air."""
    border = (distance.abs() < spacing).nonzero()
    if len(border) == 0:
        return image
    low = border[border[:, 2] <= border[:, 2].float().quantile(0.35)]
    gain = torch.ones_like(image)
    for _ in range(int(torch.randint(1, 4, (), generator=rng))):
        centre = low[int(torch.randint(len(low), (), generator=rng))]
        squared = torch.zeros_like(image)
        for axis, size in enumerate(image.shape):
            place = torch.arange(size, device=image.device) - centre[axis]
            squared += (place * spacing).square().view([-1 if a == axis else 1 for a in range(3)])
        gain *= 1 - uniform(0.4, 1, rng) * torch.exp(-squared / (2 * uniform(6, 18, rng) ** 2))
    return image * gain


def face_of(distance: Tensor, rng: Generator) -> Tensor:
    """Where defacing leaves nothing: before a plane in front of and below the brain."""
    normal = (uniform(-0.2, 0.2, rng), 1.0, -uniform(0.3, 1.6, rng))
    depth = torch.zeros_like(distance)
    for axis, along in enumerate(normal):
        place = torch.arange(distance.shape[axis], device=distance.device, dtype=distance.dtype)
        depth += (along * place).view([-1 if a == axis else 1 for a in range(3)])
    inside = depth[distance < 0]
    if inside.numel() == 0:
        return torch.zeros_like(distance, dtype=torch.bool)
    return depth > inside.max() + uniform(-1, 6, rng)


def acquire(
    image: Tensor,
    recipe: HeadRecipe,
    spacing: float,
    epi: bool,
    rng: Generator,
    resolution: int | None = None,
) -> Tensor:
    """What the scanner makes of a head: motion, ghosts, slices, noise.

    Parameters
    ----------
    image : Tensor, shape (x, y, z)
    recipe : HeadRecipe
    spacing : float
        Of the grid, mm.
    epi : bool
        Whether it is read out by echo-planar imaging.
    rng : torch.Generator
    resolution : int, optional
        As for `resolve`; drawn where not given.
    """
    drawn = int(torch.randint(2**31, (), generator=rng))
    level = image[image > 0.05].mean() if bool((image > 0.05).any()) else image.mean()
    strength = float(level) * uniform(0, 1, rng) ** 2 * recipe.noise * 2
    phase = 1 if uniform(0, 1, rng) < 0.7 else 0
    if uniform(0, 1, rng) < recipe.motion:
        image = artefacts.motion(image, uniform(0, 8, rng), phase, spacing, rng)
    if uniform(0, 1, rng) < recipe.ghost * (2 if epi else 1):
        image = artefacts.ghosts(image, uniform(0, 0.15, rng), phase, rng)
    resolution = drawn if resolution is None else resolution
    return resolve(image, recipe, spacing, epi, resolution, strength, rng)


def resolve(
    image: Tensor,
    recipe: HeadRecipe,
    spacing: float,
    epi: bool,
    resolution: int,
    strength: float = 0.0,
    rng: Generator | None = None,
) -> Tensor:
    """Slices of some thickness and direction, in-plane blur, and noise of a strength.

    Parameters
    ----------
    resolution : int
        Decides slices and blur: images that share it are sampled alike.
    strength : float
        Deviation of the noise, which `rng` decides.
    """
    own = Generator().manual_seed(resolution)
    rng = own if rng is None else rng
    slice_axis = int(torch.multinomial(torch.tensor([1.0, 1.0, 4.0]), 1, generator=own))
    thick = uniform(0, 1, own) < recipe.thick
    for axis in range(3):
        width = uniform(0, 3.0 if epi else 2.0, own)
        if not (thick and axis == slice_axis):
            image = artefacts.blur(image, width, axis, spacing)
    if not thick:
        return artefacts.noise(image, strength, rng)
    thickness = uniform(2, 7, own)
    return artefacts.thick_slices(
        image,
        slice_axis,
        thickness=thickness,
        distance=thickness * uniform(1, 1.3, own),
        spacing=spacing,
        strength=strength,
        rng=rng,
        offset=uniform(0, 1, own),
    )


def crop(image: Tensor, target: Tensor, spacing: float, rng: Generator) -> tuple[Tensor, Tensor]:
    """Zero what lies outside a box; most often a slab that ends near the brain's bottom or top."""
    kept = torch.zeros_like(image)
    box = []
    for axis in range(3):
        others = [a for a in range(3) if a != axis]
        filled = (target > 0.5).any(others[1]).any(others[0]).nonzero()
        size = image.shape[axis]
        if filled.numel() == 0:
            return image, target
        first, last = int(filled[0]), int(filled[-1])
        low, high = 0, size
        cut = 0.7 if axis == 2 else 0.25
        if uniform(0, 1, rng) < cut:
            low = first + int(uniform(-40, 20 if axis == 2 else 5, rng) / spacing)
        if uniform(0, 1, rng) < cut:
            high = last + 1 + int(uniform(-15 if axis == 2 else -5, 40, rng) / spacing)
        box.append(slice(max(low, 0), max(min(high, size), low + 1)))
    kept[tuple(box)] = 1
    return image * kept, target * kept

"""One sequence of a head with patches in it: tissue, texture, what the scanner adds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from strokedx_core.synthesis import artefacts
from strokedx_core.synthesis.acquisition import acquire, lose_signal, resolve
from strokedx_core.synthesis.artefacts import smooth_field, uniform
from strokedx_core.synthesis.contrasts import CLASSES, SPLIT, draw_contrast
from strokedx_core.synthesis.head import EPI, POINTS, nearest_index
from strokedx_core.synthesis.labels import Head
from strokedx_core.synthesis.stroke_patches import Patch
from strokedx_core.synthesis.stroke_places import Anatomy
from strokedx_core.synthesis.stroke_signals import Signal

if TYPE_CHECKING:
    from strokedx_core.synthesis.stroke import StrokeRecipe

__all__ = ["Painter", "displace"]

_NAMES = tuple(CLASSES)


class Painter:
    """Paints sequences of one head: where each tissue lies is looked up once."""

    def __init__(
        self,
        head: Head,
        recipe: StrokeRecipe,
        place: Tensor,
        matrix: Tensor,
        spacing: float,
        rng: Generator,
    ) -> None:
        self.recipe, self.spacing, device = recipe, spacing, place.device
        splits = torch.tensor([int(c in SPLIT) for c in CLASSES], device=device, dtype=torch.int)
        field = smooth_field(recipe.shape, int(uniform(6, 14, rng)), rng, device)[0]
        split = (field > uniform(-1.8, 1.8, rng)).int().view(-1)
        self.resolutions: dict[str, int] = {}
        self.tissue = []
        for point in POINTS:
            offset = matrix @ (torch.tensor(point, device=device) * (0.25 * spacing))
            index = nearest_index(place, offset, head.classes.shape)
            tissue = head.classes.view(-1).index_select(0, index).int()
            self.tissue.append(tissue + splits.index_select(0, tissue) * split)

    def resolution(self, name: str, rng: Generator) -> int:
        """How a sequence is sampled: those of one diffusion series alike."""
        series = "EPI" if name in EPI else name
        drawn = int(torch.randint(2**31, (), generator=rng))
        return self.resolutions.setdefault(series, drawn)

    def drawn_on(self, name: str, mask: Tensor, share: float | Tensor, rng: Generator) -> Tensor:
        """A mask as somebody draws it on a sequence: what thick slices blur away is not there.

        `share` is how much of a voxel the lesion has to fill, blurred as it is, to be marked.
        """
        seed = self.resolution(name, rng)
        seen = resolve(mask.float(), self.recipe, self.spacing, name in EPI, seed)
        return seen > share

    def __call__(
        self, name: str, patches: Sequence[Patch], anatomy: Anatomy, rng: Generator
    ) -> Tensor:
        recipe, shape, epi = self.recipe, self.recipe.shape, name in EPI
        device = anatomy.tissue.device
        series = self.resolution(name, rng)
        at_random = uniform(0, 1, rng) < recipe.random_contrast
        # ADC is a measured quantity, whatever the scanner.
        contrast = "random" if at_random and name != "ADC" else name
        means, deviations = (values.to(device) for values in draw_contrast(contrast, rng))
        image = torch.stack([means.index_select(0, t) for t in self.tissue]).mean(0).view(shape)
        spread = torch.stack([deviations.index_select(0, t) for t in self.tissue]).mean(0)
        texture = Generator(device).manual_seed(int(torch.randint(2**31, (), generator=rng)))
        grain = torch.randn(shape, generator=texture, device=device)
        rough = smooth_field(shape, 40, rng, device)[0]
        image = image + spread.view(shape) * (0.7 * rough + 0.7 * grain)
        white, grey = means[_NAMES.index("white")], means[_NAMES.index("cortex")]
        fluid = means[_NAMES.index("csf")]
        for patch in patches:
            signal = patch.signals.get(name)
            if signal is None or signal == Signal(1.0):
                continue
            base = 0.5 * image + 0.25 * (white + grey)
            new = (1 - signal.fluid) * signal.times * base + signal.fluid * fluid
            image = image + patch.weight * (new - image)
        if name == "ADC" and uniform(0, 1, rng) < 0.5:
            image = torch.where(image < 0.03, uniform(0, 1, rng) * grain.abs(), image)
        image = image.clamp_min(0)
        if epi and uniform(0, 1, rng) < recipe.dropout:
            image = lose_signal(image, anatomy.distance, self.spacing, rng)
        if name != "ADC":
            # DWI and b0 come from the same coils; in their quotient the field is gone.
            coils = Generator().manual_seed(series + 1)
            image = artefacts.bias_field(image, uniform(0, recipe.bias, coils), coils)
        return acquire(image, recipe, self.spacing, epi, rng, series)


def displace(image: Tensor, spacing: float, rng: Generator) -> Tensor:
    """Shift by up to 2 mm and turn by up to 1.5 degrees."""
    a, b, c = (math.radians(uniform(-1.5, 1.5, rng)) for _ in range(3))
    turn = torch.tensor([[1.0, -c, b], [c, 1.0, -a], [-b, a, 1.0]])
    size = torch.tensor([image.shape[2], image.shape[1], image.shape[0]], dtype=torch.float32)
    shift = torch.tensor([uniform(-2, 2, rng) / spacing for _ in range(3)]) * 2 / size
    matrix = torch.cat((turn * (size[None] / size[:, None]), shift[:, None]), dim=1)[None]
    grid = F.affine_grid(matrix.to(image.device), [1, 1, *image.shape], align_corners=False)
    return F.grid_sample(image[None, None], grid, align_corners=False)[0, 0]

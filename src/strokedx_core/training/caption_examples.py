"""What the captioner learns from a case in one step: never twice the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from strokedx_core.captions.claims import FIELDS
from strokedx_core.captions.on_grid import lesion_on_grid, pieces_on_grid
from strokedx_core.captions.parts import mirrored_parts
from strokedx_core.captions.phrasing import write
from strokedx_core.inference.brain_grid import BrainGrid
from strokedx_core.nets.captioner import BEGIN_CASE, BEGIN_SLICE, pieces_of
from strokedx_core.training.caption_cases import CaptionCase
from strokedx_core.training.caption_config import CaptionConfig

__all__ = ["Example", "answers_of", "examples_of", "mirrored"]


class Example(NamedTuple):
    """What is learnt of one case in a step: what is looked at, and its texts."""

    image: Tensor
    lesion: Tensor
    parts: Tensor
    pieces: Tensor
    begin: int
    texts: list[str]
    answers: list[int] | None
    blood: Tensor | None


def examples_of(config: CaptionConfig, cases: Sequence[CaptionCase], step: int) -> list[Example]:
    """What step number `step` learns; it follows from the seed and the step alone."""
    rng = np.random.default_rng((config.seed, step))
    sizes: dict[tuple[int, ...], list[CaptionCase]] = {}
    for number in rng.integers(len(cases), size=config.batch):
        case = cases[int(number)]
        sizes.setdefault(tuple(case.lesion.shape), []).append(case)
    return [_example(config, case, rng) for same_size in sizes.values() for case in same_size]


def _example(config: CaptionConfig, case: CaptionCase, rng: np.random.Generator) -> Example:
    image, lesion, parts = case.seen()
    gain, gamma = (
        torch.from_numpy(rng.uniform(-0.15, 0.15, (len(image), 1, 1, 1))).float().exp()
        for _ in range(2)
    )
    image = image.clamp_min(0).pow(gamma) * gain
    pieces = case.pieces[None]
    if case.text:
        return Example(image, lesion, parts, pieces, BEGIN_CASE, [case.text], None, None)
    claims, begin, blood = case.claims, BEGIN_CASE, case.blood[None]
    if case.slices and rng.random() < config.slices:
        number = int(rng.choice(list(case.slices)))
        claims, begin = case.slices[number], BEGIN_SLICE
        lesion = on_slice(lesion, number)
        pieces = pieces_of(lesion[0])[None]
    if begin == BEGIN_CASE and rng.random() < config.resampled:
        image, lesion, parts, pieces, blood = _resampled(image, lesion, parts, pieces, blood, rng)
    if rng.random() < 0.5:
        mirror = image, lesion, mirrored_parts(parts), pieces, blood
        image, lesion, parts, pieces, blood = (part.flip(1) for part in mirror)
        claims = mirrored(claims)
    moved = tuple(int(n) for n in rng.integers(-2, 3, size=3))
    image, lesion, parts, pieces, blood = (
        torch.roll(part, moved, (1, 2, 3)) for part in (image, lesion, parts, pieces, blood)
    )
    texts = [write(claims, rng) for _ in range(config.phrasings)]
    return Example(image, lesion, parts, pieces, begin, texts, answers_of(claims), blood)


def _resampled(
    image: Tensor,
    lesion: Tensor,
    parts: Tensor,
    pieces: Tensor,
    blood: Tensor,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A case as it comes in use from a grid that lies some part of a voxel beside: it blurs, and
    pieces of the lesion touch, or are too small to be seen and yet told."""
    off = rng.uniform(-0.5, 0.5, size=3)
    # Gaps of one voxel close at half a voxel alone.
    off = np.where(rng.random(3) < 0.5, np.copysign(0.5, off), off)
    x, y, z = lesion.shape[1:]
    one = (1.0, 1.0, 1.0)
    grid = BrainGrid((x, y, z), (off[0], off[1], off[2]), one, (x, y, z), np.eye(4))
    for axis, part in enumerate(off, start=1):
        beside = torch.roll(image, -1 if part > 0 else 1, axis)
        image = torch.lerp(image, beside, abs(part))
    marked = lesion_on_grid(lesion[0].numpy(), grid)
    numbers = pieces_on_grid(pieces[0].numpy(), marked, grid)
    bled = grid.mask(blood[0].numpy()) & (marked > 0)
    found = (torch.from_numpy(each)[None] for each in (marked, numbers, bled))
    lesion, pieces, blood = found
    return image, lesion, parts, pieces, blood


def answers_of(claims: Mapping[str, str]) -> list[int]:
    """Number of the value of each field, the last for one of which nothing is said."""
    return [
        values.index(claims[field]) if field in claims else len(values)
        for field, values in FIELDS.items()
    ]


def on_slice(lesion: Tensor, number: int) -> Tensor:
    """The part of a lesion, shape (1, x, y, z), that lies on one slice along z."""
    part = torch.zeros_like(lesion)
    part[..., number] = lesion[..., number]
    return part


def mirrored(claims: Mapping[str, str]) -> dict[str, str]:
    """Claims on the mirror image."""
    other = {"left": "right", "right": "left"}
    return {f: other.get(v, v) if f == "side" else v for f, v in claims.items()}

"""Whole heads, with skull: label map and seed to image and brain mask.

from strokedx_core.synthesis import head, labels
sample = head.generate(labels.load_head("seg_01.nii.gz"), seed=1, contrast="FLAIR")
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from strokedx_core.intensity import normalise
from strokedx_core.synthesis import artefacts
from strokedx_core.synthesis.acquisition import acquire, add_lesions, crop, face_of, lose_signal
from strokedx_core.synthesis.artefacts import smooth_field, uniform
from strokedx_core.synthesis.contrasts import CONTRASTS, SPLIT, draw_contrast
from strokedx_core.synthesis.contrasts import NAMES as CLASS_NAMES
from strokedx_core.synthesis.labels import DISTANCE_STEP, Head

__all__ = [
    "EPI",
    "POINTS",
    "HeadRecipe",
    "Sample",
    "generate",
    "generate_batch",
    "nearest_index",
    "positions",
]


@dataclass(frozen=True)
class HeadRecipe:
    """How far the generator goes. Lengths in mm, angles in degrees, the rest probabilities.

    Attributes
    ----------
    shape, spacing, spacing_jitter
        Grid of the images, its isotropic spacing, and the relative range of that spacing.
    modality_like
        Share of images with the contrast of a named sequence; the others are random.
    rim
        How far the brain mask reaches beyond the labelled cortex where there is fluid. Label maps
        call the mixed voxels at the surface fluid; masks drawn on scans take them in.
    rim_epi
        The same for DWI, B0 and ADC, whose voxels are larger and whose cortex is blurred further.
    """

    shape: tuple[int, int, int] = (96, 96, 96)
    spacing: float = 2.2
    spacing_jitter: float = 0.12
    rotation: float = 20.0
    scaling: float = 0.15
    shear: float = 0.08
    shift: float = 20.0
    warp: float = 5.0
    fine_warp: float = 1.5
    modality_like: float = 0.5
    modalities: dict[str, float] = field(
        default_factory=lambda: {
            "T1W": 3,
            "T2W": 2,
            "FLAIR": 3,
            "DWI": 4,
            "B0": 2,
            "ADC": 3,
            "SWI": 1,
        }
    )
    lesions: float = 0.4
    bias: float = 0.35
    noise: float = 0.08
    thick: float = 0.6
    motion: float = 0.12
    ghost: float = 0.1
    stripped: float = 0.12
    defaced: float = 0.12
    dropout: float = 0.5
    crop: float = 0.5
    rim: float = 2.0
    rim_epi: float = 3.0


@dataclass(frozen=True, eq=False)
class Sample:
    """A training pair on one grid.

    Attributes
    ----------
    image : Tensor, shape (x, y, z)
        Intensities as `intensity.normalise` leaves them.
    target : Tensor, shape (x, y, z)
        Share of each voxel that is brain, 0 to 1.
    contrast : str
    """

    image: Tensor
    target: Tensor
    contrast: str


_HARD = frozenset(
    ("skin", "scalp fat", "muscle", "fat", "bone", "diploe", "marrow", "eye", "orbit", "mucosa")
)

EPI = ("DWI", "B0", "ADC")
"""Contrasts read out by echo-planar imaging."""

# Points in a voxel (quarters of its width) whose mean is its partial volume.
POINTS = ((1, 1, -1), (-1, -1, 1))


def _rotation(angles: Sequence[float]) -> Tensor:
    matrix = torch.eye(3)
    for axis, angle in enumerate(angles):
        c, s = math.cos(angle), math.sin(angle)
        i, j = [(1, 2), (0, 2), (0, 1)][axis]
        turn = torch.eye(3)
        turn[i, i], turn[j, j], turn[i, j], turn[j, i] = c, c, -s, s
        matrix = matrix @ turn
    return matrix


def positions(
    head: Head, recipe: HeadRecipe, spacing: float, epi: bool, rng: Generator
) -> tuple[Tensor, Tensor]:
    """Where in the label map each voxel of the image lies, and the matrix of the affine part."""

    def sym(limit: float) -> float:
        return uniform(-limit, limit, rng)

    wide = 2.0 if uniform(0, 1, rng) < 0.1 else 1.0
    turn = _rotation([math.radians(sym(recipe.rotation * wide)) for _ in range(3)])
    size = 1 + sym(recipe.scaling)
    scale = torch.tensor([size * (1 + sym(recipe.scaling / 2)) for _ in range(3)])
    if uniform(0, 1, rng) < 0.5:
        scale[0] = -scale[0]
    shear = torch.eye(3)
    shear[0, 1], shear[0, 2], shear[1, 2] = (sym(recipe.shear) for _ in range(3))
    matrix = (turn @ shear @ torch.diag(scale)).to(head.classes.device)

    shape, device = recipe.shape, head.classes.device
    ranges = [(torch.arange(n, device=device) - (n - 1) / 2) * spacing for n in shape]
    offset = torch.tensor([sym(recipe.shift) for _ in range(3)], device=device)
    # A whole head reaches further down than the brain does: look there more often.
    if uniform(0, 1, rng) < 0.3:
        offset[2] -= uniform(0, 1, rng) * recipe.shift
    axes = torch.meshgrid(*(r + o for r, o in zip(ranges, offset, strict=True)), indexing="ij")
    place = torch.stack(axes)
    coarse = uniform(0, recipe.warp, rng)
    fine = uniform(0, recipe.fine_warp, rng)
    place = place + coarse * smooth_field(shape, int(uniform(4, 8, rng)), rng, device, 3)
    place = place + fine * smooth_field(shape, int(uniform(12, 18, rng)), rng, device, 3)
    if epi:
        # Susceptibility moves signal along one in-plane axis only.
        axis = 1 if uniform(0, 1, rng) < 0.8 else 0
        place[axis] += uniform(0, 4, rng) * smooth_field(shape, 7, rng, device)[0]
    place = torch.einsum("ij,jxyz->ixyz", matrix, place)
    return place + head.centre.view(3, 1, 1, 1), matrix


def nearest_index(place: Tensor, offset: Tensor, shape: torch.Size) -> Tensor:
    """Flat index of the voxel nearest to each place; beyond the edge, the edge (which is air)."""
    flat = torch.zeros(place[0].numel(), dtype=torch.int, device=place.device)
    for axis, size in enumerate(shape):
        nearest = (place[axis].view(-1) + offset[axis]).round_().clamp_(0, size - 1)
        flat = flat.mul_(size).add_(nearest.int())
    return flat


def generate(
    head: Head,
    seed: int,
    *,
    contrast: str | None = None,
    recipe: HeadRecipe | None = None,
    pose_seed: int | None = None,
) -> Sample:
    """Make one image and its brain mask.

    Parameters
    ----------
    head : Head
        On the device where the image is to be made.
    seed : int
        The same seed, head, contrast, recipe and device give the same sample. Of a
        seed the lowest 32 bits count.
    contrast : str, optional
        A key of `contrasts.CONTRASTS`; drawn from the recipe where not given.
    recipe : HeadRecipe, optional
    pose_seed : int, optional
        Decides pose and shape of the head in place of `seed`: images of one examination share it.

    Returns
    -------
    Sample
        On a grid with axes to the right, anterior and superior of the head, give or take the
        drawn rotation.
    """
    recipe = recipe or HeadRecipe()
    rng = Generator().manual_seed(seed)
    device = head.classes.device

    def chance(probability: float) -> bool:
        return uniform(0, 1, rng) < probability

    drawn = _draw_modality(recipe, rng)
    name = contrast or drawn
    if name not in CONTRASTS:
        raise ValueError(f"contrast must be one of {', '.join(CONTRASTS)}, not {name!r}")
    epi = name in EPI or (name == "random" and chance(0.3))
    spacing = recipe.spacing * (1 + uniform(-1, 1, rng) * recipe.spacing_jitter)
    pose = rng if pose_seed is None else Generator().manual_seed(pose_seed)
    place, matrix = positions(head, recipe, spacing, epi, pose)

    means, deviations = (values.to(device) for values in draw_contrast(name, rng))
    may_split = torch.tensor([int(c in SPLIT) for c in CLASS_NAMES], device=device, dtype=torch.int)
    field = smooth_field(recipe.shape, int(uniform(6, 14, rng)), rng, device)[0]
    field = field + 0.7 * smooth_field(recipe.shape, int(uniform(20, 40, rng)), rng, device)[0]
    # Often all or nothing: a scalp is one bright or one dark shell more often than a patchwork.
    level = uniform(-1.8, 1.2, rng) if chance(0.5) else 9.0 * (1 - 2 * float(chance(0.65)))
    split = (field > level).int().view(-1)
    is_hard = torch.tensor([float(c in _HARD) for c in CLASS_NAMES], device=device)
    image, spread, distance, hard = torch.zeros((4, field.numel()), device=device)
    for point in POINTS:
        offset = matrix @ (torch.tensor(point, device=device) * (0.25 * spacing))
        index = nearest_index(place, offset, head.classes.shape)
        tissue = head.classes.view(-1).index_select(0, index).int()
        tissue += may_split.index_select(0, tissue) * split
        image += means.index_select(0, tissue)
        spread += deviations.index_select(0, tissue)
        distance += head.distance.view(-1).index_select(0, index)
        hard += is_hard.index_select(0, tissue)
    image, spread, distance, hard = (
        total.div_(len(POINTS)).view(recipe.shape) for total in (image, spread, distance, hard)
    )
    distance *= DISTANCE_STEP

    rough = smooth_field(recipe.shape, 40, rng, device)[0]
    texture = Generator(device).manual_seed(int(torch.randint(2**31, (), generator=rng)))
    grain = torch.randn(recipe.shape, generator=texture, device=device)
    image = image + spread * (0.7 * rough + 0.7 * grain)
    if chance(recipe.lesions):
        image = add_lesions(image, distance, means, rng)
    if name == "ADC" and chance(0.5):
        # Outside tissue an ADC is a quotient of noise.
        low = image < 0.03
        image = torch.where(low, uniform(0, 1, rng) * grain.abs(), image)
    image = image.clamp_min(0)

    # Stripping and defacing are done to stored scans: nothing of the scanner is left there. A rim
    # stays, of a width that resampling with thick slices may give it.
    kept = torch.ones_like(image, dtype=torch.bool)
    surface = distance - (recipe.rim_epi if name in EPI else recipe.rim)
    surface = torch.where((hard > 0.5) & (distance > 0), surface.clamp_min(0.5), surface)
    if chance(recipe.stripped):
        edge = uniform(-1, 4, rng) + uniform(0, 1.5, rng) * rough
        image = torch.where(distance > edge, torch.zeros_like(image), image)
        kept = distance <= edge + uniform(0, 4, rng)
        # What somebody stripped before is to come back whole.
        surface = distance - edge
    if chance(recipe.defaced):
        kept = kept & ~face_of(distance, rng)
    if epi and chance(recipe.dropout):
        image = lose_signal(image, distance, spacing, rng)
    image = artefacts.bias_field(image, uniform(0, recipe.bias, rng), rng)
    image = acquire(image, recipe, spacing, epi, rng) * kept
    target = (0.5 - surface / spacing).clamp(0, 1)
    if chance(recipe.crop):
        image, target = crop(image, target, spacing, rng)
    image = normalise(image).pow(math.exp(uniform(-0.4, 0.4, rng)))
    return Sample(image, target, name)


def generate_batch(
    heads: Sequence[Head], seeds: Sequence[int], recipe: HeadRecipe | None = None
) -> tuple[Tensor, Tensor]:
    """Samples stacked for a network: image and target, each of shape (batch, 1, x, y, z)."""
    samples = [generate(h, s, recipe=recipe) for h, s in zip(heads, seeds, strict=True)]
    return (
        torch.stack([s.image for s in samples])[:, None],
        torch.stack([s.target for s in samples])[:, None],
    )


def _draw_modality(recipe: HeadRecipe, rng: Generator) -> str:
    if uniform(0, 1, rng) >= recipe.modality_like:
        return "random"
    weights = torch.tensor(list(recipe.modalities.values()), dtype=torch.float32)
    return list(recipe.modalities)[int(torch.multinomial(weights, 1, generator=rng))]

"""Heads with a stroke: one examination in several sequences, and where the lesion is.

from strokedx_core.synthesis import labels, lesion_shapes, mni, stroke
shapes = lesion_shapes.load_shapes("lesion_masks")
head = labels.load_head("seg_01.nii.gz")
case = stroke.generate_case(head, mni.head_to_mni(head), shapes, seed=1, sequences=("DWI", "ADC"))
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from strokedx_core.intensity import normalise_brain
from strokedx_core.synthesis import artefacts
from strokedx_core.synthesis.acquisition import acquire, crop, lose_signal
from strokedx_core.synthesis.artefacts import smooth_field, uniform
from strokedx_core.synthesis.contrasts import CLASSES, SPLIT, draw_contrast
from strokedx_core.synthesis.head import EPI, POINTS, HeadRecipe, nearest_index, positions
from strokedx_core.synthesis.labels import DISTANCE_STEP, Head
from strokedx_core.synthesis.lesion_shapes import LesionShape
from strokedx_core.synthesis.stroke_places import (
    Anatomy,
    bleed,
    infarct,
    soft,
    tracts,
    white_matter_lesions,
    wide_ventricles,
)
from strokedx_core.synthesis.stroke_signals import (
    BLOOD,
    INFARCT,
    LOOKALIKES,
    Signal,
    draw_signals,
)
from strokedx_core.tasks import LESION_TYPES, MODALITIES

__all__ = ["KINDS", "StrokeCase", "StrokeRecipe", "generate_case"]

KINDS = ("none", "infarct", "old infarct", "haemorrhage", "transformation")
"""What happened to a generated head."""

_NAMES = tuple(CLASSES)
_SETS: tuple[tuple[tuple[str, ...], float], ...] = (
    (("DWI", "ADC"), 5),
    (("DWI", "B0"), 3),
    (("DWI", "B0", "ADC"), 2),
    (("DWI",), 1.5),
    (("DWI", "ADC", "FLAIR"), 2.5),
    (("DWI", "FLAIR"), 1),
    (("FLAIR",), 1.5),
    (("T1W",), 2),
    (("T2W",), 1),
    (("T1W", "FLAIR"), 1),
    (("T1W", "T2W", "FLAIR"), 1),
    (("SWI",), 0.7),
    (("DWI", "ADC", "SWI"), 1),
    (("T2W", "FLAIR", "SWI"), 0.8),
    (("T1W", "T2W", "FLAIR", "DWI", "ADC"), 0.5),
    (MODALITIES, 0.3),
)
"""Sequences that come together in practice, and how often they are drawn."""


@dataclass(frozen=True)
class StrokeRecipe(HeadRecipe):
    """How far the generator goes, beyond what `HeadRecipe` says.

    Attributes
    ----------
    kinds
        Relative frequency of each of `KINDS`.
    random_contrast
        Share of images with tissue of random brightness, whatever the sequence.
    displaced
        Share of sequences after the first that are shifted and turned a little against it.
    wide_ventricles
        Share of heads whose ventricles are wider than the label map's, as in old people.
    """

    shape: tuple[int, int, int] = (96, 128, 96)
    spacing: float = 1.6
    spacing_jitter: float = 0.1
    shift: float = 8.0
    rotation: float = 15.0
    stripped: float = 0.8
    crop: float = 0.15
    noise: float = 0.06
    kinds: dict[str, float] = field(
        default_factory=lambda: {
            "none": 0.25,
            "infarct": 0.38,
            "old infarct": 0.1,
            "haemorrhage": 0.2,
            "transformation": 0.07,
        }
    )
    random_contrast: float = 0.2
    displaced: float = 0.25
    wide_ventricles: float = 0.35


@dataclass(frozen=True, eq=False)
class StrokeCase:
    """A training pair.

    Attributes
    ----------
    image : Tensor, shape (7, x, y, z)
        One channel for each of `tasks.MODALITIES`, normalised by the brain's median; all 0 where a
        sequence was not acquired.
    target : Tensor, shape (3, x, y, z)
        0 or 1, for each of `tasks.LESION_TYPES`.
    brain : Tensor of bool, shape (x, y, z)
    sequences : tuple of str
    kind : str
    """

    image: Tensor
    target: Tensor
    brain: Tensor
    sequences: tuple[str, ...]
    kind: str


@dataclass(frozen=True, eq=False)
class _Patch:
    """Part of the brain that is brighter or darker than its tissue."""

    weight: Tensor
    signals: Mapping[str, Signal]


def _choose(odds: Mapping[str, float], rng: Generator) -> str:
    weights = torch.tensor(list(odds.values()), dtype=torch.float32)
    return list(odds)[int(torch.multinomial(weights, 1, generator=rng))]


def _lookup(head: Head, to_mni: Tensor, place: Tensor, spacing: float) -> Anatomy:
    index = nearest_index(place, torch.zeros(3, device=place.device), head.classes.shape)
    shape = place.shape[1:]
    matrix = to_mni.to(place.device)
    mni = torch.einsum("ij,jxyz->ixyz", matrix[:, :3], place) + matrix[:, 3].view(3, 1, 1, 1)
    return Anatomy(
        head.classes.view(-1).index_select(0, index).view(shape).int(),
        head.distance.view(-1).index_select(0, index).view(shape) * DISTANCE_STEP,
        mni,
        spacing,
    )


def _push(mask: Tensor, matrix: Tensor, spacing: float, rng: Generator) -> Tensor:
    """How much further in each voxel's tissue comes from, around a lesion that swells."""
    places = mask.nonzero().float()
    volume = len(places) * spacing**3
    reach = (0.75 * volume / math.pi) ** (1 / 3) + 6
    amount = uniform(0.0, 0.22, rng) * reach
    centre = places.mean(0)
    axes = [
        (torch.arange(n, device=mask.device) - c) * spacing
        for n, c in zip(mask.shape, centre, strict=True)
    ]
    away = torch.stack(torch.meshgrid(*axes, indexing="ij")) / reach
    away = away * (amount * torch.exp(0.5 * (1 - away.square().sum(0))))
    return torch.einsum("ij,jxyz->ixyz", matrix, away)


def _old(mask: Tensor, spacing: float, rng: Generator) -> list[_Patch]:
    """A cavity within a glial scar."""
    patches = [_Patch(soft(mask, 2, spacing), draw_signals(INFARCT["gliosis"], rng))]
    inner = soft(mask, 6, spacing) > uniform(0.4, 1.0, rng)
    core = soft(inner & mask, 1.5, spacing) * uniform(0.5, 1, rng)
    patches.append(_Patch(core, {name: Signal(1.0, 1.0) for name in MODALITIES}))
    return patches


def _fresh(mask: Tensor, spacing: float, rng: Generator) -> list[_Patch]:
    stages = {"hyperacute": 0.25, "acute": 0.5, "subacute": 0.25}
    signals = draw_signals(INFARCT[_choose(stages, rng)], rng)
    rough = smooth_field(tuple(mask.shape), 24, rng, mask.device)[0]
    depth = uniform(0, 0.35, rng)
    weight = soft(mask, uniform(1, 3.5, rng), spacing) * (1 - depth * rough.abs()).clamp(0.3, 1)
    return [_Patch(weight, signals)]


def _blood(mask: Tensor, depth: Tensor, spacing: float, rng: Generator) -> list[_Patch]:
    stage = _choose({name: 1.0 for name in BLOOD if name != "rim"}, rng)
    patches = []
    if stage != "chronic" or uniform(0, 1, rng) < 0.2:
        width = uniform(0, 12, rng)
        around = soft((depth < width) & ~mask, 2, spacing)
        patches.append(_Patch(around, draw_signals(LOOKALIKES["oedema"], rng)))
    rim = draw_signals(BLOOD["rim"], rng)
    # Iron darkens a gradient echo beyond where it lies, and EPI a little.
    bloom = soft((depth < uniform(0, 3, rng)) | mask, 1.5, spacing)
    patches.append(_Patch(bloom, {"SWI": rim["SWI"]}))
    signals = draw_signals(BLOOD[stage], rng)
    if stage != "chronic":
        # Parts of a clot are of different age.
        rough = smooth_field(tuple(mask.shape), 20, rng, mask.device)[0]
        patches.append(_Patch(soft(mask, 1.5, spacing), signals))
        other = draw_signals(BLOOD[_choose({stage: 2, "acute": 1, "early subacute": 1}, rng)], rng)
        patches.append(_Patch(soft(mask & (rough > uniform(0.3, 2, rng)), 1.5, spacing), other))
    else:
        patches.append(_Patch(soft(mask, 1.5, spacing), signals))
    if stage in ("late subacute", "chronic") or uniform(0, 1, rng) < 0.2:
        patches.append(_Patch(soft(depth.abs() < uniform(0.5, 2, rng), 1, spacing), rim))
    return patches


def _lookalikes(anatomy: Anatomy, rng: Generator) -> list[_Patch]:
    """What is there without a stroke."""
    spacing, shape = anatomy.spacing, tuple(anatomy.tissue.shape)
    patches = []
    if uniform(0, 1, rng) < 0.5:
        weight = soft(white_matter_lesions(anatomy, rng), 2, spacing)
        patches.append(_Patch(weight, draw_signals(LOOKALIKES["white matter"], rng)))
    if uniform(0, 1, rng) < 0.4:
        weight = soft(tracts(anatomy, rng), 3, spacing)
        patches.append(_Patch(weight, draw_signals(LOOKALIKES["tract"], rng)))
    if uniform(0, 1, rng) < 0.3:
        spots = smooth_field(shape, 26, rng, anatomy.tissue.device)[0] > uniform(0.3, 1.5, rng)
        plexus = anatomy.of("ventricle") & spots
        patches.append(
            _Patch(soft(plexus, 1.5, spacing), draw_signals(LOOKALIKES["choroid plexus"], rng))
        )
    if uniform(0, 1, rng) < 0.5:
        border = (anatomy.distance.abs() < 2 * spacing).nonzero()
        if len(border):
            low = border[border[:, 2] <= border[:, 2].float().quantile(0.4)]
            weight = torch.zeros(shape, device=anatomy.tissue.device)
            for _ in range(int(torch.randint(1, 4, (), generator=rng))):
                centre = low[int(torch.randint(len(low), (), generator=rng))]
                squared = torch.zeros_like(weight)
                for axis, size in enumerate(shape):
                    place = torch.arange(size, device=weight.device) - centre[axis]
                    view = [-1 if a == axis else 1 for a in range(3)]
                    squared = squared + (place * spacing).square().view(view)
                width = uniform(3, 11, rng)
                weight = torch.maximum(weight, torch.exp(-squared / (2 * width**2)))
            patches.append(_Patch(weight, draw_signals(LOOKALIKES["susceptibility"], rng)))
    return patches


def generate_case(
    head: Head,
    to_mni: Tensor,
    shapes: Sequence[LesionShape],
    seed: int,
    *,
    sequences: Sequence[str] | None = None,
    kind: str | None = None,
    recipe: StrokeRecipe | None = None,
) -> StrokeCase:
    """Make one examination and its lesions.

    Parameters
    ----------
    head : Head
        On the device where the images are to be made.
    to_mni : Tensor, shape (3, 4)
        As `mni.head_to_mni` gives it.
    shapes : sequence of LesionShape
        Drawn lesions that infarcts take their shape from.
    seed : int
        The same seed and arguments give the same case.
    sequences : sequence of str, optional
        Of `tasks.MODALITIES`; drawn where not given.
    kind : str, optional
        One of `KINDS`; drawn from the recipe where not given.
    recipe : StrokeRecipe, optional

    Returns
    -------
    StrokeCase

    Notes
    -----
    An old infarct is marked where it is the only stroke; beside a fresh one it is not. A lesion
    that none of the sequences shows is not marked.
    """
    recipe = recipe or StrokeRecipe()
    rng = Generator().manual_seed(seed)
    device = head.classes.device
    sets = {",".join(names): weight for names, weight in _SETS}
    drawn = tuple(_choose(sets, rng).split(","))
    sequences = tuple(sequences or drawn)
    unknown = set(sequences) - set(MODALITIES)
    if unknown:
        raise ValueError(f"sequences must be of {', '.join(MODALITIES)}, not {sorted(unknown)}")
    odds = dict(recipe.kinds)
    if not set(sequences) & {"DWI", "ADC"} and "old infarct" in odds:
        # Without diffusion, a scan is of an old stroke more often than not.
        odds["old infarct"] *= 3
    drawn_kind = _choose(odds, rng)
    kind = kind or drawn_kind
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    spacing = recipe.spacing * (1 + uniform(-1, 1, rng) * recipe.spacing_jitter)
    place, matrix = positions(head, recipe, spacing, epi=False, rng=rng)
    anatomy = _lookup(head, to_mni, place, spacing)
    if uniform(0, 1, rng) < recipe.wide_ventricles:
        place = place + torch.einsum("ij,jxyz->ixyz", matrix, wide_ventricles(anatomy, rng))
        anatomy = _lookup(head, to_mni, place, spacing)

    nothing = torch.zeros(recipe.shape, dtype=torch.bool, device=device)
    ischemic, hemorrhagic, depth = nothing, nothing, None
    if kind in ("infarct", "old infarct", "transformation"):
        for _ in range(4):
            ischemic = infarct(anatomy, shapes, rng)
            if int(ischemic.sum()) * spacing**3 > 60:
                break
    if kind == "haemorrhage":
        bled = bleed(anatomy, rng)
        hemorrhagic, depth = bled.blood, bled.depth
        if uniform(0, 1, rng) < 0.15:
            more = bleed(anatomy, rng)
            hemorrhagic, depth = hemorrhagic | more.blood, torch.minimum(depth, more.depth)
    lesion = ischemic | hemorrhagic
    if kind != "old infarct" and int(lesion.sum()) * spacing**3 > 10_000:
        place = place - _push(lesion, matrix, spacing, rng)
        anatomy = _lookup(head, to_mni, place, spacing)
        ischemic = ischemic & anatomy.parenchyma
        hemorrhagic = hemorrhagic & (anatomy.distance < 0)

    patches = _lookalikes(anatomy, rng)
    begin = len(patches)
    if kind == "old infarct":
        patches += _old(ischemic, spacing, rng)
    elif kind in ("infarct", "transformation"):
        if uniform(0, 1, rng) < 0.2:
            patches += _old(infarct(anatomy, shapes, rng), spacing, rng)
            begin = len(patches)
        patches += _fresh(ischemic, spacing, rng)
    if kind == "transformation":
        rough = smooth_field(recipe.shape, 18, rng, device)[0]
        hemorrhagic = ischemic & (rough > uniform(0.2, 1.5, rng))
        depth = torch.where(hemorrhagic, -2.0, 99.0)
    if not _shown(patches[begin:], sequences):
        ischemic = nothing
    if depth is not None:
        begin = len(patches)
        patches += _blood(hemorrhagic, depth, spacing, rng)
        if not _shown(patches[begin:], sequences):
            hemorrhagic = nothing

    brain = anatomy.distance < 0
    image = torch.zeros((len(MODALITIES), *recipe.shape), device=device)
    kept = torch.ones(recipe.shape, dtype=torch.bool, device=device)
    if uniform(0, 1, rng) < recipe.stripped:
        rough = smooth_field(recipe.shape, 16, rng, device)[0]
        kept = anatomy.distance < uniform(-0.5, 6, rng) + uniform(0, 1.2, rng) * rough
    paint = _Painter(head, recipe, place, matrix, spacing, rng)
    for number, name in enumerate(sequences):
        picture = paint(name, patches, anatomy, rng)
        if number and uniform(0, 1, rng) < recipe.displaced:
            picture = _displace(picture, spacing, rng)
        picture = picture * kept
        if uniform(0, 1, rng) < recipe.crop:
            picture, _ = crop(picture, brain.float(), spacing, rng)
        picture = normalise_brain(picture, brain) * math.exp(uniform(-0.2, 0.2, rng))
        image[MODALITIES.index(name)] = picture.pow(math.exp(uniform(-0.15, 0.15, rng)))
    marks = {
        "general": ischemic | hemorrhagic,
        "ischemic": ischemic,
        "hemorrhagic": hemorrhagic,
    }
    target = torch.stack([marks[name] for name in LESION_TYPES]).float()
    return StrokeCase(image, target, brain, sequences, kind)


def _shown(patches: Sequence[_Patch], sequences: Sequence[str]) -> bool:
    """Whether any of the sequences shows any of the patches."""
    return any(p.signals[m].visible for p in patches for m in sequences if m in p.signals)


class _Painter:
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
        self.tissue = []
        for point in POINTS:
            offset = matrix @ (torch.tensor(point, device=device) * (0.25 * spacing))
            index = nearest_index(place, offset, head.classes.shape)
            tissue = head.classes.view(-1).index_select(0, index).int()
            self.tissue.append(tissue + splits.index_select(0, tissue) * split)

    def __call__(
        self, name: str, patches: Sequence[_Patch], anatomy: Anatomy, rng: Generator
    ) -> Tensor:
        recipe, shape, epi = self.recipe, self.recipe.shape, name in EPI
        device = anatomy.tissue.device
        contrast = "random" if uniform(0, 1, rng) < recipe.random_contrast else name
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
        image = artefacts.bias_field(image, uniform(0, recipe.bias, rng), rng)
        return acquire(image, recipe, self.spacing, epi, rng)


def _displace(image: Tensor, spacing: float, rng: Generator) -> Tensor:
    """Shift by up to 2 mm and turn by up to 1.5 degrees."""
    a, b, c = (math.radians(uniform(-1.5, 1.5, rng)) for _ in range(3))
    turn = torch.tensor([[1.0, -c, b], [c, 1.0, -a], [-b, a, 1.0]])
    size = torch.tensor([image.shape[2], image.shape[1], image.shape[0]], dtype=torch.float32)
    shift = torch.tensor([uniform(-2, 2, rng) / spacing for _ in range(3)]) * 2 / size
    matrix = torch.cat((turn * (size[None] / size[:, None]), shift[:, None]), dim=1)[None]
    grid = F.affine_grid(matrix.to(image.device), [1, 1, *image.shape], align_corners=False)
    return F.grid_sample(image[None, None], grid, align_corners=False)[0, 0]

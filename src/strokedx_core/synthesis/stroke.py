"""Heads with a stroke: one examination in several sequences, and where the lesion is.

from strokedx_core.synthesis import labels, lesion_shapes, mni, stroke
shapes = lesion_shapes.load_shapes("lesion_masks")
head = labels.load_head("seg_01.nii.gz")
case = stroke.generate_case(head, mni.head_to_mni(head), shapes, seed=1, sequences=("DWI", "ADC"))
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from strokedx_core.intensity import normalise_brain
from strokedx_core.synthesis.acquisition import crop
from strokedx_core.synthesis.artefacts import smooth_field, uniform
from strokedx_core.synthesis.head import EPI, HeadRecipe, nearest_index, positions
from strokedx_core.synthesis.labels import DISTANCE_STEP, Head
from strokedx_core.synthesis.lesion_shapes import LesionShape
from strokedx_core.synthesis.stroke_painter import Painter, displace
from strokedx_core.synthesis.stroke_patches import (
    blood,
    choose,
    fresh_infarct,
    lookalikes,
    old_infarct,
    shown,
)
from strokedx_core.synthesis.stroke_places import Anatomy, bleed, infarct, wide_ventricles
from strokedx_core.synthesis.stroke_signals import BLOOD
from strokedx_core.tasks import LESION_TYPES, MODALITIES
from strokedx_core.volume import Volume, volume_from_array

__all__ = ["KINDS", "STAGES", "StrokeCase", "StrokeRecipe", "another_view", "generate_case"]

KINDS = ("none", "infarct", "old infarct", "haemorrhage", "transformation")
"""What happened to a generated head."""

_FRESH = {"hyperacute": 0.25, "acute": 0.5, "subacute": 0.25}
_BLOOD = {name: 1.0 for name in BLOOD if name != "rim"}
STAGES: dict[str, dict[str, float]] = {
    "none": {"": 1.0},
    "infarct": _FRESH,
    "old infarct": {"chronic": 1.0},
    "haemorrhage": _BLOOD,
    "transformation": _FRESH,
}
"""Kind → stage → how often it is drawn; of a transformation, the stage of the infarct."""

_BLOOD_IN = {
    "hyperacute": {"hyperacute": 1.0},
    "acute": {"hyperacute": 1.0, "acute": 2.0, "early subacute": 1.0},
    "subacute": {"acute": 1.0, "early subacute": 1.0, "late subacute": 1.0},
}
"""Stage of an infarct → stage of the blood in it → how often: none is older than the infarct."""

_DRAWN = 0.3
"""How much of a voxel a lesion fills where it is marked."""

_DRAWN_IF_SMALL, _DRAWN_IF_LARGE = (0.05, 0.15), 0.45
"""The same on diffusion for small infarcts, between raters, who mark them to where they are hardly
brighter than what lies around, and for very large ones. So are two references: in that of many
small infarcts, drawn by hand (ISLES 2022), voxels at the inner edge are 0.47, those at the outer
0.00 of the way from the tissue around to the lesion's middle, here 0.49 and 0.03; in another
program's of a large one 0.45 and 0.18, here 0.42 and 0.10 (`benchmarks/reference_edges.py`)."""

_AROUND_MM, _LARGE_ML = 60.0, 80.0
"""From how much infarct in a cube of this width on an infarct is marked as a very large one is."""

_ISCHEMIC_ON = ("DWI", "ADC", "FLAIR", "B0", "T2W", "T1W", "SWI")
_BLOOD_ON = ("SWI", "B0", "T2W", "DWI", "ADC", "FLAIR", "T1W")
"""Which sequence a lesion is drawn on: the first of these that is there."""


@dataclass(frozen=True)
class StrokeRecipe(HeadRecipe):
    """How far the generator goes, beyond what `HeadRecipe` says.

    Attributes
    ----------
    kinds
        Relative frequency of each of `KINDS`.
    random_contrast
        Share of images with tissue of random brightness, of any sequence but ADC.
    displaced
        Share of sequences, other than those of the diffusion series and the one that lesions are
        drawn on, that are shifted and turned a little against the others.
    sets
        Sequences that come together, joined by "+", and how often each set is drawn.
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
    sets: dict[str, float] = field(
        default_factory=lambda: {
            "DWI+ADC": 6,
            "DWI+B0": 4,
            "DWI+B0+ADC": 2,
            "DWI": 2,
            "DWI+ADC+FLAIR": 2.5,
            "DWI+FLAIR": 1,
            "FLAIR": 1.5,
            "T1W": 1.5,
            "T2W": 0.8,
            "T1W+FLAIR": 0.7,
            "T1W+T2W+FLAIR": 0.7,
            "SWI": 0.8,
            "DWI+ADC+SWI": 1,
            "T2W+FLAIR+SWI": 0.7,
            "T1W+T2W+FLAIR+DWI+ADC": 0.5,
            "+".join(MODALITIES): 0.3,
        }
    )
    random_contrast: float = 0.1
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
        0 or 1, for each of `tasks.LESION_TYPES`; with the slices of the sequence it shows on best.
    brain : Tensor of bool, shape (x, y, z)
    sequences : tuple of str
    kind : str
        One of `KINDS`.
    stage : str
        One of `STAGES` of its kind.
    spacing : float
        Of the grid, mm.
    place : Tensor, shape (3, x, y, z)
        Where in the head's label map each voxel's tissue comes from, voxels.
    mirrored : bool
        Whether left and right of the head are exchanged.
    """

    image: Tensor
    target: Tensor
    brain: Tensor
    sequences: tuple[str, ...]
    kind: str
    stage: str
    spacing: float
    place: Tensor
    mirrored: bool

    def volumes(self) -> dict[str, Volume]:
        """The sequences as scans, by modality, all on the case's grid."""
        affine = np.diag([self.spacing] * 3 + [1.0])
        return {
            name: volume_from_array(self.image[MODALITIES.index(name)].numpy(), affine, name=name)
            for name in self.sequences
        }


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


def generate_case(
    head: Head,
    to_mni: Tensor,
    shapes: Sequence[LesionShape],
    seed: int,
    *,
    sequences: Sequence[str] | None = None,
    kind: str | None = None,
    stage: str | None = None,
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
        The same seed and arguments give the same case. Of a seed the lowest 32 bits count.
    sequences : sequence of str, optional
        Of `tasks.MODALITIES`; drawn where not given.
    kind : str, optional
        One of `KINDS`; drawn from the recipe where not given.
    stage : str, optional
        One of `STAGES` of that kind; drawn where not given.
    recipe : StrokeRecipe, optional

    Returns
    -------
    StrokeCase

    Notes
    -----
    An old infarct is marked where it is the only stroke; beside a fresh one it is not. A lesion
    that none of the sequences shows, because it is not seen there at that age or because noise and
    thick slices hide it, is not marked; nor is blood in an infarct that looks like the rest of it.
    """
    recipe = recipe or StrokeRecipe()
    rng = Generator().manual_seed(seed)
    device = head.classes.device
    drawn = tuple(choose(recipe.sets, rng).split("+"))
    sequences = tuple(sequences or drawn)
    unknown = set(sequences) - set(MODALITIES)
    if unknown:
        raise ValueError(f"sequences must be of {', '.join(MODALITIES)}, not {sorted(unknown)}")
    odds = dict(recipe.kinds)
    if not set(sequences) & {"DWI", "ADC"}:
        # Without diffusion, a scan is of an old stroke more often than not, or looks for blood.
        # A T1W alone hardly shows anything but old ones.
        often = "haemorrhage" if "SWI" in sequences else "old infarct"
        times = 8 if set(sequences) == {"T1W"} else 3
        odds[often] = times * odds.get(often, 0)
    drawn_kind = choose(odds, rng)
    kind = kind or drawn_kind
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    drawn_stage = choose(STAGES[kind], rng)
    stage = stage or drawn_stage
    if stage not in STAGES[kind]:
        raise ValueError(f"stage must be one of {', '.join(STAGES[kind])}, not {stage!r}")
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

    patches = lookalikes(anatomy, rng)
    begin = len(patches)
    if kind == "old infarct":
        patches += old_infarct(ischemic, spacing, rng)
    elif kind in ("infarct", "transformation"):
        if uniform(0, 1, rng) < 0.2:
            patches += old_infarct(infarct(anatomy, shapes, rng), spacing, rng)
            begin = len(patches)
        patches += fresh_infarct(ischemic, stage, spacing, rng)
    if kind == "transformation":
        rough = smooth_field(recipe.shape, 18, rng, device)[0]
        hemorrhagic = ischemic & (rough > uniform(0.2, 1.5, rng))
        depth = torch.where(hemorrhagic, -2.0, 99.0)
    if not shown(patches[begin:], sequences):
        ischemic = nothing
    if depth is not None:
        begin = len(patches)
        age = stage if kind == "haemorrhage" else choose(_BLOOD_IN[stage], rng)
        patches += blood(hemorrhagic, depth, age, spacing, rng)
        if not shown(patches[begin:], sequences):
            hemorrhagic = nothing

    brain = anatomy.distance < 0
    image = torch.zeros((len(MODALITIES), *recipe.shape), device=device)
    kept = torch.ones(recipe.shape, dtype=torch.bool, device=device)
    if uniform(0, 1, rng) < recipe.stripped:
        rough = smooth_field(recipe.shape, 16, rng, device)[0]
        kept = anatomy.distance < uniform(-0.5, 6, rng) + uniform(0, 1.2, rng) * rough
    paint = Painter(head, recipe, place, matrix, spacing, rng)
    drawn_on = [next(n for n in order if n in sequences) for order in (_ISCHEMIC_ON, _BLOOD_ON)]
    for number, name in enumerate(sequences):
        picture = paint(name, patches, anatomy, rng)
        moves = uniform(0, 1, rng) < recipe.displaced
        if number and moves and name not in drawn_on and name not in EPI:
            picture = displace(picture, spacing, rng)
        picture = picture * kept
        if uniform(0, 1, rng) < recipe.crop:
            picture, _ = crop(picture, brain.float(), spacing, rng)
        picture = normalise_brain(picture, brain) * math.exp(uniform(-0.2, 0.2, rng))
        image[MODALITIES.index(name)] = picture.pow(math.exp(uniform(-0.15, 0.15, rng)))
    generous = _generous(ischemic, spacing, uniform(*_DRAWN_IF_SMALL, rng))
    shares = generous if drawn_on[0] in ("DWI", "ADC") else _DRAWN, _DRAWN
    ischemic, hemorrhagic = (
        paint.drawn_on(name, mask, share, rng) & brain
        for name, mask, share in zip(drawn_on, (ischemic, hemorrhagic), shares, strict=True)
    )
    # Blood in an infarct is told by how it differs from the rest of it.
    rest = brain & ischemic if kind == "transformation" and ischemic.any() else brain
    ischemic, hemorrhagic = (
        mask if _stands_out(mask, image, around) else nothing
        for mask, around in ((ischemic, brain), (hemorrhagic, rest))
    )
    marks = {
        "general": ischemic | hemorrhagic,
        "ischemic": ischemic,
        "hemorrhagic": hemorrhagic,
    }
    target = torch.stack([marks[name] for name in LESION_TYPES]).float()
    mirrored = float(torch.linalg.det(matrix)) < 0
    return StrokeCase(image, target, brain, sequences, kind, stage, spacing, place, mirrored)


def another_view(case: StrokeCase, rng: Generator) -> StrokeCase:
    """A case mirrored or not, each sequence a little brighter or darker.

    Parameters
    ----------
    case : StrokeCase
    rng : torch.Generator

    Returns
    -------
    StrokeCase
    """
    if uniform(0, 1, rng) < 0.5:
        case = replace(
            case, image=case.image.flip(1), target=case.target.flip(1), brain=case.brain.flip(0),
            place=case.place.flip(1), mirrored=not case.mirrored,
        )  # fmt: skip
    draws = torch.rand((2, len(case.image), 1, 1, 1), generator=rng).to(case.image.device)
    gain, gamma = (2 * draws - 1) * 0.1
    return replace(case, image=case.image.pow(gamma.exp()) * gain.exp())


def _generous(mask: Tensor, spacing: float, small: float) -> Tensor:
    """How much of a voxel an infarct has to fill to be marked: little, unless there is much of it
    around."""
    width = 2 * round(_AROUND_MM / spacing / 2) + 1
    near = mask[None].float()
    for axis in range(3):
        size = [width if a == axis else 1 for a in range(3)]
        near = F.avg_pool3d(near, size, stride=1, padding=[n // 2 for n in size])
    around_ml = near[0] * (width * spacing) ** 3 / 1000
    return small + (_DRAWN_IF_LARGE - small) * (around_ml / _LARGE_ML).clamp_max(1)


def _stands_out(mask: Tensor, image: Tensor, tissue: Tensor) -> bool:
    """Whether a lesion differs from the tissue around it, in any sequence of an image, by more than
    a third of the deviation there: less nobody would mark."""
    if not mask.any():
        return False
    grown = mask[None].float()
    for axis in range(3):  # One axis after the other: many times faster than a cube.
        size = [7 if a == axis else 1 for a in range(3)]
        grown = F.max_pool3d(grown, size, stride=1, padding=[n // 2 for n in size])
    ring = (grown[0] > 0.5) & ~mask & tissue
    if int(ring.sum()) < 10:
        return True
    inside, around = image[:, mask], image[:, ring]
    difference = (inside.mean(1) - around.mean(1)).abs()
    return bool((difference > 0.35 * around.std(1) + 0.02).any())

"""Where strokes lie, and what shape they have, on the grid of one generated head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from strokedx_core.synthesis import artefacts
from strokedx_core.synthesis.artefacts import smooth_field, uniform
from strokedx_core.synthesis.contrasts import BRAIN_CLASSES, CLASSES
from strokedx_core.synthesis.lesion_shapes import LesionShape

__all__ = [
    "Anatomy",
    "Bleed",
    "beside_air",
    "bleed",
    "infarct",
    "soft",
    "tracts",
    "white_matter_lesions",
    "wide_ventricles",
]

_NAMES = tuple(CLASSES)
_FLUID = ("ventricle", "vessel")
_TISSUE = tuple(_NAMES.index(name) for name in BRAIN_CLASSES if name not in _FLUID)
_DEEP = ("thalamus", "caudate", "putamen", "pallidum")


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What lies where on the grid.

    Attributes
    ----------
    tissue : Tensor of int, shape (x, y, z)
        Index into `contrasts.CLASSES`.
    distance : Tensor, shape (x, y, z)
        To the brain's surface, mm, negative inside.
    mni : Tensor, shape (3, x, y, z)
        MNI coordinate of each voxel, mm.
    spacing : float
        Of the grid, mm.
    """

    tissue: Tensor
    distance: Tensor
    mni: Tensor
    spacing: float

    def of(self, *names: str) -> Tensor:
        """Mask of the named classes."""
        wanted = torch.tensor([_NAMES.index(n) for n in names], device=self.tissue.device)
        return torch.isin(self.tissue, wanted.to(self.tissue.dtype))

    @property
    def parenchyma(self) -> Tensor:
        """Brain without ventricles and vessels; sulci within the brain mask count."""
        return (self.distance < 0) & ~self.of(*_FLUID)


def _pick(candidates: Tensor, rng: Generator) -> Tensor | None:
    """A random voxel of a mask."""
    places = candidates.nonzero()
    if len(places) == 0:
        return None
    return places[int(torch.randint(len(places), (), generator=rng))]


def _blob(anatomy: Anatomy, centre: Tensor, radii: Sequence[float], rng: Generator) -> Tensor:
    """Depth in mm, negative inside, of a rough ellipsoid; a large number far away from it."""
    spacing, shape = anatomy.spacing, anatomy.tissue.shape
    reach = math.ceil((2.2 * max(radii) + 15) / spacing)
    box = tuple(
        slice(max(0, int(c) - reach), min(n, int(c) + reach + 1))
        for c, n in zip(centre, shape, strict=True)
    )
    device = anatomy.tissue.device
    depth = torch.full(tuple(shape), 99.0, device=device)
    if any(edge.start >= edge.stop for edge in box):
        return depth
    axes = [
        (torch.arange(edge.start, edge.stop, device=device) - c) * spacing
        for edge, c in zip(box, centre, strict=True)
    ]
    place = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    turn, _ = torch.linalg.qr(torch.randn((3, 3), generator=rng))
    place = torch.einsum("ij,jxyz->ixyz", turn.to(device), place)
    scaled = place / torch.tensor(radii, device=device).view(3, 1, 1, 1)
    rough = smooth_field(tuple(place.shape[1:]), 9, rng, device)[0]
    radius = scaled.square().sum(0).sqrt() / (1 + 0.22 * rough).clamp_min(0.4)
    depth[box] = (radius - 1) * (math.prod(radii) ** (1 / 3))
    return depth


def _radii(low: float, high: float, rng: Generator) -> list[float]:
    size = math.exp(uniform(math.log(low), math.log(high), rng))
    return [size * uniform(0.65, 1.4, rng) for _ in range(3)]


def _placed(anatomy: Anatomy, pool: Sequence[LesionShape], rng: Generator) -> Tensor:
    """A drawn lesion at its own place, give or take; either side, other size.

    One that would lie outside of the grid, which may hold part of a brain only, is drawn again.
    """
    mni = anatomy.mni
    coarse = mni[:, ::8, ::8, ::8].reshape(3, -1)
    for _ in range(24):
        shape = pool[int(torch.randint(len(pool), (), generator=rng))]
        flip = -1.0 if uniform(0, 1, rng) < 0.5 else 1.0
        middle = shape.start + torch.tensor([(n - 1) / 2 for n in shape.mask.shape])
        sided = (middle * torch.tensor([flip, 1.0, 1.0])).to(mni.device)
        if float((coarse - sided[:, None]).square().sum(0).min()) < 15**2:
            break
    size = uniform(0.85, 1.2, rng)
    inside = torch.ones(mni.shape[1:], dtype=torch.bool, device=mni.device)
    flat = torch.zeros(mni.shape[1:], dtype=torch.long, device=mni.device)
    for axis, count in enumerate(shape.mask.shape):
        along = mni[axis] * (flip if axis == 0 else 1.0) + uniform(-6, 6, rng)
        local = (along - float(middle[axis])) / size + (count - 1) / 2
        nearest = local.round().long()
        inside &= (nearest >= 0) & (nearest < count)
        flat = flat * count + nearest.clamp(0, count - 1)
    return shape.mask.to(mni.device).reshape(-1)[flat] & inside


def infarct(
    anatomy: Anatomy, shapes: Sequence[LesionShape], rng: Generator, kind: str | None = None
) -> Tensor:
    """Mask of an infarct.

    Parameters
    ----------
    anatomy : Anatomy
    shapes : sequence of LesionShape
    rng : torch.Generator
    kind : {"drawn", "several", "large", "shower", "lacune", "watershed"}, optional
        A drawn shape, two or three of them, one over 50 ml, small pieces within one or, as from the
        heart, anywhere, small infarcts of deep structures, or pieces along the border of the
        anterior and middle cerebral arteries.

    Returns
    -------
    Tensor of bool, shape (x, y, z)
    """
    if kind is None:
        kinds = ("drawn", "several", "large", "shower", "lacune", "watershed")
        odds = torch.tensor([0.42, 0.1, 0.08, 0.22, 0.13, 0.05])
        kind = kinds[int(torch.multinomial(odds, 1, generator=rng))]
    mask = torch.zeros(anatomy.tissue.shape, dtype=torch.bool, device=anatomy.tissue.device)
    if kind in ("drawn", "several", "large", "shower"):
        pool = shapes
        if kind in ("large", "shower"):
            least = 50.0 if kind == "large" else 8.0
            pool = [shape for shape in shapes if shape.volume_ml > least] or shapes
        for _ in range(int(torch.randint(2, 4, (), generator=rng)) if kind == "several" else 1):
            mask |= _placed(anatomy, pool, rng)
    if kind == "watershed":
        x, y, z = anatomy.mni
        side = 1.0 if uniform(0, 1, rng) < 0.5 else -1.0
        # The border runs beside the midline, further out towards the back.
        sheet = (side * x - (26 - 0.08 * y)).abs() < uniform(3, 6, rng)
        along = smooth_field(tuple(mask.shape), 14, rng, mask.device)[0] > uniform(-0.3, 0.8, rng)
        mask |= sheet & along & (z > uniform(15, 30, rng)) & (y < uniform(20, 50, rng))
    candidates = None
    if kind == "shower":
        if uniform(0, 1, rng) < 0.4:
            mask = torch.ones_like(mask)
        candidates, number, sizes = mask & anatomy.of("cortex", "white", "cerebellar grey"), 25, 6.0
        mask = torch.zeros_like(mask)
    if kind == "lacune":
        where = (*_DEEP, "brainstem") if uniform(0, 1, rng) < 0.65 else ("white",)
        candidates, number, sizes = anatomy.of(*where) & (anatomy.distance < -6), 3, 7.5
    if candidates is not None:
        for _ in range(1 + int(torch.randint(number, (), generator=rng))):
            centre = _pick(candidates, rng)
            if centre is not None:
                mask |= _blob(anatomy, centre, _radii(2.0, sizes, rng), rng) < 0
    return mask & anatomy.parenchyma


@dataclass(frozen=True, eq=False)
class Bleed:
    """A haemorrhage.

    Attributes
    ----------
    blood : Tensor of bool, shape (x, y, z)
        With what reached the ventricles.
    depth : Tensor, shape (x, y, z)
        To the surface of its part in the tissue, mm, negative inside.
    """

    blood: Tensor
    depth: Tensor


def bleed(anatomy: Anatomy, rng: Generator, kind: str | None = None) -> Bleed:
    """A haemorrhage: lobar, deep, of the brainstem or cerebellum, or a microbleed.

    Parameters
    ----------
    anatomy : Anatomy
    rng : torch.Generator
    kind : {"deep", "lobar", "cerebellar", "brainstem", "micro"}, optional

    Returns
    -------
    Bleed
    """
    kinds = {
        "deep": (anatomy.of("thalamus", "putamen", "caudate"), (4.0, 22.0)),
        "lobar": (anatomy.of("white") & (anatomy.distance > -28), (5.0, 32.0)),
        "cerebellar": (anatomy.of("cerebellar white", "cerebellar grey"), (4.0, 20.0)),
        "brainstem": (anatomy.of("brainstem"), (2.5, 9.0)),
        "micro": (anatomy.of("white", "cortex", *_DEEP), (1.5, 4.0)),
    }
    if kind is None:
        odds = torch.tensor([0.42, 0.32, 0.1, 0.08, 0.08])
        kind = list(kinds)[int(torch.multinomial(odds, 1, generator=rng))]
    candidates, sizes = kinds[kind]
    depth = torch.full(tuple(anatomy.tissue.shape), 99.0, device=anatomy.tissue.device)
    centre = _pick(candidates & (anatomy.distance < -2), rng)
    if centre is None:
        return Bleed(torch.zeros_like(depth, dtype=torch.bool), depth)
    radii = _radii(*sizes, rng)
    depth = _blob(anatomy, centre, radii, rng)
    for _ in range(int(torch.randint(3, (), generator=rng))):
        beside = centre + (torch.randn(3, generator=rng) * max(radii) / anatomy.spacing * 0.6).to(
            centre.device
        )
        depth = torch.minimum(depth, _blob(anatomy, beside, _radii(*sizes, rng), rng))
    blood = (depth < 0) & anatomy.parenchyma
    if kind in ("deep", "lobar") and uniform(0, 1, rng) < 0.25:
        ventricle = anatomy.of("ventricle")
        near = ventricle & (depth < uniform(3, 25, rng))
        if near.any():
            # Blood sinks to the back of somebody who lies.
            level = float(anatomy.mni[1][ventricle].quantile(uniform(0.05, 0.5, rng)))
            blood |= near | (ventricle & (anatomy.mni[1] < level))
    return Bleed(blood, depth)


def white_matter_lesions(anatomy: Anatomy, rng: Generator) -> Tensor:
    """Caps and bands around the ventricles, and spots in the white matter on both sides."""
    near = anatomy.of("ventricle").float()
    for axis in range(3):
        near = artefacts.blur(near, uniform(6, 16, rng), axis, anatomy.spacing)
    field = smooth_field(tuple(near.shape), 12, rng, near.device)[0]
    white = anatomy.of("white", "white lesion") & (anatomy.distance < -4)
    caps = near + 0.05 * field > uniform(0.05, 0.25, rng)
    spots = smooth_field(tuple(near.shape), 30, rng, near.device)[0] > uniform(1.7, 3.0, rng)
    return white & (caps | spots)


def wide_ventricles(anatomy: Anatomy, rng: Generator) -> Tensor:
    """How far, in mm, each voxel's tissue comes from nearer to the ventricles, as they are wider.

    Returns
    -------
    Tensor, shape (3, x, y, z)
        Along the axes of the grid; up to 7 mm at the ventricles' walls.
    """
    near = soft(anatomy.of("ventricle"), 14, anatomy.spacing)
    slope = torch.stack(torch.gradient(near, spacing=anatomy.spacing))
    steepest = slope.square().sum(0).max().sqrt().clamp_min(1e-6)
    return slope * (uniform(1, 7, rng) / steepest)


def tracts(anatomy: Anatomy, rng: Generator) -> Tensor:
    """Pyramidal tracts and splenium, alike on both sides."""
    x, y, z = anatomy.mni
    width = uniform(3, 6, rng)
    pyramids = ((x.abs() - (12 + 0.3 * z.clamp(-20, 40))).abs() < width) & (
        (y + 18).abs() < uniform(5, 10, rng)
    )
    splenium = (x.abs() < 24) & ((y + 38).abs() < 7) & ((z - 12).abs() < 8)
    where = pyramids & (z > -25) if uniform(0, 1, rng) < 0.7 else splenium
    return where & anatomy.of("white", "brainstem")


_AIR = ((50.0, -14.0, -28.0), (46.0, 8.0, -36.0), (10.0, 46.0, -22.0), (8.0, 66.0, -6.0))
"""MNI coordinates, mm, of brain beside air: above the petrous bone and at the temporal pole, above
the orbit and ethmoid, behind the frontal sinus; x is mirrored for the left."""


def beside_air(anatomy: Anatomy, rng: Generator) -> Tensor:
    """Where echo-planar images pile up signal beside air; mostly alike on both sides.

    Returns
    -------
    Tensor, shape (x, y, z)
        0 to 1: flat spots a few millimetres high.
    """
    x, y, z = _AIR[int(torch.randint(len(_AIR), (), generator=rng))]
    sides: tuple[float, ...] = (1.0, -1.0)
    if uniform(0, 1, rng) < 0.3:
        sides = (sides[int(torch.randint(2, (), generator=rng))],)
    middle = [x + uniform(-8, 8, rng), y + uniform(-10, 10, rng), z + uniform(-8, 8, rng)]
    widths = [uniform(4, 14, rng), uniform(3, 10, rng), uniform(2, 6, rng)]
    rough = smooth_field(tuple(anatomy.tissue.shape), 20, rng, anatomy.tissue.device)[0]
    weight = torch.zeros_like(rough)
    for side in sides:
        squared = 0.4 * rough
        for axis, width in enumerate(widths):
            at = middle[axis] * (side if axis == 0 else 1.0) + uniform(-3, 3, rng)
            squared = squared + ((anatomy.mni[axis] - at) / width).square()
        weight = torch.maximum(weight, torch.exp(-0.5 * squared.clamp_min(0)))
    return weight


def soft(mask: Tensor, width: float, spacing: float) -> Tensor:
    """A mask with blurred edges, 0 to 1; `width` in mm."""
    weight = mask.float()
    for axis in range(3):
        weight = artefacts.blur(weight, width, axis, spacing)
    return weight

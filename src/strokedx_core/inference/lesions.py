"""What a lesion prediction comes to: pieces, their sizes and sides, and clicks on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import ndimage

from strokedx_core.anatomy.midplane import midplane_of, side_of
from strokedx_core.components import components
from strokedx_core.volume import Flag, Volume

__all__ = [
    "SMALLEST_ML",
    "Click",
    "ClickError",
    "Lesion",
    "LesionResult",
    "PieceRule",
    "check_click",
    "check_threshold",
    "drop_small",
    "mask_of",
    "number_pieces",
]

SMALLEST_ML = 0.04
"""Volume under which a piece is left out unless somebody clicked it: five voxels of the finest
working grid, less than the network tells from noise. Of what it marks in simulated infarcts that it
was not trained on, next to nothing is smaller."""

SURE_ODDS = 9.0
"""How many times the odds of the threshold a piece reaches somewhere, or it is left out unless
somebody clicked it: at the threshold 0.5, a probability of 0.9. Cards of weights that hardly mark
anything falsely without it name a lower one."""

FAINT_ODDS = 3 / 7
"""How many times the odds of the threshold all of a faint piece has: at the threshold 0.5, a
probability of 0.3."""


@dataclass(frozen=True)
class PieceRule:
    """Which pieces of what is probable are lesion; weights say so in their card's `[input]`.

    Attributes
    ----------
    sure_odds : float
        How many times the odds of the threshold a piece has to reach somewhere; 1 asks for nothing.
    faint_ml : float, optional
        A piece that nowhere reaches these odds is lesion too, down to `FAINT_ODDS`, where its
        volume times its mean probability is that much. A large infarct that is fading in or out is
        nowhere sure, but seldom nothing. None: no such piece is.
    """

    sure_odds: float = SURE_ODDS
    faint_ml: float | None = None

    @classmethod
    def of_card(cls, takes: Mapping[str, Any]) -> PieceRule:
        """As a card's `[input]` says, or as above."""
        return cls(**{f.name: takes[f.name] for f in fields(cls) if f.name in takes})

    @classmethod
    def strictest(cls, rules: Iterable[PieceRule]) -> PieceRule:
        """Of weights whose answers are taken together."""
        odds, volumes = zip(*((rule.sure_odds, rule.faint_ml) for rule in rules), strict=True)
        return cls(max(odds), None if None in volumes else max(volumes))


Index = tuple[int, int, int]


class ClickError(ValueError):
    """A click lies outside the image; the message says where the image ends."""


@dataclass(frozen=True)
class Click:
    """A point that somebody says is lesion, or is not.

    Attributes
    ----------
    index : three int
        Voxel of the first volume's array.
    positive : bool
        Whether it is lesion.
    """

    index: Index
    positive: bool = True

    def __str__(self) -> str:
        return ",".join(map(str, self.index)) + (",+" if self.positive else ",-")


@dataclass(frozen=True)
class Lesion:
    """One piece of a lesion mask.

    Attributes
    ----------
    number : int
        Its label, from 1 for the largest.
    volume_ml : float
    side : {"left", "right", "both"}
        The patient's.
    centre : three float
        Centre of mass, RAS millimetres.
    index : three int
        The lesion's voxel that is nearest to its centre of mass.
    """

    number: int
    volume_ml: float
    side: str
    centre: tuple[float, float, float]
    index: Index


@dataclass(frozen=True, eq=False)
class LesionResult:
    """Lesions of one case, on the grid of its first volume, and how they came about.

    Attributes
    ----------
    probability : ndarray of float32
    mask : ndarray of bool
    brain : ndarray of bool
    volume : Volume
        The first volume.
    lesion_type : {"general", "ischemic", "hemorrhagic"}
    flags : tuple of Flag
        What to look at. An empty mask is none.
    device : str
        Where the network ran.
    volume_ml : float
        Of the mask.
    threshold : float
    clicks : tuple of Click
    seconds : dict
        Time of each step.
    rule : PieceRule
        Of the weights.
    """

    probability: np.ndarray
    mask: np.ndarray
    brain: np.ndarray
    volume: Volume
    lesion_type: str
    flags: tuple[Flag, ...]
    device: str
    volume_ml: float
    threshold: float = 0.5
    clicks: tuple[Click, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    rule: PieceRule = PieceRule()

    def lesions(self) -> tuple[Lesion, ...]:
        """The pieces of the mask that hang together by faces, edges or corners, largest first."""
        return self._pieces[1]

    def labels(self) -> np.ndarray:
        """The mask with the number of its lesion at each voxel, 0 elsewhere; int32."""
        return self._pieces[0]

    def at(self, threshold: float) -> LesionResult:
        """The result with another threshold, from the kept probability.

        Raises
        ------
        ValueError
            If it does not lie between 0 and 1.
        """
        check_threshold(threshold)
        clicked = [click.index for click in self.clicks if click.positive]
        voxel_ml = self.volume.voxel_ml
        mask = mask_of(self.probability, threshold, voxel_ml, clicked, self.rule)
        volume_ml = float(np.count_nonzero(mask)) * voxel_ml
        return replace(self, mask=mask, volume_ml=volume_ml, threshold=threshold)

    @cached_property
    def _pieces(self) -> tuple[np.ndarray, tuple[Lesion, ...]]:
        labels = number_pieces(self.mask)
        box = _box_around(self.mask)
        midplane = midplane_of(self.brain, self.volume.affine)
        lesions = []
        for number, near in enumerate(ndimage.find_objects(labels[box]), start=1):
            voxels = np.argwhere(labels[box][near] == number)
            voxels += [one.start + other.start for one, other in zip(near, box, strict=True)]
            lesions.append(self._lesion(number, voxels, midplane))
        return labels, tuple(lesions)

    def _lesion(self, number: int, voxels: np.ndarray, midplane: np.ndarray) -> Lesion:
        middle = voxels.mean(axis=0)
        x, y, z = voxels[np.argmin(((voxels - middle) ** 2).sum(axis=1))].tolist()
        linear, origin = self.volume.affine[:3, :3], self.volume.affine[:3, 3]
        places = voxels @ linear.T + origin
        side = side_of(places @ midplane[:3] + midplane[3])
        a, b, c = (linear @ middle + origin).tolist()
        return Lesion(number, len(voxels) * self.volume.voxel_ml, side, (a, b, c), (x, y, z))


def number_pieces(mask: np.ndarray) -> np.ndarray:
    """Number the pieces of a mask that hang together by faces, edges or corners.

    Parameters
    ----------
    mask : ndarray of bool, (i, j, k)

    Returns
    -------
    ndarray of int32, (i, j, k)
        1 for the largest piece; those of one size come in the order of their first voxels.
    """
    box = _box_around(mask)
    found = components(np.ascontiguousarray(mask[box]))
    sizes = np.bincount(found.ravel())[1:]
    numbers = np.zeros(len(sizes) + 1, np.int32)
    numbers[1 + np.argsort(-sizes, kind="stable")] = np.arange(1, len(sizes) + 1)
    labels = np.zeros(mask.shape, np.int32, order="F" if mask.flags.f_contiguous else "C")
    labels[box] = numbers[found]
    return labels


def check_threshold(threshold: float) -> None:
    """Refuse a probability that tells nothing apart."""
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must lie between 0 and 1, not {threshold}")


def check_click(click: Click, shape: tuple[int, ...]) -> None:
    """Refuse a click outside of an image.

    Raises
    ------
    ClickError
    """
    if not all(0 <= at < size for at, size in zip(click.index, shape, strict=True)):
        last = ",".join(str(size - 1) for size in shape)
        raise ClickError(f"click {click} lies outside the image, whose voxels are 0,0,0 to {last}")


def mask_of(
    probability: np.ndarray,
    threshold: float,
    voxel_ml: float,
    clicked: Sequence[tuple[int, ...]] = (),
    rule: PieceRule = PieceRule(),
) -> np.ndarray:
    """What is lesion: pieces of probable voxels, sure somewhere or large, of some size.

    Parameters
    ----------
    probability : ndarray
    threshold : float
        Probability from which a voxel is lesion.
    voxel_ml : float
        Volume of a voxel, millilitres.
    clicked : sequence of voxels
        Pieces that one of these lies in stay.
    rule : PieceRule

    Returns
    -------
    ndarray of bool
    """
    sure = probability >= _times(threshold, rule.sure_odds)
    mask = drop_small(probability >= threshold, voxel_ml, clicked, sure)
    if rule.faint_ml is not None:
        mask |= _faint(probability, threshold, voxel_ml, rule.sure_odds, rule.faint_ml)
    return mask


def _times(threshold: float, odds: float) -> float:
    """The probability of so many times the odds of another."""
    return odds * threshold / (1 + (odds - 1) * threshold)


def _faint(
    probability: np.ndarray, threshold: float, voxel_ml: float, sure_odds: float, least_ml: float
) -> np.ndarray:
    """Pieces that are nowhere sure, yet large for how probable they are.

    What is sure does not follow the threshold here: a lower one would turn pieces that are marked
    down to faint voxels into sure ones that are not.
    """
    mask = probability >= _times(threshold, FAINT_ODDS)
    box = _box_around(mask)
    pieces, near = components(mask[box]), probability[box]
    expected_ml = np.bincount(pieces.ravel(), weights=near.ravel()) * voxel_ml
    kept = expected_ml >= least_ml
    kept[pieces[near >= _times(0.5, sure_odds)]] = False
    kept[0] = False
    mask[box] = kept[pieces]
    return mask


def drop_small(
    mask: np.ndarray,
    voxel_ml: float,
    spared: Sequence[tuple[int, ...]] = (),
    sure: np.ndarray | None = None,
) -> np.ndarray:
    """Leave out pieces under `SMALLEST_ML`, and those that hold nothing sure.

    Parameters
    ----------
    mask : ndarray of bool
    voxel_ml : float
        Volume of a voxel, millilitres.
    spared : sequence of voxels
        Pieces that one of these lies in stay however small they are.
    sure : ndarray of bool, optional
        What is surely lesion; all of the mask where not given.

    Returns
    -------
    ndarray of bool
        A new array.
    """
    cleaned = np.zeros_like(mask)
    box = _box_around(mask)
    pieces = components(mask[box])
    sizes = np.bincount(pieces.ravel(order="K"))
    # A piece of exactly that volume stays, whatever rounding does to it.
    kept = sizes * voxel_ml > SMALLEST_ML * (1 - 1e-6)
    if sure is not None:
        kept &= np.bincount(pieces[sure[box]], minlength=len(kept)) > 0
    for voxel in spared:
        if mask[voxel]:
            kept[pieces[tuple(at - edge.start for at, edge in zip(voxel, box, strict=True))]] = True
    kept[0] = False
    cleaned[box] = kept[pieces]
    return cleaned


def _box_around(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that holds a mask, for lesions fill little of an image; never empty."""
    box = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(0, 1))
    return tuple(box)

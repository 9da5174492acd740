"""Mend a lesion mask with clicks: each predicts what lies around it anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from strokedx_core.components import components
from strokedx_core.inference.automatic import automatic_steps
from strokedx_core.inference.brain_grid import Box
from strokedx_core.inference.lesion_case import LesionCase, Sequences
from strokedx_core.inference.lesions import Click, ClickError, LesionResult, check_click, drop_small
from strokedx_core.inference.prediction import finish

__all__ = ["Click", "ClickError", "ClickSession"]

RIM = 8
"""Voxels at the faces of a patch that keep what they were: the network sees too little around
them. Faces where the grid ends have none."""

REACH_MM = 5.0
"""How far from a click what it changes may begin."""

THIN_MM = 3.0
"""Half of the thickness from which what a click changes may go on, away from it."""

SURE_MM = 8.0
"""At so many millimetres from a negative click, the odds of what it takes away must be e times less
than the threshold's: a click on what is marked too much is not to take the lesion beside it."""


@dataclass(eq=False)
class _Step:
    """A click, where it changed the mask, and what stands there when it is undone or redone."""

    click: Click
    box: Box
    mask: np.ndarray
    probability: np.ndarray


class ClickSession:
    """A lesion mask that is mended click by click.

    Prepared once, skull stripping included; then a click costs one small patch.

    Parameters
    ----------
    volumes : mapping of str to Volume or path
        By modality; the mask lies on the grid of the first.
    lesion_type : {"general", "ischemic", "hemorrhagic"}
    device : {"auto", "cpu", "cuda", "mps"}
    weights : str or path, optional
        Name of shipped weights or a `.safetensors` file with its card beside it.
    start : ndarray, shape of the first volume, optional
        Mask to start from, any program's; found by the network where not given.
    brain : ndarray, shape of the first volume, optional
        Where the brain is; found where not given.
    skull_strip : bool
        False for images without skull, or to work on the whole head.
    threshold : float
        Probability from which a voxel is lesion.

    Raises
    ------
    VolumeError, DeviceError, WeightsError, ValueError
        As `segment_lesions`.
    """

    def __init__(
        self,
        volumes: Sequences,
        *,
        lesion_type: str = "general",
        device: str = "auto",
        weights: str | Path | None = None,
        start: np.ndarray | None = None,
        brain: np.ndarray | None = None,
        skull_strip: bool = True,
        threshold: float = 0.5,
    ) -> None:
        steps = automatic_steps(
            volumes,
            lesion_type=lesion_type,
            device=device,
            weights=weights,
            threshold=threshold,
            skull_strip=skull_strip,
            start=start,
            brain=brain,
        )
        self._begin(*finish(steps))

    @classmethod
    def of(cls, case: LesionCase, start: LesionResult) -> ClickSession:
        """A session on what `automatic_steps` returned: for those who show its progress."""
        session = cls.__new__(cls)
        session._begin(case, start)
        return session

    def _begin(self, case: LesionCase, start: LesionResult) -> None:
        self._case, self._start = case, start
        self._mask = start.mask.copy(order="K")
        self._probability = start.probability.copy(order="K")
        self._done: list[_Step] = []
        self._undone: list[_Step] = []

    @property
    def mask(self) -> np.ndarray:
        """The mask as it is now, native, bool: a read-only view that follows the clicks."""
        view = self._mask.view()
        view.flags.writeable = False
        return view

    @property
    def clicks(self) -> tuple[Click, ...]:
        """The clicks that count: those undone do not."""
        return tuple(step.click for step in self._done)

    def result(self) -> LesionResult:
        """The mask and its probability as they are now, with the clicks that led there."""
        volume_ml = float(np.count_nonzero(self._mask)) * self._start.volume.voxel_ml
        return replace(
            self._start,
            mask=self._mask.copy(order="K"),
            probability=self._probability.copy(order="K"),
            clicks=self.clicks,
            volume_ml=volume_ml,
        )

    def click(self, click: Click) -> Box:
        """Predict the surroundings of a click anew.

        Parameters
        ----------
        click : Click

        Returns
        -------
        three slice
            Outside of this box of the first volume nothing has changed.

        Raises
        ------
        ClickError
            If it lies outside the image, or far from the brain. Nothing has changed then.
        """
        check_click(click, self._case.volume.shape)
        clicks = [*self.clicks, click]
        grid = self._case.grid
        centre = grid.point(click.index)
        if not all(-1 <= place <= size for place, size in zip(centre, grid.shape, strict=True)):
            raise ClickError(f"click {click} lies outside of the brain")
        points = {
            sign: [grid.point(one.index) for one in clicks if one.positive == sign]
            for sign in (True, False)
        }
        patch, found = self._case.predict_around(centre, points, self._mask)
        inner = [
            slice(
                RIM if edge.start > 0 else 0,
                edge.stop - edge.start - (RIM if edge.stop < size else 0),
            )
            for edge, size in zip(patch, grid.shape, strict=True)
        ]
        x, y, z = (
            slice(edge.start + part.start, edge.start + part.stop)
            for edge, part in zip(patch, inner, strict=True)
        )
        region = x, y, z
        box = grid.native_box(region)
        probability = grid.native(found[tuple(inner)], region)
        self._obey(clicks, box, probability)
        meant = self._only_at(click, box, probability)
        old = self._mask[box] & ~meant
        mask = old | self._cleaned(
            old | (meant & (probability >= self._start.threshold)), box, clicks
        )
        step = _Step(click, box, mask, probability)
        self._swap(step)
        self._done.append(step)
        self._undone.clear()
        return box

    def undo(self) -> Box | None:
        """Take the last click back; the box that changed, or None where there is no click."""
        return self._move(self._done, self._undone)

    def redo(self) -> Box | None:
        """Do the click again that was taken back last; the box that changed, or None."""
        return self._move(self._undone, self._done)

    def _move(self, source: list[_Step], target: list[_Step]) -> Box | None:
        if not source:
            return None
        step = source.pop()
        self._swap(step)
        target.append(step)
        return step.box

    def _swap(self, step: _Step) -> None:
        """Put what a step holds in its place, and what stood there into the step."""
        mask, probability = self._mask[step.box].copy(), self._probability[step.box].copy()
        self._mask[step.box], self._probability[step.box] = step.mask, step.probability
        step.mask, step.probability = mask, probability

    def _obey(self, clicks: list[Click], box: Box, probability: np.ndarray) -> None:
        """Clicked voxels are what was said of them, whatever the network says; in place."""
        for click in clicks:
            place = [at - edge.start for at, edge in zip(click.index, box, strict=True)]
            if all(0 <= at < n for at, n in zip(place, probability.shape, strict=True)):
                probability[tuple(place)] = float(click.positive)

    def _only_at(self, click: Click, box: Box, probability: np.ndarray) -> np.ndarray:
        """Leave what a click changes the wrong way, or far from where it is, as it was; in place.

        A patch shows the network less than the whole brain did: lesions that nobody clicked are not
        to be decided anew. Returns where the click counts.
        """
        old, before = self._mask[box], self._probability[box]
        if click.positive:
            changed = ~old & (probability >= self._start.threshold)
        else:
            changed = old & (probability < self._asked(click, box))
        spacing = self._case.volume.spacing
        near = np.zeros(changed.shape, bool)
        near[
            tuple(
                slice(
                    max(0, at - edge.start - round(REACH_MM / size)),
                    at - edge.start + 1 + round(REACH_MM / size),
                )
                for at, edge, size in zip(click.index, box, spacing, strict=True)
            )
        ] = True
        # The rim of a large lesion is not to be drawn anew all around for a click beside it.
        leading = changed & (near | _opened(changed, spacing))
        pieces = components(leading)
        meant = np.zeros(int(pieces.max(initial=0)) + 1, bool)
        meant[pieces[near]] = True
        meant[0] = False
        counts: np.ndarray = changed & _within(meant[pieces], THIN_MM, spacing)
        np.copyto(probability, before, where=~counts)
        return counts

    def _asked(self, click: Click, box: Box) -> np.ndarray:
        """Probability below which a negative click takes a voxel away."""
        axes = [
            ((np.arange(edge.start, edge.stop) - at) * size) ** 2
            for at, edge, size in zip(click.index, box, self._case.volume.spacing, strict=True)
        ]
        odds = np.exp(-np.sqrt(sum(np.ix_(*axes))) / SURE_MM)
        threshold = self._start.threshold
        asked: np.ndarray = odds * threshold / (1 - threshold + odds * threshold)
        return asked

    def _cleaned(self, mask: np.ndarray, box: Box, clicks: list[Click]) -> np.ndarray:
        """The new mask of a box without small pieces; those that reach out of it stay whole."""
        around = [
            slice(max(edge.start - 1, 0), min(edge.stop + 1, size))
            for edge, size in zip(box, self._mask.shape, strict=True)
        ]
        inside = tuple(
            slice(edge.start - wide.start, edge.stop - wide.start)
            for edge, wide in zip(box, around, strict=True)
        )
        context = self._mask[tuple(around)].copy()
        context[inside] = mask
        outside = context.copy()
        outside[inside] = False
        spared = [tuple(voxel) for voxel in np.argwhere(outside)]
        for click in clicks:
            place = [at - edge.start for at, edge in zip(click.index, around, strict=True)]
            inner = all(0 <= at < n for at, n in zip(place, context.shape, strict=True))
            if click.positive and inner:
                spared.append(tuple(place))
        return drop_small(context, self._start.volume.voxel_ml, spared)[inside]


def _within(mask: np.ndarray, reach_mm: float, spacing: Sequence[float]) -> np.ndarray:
    """What is no farther than that from a mask, the mask included."""
    if not mask.any():
        return mask
    near: np.ndarray = ndimage.distance_transform_edt(~mask, spacing) <= reach_mm
    return near


def _opened(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Where a ball of radius `THIN_MM` fits into a mask; beyond its box it goes on."""
    if mask.all():
        return mask
    wide = np.pad(mask, 1, mode="edge")
    inside = ndimage.distance_transform_edt(wide, spacing)[1:-1, 1:-1, 1:-1]
    return _within(inside > THIN_MM, THIN_MM, spacing)

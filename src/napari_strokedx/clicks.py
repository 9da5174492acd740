"""From a click of the mouse in a viewer to the voxel that is meant. Nothing here knows of Qt."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_strokedx.layers import index_between

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_strokedx.layers import Source
    from napari_strokedx.lesion_work import Case

__all__ = ["Hit", "MouseClicks", "meant_voxel", "voxel_at", "voxels_along"]

STILL = 4
"""How far the mouse may move between press and release of a click, in canvas pixels."""

_LEFT, _RIGHT = 1, 2


@dataclass(frozen=True, eq=False)
class Hit:
    """A click in a viewer.

    Attributes
    ----------
    position : ndarray
        In the viewer's world; in 3-D anywhere on the line of sight.
    direction : ndarray or None
        Away from the eye, in the viewer's world; None in 2-D.
    positive : bool
        False for the right button, and with Shift.
    """

    position: np.ndarray
    direction: np.ndarray | None
    positive: bool


def voxel_at(layer: Layer, position: np.ndarray) -> tuple[int, int, int] | None:
    """Voxel, along the last three axes of a layer, at a place in the viewer's world.

    Returns
    -------
    three int or None
        None outside of the layer.
    """
    i, j, k = np.rint(layer.world_to_data(position)[-3:]).astype(int).tolist()
    inside = all(0 <= at < size for at, size in zip((i, j, k), _shape(layer), strict=True))
    return (i, j, k) if inside else None


def voxels_along(layer: Layer, hit: Hit) -> np.ndarray:
    """Voxels of a layer on the line of sight of a click, nearest to the eye first.

    Returns
    -------
    ndarray, (n, 3), int
        Along the layer's last three axes; n is 0 where the line misses the layer.
    """
    assert hit.direction is not None
    start = np.asarray(layer.world_to_data(hit.position))[-3:]
    step = np.asarray(layer.world_to_data(hit.position + hit.direction))[-3:] - start
    shape = np.asarray(_shape(layer))
    with np.errstate(divide="ignore", invalid="ignore"):
        crossed = np.stack([(-0.5 - start) / step, (shape - 0.5 - start) / step])
    # A line along a face divides 0 by 0; it is held to lie inside.
    near = np.nanmax(np.where(np.isnan(crossed), -np.inf, crossed).min(axis=0))
    far = np.nanmin(np.where(np.isnan(crossed), np.inf, crossed).max(axis=0))
    if not near < far:
        return np.zeros((0, 3), int)
    count = int(np.ceil((far - near) * np.abs(step).max() * 2)) + 1
    along = np.rint(start + np.linspace(near, far, count)[:, None] * step).astype(int)
    along = np.clip(along, 0, shape - 1)
    new = np.r_[True, (along[1:] != along[:-1]).any(axis=1)]
    return along[new]


def meant_voxel(
    layer: Layer, source: Source, case: Case, labels: np.ndarray, hit: Hit
) -> tuple[tuple[int, int, int] | None, str]:
    """Voxel of a case's mask that a click means.

    In 3-D a click that adds means the brightest voxel of the brain on the line of sight, which is
    what napari shows there, and one that takes away the lesion that is nearest to the eye.

    Parameters
    ----------
    layer : Layer
        What was clicked on.
    source : Source
        Of that layer.
    case : Case
    labels : ndarray of int
        The mask as it is shown.
    hit : Hit

    Returns
    -------
    voxel : three int or None
    reason : str
        Why there is none.
    """
    if hit.direction is None:
        voxel = voxel_at(layer, hit.position)
        there = np.zeros((0, 3), int) if voxel is None else np.array([voxel])
    else:
        there = voxels_along(layer, hit)
    reason = f"That lies outside of “{layer.name}”."
    matrix = index_between(source, case.source)
    on_mask = np.rint(there @ matrix[:3, :3].T + matrix[:3, 3]).astype(int)
    inside = ((on_mask >= 0) & (on_mask < labels.shape)).all(axis=1)
    there, on_mask = there[inside], on_mask[inside]
    if len(on_mask) and hit.direction is not None:
        if hit.positive:
            brain = case.to_layer(case.result.brain)[tuple(on_mask.T)]
            there, on_mask = there[brain], on_mask[brain]
            reason = "There is no brain under the mouse."
            values = np.asarray(source.array)[tuple(there.T)]
            on_mask = on_mask[values.argmax() :] if len(values) else on_mask
        else:
            reason = "There is no lesion under the mouse to take away."
            on_mask = on_mask[labels[tuple(on_mask.T)] != 0]
    if not len(on_mask):
        return None, reason
    i, j, k = on_mask[0].tolist()
    return (i, j, k), ""


def _shape(layer: Layer) -> tuple[int, ...]:
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    return tuple(data.shape[-3:])


class MouseClicks:
    """Listens for clicks in a viewer; the mouse still pans, turns and zooms as before.

    Parameters
    ----------
    viewer : ViewerModel
    clicked : callable
        Called with a `Hit` for each click of the left or right button, and for nothing that is a
        drag. A double click counts as two and does not zoom meanwhile.
    """

    def __init__(self, viewer: ViewerModel, clicked: Callable[[Hit], None]) -> None:
        self._viewer, self._clicked = viewer, clicked
        # Bound methods are made anew each time they are asked for; these must be found again.
        self._drag, self._double = self._on_drag, self._on_double_click
        self._double_before: list[Callable[..., Any]] = []

    def listen(self) -> None:
        """Begin; once is enough."""
        if self._drag not in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.append(self._drag)
            self._double_before = list(self._viewer.mouse_double_click_callbacks)
            self._viewer.mouse_double_click_callbacks[:] = [self._double]

    def stop(self) -> None:
        """Leave the viewer's mouse as it was."""
        if self._drag in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._drag)
            self._viewer.mouse_double_click_callbacks[:] = self._double_before

    def _on_drag(self, viewer: ViewerModel, event: Any) -> Generator[None, None, None]:
        # The event's fields change under way.
        hit, began = self._hit(event), np.asarray(event.pos, float)
        still = True
        yield
        while event.type == "mouse_move":
            still = still and bool(np.abs(np.asarray(event.pos) - began).max() <= STILL)
            yield
        if hit is not None and still:
            self._clicked(hit)

    def _on_double_click(self, viewer: ViewerModel, event: Any) -> None:
        hit = self._hit(event)
        if hit is not None:
            self._clicked(hit)

    def _hit(self, event: Any) -> Hit | None:
        keys = {str(getattr(key, "name", key)) for key in event.modifiers}
        if event.button not in (_LEFT, _RIGHT) or keys - {"Shift"}:
            return None
        solid = len(event.dims_displayed) == 3
        return Hit(
            position=np.array(event.position, float),
            direction=np.array(event.view_direction, float) if solid else None,
            positive=event.button == _LEFT and not keys,
        )

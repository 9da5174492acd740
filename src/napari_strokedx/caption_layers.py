"""Captions in the viewer: words beside lesions, of the slice at hand, and under the mouse."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_strokedx.caption_sheet import middle_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels, Points

    from napari_strokedx.caption_sheet import CaptionSheet, Spot
    from napari_strokedx.layers import Source

__all__ = ["SliceText", "hover_texts", "place_labels", "show_labels"]

TEXT_SIZE = 10
"""Points of the words beside lesions."""

_WIDTH, _HEIGHT = 8.6, 19.0
"""Pixels that a letter, and a line, of the words beside lesions take up at most."""

_WIDE = 9.8
"""Pixels that a letter of the text over the canvas takes up at most."""

_WORDS = (1.0, 0.85, 0.2, 1.0)
_STALE = (0.75, 0.75, 0.75, 1.0)
_SHADOW = (0.0, 0.0, 0.0, 1.0)
_AROUND = ((-1, -1), (-1, 1), (1, -1), (1, 1))
"""Pixels by which copies of the words are moved that make a dark edge: they are to be read on
bright tissue and on dark."""

_OVERLAY = "StrokeDx captions"


def place_labels(
    spots: Sequence[Spot],
    axis: int,
    scale: Sequence[float] | np.ndarray,
    pixels_per_unit: float,
    shape: Sequence[int],
) -> tuple[np.ndarray, list[Spot]]:
    """Where the words of each lesion stand on each slice, so that none covers another.

    Parameters
    ----------
    spots : sequence of Spot
    axis : int
        Layer axis along which the viewer slices.
    scale : three float
        World units per voxel.
    pixels_per_unit : float
        Of the canvas, per world unit.
    shape : three int
        Of the image: words stay within its sides where they fit.

    Returns
    -------
    places : ndarray, (n, 3)
        Layer coordinates of the middle of each text.
    spots : list of Spot
        Whose text it is.
    """
    down, along = (other for other in range(3) if other != axis)
    places: list[np.ndarray] = []
    owners: list[Spot] = []
    taken: dict[int, list[tuple[float, float, float]]] = {}
    for spot in spots:
        slices = spot.voxels[:, axis]
        for number in np.unique(slices):
            voxels = spot.voxels[slices == number]
            place = middle_of(voxels).astype(float)
            boxes = taken.setdefault(int(number), [])
            half = len(spot.label) * _WIDTH / 2
            wide, high = (scale[a] * pixels_per_unit for a in (along, down))
            x = place[along] * wide
            x = max(min(x, shape[along] * wide - half), min(half, shape[along] * wide / 2))
            y = _free(x, place[down] * high, half, boxes)
            boxes.append((x, y, half))
            place[along], place[down] = x / wide, y / high
            places.append(place)
            owners.append(spot)
    return np.array(places).reshape(-1, 3), owners


def _free(x: float, y: float, half: float, boxes: Iterable[tuple[float, float, float]]) -> float:
    """The nearest line to `y`, in pixels, on which a text of that width covers no other."""
    near = [by for bx, by, bhalf in boxes if abs(bx - x) < half + bhalf]
    for step in range(2 * len(near) + 1):
        for sign in (1, -1):
            line = y + sign * step * _HEIGHT / 2
            if all(abs(line - other) >= _HEIGHT for other in near):
                return line
    return max([y, *near]) + _HEIGHT


def show_labels(
    viewer: ViewerModel,
    sheet: CaptionSheet,
    source: Source,
    layer: Points | None,
    *,
    axis: int,
    pixels_per_unit: float,
    name: str,
    stale: bool,
) -> Points:
    """Put words beside lesions, into the layer that showed them before where there is one.

    Parameters
    ----------
    axis : int
        Layer axis along which the viewer slices.
    stale : bool
        Whether the mask has changed since: then the words are grey.
    """
    scale = np.asarray(source.keywords["scale"], float)[-3:]
    shape = source.array.shape
    places, owners = place_labels(sheet.spots, axis, scale, pixels_per_unit, shape)
    pixel = 1 / (scale * pixels_per_unit)
    moves = np.zeros((len(_AROUND) + 1, 3))
    moves[:-1, [other for other in range(3) if other != axis]] = _AROUND
    # The dark edges first: what comes later is drawn over them.
    places = np.concatenate([places + move * pixel for move in moves])
    colours = [_SHADOW] * (len(_AROUND) * len(owners)) + [_STALE if stale else _WORDS] * len(owners)
    owners = owners * len(moves)
    text = {
        "string": {"feature": "caption"},
        "size": TEXT_SIZE,
        "anchor": "center",
        "color": {"array": np.array(colours).reshape(-1, 4), "default": _WORDS},
    }
    features = {
        "caption": [spot.label for spot in owners],
        "lesion": [spot.number for spot in owners],
    }
    if layer is None or layer not in viewer.layers:
        return viewer.add_points(
            places, name=name, size=1, symbol="cross", features=features, text=text,
            face_color="transparent", border_color="transparent", **_placed(source),
        )  # fmt: skip
    # One by one they would not fit each other for a while.
    layer.selected_data = set()
    layer.text = None
    layer.data = places
    layer.features = features
    layer.text = text
    return layer


def _placed(source: Source) -> dict[str, Any]:
    return {key: value for key, value in source.keywords.items() if key != "axis_labels"}


def hover_texts(layer: Labels, sheet: CaptionSheet) -> None:
    """Say under the mouse what each label is."""
    lines: dict[int, list[str]] = {}
    for spot in sheet.spots:
        lines.setdefault(spot.value, []).append(sheet.text("lesion", spot.number))
    values = sorted(lines)
    layer.features = {
        "index": values,
        "caption": ["\n".join(lines[value]) for value in values],
    }


class SliceText:
    """The caption of the slice at hand, over the canvas."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._overlay: Any = None

    def show(self, text: str) -> None:
        """Show a text, wrapped to the canvas; "" hides it."""
        overlay = self._made()
        overlay.text = "\n".join(textwrap.wrap(text, self._columns()))
        overlay.visible = bool(text)

    def remove(self) -> None:
        """Leave nothing on the canvas."""
        if self._overlay is None:
            return
        canvas = getattr(self._viewer, "canvas", None)
        self._overlay.visible = False
        if canvas is not None:
            canvas.overlays.pop(_OVERLAY, None)
        self._overlay = None

    def _made(self) -> Any:
        if self._overlay is None:
            canvas = getattr(self._viewer, "canvas", None)
            if canvas is None:
                # Before napari 0.9 there was one text for all.
                self._overlay = self._viewer.text_overlay
            else:
                from napari.components.overlays import TextOverlay

                self._overlay = TextOverlay(text="", position="top_left", visible=False)
                canvas.overlays[_OVERLAY] = self._overlay
        return self._overlay

    def _columns(self) -> int:
        canvas = getattr(self._viewer, "canvas", None)
        width = self._viewer._canvas_size[1] if canvas is None else canvas.size[1]
        return max(24, int((width - 20) / _WIDE))

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from lesion_rule import BLOBS, SHAPE, SPACING, ball, scan, use_rule
from napari.components import ViewerModel
from napari.layers import Labels, Layer
from napari.utils.interactions import (
    mouse_double_click_callbacks,
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)
from napari.utils.key_bindings import KeymapHandler

from napari_strokedx.clicks import Hit, voxel_at, voxels_along
from napari_strokedx.widgets.lesion import LesionWidget

NEW = (18, 34, 28)
"""A voxel of brain without lesion."""
PLACES = [
    {},
    {"translate": (-60.0, 31.5, 4.0)},
    {"scale": (-SPACING, SPACING, SPACING)},
    {"scale": (SPACING, -SPACING, -SPACING), "translate": (9.0, 9.0, 9.0)},
    {"rotate": (0.0, 0.0, 12.0)},
]
NAMES = ["scaled", "moved", "mirrored", "mirrored twice", "turned"]


@pytest.fixture
def widget(
    qtbot, viewer: ViewerModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[LesionWidget]:
    use_rule(monkeypatch, tmp_path)
    made = LesionWidget(napari_viewer=viewer)
    qtbot.addWidget(made)
    made.strip_box.setChecked(False)
    yield made
    made.close()
    qtbot.waitUntil(lambda: made.job is None and not made.click_tool.busy, timeout=60_000)


def add_scan(viewer: ViewerModel, name: str = "sub-01_DWI", **place) -> Layer:
    keywords = {"scale": (SPACING,) * 3, "units": ("mm",) * 3, "axis_labels": ("S", "P", "L")}
    return viewer.add_image(scan(), name=name, **{**keywords, **place})


@pytest.fixture
def switch_on(qtbot, widget: LesionWidget) -> Callable[[], Labels]:
    """Switches the tool on, and returns the layer that it works on."""

    def on() -> Labels:
        widget.click_tool.switch.click()
        qtbot.waitUntil(lambda: widget.job is None, timeout=120_000)
        assert widget.click_tool.on, widget.status.text()
        return widget._layer

    return on


class Mouse:
    """What napari's canvas tells a viewer when somebody moves a mouse over it."""

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer

    def event(self, kind: str, position, **fields) -> SimpleNamespace:
        dims = self.viewer.dims
        known = {
            "type": kind,
            "pos": np.array([100.0, 100.0]),
            "position": np.array(position, float),
            "view_direction": None,
            "dims_displayed": list(dims.displayed),
            "dims_point": list(dims.point),
            "button": 1,
            "modifiers": (),
            "is_dragging": kind == "mouse_move",
            "handled": False,
        }
        return SimpleNamespace(**{**known, **fields})

    def click(self, position, dragged: float = 0.0, **fields) -> None:
        for act, kind in (
            (mouse_press_callbacks, "mouse_press"),
            (mouse_move_callbacks, "mouse_move"),
            (mouse_release_callbacks, "mouse_release"),
        ):
            event = self.event(kind, position, **fields)
            if kind != "mouse_press":
                event.pos = event.pos + dragged

            from napari.utils._proxies import ReadOnlyWrapper

            act(self.viewer, ReadOnlyWrapper(event, exceptions=("handled",)))


@pytest.fixture
def mouse(viewer: ViewerModel) -> Mouse:
    return Mouse(viewer)


@pytest.fixture
def click(qtbot, viewer: ViewerModel, widget: LesionWidget, mouse: Mouse) -> Callable[..., None]:
    """Clicks on a voxel of a layer, in the slice where it lies, and waits for the answer."""

    def on(layer: Layer, voxel: tuple[int, int, int], **fields) -> None:
        world = np.array(layer.data_to_world(voxel))
        viewer.dims.set_point(range(3), world)
        mouse.click(world, **fields)
        qtbot.waitUntil(lambda: not widget.click_tool.busy, timeout=60_000)

    return on


def press(viewer: ViewerModel, key: str) -> None:
    handler = KeymapHandler()
    active = viewer.layers.selection.active
    handler.keymap_providers = [viewer] if active is None else [active, viewer]
    assert handler.press_key(key)


def blob(side: str) -> np.ndarray:
    return ball(*BLOBS[side])


# napari shows what is turned out of the slice as if it were not, and says so.
@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
@pytest.mark.parametrize("place", PLACES, ids=NAMES)
def test_a_click_adds_and_takes_away_where_it_is_made(
    place: dict, order: tuple[int, ...], viewer, widget, switch_on: Callable, click: Callable
) -> None:
    layer = add_scan(viewer, **place)
    viewer.dims.order = order
    result = switch_on()
    before = result.data.copy()
    click(layer, NEW)
    added = (result.data != 0) & (before == 0)
    assert result.data[NEW] == 3
    assert np.abs(np.argwhere(added).mean(axis=0) - NEW).max() < 0.6
    assert np.array_equal(result.data[before != 0], before[before != 0])
    assert widget.table.rowCount() == 3
    # A second click of the other kind, on what is selected now: the result itself.
    viewer.layers.selection.active = result
    centre = BLOBS["right"][0]
    click(layer, centre, button=2)
    assert result.data[centre] == 0
    assert result.data[BLOBS["left"][0]] == 1
    click(layer, NEW, modifiers=("Shift",))
    assert result.data[NEW] == 0


def test_undo_and_redo_by_keys_and_buttons(
    qtbot, viewer, widget, switch_on: Callable, click: Callable
) -> None:
    layer, tool = add_scan(viewer), widget.click_tool
    result = switch_on()
    states = [result.data.copy()]
    for voxel in (NEW, (18, 24, 5)):
        click(layer, voxel)
        states.append(result.data.copy())

    def settle(index: int) -> None:
        qtbot.waitUntil(lambda: not tool.busy, timeout=60_000)
        assert np.array_equal(result.data != 0, states[index] != 0)
        assert (tool.undo_button.isEnabled(), tool.redo_button.isEnabled()) == (
            index > 0,
            index < 2,
        )

    # The same keys with the scan and with its labels, which have an undo of their own.
    for active in (layer, result):
        viewer.layers.selection.active = active
        for index in (1, 0):
            press(viewer, "Control-Z")
            settle(index)
        press(viewer, "Control-Z")
        settle(0)
        assert tool.hint.text() == "Ignored. There is no click to undo."
        for index in (1, 2):
            press(viewer, "Control-Shift-Z")
            settle(index)
    tool.undo_button.click()
    settle(1)
    tool.redo_button.click()
    settle(2)
    tool.undo_button.click()
    settle(1)
    click(layer, (18, 40, 20))
    assert not tool.redo_button.isEnabled()


def test_keys_and_mouse_are_given_back(viewer, widget, switch_on: Callable) -> None:
    add_scan(viewer)
    widget.run_button.click()
    mine = []
    viewer.bind_key("Control-Z", lambda _: mine.append(1), overwrite=True)
    before = list(viewer.mouse_drag_callbacks), list(viewer.mouse_double_click_callbacks)
    widget.cancel_button.click()
    result = switch_on_after_cancel(widget, switch_on)
    assert (list(viewer.mouse_drag_callbacks), list(viewer.mouse_double_click_callbacks)) != before
    widget.click_tool.switch.click()
    assert (list(viewer.mouse_drag_callbacks), list(viewer.mouse_double_click_callbacks)) == before
    viewer.layers.selection.active = viewer.layers[0]
    press(viewer, "Control-Z")
    assert mine == [1]
    # napari's own undo of strokes works as ever.
    viewer.layers.selection.active = result
    kept = result.data.copy()
    result.mode = "paint"
    result.paint((2, 2, 2), 1)
    press(viewer, "Control-Z")
    assert np.array_equal(result.data, kept)


def switch_on_after_cancel(widget: LesionWidget, switch_on: Callable) -> Labels:
    from qtpy.QtWidgets import QApplication

    while widget.job is not None:
        QApplication.processEvents()
    return switch_on()


def test_drags_other_buttons_and_other_keys_are_no_clicks(
    viewer, switch_on: Callable, click: Callable
) -> None:
    layer = add_scan(viewer)
    result = switch_on()
    before = result.data.copy()
    click(layer, NEW, dragged=10.0)
    click(layer, NEW, button=3)
    click(layer, NEW, modifiers=("Control",))
    assert np.array_equal(result.data, before)
    click(layer, NEW, dragged=2.0)
    assert result.data[NEW]


def test_a_double_click_does_not_zoom(
    qtbot, viewer, widget, switch_on: Callable, mouse: Mouse
) -> None:
    layer = add_scan(viewer)
    result = switch_on()
    zoom = viewer.scene.camera.zoom
    world = np.array(layer.data_to_world(NEW))
    mouse_double_click_callbacks(viewer, mouse.event("mouse_double_click", world))
    qtbot.waitUntil(lambda: not widget.click_tool.busy, timeout=60_000)
    assert viewer.scene.camera.zoom == zoom
    assert result.data[NEW]


@pytest.mark.parametrize("voxel", [(-4, 20, 20), (18, 200, 20), (18, 24, 40)], ids=str)
def test_clicks_outside_of_the_image_are_ignored(
    voxel: tuple, viewer, widget, switch_on: Callable, click: Callable, messages: list[str]
) -> None:
    layer = add_scan(viewer)
    # Something larger, so that the slider reaches there.
    viewer.add_image(np.zeros((99, 250, 99)), name="large", translate=(-30, -30, -30))
    viewer.layers.selection.active = layer
    result = switch_on()
    viewer.layers.selection.active = layer
    before = result.data.copy()
    click(layer, voxel)
    assert np.array_equal(result.data, before)
    assert messages == ["That lies outside of “sub-01_DWI”."]
    assert widget.click_tool.hint.text() == f"Ignored. {messages[0]}"


def test_clicks_on_the_wrong_layer_are_ignored(
    viewer, widget, switch_on: Callable, click: Callable, messages: list[str]
) -> None:
    layer = add_scan(viewer)
    other = viewer.add_points([[0, 0, 0]], name="marks")
    result = switch_on()
    before = result.data.copy()
    viewer.layers.selection.active = other
    click(layer, NEW)
    viewer.layers.selection.active = result
    result.mode = "paint"
    click(layer, NEW)
    assert np.array_equal(result.data, before)
    assert len(messages) == 2
    assert messages[0].startswith("“marks” is selected: select “sub-01_DWI lesion mask”")
    assert "in paint mode" in messages[1]
    result.mode = "pan_zoom"
    click(layer, NEW)
    assert result.data[NEW]


def test_far_from_the_brain_is_said(
    viewer, widget, switch_on: Callable, click: Callable, messages: list[str]
) -> None:
    data = np.zeros((60, 90, 70), np.float32)
    data[:36, :48, :40] = scan()
    layer = viewer.add_image(
        data, name="DWI", scale=(SPACING,) * 3, units=("mm",) * 3, axis_labels=("S", "P", "L")
    )
    switch_on()
    click(layer, (58, 88, 68))
    assert messages == ["That lies outside of the brain."]


def test_the_first_sequence_is_meant_through_another_grid(
    viewer, switch_on: Callable, click: Callable
) -> None:
    add_scan(viewer)
    fine = np.kron(scan(), np.ones((2, 2, 2), np.float32))
    flair = viewer.add_image(
        fine,
        name="sub-01_FLAIR",
        scale=(SPACING / 2,) * 3,
        translate=(-SPACING / 4,) * 3,
        units=("mm",) * 3,
        axis_labels=("S", "P", "L"),
    )
    result = switch_on()
    assert result.data.shape == SHAPE
    viewer.layers.selection.active = flair
    click(flair, tuple(2 * at for at in NEW))
    assert result.data[NEW]


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_labels_layer_of_anybody_can_be_the_start(
    mirrored: bool, qtbot, viewer, widget, switch_on: Callable, click: Callable
) -> None:
    layer = add_scan(viewer)
    theirs = np.zeros((18, 24, 20), np.uint16)
    theirs[4:7, 5:9, 6:9] = 900
    flip = -1 if mirrored else 1
    labels = viewer.add_labels(
        theirs[:, ::flip],
        name="somebody's",
        scale=(2 * SPACING, 2 * SPACING * flip, 2 * SPACING),
        translate=(SPACING / 2, SPACING / 2 + (2 * SPACING * 23 if mirrored else 0), SPACING / 2),
    )
    box = widget.click_tool.start_box
    box.choose(labels)
    result = switch_on()
    assert result is not labels
    assert np.array_equal(result.data != 0, np.kron(theirs, np.ones((2, 2, 2))) != 0)
    click(layer, NEW)
    assert result.data[NEW]
    assert result.data[10, 13, 14]
    assert not labels.data[tuple(at // 2 for at in NEW)]
    assert len(viewer.layers) == 3
    # Off and on again goes on with what is there.
    so_far = result.data.copy()
    widget.click_tool.switch.click()
    assert switch_on() is result
    assert np.array_equal(result.data, so_far)


def test_an_empty_mask_can_be_the_start(viewer, widget, switch_on, click: Callable) -> None:
    layer = add_scan(viewer)
    widget.click_tool.start_box.choose("empty")
    result = switch_on()
    assert not result.data.any()
    click(layer, BLOBS["left"][0])
    assert result.data[BLOBS["left"][0]] == 1
    assert [row.side for row in widget.table._rows] == ["left"]


def test_work_by_hand_between_clicks_stays(
    viewer, widget, switch_on: Callable, click: Callable
) -> None:
    layer = add_scan(viewer)
    result = switch_on()
    click(layer, NEW)
    result.data[3:6, 20:23, 18:21] = 9
    result.data[blob("right")] = 0
    # Close by, but not so close that the rule finds them again.
    click(layer, (18, 38, 20))
    assert result.data[4, 21, 19] != 0
    assert result.data[NEW]
    assert result.data[18, 38, 20]


def test_numbers_stay_with_their_lesions(viewer, switch_on: Callable, click: Callable) -> None:
    layer = add_scan(viewer)
    result = switch_on()
    left, right = BLOBS["left"][0], BLOBS["right"][0]
    assert (result.data[left], result.data[right]) == (1, 2)
    click(layer, left, button=2)
    # The first has become smaller, and is still the first.
    assert result.data[right] == 2
    assert set(np.unique(result.data)) <= {0, 1, 2}


def test_other_inputs_switch_the_tool_off(viewer, widget, switch_on: Callable) -> None:
    add_scan(viewer)
    tool = widget.click_tool
    switch_on()
    widget.type_box.choose("hemorrhagic")
    assert not tool.switch.isChecked()
    assert "something above was changed" in tool.hint.text()
    result = switch_on()
    assert not result.data.any()
    viewer.layers.remove(result)
    assert not tool.switch.isChecked()
    assert tool.hint.text() == "The lesion layer was deleted."
    assert switch_on() in viewer.layers
    add_scan(viewer, "sub-01_ADC")
    assert not tool.switch.isChecked()


def test_the_threshold_after_clicks(qtbot, viewer, widget, switch_on, click: Callable) -> None:
    layer = add_scan(viewer)
    result = switch_on()
    click(layer, NEW)
    size = (result.data != 0).sum()
    widget.threshold.slider.setValue(95)
    qtbot.waitUntil(lambda: not widget.threshold.timer.isActive(), timeout=5_000)
    assert 0 < (result.data != 0).sum() < size
    assert result.data[NEW]
    click(layer, (18, 38, 20))
    assert result.data[18, 38, 20]


def test_clicks_made_in_a_row_are_all_answered(
    qtbot, viewer, widget, switch_on: Callable, mouse: Mouse
) -> None:
    layer = add_scan(viewer)
    result = switch_on()
    voxels = [NEW, (18, 24, 5), (18, 40, 20)]
    for voxel in voxels:
        mouse.click(layer.data_to_world(voxel))
    assert widget.click_tool.busy
    qtbot.waitUntil(lambda: not widget.click_tool.busy, timeout=60_000)
    assert all(result.data[voxel] for voxel in voxels)


@pytest.mark.parametrize("place", PLACES, ids=NAMES)
def test_clicks_in_the_3d_view(
    place: dict, viewer, switch_on: Callable, click: Callable, messages: list[str]
) -> None:
    layer = add_scan(viewer, **place)
    result = switch_on()
    viewer.dims.ndisplay = 3
    ahead = np.array(layer.data_to_world((10, 0, 0))) - np.array(layer.data_to_world((0, 0, 0)))
    ahead /= np.linalg.norm(ahead)
    centre, radius = BLOBS["left"]
    look = {"view_direction": ahead}
    before = result.data.copy()
    click(layer, centre, button=2, **look)
    taken = np.argwhere((before != 0) & (result.data == 0))
    # In front, that is at the lesion's first voxel along the line of sight.
    assert np.abs(taken.min(axis=0)[0] - (centre[0] - radius)) <= 1
    column = (slice(None), *NEW[1:])
    data = layer.data.copy()
    data[(13, *NEW[1:])] = 240
    layer.data = data
    viewer.layers.selection.active = layer
    click(layer, (30, *NEW[1:]), button=2, **look)
    assert messages == ["There is no lesion under the mouse to take away."]
    click(layer, (30, *NEW[1:]), **look)
    assert result.data[column].any()
    click(layer, (18, 0, 0), **look)
    assert messages[1:] == ["There is no brain under the mouse."]
    click(layer, (18, 900, 0), **look)
    assert messages[2:] == ["That lies outside of “sub-01_DWI”."]


@pytest.mark.parametrize("place", PLACES, ids=NAMES)
def test_a_line_of_sight_meets_the_voxels_it_goes_through(place: dict, viewer) -> None:
    layer = add_scan(viewer, **place)
    rng = np.random.default_rng(3)
    for _ in range(20):
        first, last = rng.uniform(0, np.array(SHAPE) - 1, (2, 3))
        start, end = (np.array(layer.data_to_world(at)) for at in (first, last))
        away = (end - start) / np.linalg.norm(end - start)
        along = voxels_along(layer, Hit(start - 1000 * away, away, True))
        inside = (np.rint(first), np.rint((first + last) / 2), np.rint(last))
        places = [
            int(np.abs(along - voxel).max(axis=1).argmin())
            for voxel in inside
            if np.abs(along - voxel).max(axis=1).min() <= 1
        ]
        assert len(places) == 3
        assert places == sorted(places)
        assert (np.abs(np.diff(along, axis=0)).max(axis=1) == 1).all()
        assert (along >= 0).all()
        assert (along < SHAPE).all()


def test_a_layer_of_four_axes(viewer) -> None:
    layer = viewer.add_image(np.zeros((3, *SHAPE)), scale=(1, 2, 3, 4))
    viewer.dims.set_point(0, 2)
    assert voxel_at(layer, np.array(layer.data_to_world((2, 5, 6, 7)))) == (5, 6, 7)
    hit = Hit(np.array(layer.data_to_world((2, 5, 6, 7))), np.array([0, 1.0, 0, 0]), True)
    assert np.array_equal(voxels_along(layer, hit)[:, 1:], np.tile((6, 7), (SHAPE[0], 1)))

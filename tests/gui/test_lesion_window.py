"""The lesion widget in a real window, with a real mouse and real keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from lesion_rule import BLOBS, SPACING, ball, scan, use_rule
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QDockWidget

from napari_strokedx.reader import read_layer
from strokedx_core.evaluation.metrics import dice
from strokedx_core.sample import sample_stroke

pytestmark = pytest.mark.gui

WIDGET = ("Plugins", "StrokeDx", "Lesion segmentation (StrokeDx)")
SEGMENT = ("Layers", "Segment", "Lesion segmentation (StrokeDx)")
NEW = (18, 34, 28)
"""A voxel of brain without lesion."""


@pytest.fixture
def opened(qtbot, window, choose: Callable, monkeypatch, tmp_path: Path) -> Callable:
    """Opens a scan and the widget by its menu entry."""
    from napari_strokedx.widgets.lesion import LesionWidget

    use_rule(monkeypatch, tmp_path)

    def by(*entry: str) -> LesionWidget:
        keywords = {"scale": (SPACING,) * 3, "units": ("mm",) * 3, "axis_labels": ("I", "P", "L")}
        data = scan()[::-1]
        window.add_image(data * 0.5, name="sub-01_ADC", **keywords)
        window.add_image(data, name="sub-01_DWI", contrast_limits=(0, 420), **keywords)
        choose(window, *entry)
        (widget,) = window.window._qt_window.findChildren(LesionWidget)
        qtbot.waitUntil(lambda: "(" in widget.device_box.itemText(0), timeout=60_000)
        widget.strip_box.setChecked(False)
        return widget

    return by


def shown(voxel: tuple[int, int, int]) -> tuple[int, int, int]:
    """Voxel of the layer; the scan is shown upside down."""
    return (scan().shape[0] - 1 - voxel[0], *voxel[1:])


def canvas_point(window, layer, voxel: tuple[int, int, int]) -> QPoint:
    """Where on the canvas a voxel is seen."""
    canvas = window.window._qt_viewer.canvas
    world = np.array(layer.data_to_world(voxel))[list(window.dims.displayed)][::-1]
    transform = canvas.view.transform * canvas.view.scene.transform
    place = np.array(transform.map([*world, 0][:3] if len(world) == 2 else list(world)))
    place = place[:2] / place[3]
    ratio = canvas.native.devicePixelRatioF()
    return QPoint(*np.rint(place / ratio).astype(int).tolist())


@pytest.fixture
def point(qtbot, window) -> Callable[..., None]:
    """Clicks with the mouse on a voxel of a layer, in the slice where it lies."""

    def at(layer, voxel, button=Qt.MouseButton.LeftButton, keys=Qt.KeyboardModifier.NoModifier):
        native = window.window._qt_viewer.canvas.native
        if window.dims.ndisplay == 2:
            window.dims.set_point(range(3), np.array(layer.data_to_world(voxel)))
        qtbot.wait(50)
        where = canvas_point(window, layer, voxel)
        assert native.rect().contains(where), where
        QTest.mouseMove(native, where)
        QTest.mouseClick(native, button, keys, where)
        # Qt takes two quick clicks for a double one.
        qtbot.wait(500)

    return at


def settle(qtbot, widget) -> None:
    qtbot.waitUntil(lambda: widget.job is None and not widget.click_tool.busy, timeout=120_000)


@pytest.mark.parametrize("entry", [WIDGET, SEGMENT], ids=["Plugins", "Layers"])
def test_from_the_menus_to_lesions_and_back_by_the_table(
    entry: tuple[str, ...], qtbot, window, opened: Callable, click: Callable, picture: Callable
) -> None:
    widget = opened(*entry)
    assert list(widget.rows.layers()) == ["DWI", "ADC"]
    picture(window, f"lesion_{entry[0].lower()}_before")
    click(widget.run_button)
    assert not widget.run_button.isEnabled()
    settle(qtbot, widget)
    result = window.layers[-1]
    assert result.name == "sub-01_DWI lesion mask"
    table = widget.table
    for row in (1, 0):
        place = table.visualItemRect(table.item(row, 1)).center()
        QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
        at = np.rint(result.world_to_data(window.dims.point)).astype(int)
        assert result.data[tuple(at)] == row + 1
    assert [table.item(row, 2).text() for row in (0, 1)] == ["left", "right"]
    picture(window, f"lesion_{entry[0].lower()}_after")


def test_the_sample_from_the_menus_to_its_infarct(
    qtbot, window, choose: Callable, click: Callable, picture: Callable
) -> None:
    """With the network that ships."""
    from napari_strokedx.widgets.lesion import LesionWidget

    choose(window, "File", "Open Sample", "StrokeDx", "Synthetic stroke")
    choose(window, *WIDGET)
    (widget,) = window.window._qt_window.findChildren(LesionWidget)
    qtbot.waitUntil(lambda: "(" in widget.device_box.itemText(0), timeout=60_000)
    assert list(widget.rows.layers()) == ["DWI", "ADC"]
    click(widget.run_button)
    settle(qtbot, widget)
    result = window.layers[-1]
    assert result.name == "Synthetic stroke DWI lesion mask"
    truth = read_layer(sample_stroke().lesion)[0]
    found, wanted = np.asarray(result.data) > 0, np.asarray(truth) > 0
    assert dice(found, wanted) > 0.7
    place = widget.table.visualItemRect(widget.table.item(0, 1)).center()
    QTest.mouseClick(widget.table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    picture(window, "lesion_sample_after")


def test_the_slider_by_keys(qtbot, window, opened: Callable, click: Callable) -> None:
    widget = opened(*WIDGET)
    click(widget.run_button)
    settle(qtbot, widget)
    result, before = window.layers[-1], (window.layers[-1].data != 0).sum()
    widget.threshold.slider.setFocus()
    for _ in range(4):
        QTest.keyClick(widget.threshold.slider, Qt.Key.Key_PageUp)
    assert widget.threshold.slider.value() == 90
    qtbot.waitUntil(lambda: (result.data != 0).sum() < before, timeout=5_000)
    QTest.keyClick(widget.threshold.slider, Qt.Key.Key_Home)
    qtbot.waitUntil(lambda: (result.data != 0).sum() > before, timeout=5_000)
    assert len(window.layers) == 3


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)], ids=["axial", "cor", "sag"])
def test_mouse_and_keys_mend_the_mask(
    order: tuple[int, ...],
    qtbot,
    window,
    opened: Callable,
    click: Callable,
    point: Callable,
    picture: Callable,
) -> None:
    widget = opened(*WIDGET)
    window.dims.order = order
    window.reset_view()
    click(widget.click_tool.switch)
    settle(qtbot, widget)
    result = window.layers[-1]
    native = window.window._qt_viewer.canvas.native
    states = [result.data != 0]

    def step(button=Qt.MouseButton.LeftButton, keys=Qt.KeyboardModifier.NoModifier, voxel=NEW):
        point(result, shown(voxel), button, keys)
        settle(qtbot, widget)
        states.append(result.data != 0)

    step()
    assert result.data[shown(NEW)]
    step(Qt.MouseButton.RightButton, voxel=BLOBS["right"][0])
    assert not result.data[shown(BLOBS["right"][0])]
    step(keys=Qt.KeyboardModifier.ShiftModifier)
    assert not result.data[shown(NEW)]
    picture(window, f"lesion_clicks_{['axial', 'cor', 'sag'][order[0]]}")
    # Keys where the mouse was last, and over the dock.
    control = Qt.KeyboardModifier.ControlModifier
    for target in (native, widget.threshold.slider):
        target.setFocus()
        for index in (2, 1, 0):
            QTest.keyClick(target, Qt.Key.Key_Z, control)
            settle(qtbot, widget)
            assert np.array_equal(result.data != 0, states[index])
        for index in (1, 2, 3):
            QTest.keyClick(target, Qt.Key.Key_Z, control | Qt.KeyboardModifier.ShiftModifier)
            settle(qtbot, widget)
            assert np.array_equal(result.data != 0, states[index])
    # A drag pans.
    place = canvas_point(window, result, shown(NEW))
    centre = window.scene.camera.center
    QTest.mousePress(native, Qt.MouseButton.LeftButton, pos=place)
    for shift in (10, 20, 30):
        QTest.mouseMove(native, place + QPoint(shift, 0))
        qtbot.wait(20)
    QTest.mouseRelease(native, Qt.MouseButton.LeftButton, pos=place + QPoint(30, 0))
    settle(qtbot, widget)
    assert np.array_equal(result.data != 0, states[3])
    assert window.scene.camera.center != centre


def test_clicks_in_three_dimensions(
    qtbot, window, opened: Callable, click: Callable, point: Callable, picture: Callable
) -> None:
    widget = opened(*WIDGET)
    click(widget.click_tool.switch)
    settle(qtbot, widget)
    result = window.layers[-1]
    window.dims.ndisplay = 3
    window.scene.camera.angles = (10, 20, 80)
    window.reset_view()
    window.scene.camera.angles = (10, 20, 80)
    qtbot.wait(200)
    centre, radius = BLOBS["left"]
    before = result.data.copy()
    point(result, shown(centre), Qt.MouseButton.RightButton)
    settle(qtbot, widget)
    taken = (before != 0) & (result.data == 0)
    assert taken.any()
    assert not (taken & ~ball(shown(centre), radius + 1)).any()
    QTest.keyClick(
        window.window._qt_viewer.canvas.native, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier
    )
    settle(qtbot, widget)
    assert np.array_equal(result.data != 0, before != 0)
    # A click beside the lesion lands on brain; one on the lesion, on the lesion.
    point(result, shown(centre))
    settle(qtbot, widget)
    (one,) = widget.click_tool._case.session.clicks
    assert before[widget_voxel(widget, one.index)]
    picture(window, "lesion_clicks_3d")


def widget_voxel(widget, native: tuple[int, int, int]) -> tuple[int, ...]:
    case = widget.click_tool._case
    to_native = case.source.grid.native_index(case.source.array.shape)
    return tuple(np.rint(np.linalg.inv(to_native) @ [*native, 1])[:3].astype(int).tolist())


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_no_text_is_cut_off_in_a_narrow_dock(
    theme: str, qtbot, window, opened: Callable, click: Callable, picture: Callable
) -> None:
    window.theme = theme
    widget = opened(*WIDGET)
    click(widget.click_tool.switch)
    settle(qtbot, widget)
    dock = next(
        item
        for item in window.window._qt_window.findChildren(QDockWidget)
        if item.isAncestorOf(widget)
    )
    window.window._qt_window.resizeDocks([dock], [170], Qt.Orientation.Horizontal)
    qtbot.wait(300)
    picture(window, f"lesion_narrow_{theme}")
    for text in (widget.status, widget.click_tool.hint, widget.notice):
        assert text.height() >= text.heightForWidth(text.width())
    tool = widget.click_tool
    buttons = (widget.run_button, widget.cancel_button, tool.switch, tool.undo_button)
    for button in (*buttons, tool.redo_button):
        assert button.width() >= button.fontMetrics().horizontalAdvance(button.text()), (
            button.text()
        )


def test_closing_the_dock_ends_clicks(qtbot, window, opened: Callable, click: Callable) -> None:
    widget = opened(*WIDGET)
    callbacks = list(window.mouse_drag_callbacks)
    click(widget.click_tool.switch)
    settle(qtbot, widget)
    assert list(window.mouse_drag_callbacks) != callbacks
    dock = next(
        item
        for item in window.window._qt_window.findChildren(QDockWidget)
        if item.isAncestorOf(widget)
    )
    click(dock.title.close_button)
    assert list(window.mouse_drag_callbacks) == callbacks

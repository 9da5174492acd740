from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QDockWidget

from strokedx_core.sample import sample_case
from strokedx_core.volume import read_mask

pytestmark = pytest.mark.gui

SAMPLE = ("File", "Open Sample", "StrokeDx", "Synthetic head")
WIDGET = ("Plugins", "StrokeDx", "Skull strip (StrokeDx)")
SEGMENT = ("Layers", "Segment", "Skull strip (StrokeDx)")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.fixture
def opened(qtbot, window, choose: Callable) -> Callable:
    """Opens the sample data and the widget by their menu entries."""
    from napari_strokedx.widgets.skull_strip import SkullStripWidget

    def by(*entry: str) -> SkullStripWidget:
        choose(window, *SAMPLE)
        choose(window, *entry)
        (widget,) = window.window._qt_window.findChildren(SkullStripWidget)
        qtbot.waitUntil(lambda: "(" in widget.device_box.itemText(0), timeout=60_000)
        return widget

    return by


@pytest.mark.parametrize("entry", [WIDGET, SEGMENT], ids=["Plugins", "Layers"])
def test_from_the_menus_to_a_mask(
    entry: tuple[str, ...], qtbot, window, opened: Callable, click: Callable, picture: Callable
) -> None:
    widget = opened(*entry)
    assert widget.layer_box.layer() is window.layers[-1]
    picture(window, f"skull_strip_{entry[0].lower()}_before")
    click(widget.run_button)
    assert widget.job is not None
    assert not widget.run_button.isEnabled()
    qtbot.waitUntil(lambda: widget.job is None, timeout=120_000)
    mask = window.layers[-1]
    assert mask.name.endswith("brain mask")
    picture(window, f"skull_strip_{entry[0].lower()}_after")
    _, truth_path = next(iter(sample_case().values()))
    grid = layer_grid(mask)
    assert dice(grid.to_native(np.asarray(mask.data)) > 0, read_mask(truth_path).data) > 0.9


def layer_grid(layer):
    from napari_strokedx.grids import grid_of

    data, meta, _ = layer.as_layer_data_tuple()
    return grid_of(meta, data.shape)


def test_cancel_by_mouse(
    qtbot, window, opened: Callable, click: Callable, picture: Callable
) -> None:
    widget = opened(*WIDGET)
    before = list(window.layers)
    click(widget.run_button)
    assert widget.progress_bar.isVisible()
    click(widget.cancel_button)
    qtbot.waitUntil(lambda: widget.job is None, timeout=60_000)
    assert list(window.layers) == before
    assert widget.status.text() == "Cancelled."
    assert not widget.progress_bar.isVisible()
    picture(window, "skull_strip_cancelled")
    click(widget.run_button)
    qtbot.waitUntil(lambda: widget.job is None, timeout=120_000)
    assert len(window.layers) == len(before) + 1


def test_the_keyboard_is_enough(qtbot, window, opened: Callable) -> None:
    widget = opened(*WIDGET)
    widget.layer_box.setFocus()
    reached = []
    for _ in range(8):
        focused = widget.focusWidget()
        reached.append(focused)
        if focused is widget.run_button:
            break
        QTest.keyClick(focused, Qt.Key.Key_Tab)
    assert [widget.layer_box, widget.output_box, widget.device_box] == reached[:3]
    assert reached[-1] is widget.run_button
    QTest.keyClick(widget.run_button, Qt.Key.Key_Space)
    assert widget.job is not None
    qtbot.waitUntil(lambda: widget.job is None, timeout=120_000)


def test_closing_the_dock_cancels(qtbot, window, opened: Callable, click: Callable) -> None:
    widget = opened(*WIDGET)
    before = list(window.layers)
    click(widget.run_button)
    dock = next(
        item
        for item in window.window._qt_window.findChildren(QDockWidget)
        if item.isAncestorOf(widget)
    )
    click(dock.title.close_button)
    qtbot.waitUntil(lambda: widget.job is None, timeout=60_000)
    assert list(window.layers) == before


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_no_text_is_cut_off_in_a_narrow_dock(
    theme: str, qtbot, window, opened: Callable, click: Callable, picture: Callable
) -> None:
    window.theme = theme
    widget = opened(*WIDGET)
    size = (80, 96, 88)
    window.add_image(np.random.default_rng(0).random(size), name="an image from somewhere else")
    click(widget.run_button)
    qtbot.waitUntil(lambda: widget.job is None, timeout=120_000)
    dock = next(
        item
        for item in window.window._qt_window.findChildren(QDockWidget)
        if item.isAncestorOf(widget)
    )
    window.window._qt_window.resizeDocks([dock], [170], Qt.Orientation.Horizontal)
    qtbot.wait(300)
    picture(window, f"skull_strip_narrow_{theme}")
    assert widget.width() < 260
    assert widget.orientation_box.isVisible()
    assert widget.flags.isVisible()
    for text in (widget.status, widget.flags):
        assert text.height() >= text.heightForWidth(text.width())
    for button in (widget.run_button, widget.cancel_button):
        assert button.width() >= button.fontMetrics().horizontalAdvance(button.text())


def test_three_views_and_the_whole(
    qtbot, window, opened: Callable, click: Callable, picture: Callable
) -> None:
    widget = opened(*WIDGET)
    click(widget.run_button)
    qtbot.waitUntil(lambda: widget.job is None, timeout=120_000)
    for name, order in (("axial", (0, 1, 2)), ("coronal", (1, 0, 2)), ("sagittal", (2, 0, 1))):
        window.dims.order = order
        window.reset_view()
        picture(window, f"view_{name}")
        # What is seen of the mask lies on what is seen of the head.
        seen = window.layers[-1]._slice.image.raw
        assert np.count_nonzero(np.asarray(seen)) > 0
    window.dims.order = (0, 1, 2)
    window.dims.ndisplay = 3
    picture(window, "view_3d")


def test_closing_the_window_cancels(qtbot, window, opened: Callable, click: Callable) -> None:
    widget = opened(*WIDGET)
    click(widget.run_button)
    job = widget.job
    window.close()
    qtbot.waitUntil(lambda: job.worker.abort_requested, timeout=10_000)

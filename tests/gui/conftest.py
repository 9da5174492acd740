"""A real window, and hands that move the mouse in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import napari
    from qtpy.QtGui import QAction
    from qtpy.QtWidgets import QMenu, QWidget

PICTURES = Path(__file__).parents[2] / "test-output"


def pytest_configure() -> None:
    """Leave alone what the user of this machine has set in napari."""
    os.environ.setdefault("NAPARI_CONFIG", "")
    import napari.viewer  # noqa: F401  # imports all that warns at import


@pytest.fixture
def window(qtbot) -> Iterator[napari.Viewer]:
    """napari as a user sees it."""
    import napari
    from qtpy.QtCore import QThreadPool
    from qtpy.QtWidgets import QApplication

    viewer = napari.Viewer(show=True)
    viewer.window.resize(1400, 900)
    qtbot.waitExposed(viewer.window._qt_window)
    yield viewer
    viewer.close()
    assert QThreadPool.globalInstance().waitForDone(60_000)
    QApplication.processEvents()


@pytest.fixture
def click() -> Callable[[QWidget], None]:
    """Clicks on the middle of a widget, with the left button."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    def on(widget: QWidget) -> None:
        assert widget.isVisible()
        QTest.mouseClick(widget, Qt.MouseButton.LeftButton)

    return on


@pytest.fixture
def choose() -> Callable[..., None]:
    """Triggers an entry of the menu bar, named by the texts on the way to it."""

    def entry(menu: QMenu, text: str) -> QAction:
        menu.aboutToShow.emit()
        for action in menu.actions():
            if action.text().replace("&", "") == text:
                return action
        there = [action.text() for action in menu.actions() if action.text()]
        raise LookupError(f"no {text!r} in the menu {menu.title()!r}, which has {there}")

    def trigger(viewer: napari.Viewer, first: str, *texts: str) -> None:
        bar = viewer.window._qt_window.menuBar()
        action = next(item for item in bar.actions() if item.text().replace("&", "") == first)
        for text in texts:
            action = entry(action.menu(), text)
        assert action.isEnabled()
        action.trigger()

    return trigger


@pytest.fixture
def picture(qtbot) -> Callable[[napari.Viewer, str], None]:
    """Takes a picture of the window into `test-output/`."""

    def take(viewer: napari.Viewer, name: str) -> None:
        PICTURES.mkdir(exist_ok=True)
        qtbot.wait(300)
        viewer.screenshot(path=str(PICTURES / f"{name}.png"), canvas_only=False)

    return take

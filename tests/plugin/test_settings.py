from __future__ import annotations

import pytest
from napari.components import ViewerModel
from napari.settings import get_plugin_settings

from napari_strokedx.settings import preferred_device
from napari_strokedx.widgets.parts import DeviceBox


def test_a_widget_begins_with_the_device_of_the_preferences(qtbot, viewer: ViewerModel) -> None:
    settings = get_plugin_settings("napari-strokedx").inference
    assert preferred_device() == "auto"
    try:
        settings.device = "cpu"
        assert preferred_device() == "cpu"
        box = DeviceBox()
        qtbot.addWidget(box)
        assert box.currentData() == "cpu"
    finally:
        settings.device = "auto"


def test_the_preferences_refuse_what_is_no_device(viewer: ViewerModel) -> None:
    with pytest.raises(ValueError, match="abacus"):
        get_plugin_settings("napari-strokedx").inference.device = "abacus"


def test_a_preferred_device_that_is_not_there_gives_way(qtbot, viewer: ViewerModel) -> None:
    box = DeviceBox()
    qtbot.addWidget(box)
    box.choose("cuda")
    box.offer(["cpu"])
    assert box.currentData() == "auto"
    assert box.currentText() == "Automatic (CPU)"
    assert [box.itemData(row) for row in range(box.count())] == ["auto", "cpu"]
    box.offer([])
    assert box.count() == 2

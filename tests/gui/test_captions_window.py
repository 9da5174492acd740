"""The captions widget in a real window, at three sizes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

pytestmark = pytest.mark.gui


def test_captions_at_three_window_sizes(
    qtbot, window, choose: Callable, click: Callable, picture: Callable
) -> None:
    from napari_strokedx.widgets.captions import CaptionsWidget

    choose(window, "File", "Open Sample", "StrokeDx", "Synthetic head")
    qtbot.waitUntil(lambda: any("FLAIR" in layer.name for layer in window.layers), timeout=60_000)
    for layer in list(window.layers):
        if "FLAIR" not in layer.name:
            window.layers.remove(layer)
    (image,) = window.layers
    image.visible = True
    labels = np.zeros(image.data.shape, np.int32)
    grid, middle = np.indices(labels.shape), np.array(labels.shape) // 2
    scale = np.array(image.scale)
    # Five lesions, three of them so near to each other that their words would meet.
    for number, (down, left, radius) in enumerate(
        ((-25, -35, 14), (10, 35, 8), (16, 22, 4), (40, 27, 4), (5, 28, 3)), start=1
    ):
        centre = middle + np.array([0, down / scale[1], left / scale[2]])
        away = sum(((grid[a] - centre[a]) * scale[a]) ** 2 for a in range(3))
        labels[away <= radius**2] = number
    place = {name: getattr(image, name) for name in ("scale", "translate", "units")}
    window.add_labels(labels, name="lesions", opacity=0.5, **place)
    choose(window, "Plugins", "StrokeDx", "Captions (StrokeDx)")
    (widget,) = window.window._qt_window.findChildren(CaptionsWidget)
    window.dims.set_point(0, image.data_to_world((middle[0], 0, 0))[0])
    qtbot.waitUntil(lambda: "(" in widget.device_box.itemText(0), timeout=60_000)
    qtbot.waitUntil(widget.run_button.isVisible, timeout=10_000)
    click(widget.run_button)
    qtbot.waitUntil(lambda: widget.job is None, timeout=120_000)
    assert widget.captioned is not None
    for width, height in ((1000, 700), (1400, 900), (1600, 1000)):
        window.window.resize(width, height)
        qtbot.wait(200)
        window.reset_view()
        qtbot.wait(500)
        picture(window, f"captions_{width}")
        layer = next(layer for layer in window.layers if layer.name == "lesions captions")
        shown = np.flatnonzero(layer.data[:, 0].round() == middle[0])
        assert len(shown) >= 5
        overlay = window.canvas.overlays["StrokeDx captions"]
        assert overlay.visible
        assert overlay.text.startswith(f"Slice {middle[0]}: ")
    labels_layer = window.layers["lesions"]
    labels_layer.data = labels_layer.data * (labels_layer.data != 1)
    qtbot.wait(400)
    assert widget.old.isVisible()
    picture(window, "captions_out_of_date")

"""Skull-strip the sample data in a real window; run inside the environment that was installed into.

Usage: use_in_window.py PICTURE. Prints what was found, as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import napari
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication


def wait_until(done, seconds: float) -> None:
    """Let Qt work until something has happened."""
    late = []
    QTimer.singleShot(int(seconds * 1000), lambda: late.append(1))
    while not done():
        QApplication.processEvents()
        if late:
            raise TimeoutError(f"not done after {seconds} s")


def main(picture: str) -> None:
    """Open, click, wait, look."""
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1400, 900)
    viewer.open_sample("napari-strokedx", "head")
    scans = len(viewer.layers)
    _, widget = viewer.window.add_plugin_dock_widget("napari-strokedx", "Skull strip")
    wait_until(lambda: "(" in widget.device_box.itemText(0), 120)
    QTest.mouseClick(widget.run_button, Qt.MouseButton.LeftButton)
    assert widget.job is not None
    wait_until(lambda: widget.job is None, 300)
    found = {
        "scans": scans,
        "layers": [layer.name for layer in viewer.layers[scans:]],
        "voxels": int((viewer.layers[-1].data > 0).sum()),
        "status": widget.status.text(),
        "from": str(Path(sys.modules["napari_strokedx"].__file__).parent),
    }
    QTest.qWait(500)  # the layout takes up the new texts
    viewer.screenshot(path=picture, canvas_only=False)
    viewer.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])

"""Installed weights in the widgets' choice of model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from napari.components import ViewerModel

from napari_strokedx.widgets.lesion import LesionWidget
from napari_strokedx.widgets.skull_strip import SkullStripWidget
from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.weights import install_weights, write_weights


def installed(folder: Path, name: str, task: str, channels: tuple[int, int]) -> None:
    """A network that finds nothing, installed under a name."""
    network = UNet3D(*channels, widths=(4, 8))
    torch.nn.init.constant_(network.head.bias, -99.0)  # type: ignore[arg-type]
    card = {
        "name": name,
        "task": task,
        "architecture": network.config,
        "input": {"spacings_mm": [6.0]},
    }
    write_weights(network.state_dict(), card, folder / f"{name}.safetensors")
    install_weights(folder / f"{name}.safetensors")


@pytest.fixture(autouse=True)
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STROKEDX_WEIGHTS", str(tmp_path / "user"))


def test_one_set_of_weights_leaves_nothing_to_choose(qtbot, viewer: ViewerModel) -> None:
    widget = SkullStripWidget(viewer)
    qtbot.addWidget(widget)
    assert widget.model_box.isHidden()
    assert widget.model_box.count() == 1
    widget.close()


def test_installed_weights_are_offered_and_used(qtbot, viewer: ViewerModel, tmp_path: Path) -> None:
    installed(tmp_path, "finds-nothing", "skull-strip", (1, 1))
    installed(tmp_path, "no-lesion", "lesion", (10, 3))
    lesion = LesionWidget(viewer)
    qtbot.addWidget(lesion)
    assert lesion.model_box.currentText() == "chosen by sequence (ships)"
    assert lesion.model_box.findData("lesion_flair") > 0
    assert lesion.model_box.findData("no-lesion") > 0
    assert lesion.model_box.findData("finds-nothing") < 0
    lesion.close()

    values = np.random.default_rng(0).normal(100, 20, (24, 24, 24)).astype(np.float32)
    viewer.add_image(values, name="noise", scale=(6.0,) * 3, units=("mm",) * 3)
    widget = SkullStripWidget(viewer)
    qtbot.addWidget(widget)
    assert not widget.model_box.isHidden()
    assert widget.model_box.currentData() == "skull_strip"
    widget.model_box.choose("finds-nothing")
    widget.run_button.click()
    qtbot.waitUntil(lambda: widget.job is None, timeout=120_000)
    assert "No brain was found" in widget.flags.text()
    assert not viewer.layers[-1].data.any()

    installed(tmp_path, "another", "skull-strip", (1, 1))
    widget.close()
    widget.show()
    assert widget.model_box.findData("another") > 0
    assert widget.model_box.currentData() == "finds-nothing"
    widget.close()

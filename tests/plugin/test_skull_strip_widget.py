from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import permutations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_strokedx.layers import layer_source
from napari_strokedx.reader import read_layer
from napari_strokedx.widgets.skull_strip import MASK, STRIPPED, SkullStripWidget
from strokedx_core.inference.skull_strip import skull_strip
from strokedx_core.sample import sample_case
from strokedx_core.volume import read_volume

from .conftest import grid


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    """The T1W scan of the sample case, every other voxel, with axes S, P, L."""
    scan, _ = next(iter(sample_case().values()))
    data, keywords, _ = read_layer(scan)
    assert keywords["axis_labels"][0] == "inferior"
    return np.ascontiguousarray(data[::-2, ::2, ::2]).astype(np.float32)


@pytest.fixture
def widget(qtbot, viewer: ViewerModel) -> Iterator[SkullStripWidget]:
    made = SkullStripWidget(napari_viewer=viewer)
    qtbot.addWidget(made)
    qtbot.waitUntil(lambda: "(" in made.device_box.itemText(0), timeout=60_000)
    yield made
    made.close()
    qtbot.waitUntil(lambda: made.job is None, timeout=60_000)


@pytest.fixture
def run(qtbot, widget: SkullStripWidget) -> Callable[[], None]:
    def to_the_end() -> None:
        widget.run_button.click()
        assert widget.job is not None
        qtbot.waitUntil(lambda: widget.job is None, timeout=120_000)

    return to_the_end


def results(viewer: ViewerModel) -> list[str]:
    return [layer.name for layer in viewer.layers if "output" in layer.metadata.get("strokedx", {})]


def add_head(viewer: ViewerModel, head: np.ndarray, **place) -> Image:
    size = np.array(read_layer(next(iter(sample_case().values()))[0])[1]["scale"]) * 2
    scale = np.array(place.pop("sign", (1, 1, 1))) * size
    return viewer.add_image(head, name="head", scale=scale, units=("mm",) * 3, **place)


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_the_mask_is_the_one_of_the_command_line(
    order: tuple[int, ...], viewer: ViewerModel, widget: SkullStripWidget, run: Callable
) -> None:
    scan, _ = list(sample_case().values())[-1]
    (layer,) = viewer.open(scan, plugin="napari-strokedx")
    viewer.dims.order = order
    widget.output_box.choose([MASK, STRIPPED])
    before = layer.data.copy()
    run()
    expected = skull_strip(read_volume(scan))
    stripped, mask = viewer.layers[-2:]
    grid_of_layer = layer_source(layer).grid
    assert isinstance(mask, Labels)
    assert np.array_equal(grid_of_layer.to_native(np.asarray(mask.data)), expected.mask)
    assert np.allclose(grid_of_layer.to_native(stripped.data), expected.brain(), rtol=1e-6)
    for result in (mask, stripped):
        assert np.array_equal(result.scale, layer.scale)
        assert np.array_equal(result.translate, layer.translate)
        assert result.units == layer.units
    assert np.array_equal(layer.data, before)
    assert viewer.dims.order == order


@pytest.mark.parametrize(
    "place",
    [
        {},
        {"translate": (-60.0, 31.5, 4.0)},
        {"sign": (-1, 1, 1)},
        {"sign": (1, -1, -1), "translate": (9.0, 9.0, 9.0)},
        {"axis_labels": ("S", "P", "L")},
    ],
    ids=["scaled", "moved", "mirrored", "mirrored twice", "labelled"],
)
def test_layers_from_elsewhere(
    place: dict, head: np.ndarray, viewer: ViewerModel, widget: SkullStripWidget, run: Callable
) -> None:
    flips = tuple(slice(None, None, sign) for sign in place.get("sign", (1, 1, 1)))
    layer = add_head(viewer, head[flips], **place)
    run()
    mask = viewer.layers[-1]
    for attribute in ("scale", "translate", "rotate", "shear", "units"):
        assert np.all(getattr(mask, attribute) == getattr(layer, attribute)), attribute
    # The same head in the same place, whichever way its voxels are stored.
    upright = mask.data[flips]
    straight = skull_strip_of(head, layer)
    assert dice(upright, straight) > 0.98
    assert ("axes were taken" in widget.flags.text()) == ("axis_labels" not in place)


def skull_strip_of(head: np.ndarray, layer: Image) -> np.ndarray:
    from strokedx_core.volume import volume_from_array

    affine = grid("SPL", tuple(np.abs(layer.scale)))
    return skull_strip(volume_from_array(head, affine)).mask


def dice(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(bool), b.astype(bool)
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_the_choice_of_directions_turns_a_head_that_lies_differently(
    head: np.ndarray, viewer: ViewerModel, widget: SkullStripWidget, run: Callable
) -> None:
    layer = add_head(viewer, head[::-1])
    widget.show()
    assert widget.orientation_box.isVisible()
    widget.orientation_box.choose("IPL")
    run()
    assert dice(viewer.layers[-1].data[::-1], skull_strip_of(head, layer)) > 0.98
    assert "axes were taken" not in widget.flags.text()


def test_directions_are_not_asked_for_where_a_file_gave_them(
    viewer: ViewerModel, widget: SkullStripWidget
) -> None:
    widget.show()
    viewer.open_sample("napari-strokedx", "head")
    assert not widget.orientation_box.isVisible()


def test_running_again_piles_up_nothing(
    head: np.ndarray, viewer: ViewerModel, widget: SkullStripWidget, run: Callable
) -> None:
    add_head(viewer, head)
    for outputs in ([MASK], [MASK, STRIPPED], [STRIPPED], [MASK, STRIPPED]):
        widget.output_box.choose(outputs)
        run()
        assert widget.layer_box.layer().name == "head"
    assert sorted(results(viewer)) == ["head brain mask", "head stripped image"]


def test_the_result_line_and_the_notice(
    head: np.ndarray, viewer: ViewerModel, widget: SkullStripWidget, run: Callable
) -> None:
    add_head(viewer, head)
    run()
    text = widget.status.text()
    assert re.fullmatch(r"Brain of head: [\d,]+\sml, \d+\.\d\ss on (CPU|GPU \(.*\))", text)
    assert any("research use only" in child.text().lower() for child in labels_of(widget))


def labels_of(widget: SkullStripWidget) -> list:
    from qtpy.QtWidgets import QLabel

    return widget.findChildren(QLabel)


def test_cancel_stops_and_adds_nothing(
    qtbot, head: np.ndarray, viewer: ViewerModel, widget: SkullStripWidget, run: Callable
) -> None:
    add_head(viewer, head)
    widget.run_button.click()
    assert not widget.run_button.isEnabled()
    widget.cancel_button.click()
    qtbot.waitUntil(lambda: widget.job is None, timeout=60_000)
    assert widget.status.text() == "Cancelled."
    assert not results(viewer)
    assert widget.run_button.isEnabled()
    assert not widget.cancel_button.isEnabled()
    run()
    assert results(viewer) == ["head brain mask"]


def test_a_layer_may_be_deleted_meanwhile(
    qtbot, head: np.ndarray, viewer: ViewerModel, widget: SkullStripWidget
) -> None:
    add_head(viewer, head)
    widget.run_button.click()
    viewer.layers.clear()
    qtbot.waitUntil(lambda: widget.job is None, timeout=120_000)
    assert results(viewer) == ["head brain mask"]


def test_closing_the_widget_cancels(
    qtbot, head: np.ndarray, viewer: ViewerModel, widget: SkullStripWidget
) -> None:
    add_head(viewer, head)
    widget.run_button.click()
    widget.close()
    qtbot.waitUntil(lambda: widget.job is None, timeout=60_000)
    assert not results(viewer)
    assert widget.layer_box.count() == 0  # a closed widget keeps no layer in memory
    viewer.add_image(head)
    assert widget.layer_box.count() == 0
    widget.show()
    assert widget.layer_box.count() == 2
    assert widget.run_button.isEnabled()


def test_errors_are_one_line(
    viewer: ViewerModel, widget: SkullStripWidget, run: Callable, messages: list[str]
) -> None:
    viewer.add_image(np.full((8, 9, 10), 3.0), name="empty", contrast_limits=(0, 1))
    run()
    assert widget.status.text().startswith("empty: constant")
    assert messages == [widget.status.text()]
    assert not results(viewer)
    assert widget.run_button.isEnabled()


@pytest.mark.parametrize(
    ("data", "keywords", "reason"),
    [
        (np.zeros((5, 6)), {}, "scan: a 2-D image, where a volume (3-D) is needed"),
        (
            np.zeros((5, 6, 7, 3), np.uint8),
            {"rgb": True},
            "scan: a colour image, where one value a voxel is needed",
        ),
    ],
)
def test_what_will_not_do_is_said_before_a_run(
    data: np.ndarray, keywords: dict, reason: str, viewer: ViewerModel, widget: SkullStripWidget
) -> None:
    viewer.add_image(data, name="scan", **keywords)
    assert widget.status.text() == reason
    assert not widget.run_button.isEnabled()


def test_the_box_follows_the_layer_list(viewer: ViewerModel, widget: SkullStripWidget) -> None:
    assert "Open a scan first" in widget.status.text()
    assert not widget.run_button.isEnabled()
    first = viewer.add_image(np.zeros((4, 5, 6)), name="first")
    second = viewer.add_image(np.zeros((4, 5, 6)), name="second")
    viewer.add_labels(np.zeros((4, 5, 6), int))
    assert widget.layer_box.count() == 2
    assert widget.layer_box.layer() is second
    viewer.layers.selection.active = first
    assert widget.layer_box.layer() is first
    first.name = "renamed"
    assert widget.layer_box.currentText() == "renamed"
    viewer.layers.remove(first)
    assert widget.layer_box.layer() is second
    viewer.layers.clear()
    assert widget.layer_box.layer() is None
    assert not widget.run_button.isEnabled()


def test_devices_that_are_not_there_are_not_offered(widget: SkullStripWidget) -> None:
    import torch

    offered = {widget.device_box.itemData(row) for row in range(widget.device_box.count())}
    assert ("cuda" in offered) == torch.cuda.is_available()
    assert {"auto", "cpu"} <= offered


def test_the_frame_at_the_slider_is_stripped(
    head: np.ndarray, viewer: ViewerModel, widget: SkullStripWidget, run: Callable
) -> None:
    add_head(viewer, head)
    run()
    alone = viewer.layers[-1].data.copy()
    scale = viewer.layers[0].scale
    viewer.layers.clear()
    # The other frame is noise.
    noise = np.random.default_rng(0).random(head.shape, np.float32)
    viewer.add_image(np.stack([noise, head]), scale=(1, *scale), units=("s", "mm", "mm", "mm"))
    viewer.dims.set_current_step(0, 1)
    run()
    mask = viewer.layers[-1]
    assert mask.ndim == 3
    assert np.array_equal(mask.scale, scale)
    assert np.array_equal(mask.data, alone)

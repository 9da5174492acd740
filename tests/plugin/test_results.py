from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_strokedx.layers import Source, layer_source
from napari_strokedx.results import is_result, show_result
from strokedx_core.image_reading import read_file

from .conftest import grid

SHAPE = (6, 8, 10)


@pytest.fixture
def scan(viewer: ViewerModel, write: Callable) -> Image:
    data = np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32)
    (layer,) = viewer.open(write(data, grid("PIR", (1, 2, 3))), plugin="napari-strokedx")
    return layer


def mask(source: Source, fill: int = 1) -> np.ndarray:
    data = np.zeros(source.array.shape, np.uint8)
    data[1:4, 2:5, 3:6] = fill
    return data


def show(viewer: ViewerModel, source: Source, data: np.ndarray) -> tuple:
    return show_result(viewer, source, data, kind="labels", output="brain mask")


def test_a_second_run_updates_the_layer_of_the_first(viewer: ViewerModel, scan: Image) -> None:
    source = layer_source(scan)
    first, _ = show(viewer, source, mask(source))
    first.opacity, first.name = 0.2, "mine"
    scan.translate = (4, 5, 6)
    moved = layer_source(scan)
    second, kept = show(viewer, moved, mask(moved, 0))
    assert second is first
    assert kept is None
    assert len(viewer.layers) == 2
    assert not second.data.any()
    assert np.array_equal(second.translate, scan.translate)
    assert (second.opacity, second.name) == (0.2, "mine")


def test_work_by_hand_is_kept(viewer: ViewerModel, scan: Image) -> None:
    source = layer_source(scan)
    first, _ = show(viewer, source, mask(source))
    first.paint((2, 3, 3), 1)
    first.data[0, 0, 0] = 1
    painted = first.data.copy()
    second, kept = show(viewer, source, mask(source))
    assert kept is first
    assert second is not first
    assert np.array_equal(first.data, painted)
    third, kept = show(viewer, source, mask(source))
    assert third is second
    assert len(viewer.layers) == 3


def test_results_on_different_scans_do_not_mix(viewer: ViewerModel, scan: Image) -> None:
    other = viewer.add_image(np.random.default_rng(1).random(SHAPE))
    first, _ = show(viewer, layer_source(scan), mask(layer_source(scan)))
    second, _ = show(viewer, layer_source(other), mask(layer_source(other)))
    assert first is not second
    assert [is_result(layer) for layer in viewer.layers] == [False, False, True, True]


def test_a_deleted_result_comes_back(viewer: ViewerModel, scan: Image) -> None:
    source = layer_source(scan)
    first, _ = show(viewer, source, mask(source))
    viewer.layers.remove(first)
    second, _ = show(viewer, source, mask(source))
    assert second in viewer.layers
    assert isinstance(second, Labels)


def test_a_result_is_saved_with_the_geometry_of_the_scan(
    viewer: ViewerModel, scan: Image, tmp_path
) -> None:
    source = layer_source(scan)
    layer, _ = show(viewer, source, mask(source))
    path = tmp_path / "mask.nii.gz"
    layer.save(str(path), plugin="napari-strokedx")
    before, after = read_file(scan.metadata["strokedx"]["path"]), read_file(path)
    for field in ("pixdim", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z"):
        assert after.header[field].tobytes() == before.header[field].tobytes()
    assert np.array_equal(after.array, source.grid.to_native(mask(source)))
    assert after.array.dtype == np.uint8


def test_a_result_on_a_layer_from_elsewhere_is_saved_as_it_was_understood(
    viewer: ViewerModel, tmp_path
) -> None:
    layer = viewer.add_image(np.random.default_rng(1).random(SHAPE), scale=(2, -1, 1.5))
    source = layer_source(layer, orientation="RIP")
    result, _ = show(viewer, source, mask(source))
    path = tmp_path / "mask.nii.gz"
    result.save(str(path), plugin="napari-strokedx")
    assert np.allclose(read_file(path).affine, source.grid.affine, atol=1e-4)

from __future__ import annotations

from collections.abc import Callable

import dask.array as da
import numpy as np
import pytest
from dask import delayed
from napari.components import ViewerModel
from nibabel.orientations import aff2axcodes

from napari_strokedx.grids import AXIS_LABELS, ORIENTATIONS
from napari_strokedx.layers import layer_source
from strokedx_core.volume import VolumeError, read_volume

from .conftest import AXES, grid

SHAPE = (6, 8, 10)
# napari says so of every turned layer; it is what these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(5).normal(100, 30, SHAPE).astype(np.float32)


def ras_of(world: np.ndarray, code: str) -> np.ndarray:
    """World coordinates along the directions of `code`, as RAS ones."""
    ras = np.zeros(3)
    for axis, letter in enumerate(code):
        row, sign = AXES[letter]
        ras[row] = sign * world[axis]
    return ras


def codes_of(source) -> list[str]:
    return [flag.code for flag in source.volume().flags]


PLACES = {
    "plain": {},
    "scaled": {"scale": (3.0, 0.5, 0.9)},
    "moved": {"scale": (3.0, 0.5, 0.9), "translate": (-50.0, 7.0, 0.25)},
    "mirrored": {"scale": (3.0, -0.5, 0.9), "translate": (1.0, 2.0, 3.0)},
    "turned": {"scale": (3.0, 0.5, 0.9), "rotate": (20.0, -10.0, 35.0)},
    "sheared": {"scale": (3.0, 0.5, 0.9), "shear": (0.1, -0.2, 0.3)},
    "affine": {
        "scale": (2.0, 2.0, 2.0),
        "translate": (1.0, 0.0, -4.0),
        "affine": np.array([[0, 1, 0, 5], [1, 0, 0, -6], [0, 0, -1.5, 0], [0, 0, 0, 1.0]]),
    },
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize("code", [None, "RAS", "LIP"])
def test_voxels_lie_where_the_layer_puts_them(
    place: dict, code: str | None, values: np.ndarray, viewer: ViewerModel
) -> None:
    layer = viewer.add_image(values, **place)
    source = layer_source(layer, orientation=code)
    volume = source.volume()
    assert np.array_equal(source.grid.to_layer(volume.data), values)
    for voxel in ((0, 0, 0), (5, 2, 7), (1, 7, 3)):
        expected = ras_of(np.asarray(layer.data_to_world(voxel)), code or "SPL")
        # Native and layer axes are the same on a grid that no file gave.
        assert np.allclose((volume.affine @ (*voxel, 1))[:3], expected, atol=1e-4)
        assert volume.data[voxel] == values[voxel]


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_a_result_overlays_its_source(place: dict, values: np.ndarray, viewer: ViewerModel) -> None:
    layer = viewer.add_image(values, units=("mm", "mm", "mm"), **place)
    overlay = viewer.add_labels(np.zeros(SHAPE, np.uint8), **layer_source(layer).keywords)
    for voxel in ((0, 0, 0), (5, 2, 7), (1, 7, 3)):
        assert np.allclose(overlay.data_to_world(voxel), layer.data_to_world(voxel))
    assert overlay.units == layer.units


@pytest.mark.parametrize("code", ORIENTATIONS)
@pytest.mark.parametrize("degrees", [(0, 0, 0), (9, -14, 6)], ids=["straight", "oblique"])
def test_a_layer_from_a_file_gives_the_volume_of_the_file(
    code: str,
    degrees: tuple[float, float, float],
    values: np.ndarray,
    viewer: ViewerModel,
    write: Callable,
) -> None:
    path = write(values, grid(code, (0.7, 1.3, 4.0), degrees))
    (layer,) = viewer.open(path, plugin="napari-strokedx")
    source = layer_source(layer)
    volume, expected = source.volume(), read_volume(path)
    assert np.array_equal(volume.data, expected.data)
    assert np.array_equal(volume.affine, expected.affine)
    assert volume.header == expected.header
    assert volume.path == expected.path
    assert volume.flags == ()
    assert np.array_equal(source.grid.to_layer(volume.data), layer.data)


@pytest.mark.parametrize(
    ("labels", "code"),
    [
        (("z", "y", "x"), None),
        (("superior", "posterior", "left"), "SPL"),
        (("Right", "Anterior", "Superior"), "RAS"),
        (("I", "P", "L"), "IPL"),
        (("S", "Y", "X"), None),
        (("left", "right", "superior"), None),
        (AXIS_LABELS, "IPL"),
    ],
)
def test_axis_labels_that_name_directions_are_believed(
    labels: tuple[str, ...], code: str | None, values: np.ndarray, viewer: ViewerModel
) -> None:
    source = layer_source(viewer.add_image(values, axis_labels=labels, scale=(1, 1, 2)))
    assert "".join(aff2axcodes(source.volume().affine)) == (code or "SPL")
    assert ("orientation-assumed" in codes_of(source)) == (code is None)


@pytest.mark.parametrize(
    ("unit", "factor"), [("mm", 1), ("um", 1e-3), ("cm", 10), ("m", 1e3), ("pixel", 1)]
)
def test_units_are_minded(
    unit: str, factor: float, values: np.ndarray, viewer: ViewerModel
) -> None:
    layer = viewer.add_image(values, scale=(1.5, 2, 3), units=(unit,) * 3)
    assert layer_source(layer).volume().spacing == pytest.approx(
        (1.5 * factor, 2 * factor, 3 * factor)
    )


def test_a_missing_voxel_size_is_said(values: np.ndarray, viewer: ViewerModel) -> None:
    assert "voxel-size-assumed" in codes_of(layer_source(viewer.add_image(values)))
    sized = viewer.add_image(values, units=("mm",) * 3)
    assert "voxel-size-assumed" not in codes_of(layer_source(sized))


def test_the_frame_at_the_slider_is_taken(values: np.ndarray, viewer: ViewerModel) -> None:
    frames = np.stack([values, values + 50, values + 90])
    layer = viewer.add_image(frames, scale=(2.0, 3, 0.5, 0.9), translate=(10, 1, 2, 3))
    single = viewer.add_image(values, scale=(3, 0.5, 0.9), translate=(1, 2, 3))
    expected = layer_source(single).volume().affine
    for index in (2, 0, 1):
        viewer.dims.set_current_step(0, index)
        source = layer_source(layer, point=viewer.dims.point)
        assert np.array_equal(source.volume().data, frames[index])
        assert np.allclose(source.volume().affine, expected)
    assert source.keywords["scale"] == (3, 0.5, 0.9)
    assert source.keywords["translate"] == (1, 2, 3)


def test_the_frame_is_taken_whatever_axes_are_shown(
    values: np.ndarray, viewer: ViewerModel
) -> None:
    layer = viewer.add_image(np.stack([values, values + 50, values + 90]))
    viewer.dims.set_current_step(0, 2)
    viewer.dims.order = (1, 2, 0, 3)
    source = layer_source(layer, point=viewer.dims.point)
    assert np.array_equal(source.volume().data, values + 90)


def test_the_finest_level_is_taken(values: np.ndarray, viewer: ViewerModel) -> None:
    layer = viewer.add_image([values, values[::2, ::2, ::2]], multiscale=True)
    assert layer_source(layer).volume().shape == SHAPE


def test_lazy_arrays_are_read_only_for_the_volume(viewer: ViewerModel) -> None:
    reads = []

    def block() -> np.ndarray:
        reads.append(1)
        return np.random.default_rng(0).random(SHAPE)

    lazy = da.from_delayed(delayed(block)(), SHAPE, float)
    layer = viewer.add_image(lazy, contrast_limits=(0, 1))
    before = len(reads)
    source = layer_source(layer)
    assert len(reads) == before
    assert source.volume().shape == SHAPE


@pytest.mark.parametrize(
    ("add", "reason"),
    [
        (lambda viewer: viewer.add_image(np.zeros((5, 6)), name="x"), "x: a 2-D image"),
        (
            lambda viewer: viewer.add_image(np.zeros((5, 6, 7, 3), "u1"), rgb=True, name="x"),
            "x: a colour image",
        ),
        (lambda viewer: viewer.add_labels(np.zeros(SHAPE, int), name="x"), "x: a labels layer"),
        (lambda viewer: viewer.add_points(np.zeros((1, 3)), name="x"), "x: a points layer"),
    ],
    ids=["flat", "colour", "labels", "points"],
)
def test_layers_that_will_not_do_are_refused_in_one_line(
    add: Callable, reason: str, viewer: ViewerModel
) -> None:
    with pytest.raises(VolumeError, match=reason) as caught:
        layer_source(add(viewer))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full(SHAPE, np.nan), "x: every voxel is NaN"),
        (np.full(SHAPE, 7.0), "x: constant"),
    ],
    ids=["nan", "constant"],
)
def test_values_that_will_not_do_are_refused_in_one_line(
    values: np.ndarray, reason: str, viewer: ViewerModel
) -> None:
    layer = viewer.add_image(values, name="x", contrast_limits=(0, 1))
    with pytest.raises(VolumeError, match=reason):
        layer_source(layer).volume()


def test_scattered_nan_is_set_to_nought_in_the_volume_only(
    values: np.ndarray, viewer: ViewerModel
) -> None:
    values[1, 2, 3] = np.nan
    layer = viewer.add_image(values)
    source = layer_source(layer)
    assert source.volume().data[1, 2, 3] == 0
    assert "non-finite" in codes_of(source)
    assert np.isnan(layer.data[1, 2, 3])


def test_a_scan_that_was_cropped_elsewhere_still_lies_upright(
    values: np.ndarray, viewer: ViewerModel, write: Callable
) -> None:
    affine = grid("RAS", (1, 1, 2))
    (layer,) = viewer.open(write(values, affine), plugin="napari-strokedx")
    part = viewer.add_image(
        layer.data[2:],
        scale=layer.scale,
        translate=layer.data_to_world((2, 0, 0)),
        axis_labels=layer.axis_labels,
    )
    volume = layer_source(part).volume()
    assert "".join(aff2axcodes(volume.affine)) == "IPL"
    index = np.linalg.solve(affine, volume.affine @ (0, 0, 0, 1))[:3]
    assert values[tuple(np.rint(index).astype(int))] == part.data[0, 0, 0]

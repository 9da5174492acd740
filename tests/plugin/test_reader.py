from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from napari.components import ViewerModel

from napari_strokedx.grids import ORIENTATIONS
from napari_strokedx.reader import get_reader, read_layer
from strokedx_core.volume import VolumeError

from .conftest import grid

SHAPE, SPACING = (7, 9, 5), (0.8, 1.1, 3.0)


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(1).integers(-300, 900, SHAPE).astype(np.int16)


def layer_of(viewer: ViewerModel, path: Path):
    (layer,) = viewer.open(path, plugin="napari-strokedx")
    return layer


def value_at(layer, world: tuple[float, ...]) -> float:
    index = np.asarray(layer.world_to_data(world))
    assert np.allclose(index, np.rint(index), atol=1e-3)
    return layer.data[tuple(np.rint(index).astype(int))]


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_every_voxel_lies_at_minus_its_ras_coordinates(
    code: str, values: np.ndarray, viewer: ViewerModel, write: Callable[..., Path]
) -> None:
    affine = grid(code, SPACING)
    layer = layer_of(viewer, write(values, affine))
    for voxel in np.random.default_rng(2).integers(0, SHAPE, (20, 3)):
        x, y, z = affine[:3, :3] @ voxel + affine[:3, 3]
        assert value_at(layer, (-z, -y, -x)) == values[tuple(voxel)]
    assert layer.data.dtype == values.dtype
    assert np.all(layer.scale > 0)


@pytest.mark.parametrize("code", ORIENTATIONS[::5])
def test_an_oblique_volume_is_drawn_straight_about_its_true_centre(
    code: str, values: np.ndarray, viewer: ViewerModel, write: Callable[..., Path]
) -> None:
    affine = grid(code, SPACING, degrees=(11.0, -8.0, 17.0))
    layer = layer_of(viewer, write(values, affine))
    x, y, z = affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2) + affine[:3, 3]
    middle = layer.data_to_world((np.array(layer.data.shape) - 1) / 2)
    assert np.allclose(middle, (-z, -y, -x), atol=1e-4)
    assert sorted(layer.scale) == pytest.approx(sorted(SPACING))
    assert np.array_equal(layer.rotate, np.eye(3))


def test_views_are_as_a_radiologist_reads_them(
    viewer: ViewerModel, write: Callable[..., Path]
) -> None:
    data = np.zeros((20, 20, 20), np.float32)
    data[15:, 8:12, 8:12] = 3  # to the patient's right
    data[8:12, 15:, 8:12] = 2  # anterior
    data[8:12, 8:12, 15:] = 1  # superior
    layer = layer_of(viewer, write(data, grid("RAS")))
    right, front, top = (
        layer.data_to_world(np.argwhere(layer.data == value).mean(axis=0)) for value in (3, 2, 1)
    )
    middle = layer.data_to_world((9.5, 9.5, 9.5))
    up_or_left = {  # of each pair of displayed axes: what lies up, what lies left
        (1, 2): (front, right),  # axial
        (0, 2): (top, right),  # coronal
        (0, 1): (top, front),  # sagittal
    }
    for (down, across), (up, left) in up_or_left.items():
        assert up[down] < middle[down]
        assert left[across] < middle[across]
    assert viewer.dims.displayed == (1, 2)
    assert viewer.dims.axis_labels == ("inferior", "posterior", "left")


def test_scaled_values_are_shown_scaled(
    viewer: ViewerModel, write: Callable[..., Path], values: np.ndarray
) -> None:
    path = write(values, grid(), scaling=(0.25, -3.0))
    layer = layer_of(viewer, path)
    assert layer.data.dtype == np.float32
    expected = np.sort(nib.load(path).get_fdata(), axis=None)
    assert np.allclose(np.sort(layer.data, axis=None), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "dtype", "intent", "kind"),
    [
        ("scan.nii.gz", np.int16, 0, "image"),
        ("scan.nii.gz", np.int16, 1002, "labels"),
        ("scan.nii.gz", np.float32, 1002, "image"),
        ("sub-1_brainmask.nii.gz", np.uint8, 0, "labels"),
        ("sub-1_space-T1w_dseg.nii", np.int16, 0, "labels"),
        ("lesion.nii.gz", np.uint8, 0, "labels"),
        ("lesion.nii.gz", np.float32, 0, "image"),
        ("unmasked.nii.gz", np.uint8, 0, "image"),
        ("segmented_by_hand.nii.gz", np.uint8, 0, "image"),
        ("aseg.mgz", np.int32, 0, "labels"),
        ("orig.mgz", np.uint8, 0, "image"),
    ],
)
def test_labels_are_told_from_images(
    name: str,
    dtype: type,
    intent: int,
    kind: str,
    write: Callable[..., Path],
) -> None:
    data = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 4
    assert read_layer(write(data.astype(dtype), grid(), name=name, intent=intent))[2] == kind


def test_labels_from_a_file_can_be_painted_on(
    viewer: ViewerModel, write: Callable[..., Path]
) -> None:
    layer = layer_of(viewer, write(np.zeros(SHAPE, np.uint8), grid("LPI"), name="mask.nii.gz"))
    layer.paint((2, 4, 3), 1)
    assert layer.data[2, 4, 3] == 1


def test_frames_come_first_and_keep_their_place(
    viewer: ViewerModel, write: Callable[..., Path], values: np.ndarray
) -> None:
    frames = np.stack([values, values + 1000], axis=-1)
    affine = grid("PSR", SPACING)
    layer = layer_of(viewer, write(frames, affine))
    assert layer.data.shape[0] == 2
    x, y, z = affine[:3, :3] @ (3, 4, 2) + affine[:3, 3]
    found = [value_at(layer, (frame, -z, -y, -x)) for frame in (0, 1)]
    assert found == [*frames[3, 4, 2]]


def test_one_frame_is_three_dimensional(write: Callable[..., Path], values: np.ndarray) -> None:
    assert read_layer(write(values[..., np.newaxis], grid()))[0].ndim == 3


def test_a_constant_or_broken_image_can_still_be_looked_at(
    viewer: ViewerModel, write: Callable[..., Path]
) -> None:
    data = np.full(SHAPE, np.nan, np.float32)
    layer_of(viewer, write(data, grid(), name="nan.nii"))
    layer_of(viewer, write(np.zeros(SHAPE, np.int16), grid(), name="empty.nii"))
    assert len(viewer.layers) == 2


def test_a_few_bright_voxels_do_not_darken_the_head(write: Callable[..., Path]) -> None:
    data = np.random.default_rng(0).normal(500, 100, (40, 40, 40)).astype(np.float32)
    data[0, 0, 0] = 1e6
    assert read_layer(write(data, grid()))[1]["contrast_limits"][1] < 2000


def test_several_files_become_several_layers(
    write: Callable[..., Path], values: np.ndarray
) -> None:
    paths = [str(write(values, grid(), name=name)) for name in ("a.nii", "b.nii.gz", "c.mgz")]
    read = get_reader(paths)
    assert [keywords["name"] for _, keywords, _ in read(paths)] == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["scan.tif", "scan.gz", "scan.nii.bz2", "nii"])
def test_other_files_are_left_to_other_readers(name: str) -> None:
    assert get_reader(name) is None
    assert get_reader(["a.nii", name]) is None


def test_upper_case_endings_are_read(write: Callable[..., Path], values: np.ndarray) -> None:
    path = write(values, grid(), name="scan.nii")
    loud = path.rename(path.with_name("SCAN.NII"))
    assert get_reader(str(loud)) is not None
    assert read_layer(loud)[1]["name"] == "SCAN"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (np.zeros((4, 5), np.int16), "2-D"),
        (np.zeros((4, 5, 6, 2, 3), np.int16), "5-D"),
        (np.zeros((4, 5, 6), np.complex64), "complex"),
    ],
)
def test_what_is_no_volume_is_refused_in_one_line(
    data: np.ndarray, reason: str, write: Callable[..., Path]
) -> None:
    path = write(data, grid())
    with pytest.raises(VolumeError, match=reason) as caught:
        read_layer(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_without_orientation_says_so(write: Callable[..., Path], values: np.ndarray) -> None:
    metadata = read_layer(write(values, np.eye(4), codes=(0, 0)))[1]["metadata"]
    assert [code for code, _ in metadata["strokedx"]["flags"]] == ["no-orientation"]

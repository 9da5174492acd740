from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from napari.components import ViewerModel

from napari_strokedx.grids import ORIENTATIONS
from napari_strokedx.writer import SaveError
from strokedx_core.image_reading import read_file

from .conftest import grid

SHAPE, SPACING = (7, 9, 5), (0.8, 1.1, 3.0)
GEOMETRY = (
    *("dim", "pixdim", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)


def geometry(path: Path) -> bytes:
    header = read_file(path).header
    return b"".join(header[field].tobytes() for field in GEOMETRY)


def opened(viewer: ViewerModel, path: Path):
    (layer,) = viewer.open(path, plugin="napari-strokedx")
    return layer


def saved(layer, path: Path) -> Path:
    assert layer.save(str(path), plugin="napari-strokedx") == [str(path)]
    return path


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(1).integers(-300, 900, SHAPE).astype(np.int16)


@pytest.mark.parametrize("code", ORIENTATIONS)
@pytest.mark.parametrize("degrees", [(0, 0, 0), (11, -8, 17)], ids=["straight", "oblique"])
def test_an_untouched_image_comes_back_as_it_was(
    code: str,
    degrees: tuple[float, float, float],
    values: np.ndarray,
    viewer: ViewerModel,
    write: Callable[..., Path],
    tmp_path: Path,
) -> None:
    path = write(values, grid(code, SPACING, degrees))
    again = saved(opened(viewer, path), tmp_path / "again.nii.gz")
    assert geometry(again) == geometry(path)
    before, after = read_file(path), read_file(again)
    assert after.header.binaryblock == before.header.binaryblock
    assert after.array.dtype == before.array.dtype
    assert np.array_equal(after.array, before.array)


@pytest.mark.parametrize("code", ORIENTATIONS[::7])
def test_a_new_labels_layer_on_an_image_lies_on_its_voxels(
    code: str,
    values: np.ndarray,
    viewer: ViewerModel,
    write: Callable[..., Path],
    tmp_path: Path,
) -> None:
    affine = grid(code, SPACING)
    image = opened(viewer, write(values, affine))
    labels = viewer.add_labels(
        (image.data > 500).astype(np.uint8),
        scale=image.scale,
        translate=image.translate,
        units=image.units,
        axis_labels=image.axis_labels,
    )
    again = nib.load(saved(labels, tmp_path / "labels.nii.gz"))
    canonical, expected = (
        nib.as_closest_canonical(item)
        for item in (again, nib.Nifti1Image((values > 500).astype(np.uint8), affine))
    )
    assert np.allclose(canonical.affine, expected.affine, atol=1e-4)
    assert np.array_equal(np.asarray(canonical.dataobj), np.asarray(expected.dataobj))


@pytest.mark.parametrize(
    ("dtype", "scaling"),
    [
        (np.uint8, None),
        (np.int32, None),
        (np.uint32, None),
        (np.float32, None),
        (np.float64, None),
        (np.int16, (0.37, -12.0)),
        (np.uint8, (2.0, 1000.0)),
        (np.int32, (1e-3, 5.0)),
    ],
)
def test_stored_values_come_back_for_every_type(
    dtype: type,
    scaling: tuple[float, float] | None,
    viewer: ViewerModel,
    write: Callable[..., Path],
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(3)
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        data = random.integers(limits.min, limits.max, SHAPE, dtype=dtype, endpoint=True)
    else:
        data = random.normal(0, 1e5, SHAPE).astype(dtype)
    image = nib.Nifti1Image(data, grid("ASL", SPACING))
    path = tmp_path / "scan.nii.gz"
    if scaling is None:
        image.to_filename(path)
    else:
        # nibabel would store values divided by the slope: the stored ones are set here.
        image.header.set_data_dtype(dtype)
        image.header.set_slope_inter(*scaling)
        plain = tmp_path / "plain.nii"
        with plain.open("wb") as stream:
            image.header["vox_offset"] = 352
            image.header["magic"] = b"n+1"
            stream.write(image.header.binaryblock + bytes(4) + data.tobytes(order="F"))
        path = plain
    again = saved(opened(viewer, path), tmp_path / "again.nii.gz")
    before, after = read_file(path), read_file(again)
    assert np.array_equal(after.array, before.array)
    assert (after.slope, after.inter) == (before.slope, before.inter)
    assert geometry(again) == geometry(path)


def test_changed_values_are_saved_as_they_are(
    viewer: ViewerModel, write: Callable[..., Path], values: np.ndarray, tmp_path: Path
) -> None:
    layer = opened(viewer, write(values, grid("LPS", SPACING)))
    layer.data = layer.data / np.float32(7)
    again = nib.load(saved(layer, tmp_path / "changed.nii.gz"))
    assert np.allclose(again.get_fdata(), values / 7, atol=1e-3)


def test_frames_come_back(
    viewer: ViewerModel, write: Callable[..., Path], values: np.ndarray, tmp_path: Path
) -> None:
    path = write(np.stack([values, values + 1, values + 2], axis=-1), grid("SPL", SPACING))
    again = saved(opened(viewer, path), tmp_path / "again.nii.gz")
    assert geometry(again) == geometry(path)
    assert np.array_equal(read_file(again).array, read_file(path).array)


@pytest.mark.parametrize(
    ("highest", "dtype"), [(1, np.uint8), (255, np.uint8), (256, np.int16), (70000, np.int32)]
)
def test_labels_take_the_smallest_type_that_holds_them(
    highest: int, dtype: type, viewer: ViewerModel, tmp_path: Path
) -> None:
    data = np.zeros(SHAPE, np.int64)
    data[2, 3, 1] = highest
    again = nib.load(saved(viewer.add_labels(data), tmp_path / "labels.nii.gz"))
    assert again.get_data_dtype() == dtype
    assert np.asarray(again.dataobj).max() == highest


def test_labels_too_large_are_refused(viewer: ViewerModel, tmp_path: Path) -> None:
    layer = viewer.add_labels(np.full(SHAPE, 2**40, np.int64), name="huge")
    with pytest.raises(SaveError, match=r"huge: labels .* 32 bits"):
        layer.save(str(tmp_path / "labels.nii.gz"), plugin="napari-strokedx")
    assert not list(tmp_path.iterdir())


def test_edited_labels_keep_the_geometry_of_their_file(
    viewer: ViewerModel, write: Callable[..., Path], tmp_path: Path
) -> None:
    path = write(np.zeros(SHAPE, np.uint8), grid("IRP", SPACING, (4, 9, -6)), name="mask.nii.gz")
    layer = opened(viewer, path)
    layer.data[1, 2, 3] = 1
    again = saved(layer, tmp_path / "again.nii.gz")
    assert geometry(again) == geometry(path)
    assert read_file(again).array.sum() == 1


def test_a_cropped_layer_is_saved_where_it_lies(
    viewer: ViewerModel, write: Callable[..., Path], values: np.ndarray, tmp_path: Path
) -> None:
    affine = grid("LAS", SPACING)
    layer = opened(viewer, write(values, affine))
    whole = layer.as_layer_data_tuple()[1]
    kept = {key: whole[key] for key in ("scale", "axis_labels", "units", "metadata")}
    part = viewer.add_image(
        layer.data[1:, 2:, 3:], translate=layer.data_to_world((1, 2, 3)), **kept
    )
    again = nib.load(saved(part, tmp_path / "part.nii.gz"))
    inside = 0
    for voxel, value in np.ndenumerate(values):
        where = np.linalg.solve(again.affine, affine @ (*voxel, 1))[:3]
        index = np.rint(where).astype(int)
        if ((index >= 0) & (index < again.shape)).all():
            inside += 1
            assert np.allclose(where, index, atol=1e-3)
            assert again.dataobj[tuple(index)] == value
    assert inside == part.data.size


def test_a_moved_layer_is_saved_where_it_was_moved_to(
    viewer: ViewerModel, write: Callable[..., Path], values: np.ndarray, tmp_path: Path
) -> None:
    affine = grid("RAS", SPACING)
    layer = opened(viewer, write(values, affine))
    layer.translate = layer.translate + np.array((0, 0, 5.0))  # to the left
    again = nib.as_closest_canonical(nib.load(saved(layer, tmp_path / "moved.nii.gz")))
    assert np.allclose(again.affine[:3, 3], affine[:3, 3] - (5.0, 0, 0), atol=1e-4)


def test_mgz_goes_to_mgz_and_to_nifti(
    viewer: ViewerModel, write: Callable[..., Path], values: np.ndarray, tmp_path: Path
) -> None:
    affine = grid("LIA", SPACING)
    path = write(values.astype(np.int32), affine, name="scan.mgz")
    layer = opened(viewer, path)
    for name in ("again.mgz", "again.nii.gz"):
        again = nib.load(saved(layer, tmp_path / name))
        assert np.allclose(again.affine, nib.load(path).affine, atol=1e-4)
        assert np.array_equal(np.asarray(again.dataobj), values)


@pytest.mark.parametrize("shape", [(6, 7), (2, 2, 4, 5, 6)])
def test_layers_that_are_no_volume_are_refused(
    shape: tuple[int, ...], viewer: ViewerModel, tmp_path: Path
) -> None:
    layer = viewer.add_image(np.zeros(shape), name="flat")
    with pytest.raises(SaveError, match=f"flat: {len(shape)}-D"):
        layer.save(str(tmp_path / "flat.nii.gz"), plugin="napari-strokedx")
    assert not list(tmp_path.iterdir())


def test_colour_is_refused(viewer: ViewerModel, tmp_path: Path) -> None:
    layer = viewer.add_image(np.zeros((4, 5, 6, 3), np.uint8), rgb=True, name="colour")
    with pytest.raises(SaveError, match="colour: a colour image"):
        layer.save(str(tmp_path / "colour.nii.gz"), plugin="napari-strokedx")


def test_the_finest_level_is_saved(viewer: ViewerModel, tmp_path: Path) -> None:
    fine = np.random.default_rng(0).random((8, 8, 8), np.float32)
    layer = viewer.add_image([fine, fine[::2, ::2, ::2]], multiscale=True)
    assert nib.load(saved(layer, tmp_path / "fine.nii.gz")).shape == (8, 8, 8)

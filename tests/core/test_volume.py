"""Results lie where the image lay, whatever its grid, and voxels come back as they were stored."""

from __future__ import annotations

import gzip
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokedx_core.volume import (
    Volume,
    VolumeError,
    check_modality_values,
    check_same_space,
    from_canonical,
    read_mask,
    read_volume,
    to_canonical,
    volume_from_array,
    write_image,
    write_mask,
)

SHAPE = (5, 6, 8)
LANDMARK = (1, 4, 2)
ORIENTATIONS = [
    "".join(pair[side] for pair, side in zip(axes, sides, strict=True))
    for axes in permutations(("LR", "PA", "IS"))
    for sides in product((0, 1), repeat=3)
]
GRIDS = {
    "isotropic": ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)),
    "anisotropic": ((0.9, 0.5, 5.0), (0.0, 0.0, 0.0)),
    "oblique": ((1.5, 1.5, 1.5), (0.25, -0.3, 0.2)),
    "anisotropic-oblique": ((0.9, 0.6, 4.0), (-0.2, 0.35, 0.15)),
}
GEOMETRY = [
    *("dim", "pixdim", "dim_info", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z", "slice_code", "slice_start", "slice_end", "slice_duration"),
]
MGH_GEOMETRY = ["dims", "delta", "Mdc", "Pxyz_c", "goodRASFlag", "tr", "te", "flip_angle"]


def affine_of(orientation: str, grid: str) -> np.ndarray:
    """Affine whose axes point as `orientation` says, tilted and scaled as the grid asks."""
    spacing, (a, b, c) = GRIDS[grid]
    tilt = nib.eulerangles.euler2mat(a, b, c)
    directions = np.zeros((3, 3))
    for axis, letter in enumerate(orientation):
        row, sign = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1)}.get(
            letter, (2, -1)
        )
        directions[row, axis] = sign
    affine = np.eye(4)
    affine[:3, :3] = tilt @ directions @ np.diag(spacing)
    affine[:3, 3] = -31.5, 12.25, -7.75
    return affine


def landmark_image(affine: np.ndarray, kind: str) -> nib.spatialimages.SpatialImage:
    """Noise with one bright voxel at `LANDMARK`, under a header of the kind."""
    data = np.random.default_rng(3).integers(0, 200, SHAPE).astype(np.int16)
    data[LANDMARK] = 999
    if kind == "mgz":
        image = nib.MGHImage(data.astype(np.float32), affine)
        image.header["tr"] = 2300
        return image
    image = (nib.Nifti2Image if kind == "nifti2" else nib.Nifti1Image)(data, affine)
    image.set_qform(affine, 0 if kind == "sform-only" else 1)
    image.set_sform(affine, 0 if kind == "qform-only" else 4)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_dim_info(freq=1, phase=0, slice=2)
    image.header["pixdim"][4] = 2.5
    return image


def raw_header(path: Path) -> nib.spatialimages.SpatialHeader:
    """The header as it is in the file, with no mending."""
    with (gzip.open if path.suffix in (".gz", ".mgz") else open)(path, "rb") as stream:
        start = stream.read(4)
        stream.seek(0)
        if path.suffix in (".mgz", ".mgh"):
            return nib.freesurfer.mghformat.MGHHeader.from_fileobj(stream, check=False)
        kind = nib.Nifti2Header if start[0] == 540 % 256 else nib.Nifti1Header
        return kind.from_fileobj(stream, check=False)


def assert_same_geometry(a: Path, b: Path) -> None:
    """Compare two files' geometry byte for byte."""
    first, second = raw_header(a), raw_header(b)
    assert type(first) is type(second)
    fields = MGH_GEOMETRY if a.suffix == ".mgz" else GEOMETRY
    assert {name: first[name].tobytes() for name in fields} == {
        name: second[name].tobytes() for name in fields
    }


def place_of_brightest(data: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """RAS mm of the largest value."""
    return nib.affines.apply_affine(affine, np.unravel_index(np.argmax(data), data.shape))


@pytest.mark.parametrize("kind", ["both", "sform-only", "qform-only", "nifti2", "mgz"])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_there_and_back_on_every_grid(
    tmp_path: Path, orientation: str, grid: str, kind: str
) -> None:
    suffix = ".mgz" if kind == "mgz" else ".nii.gz"
    source, mask_file, copy = (tmp_path / f"{name}{suffix}" for name in ("a", "mask", "copy"))
    image = landmark_image(affine_of(orientation, grid), kind)
    nib.save(image, source)
    image = nib.load(source)
    place = nib.affines.apply_affine(image.affine, LANDMARK)

    volume = read_volume(source)
    assert volume.orientation == orientation
    assert volume.spacing == pytest.approx(GRIDS[grid][0], rel=1e-5)
    assert volume.flags == ()
    np.testing.assert_array_equal(volume.affine, image.affine)
    np.testing.assert_array_equal(volume.data, image.get_fdata())

    canonical, affine_ras = to_canonical(volume.data, volume.affine)
    assert nib.aff2axcodes(affine_ras) == ("R", "A", "S")
    np.testing.assert_allclose(place_of_brightest(canonical, affine_ras), place, atol=1e-4)
    back = from_canonical(canonical, volume.affine)
    np.testing.assert_array_equal(back, volume.data)

    write_mask(from_canonical(canonical > 500, volume.affine), volume, mask_file)
    written = nib.load(mask_file)
    assert written.get_data_dtype() == np.uint8
    assert np.asanyarray(written.dataobj).sum() == 1
    np.testing.assert_allclose(
        place_of_brightest(written.get_fdata(), written.affine), place, atol=1e-4
    )
    assert_same_geometry(source, mask_file)

    write_image(back, volume, copy)
    assert_same_geometry(source, copy)
    np.testing.assert_array_equal(
        np.asanyarray(nib.load(copy).dataobj), np.asanyarray(image.dataobj)
    )


@pytest.mark.parametrize("qfac", [0.0, -1.0, 1.0])
def test_a_sloppy_header_stays_as_it_is(tmp_path: Path, qfac: float) -> None:
    image = landmark_image(affine_of("RAS", "oblique"), "both")
    image.header["pixdim"][1:4] *= -1
    image.header["pixdim"][0] = qfac
    raw = image.header.binaryblock + bytes(4) + image.dataobj.tobytes(order="F")
    source, written = tmp_path / "a.nii", tmp_path / "b.nii"
    source.write_bytes(raw)
    write_mask(np.ones(SHAPE, bool), read_volume(source), written)
    assert_same_geometry(source, written)


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("scaling", [(None, None), (0.5, 0.0), (0.0037, -12.5), (2.0, 1e6)])
@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "f2-as-f4"]
)
def test_voxels_come_back_as_they_were_stored(
    tmp_path: Path, dtype: str, scaling: tuple[float | None, float | None], endian: str
) -> None:
    kind = np.dtype(dtype[-2:]).newbyteorder(endian)
    rng = np.random.default_rng(5)
    if kind.kind == "f":
        stored = rng.normal(0, 1e3, SHAPE).astype(kind)
    else:
        limits = np.iinfo(kind)
        stored = rng.integers(limits.min, limits.max, SHAPE, kind.newbyteorder("="), endpoint=True)
        stored[0, 0, :2] = limits.min, limits.max
    header = nib.Nifti1Header(endianness=endian)
    header.set_data_shape(SHAPE)
    header.set_data_dtype(kind)
    header.set_sform(np.diag([2, 2, 2, 1]), 1)
    header["scl_slope"], header["scl_inter"] = (np.nan if s is None else s for s in scaling)
    header["vox_offset"] = 352
    source, copy, part = tmp_path / "a.nii", tmp_path / "b.nii", tmp_path / "c.nii"
    voxels = stored.astype(kind).tobytes(order="F")
    source.write_bytes(header.binaryblock + bytes(4) + voxels)

    volume = read_volume(source)
    slope, inter = scaling[0] or 1.0, scaling[1] or 0.0
    assert volume.data.dtype == np.float32
    np.testing.assert_allclose(volume.data, stored * np.float64(slope) + inter, rtol=1e-5)

    write_image(volume.data, volume, copy)
    assert copy.read_bytes() == source.read_bytes()

    keep = np.zeros(SHAPE, bool)
    keep[1:4, 2:5, 3:7] = True
    write_image(np.where(keep, volume.data, np.float32(0)), volume, part)
    after = np.frombuffer(part.read_bytes(), kind, offset=352).reshape(SHAPE, order="F")
    np.testing.assert_array_equal(after[keep], stored[keep])
    nearest_zero = np.abs(after[~keep] * np.float64(slope) + inter).max()
    limit = 1e-7 * abs(inter) if kind.kind == "f" else slope / 2
    reachable = kind.kind == "f" or np.iinfo(kind).min <= -inter / slope <= np.iinfo(kind).max
    assert nearest_zero <= limit + 1e-9 or not reachable


def test_a_mask_file_says_nothing_of_the_image_it_belongs_to(tmp_path: Path) -> None:
    image = landmark_image(np.eye(4), "both")
    image.header["descrip"] = b"TE=30 of somebody"
    image.header["cal_max"] = 999
    image.header.set_slope_inter(0.5, 10)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"of the image"))
    nib.save(image, tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    write_mask(volume.data > 0, volume, tmp_path / "mask.nii.gz")
    write_image(volume.data, volume, tmp_path / "copy.nii.gz")
    mask, copy = raw_header(tmp_path / "mask.nii.gz"), raw_header(tmp_path / "copy.nii.gz")
    assert (mask["descrip"], mask["cal_max"], len(mask.extensions)) == (b"", 0, 0)
    assert mask.get_slope_inter() == (1, 0)
    assert copy["descrip"] == b"TE=30 of somebody"
    assert [extension.get_content() for extension in copy.extensions] == [b"of the image"]
    np.testing.assert_array_equal(read_volume(tmp_path / "copy.nii.gz").data, volume.data)


@pytest.mark.parametrize("name", ["m.nii", "m.nii.gz", "m.mgh", "m.mgz", "M.NII.GZ"])
@pytest.mark.parametrize("source", ["both", "nifti2", "mgz"])
@pytest.mark.parametrize("layout", ["C", "F", "view"])
def test_any_image_gives_a_mask_in_any_format(
    tmp_path: Path, source: str, name: str, layout: str
) -> None:
    file = tmp_path / ("a.mgz" if source == "mgz" else "a.nii.gz")
    nib.save(landmark_image(affine_of("PIR", "anisotropic-oblique"), source), file)
    volume = read_volume(file)
    mask = np.random.default_rng(0).random(SHAPE) > 0.5
    given = {"C": mask, "F": np.asfortranarray(mask), "view": mask[::-1].copy()[::-1]}[layout]
    write_mask(given, volume, tmp_path / name)
    again = read_mask(tmp_path / name)
    assert again.data.dtype == bool
    np.testing.assert_array_equal(again.data, mask)
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-4)
    write_image(volume.data, volume, tmp_path / name)
    np.testing.assert_array_equal(read_volume(tmp_path / name).data, volume.data)


def test_same_input_same_bytes(tmp_path: Path) -> None:
    nib.save(landmark_image(np.eye(4), "both"), tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    for name in ("one.nii.gz", "another.nii.gz"):
        write_mask(volume.data > 90, volume, tmp_path / name)
    assert (tmp_path / "one.nii.gz").read_bytes() == (tmp_path / "another.nii.gz").read_bytes()
    assert (tmp_path / "one.nii.gz").read_bytes()[4:8] == bytes(4)  # no time stamp


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mgz"])
def test_frames(tmp_path: Path, name: str) -> None:
    data = np.random.default_rng(1).normal(100, 20, (*SHAPE, 3)).astype(np.float32)
    nib.save((nib.MGHImage if "mgz" in name else nib.Nifti1Image)(data, np.eye(4)), tmp_path / name)
    for frame in range(3):
        volume = read_volume(tmp_path / name, frame=frame)
        np.testing.assert_array_equal(volume.data, data[..., frame])
        write_mask(volume.data > 100, volume, tmp_path / f"mask-{name}")
        np.testing.assert_array_equal(
            read_mask(tmp_path / f"mask-{name}").data, data[..., frame] > 100
        )
        assert nib.load(tmp_path / f"mask-{name}").shape == SHAPE


def test_a_single_frame_needs_no_choice(tmp_path: Path) -> None:
    data = np.random.default_rng(1).normal(100, 20, (*SHAPE, 1, 1)).astype(np.float32)
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "a.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").data, data[..., 0, 0])


def test_a_name_that_is_wrong_about_compression(tmp_path: Path) -> None:
    nib.save(landmark_image(np.eye(4), "both"), tmp_path / "a.nii")
    nib.save(landmark_image(np.eye(4), "both"), tmp_path / "b.nii.gz")
    (tmp_path / "a.nii").rename(tmp_path / "c.nii.gz")
    (tmp_path / "b.nii.gz").rename(tmp_path / "d.nii")
    np.testing.assert_array_equal(
        read_volume(tmp_path / "c.nii.gz").data, read_volume(tmp_path / "d.nii").data
    )


def test_scattered_bad_voxels_become_zero_with_a_flag(tmp_path: Path) -> None:
    data = np.random.default_rng(1).normal(100, 20, SHAPE)
    data[0, 1, 2], data[1, 1, 1], data[3, 3, 3], data[2, 2, 2] = np.nan, np.inf, -np.inf, 1e300
    for dtype in (np.float32, np.float64):
        with np.errstate(over="ignore"):
            nib.save(nib.Nifti1Image(data.astype(dtype), np.eye(4)), tmp_path / "a.nii.gz")
        volume = read_volume(tmp_path / "a.nii.gz")
        assert [flag.code for flag in volume.flags] == ["non-finite"]
        assert volume.flags[0].message.startswith("4 voxels")
        assert volume.data[0, 1, 2] == volume.data[1, 1, 1] == volume.data[2, 2, 2] == 0
        write_image(volume.data, volume, tmp_path / "b.nii.gz")
        written = np.asanyarray(nib.load(tmp_path / "b.nii.gz").dataobj)
        good = volume.data != 0
        np.testing.assert_array_equal(written[good], data[good].astype(dtype))
        assert np.isfinite(written).all()


@pytest.mark.parametrize("kind", ["both", "mgz"])
def test_a_header_without_orientation_is_flagged(tmp_path: Path, kind: str) -> None:
    image = landmark_image(np.eye(4), kind)
    file = tmp_path / ("a.mgh" if kind == "mgz" else "a.nii")
    nib.save(image, file)
    raw = bytearray(file.read_bytes())
    raw[slice(28, 30) if kind == "mgz" else slice(252, 256)] = bytes(2 if kind == "mgz" else 4)
    file.write_bytes(raw)
    volume = read_volume(file)
    assert [flag.code for flag in volume.flags] == ["no-orientation"]
    np.testing.assert_array_equal(volume.affine, raw_header(file).get_best_affine())


def test_arrays_from_elsewhere(tmp_path: Path) -> None:
    affine = affine_of("LPS", "oblique")
    data = np.random.default_rng(0).integers(0, 1000, SHAPE)
    volume = volume_from_array(data, affine)
    assert (volume.data.dtype, volume.path, volume.orientation) == (np.float32, None, "LPS")
    write_image(volume.data, volume, tmp_path / "a.nii.gz")
    again = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(again.data, data)
    np.testing.assert_allclose(again.affine, affine, atol=1e-5)
    assert volume.voxel_ml == pytest.approx(1.5**3 / 1000)


@pytest.mark.parametrize(("kind", "name"), [("both", "a.nii.gz"), ("mgz", "a.mgz")])
def test_an_affine_that_differs_from_its_header_is_what_gets_written(
    tmp_path: Path, kind: str, name: str
) -> None:
    nib.save(landmark_image(affine_of("LIA", "anisotropic"), kind), tmp_path / name)
    source = read_volume(tmp_path / name)
    data, affine = to_canonical(source.data, source.affine)
    turned = Volume(data, affine, source.header)
    write_mask(data > 500, turned, tmp_path / f"b-{name}")
    written = nib.load(tmp_path / f"b-{name}")
    np.testing.assert_allclose(written.affine, affine, atol=1e-5)
    if kind == "both":
        np.testing.assert_allclose(written.header.get_qform(), affine, atol=1e-5)
    np.testing.assert_allclose(
        place_of_brightest(written.get_fdata(), written.affine),
        place_of_brightest(source.data, source.affine),
        atol=1e-4,
    )


@pytest.mark.parametrize("value", [1, 2, 255, 0.5, -1])
def test_masks_hold_zero_and_one_other_value(tmp_path: Path, value: float) -> None:
    inside = np.random.default_rng(0).random(SHAPE) > 0.5
    nib.save(nib.Nifti1Image((inside * value).astype(np.float32), np.eye(4)), tmp_path / "m.nii")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.nii").data, inside)


def test_label_maps_are_masks_where_they_are_asked_for(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 400, SHAPE).astype(np.int16)
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "m.nii")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.nii", labels=True).data, labels > 0)


@pytest.mark.parametrize("value", [0, 1])
def test_masks_may_be_empty_or_full(tmp_path: Path, value: int) -> None:
    nib.save(nib.Nifti1Image(np.full(SHAPE, value, np.uint8), np.eye(4)), tmp_path / "m.nii")
    assert read_mask(tmp_path / "m.nii").data.sum() == value * np.prod(SHAPE)


def moved(by: tuple[float, float, float], spacing: float = 1.0) -> Volume:
    """A volume of noise whose corner lies at `by`."""
    affine = np.diag([spacing, spacing, spacing, 1])
    affine[:3, 3] = by
    return volume_from_array(np.random.default_rng(0).random((20, 20, 20)), affine)


@pytest.mark.parametrize(
    ("by", "spacing", "together"),
    [
        ((0, 0, 0), 1.0, True),
        ((5, 0, 0), 1.0, True),
        ((-100, -100, -100), 20.0, True),
        ((19, 0, 0), 1.0, False),
        ((300, 0, 0), 1.0, False),
    ],
)
def test_volumes_of_a_case_overlap(
    by: tuple[float, float, float], spacing: float, together: bool
) -> None:
    here, there = moved((0, 0, 0)), moved(by, spacing)
    if together:
        check_same_space([here, there])
        check_same_space({"T1W": there, "DWI": here})
    else:
        with pytest.raises(VolumeError, match="does not lie where"):
            check_same_space([here, here, there])


@pytest.mark.parametrize(
    ("modality", "share", "outcome"),
    [
        ("ADC", 0.0, "fine"),
        ("ADC", 0.02, "flag"),
        ("ADC", 0.5, "error"),
        ("adc", 0.5, "error"),
        ("DWI", 0.5, "fine"),
    ],
)
def test_diffusion_is_not_negative(modality: str, share: float, outcome: str) -> None:
    data = np.random.default_rng(0).random((20, 20, 20)) + 0.1
    data[:, :, : round(20 * share) if share > 0.1 else 0] *= -1
    if outcome == "flag":
        data[::7, ::3, ::5] *= -1
    volume = volume_from_array(data, np.eye(4))
    if outcome == "error":
        with pytest.raises(VolumeError, match="not an ADC map"):
            check_modality_values(volume, modality)
    else:
        codes = [flag.code for flag in check_modality_values(volume, modality)]
        assert codes == (["negative-adc"] if outcome == "flag" else [])

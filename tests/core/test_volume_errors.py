"""Bad input gets one clear line that names the file; bad output leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokedx_core.volume import (
    VolumeError,
    read_mask,
    read_volume,
    volume_from_array,
    write_atomically,
    write_image,
    write_mask,
)

SHAPE = (9, 10, 11)


def noise(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).normal(100, 20, shape)


def image(data: np.ndarray, affine: np.ndarray | None = None) -> nib.Nifti1Image:
    return nib.Nifti1Image(data, np.eye(4) if affine is None else affine)


def save(data: np.ndarray) -> Callable[[Path], None]:
    return lambda path: nib.save(image(data), path)


def save_float(data: np.ndarray) -> Callable[[Path], None]:
    return save(data.astype(np.float32))


def patched(*patches: tuple[int, bytes], keep: int | None = None) -> Callable[[Path], None]:
    """A sound NIfTI-1 file with bytes overwritten, or cut off."""

    def write(path: Path) -> None:
        raw = bytearray(image(noise().astype(np.float32)).to_bytes())
        for offset, piece in patches:
            raw[offset : offset + len(piece)] = piece
        path.write_bytes(raw[:keep])

    return write


def cut(name: str, share: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        whole = path.with_name(name)
        kind = nib.MGHImage if name.endswith(("mgz", "mgh")) else nib.Nifti1Image
        nib.save(kind(noise().astype(np.float32), np.eye(4)), whole)
        raw = whole.read_bytes()
        path.write_bytes(raw[: int(len(raw) * share)])

    return write


def rgb(path: Path) -> None:
    data = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(image(data), path)


def floats(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


def shorts(*values: int) -> bytes:
    return np.array(values, "<i2").tobytes()


posix = pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@contextmanager
def without_privilege() -> Iterator[None]:
    """Be nobody for a while where the tests run as root, whom no file mode stops."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


labels = np.random.default_rng(0).integers(0, 5, SHAPE)
BAD = {
    "missing": ("a.nii.gz", lambda path: None, "no such file"),
    "folder": ("a.nii.gz", lambda path: path.mkdir(), "a folder"),
    "other-suffix": ("a.png", lambda path: path.write_bytes(b"x"), "expected one of .nii.gz"),
    "no-bytes": ("a.nii.gz", lambda path: path.write_bytes(b""), "empty"),
    "truncated-gzip": ("a.nii.gz", cut("b.nii.gz", 0.6), "truncated or damaged"),
    "gzip-without-end": ("a.nii.gz", cut("b.nii.gz", 0.9999), "truncated or damaged"),
    "truncated": ("a.nii", cut("b.nii", 0.6), "truncated"),
    "truncated-in-header": ("a.nii", cut("b.nii", 0.02), "ends within its header"),
    "truncated-mgz": ("a.mgz", cut("b.mgz", 0.6), "truncated or damaged"),
    "truncated-in-mgh-header": ("a.mgh", cut("b.mgh", 0.01), "ends within its header"),
    "truncated-mgh": ("a.mgh", cut("b.mgh", 0.6), "truncated"),
    "text": ("a.nii", lambda path: path.write_text("not an image at all"), "not an image"),
    "text-mgh": ("a.mgh", lambda path: path.write_text("not an image at all"), "not an image"),
    "header-of-a-pair": ("a.nii", patched((344, b"ni1\0")), "not a NIfTI image with header"),
    "2-D": ("a.nii.gz", save_float(noise((9, 10))), "2-D"),
    "one-slice": ("a.nii.gz", save_float(noise((9, 10, 1))), "2-D"),
    "movie": ("a.nii.gz", save_float(noise((9, 10, 1, 7))), "2-D"),
    "4-D": ("a.nii.gz", save_float(noise((*SHAPE, 7))), "7 frames; choose one (0 to 6)"),
    "5-D": ("a.nii.gz", save_float(noise((*SHAPE, 1, 3))), "5-D"),
    "zero-size": ("a.nii", patched((42, shorts(0))), "no voxels"),
    "negative-size": ("a.nii", patched((42, shorts(-3))), "no voxels"),
    "too-large": ("a.nii", patched((42, shorts(32767, 32767, 32767))), "truncated"),
    "unknown-type": ("a.nii", patched((70, shorts(77))), "header is damaged"),
    "bits": ("a.nii", patched((70, shorts(1))), "where real numbers are needed"),
    "constant": ("a.nii.gz", save_float(np.full(SHAPE, 7)), "constant (every voxel is 7)"),
    "zeros": ("a.nii.gz", save(np.zeros(SHAPE, np.int16)), "constant (every voxel is 0)"),
    "all-nan": ("a.nii.gz", save_float(np.full(SHAPE, np.nan)), "every voxel is NaN"),
    "complex": ("a.nii.gz", save(noise().astype(np.complex64)), "complex"),
    "rgb": ("a.nii.gz", rgb, "colour"),
    "zero-voxel-size": ("a.nii", patched((84, floats(0))), "voxel size 1 x 0 x 1 mm"),
    "nan-voxel-size": ("a.nii", patched((84, floats(np.nan))), "voxel size 1 x nan x 1 mm"),
    "singular": ("a.nii", patched((296, floats(1, 0, 0, 0))), "the affine is singular"),
    "axis-of-no-length": ("a.nii", patched((296, floats(0, 0, 0, 0))), "the affine is singular"),
    "nan-affine": ("a.nii", patched((296, floats(np.nan))), "the affine holds NaN"),
    "not-a-rotation": (
        "a.nii",
        patched((252, shorts(1, 0)), (256, floats(0.9, 0.9, 0.9))),
        "geometry is damaged",
    ),
    "mask": ("a.nii.gz", save((noise() > 100).astype(np.uint8)), "a mask"),
    "mask-255": ("a.nii.gz", save((noise() > 100).astype(np.uint8) * 255), "a mask"),
    "mask-float": ("a.nii.gz", save_float(noise() > 100), "a mask"),
    "label-map": ("a.nii.gz", save(labels.astype(np.int16)), "a label map"),
    "label-map-float": ("a.nii.gz", save_float(labels), "a label map"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_image(tmp_path: Path, case: str) -> None:
    name, make, reason = BAD[case]
    path = tmp_path / name
    make(path)
    with pytest.raises(VolumeError) as caught:
        read_volume(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert reason in message.removeprefix(f"{path}: ")
    assert "\n" not in message


@pytest.mark.parametrize("frame", [-1, 3, 100])
def test_no_such_frame(tmp_path: Path, frame: int) -> None:
    nib.save(image(noise((*SHAPE, 3)).astype(np.float32)), tmp_path / "a.nii")
    with pytest.raises(VolumeError, match=rf"no frame {frame} .*frames 0 to 2"):
        read_volume(tmp_path / "a.nii", frame=frame)


@posix
def test_unreadable(public_folder: Path) -> None:
    path = public_folder / "a.nii"
    nib.save(image(noise()), path)
    path.chmod(0)
    with without_privilege(), pytest.raises(VolumeError, match=r"cannot be read \(Permission"):
        read_volume(path)


@pytest.mark.parametrize("data", [noise(), labels, np.where(labels > 2, 3, 0 - (labels > 1))])
def test_not_a_mask(tmp_path: Path, data: np.ndarray) -> None:
    nib.save(image(data.astype(np.float32)), tmp_path / "a.nii")
    with pytest.raises(VolumeError, match="not a mask"):
        read_mask(tmp_path / "a.nii")


@pytest.mark.parametrize("data", [noise(), np.abs(noise()) / 7, labels - 1])
def test_not_a_label_map(tmp_path: Path, data: np.ndarray) -> None:
    nib.save(image(data.astype(np.float32)), tmp_path / "a.nii")
    with pytest.raises(VolumeError, match="not a label map"):
        read_mask(tmp_path / "a.nii", labels=True)


@pytest.mark.parametrize(
    ("data", "affine", "reason"),
    [
        (noise() * 1j, np.eye(4), "complex128"),
        (noise()[0], np.eye(4), "2-D"),
        (noise(), np.diag([1, 0, 1, 1]), "singular"),
        (noise(), np.eye(3), r"\(3, 3\)"),
        (noise() > 100, np.eye(4), "a mask"),
        (np.full(SHAPE, np.nan), np.eye(4), "NaN"),
    ],
)
def test_bad_arrays(data: np.ndarray, affine: np.ndarray, reason: str) -> None:
    with pytest.raises(VolumeError, match=rf"^layer one: .*{reason}"):
        volume_from_array(data, affine, name="layer one")


def test_images_with_few_values_are_images(tmp_path: Path) -> None:
    """Posterised images, and sparse ones whose background a sample of voxels would only see."""
    bright = np.zeros((40, 40, 40), np.float32)
    bright[20:22, 20:22, 20:22] = noise((2, 2, 2))
    for data in (np.round(noise() / 50) * 50, bright):
        nib.save(image(data.astype(np.float32)), tmp_path / "a.nii")
        np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").data, data)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mgh"])
def test_damaged_bytes_give_a_volume_or_a_clear_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    kind = nib.MGHImage if name.endswith("mgh") else nib.Nifti1Image
    nib.save(kind(noise().astype(np.float32), np.eye(4)), path)
    sound, rng = path.read_bytes(), np.random.default_rng(0)
    refused = read_back = 0
    for _ in range(400):
        raw = bytearray(sound)
        for offset in rng.integers(0, 352, rng.integers(1, 6)):
            raw[offset] = rng.integers(256)
        path.write_bytes(raw)
        try:
            read = read_volume(path)
        except VolumeError as error:
            refused += str(error).startswith(f"{path}: ")
        else:
            assert read.data.dtype == np.float32
            assert np.isfinite(read.data).all()
            read_back += 1
    assert refused > 20
    assert refused + read_back == 400


def volume(tmp_path: Path):
    nib.save(image(noise().astype(np.float32)), tmp_path / "source.nii.gz")
    read = read_volume(tmp_path / "source.nii.gz")
    (tmp_path / "source.nii.gz").unlink()
    return read


def writers(like) -> list[Callable[[Path], None]]:
    return [
        lambda path: write_mask(like.data > 100, like, path),
        lambda path: write_image(like.data, like, path),
    ]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/a.nii.gz", "there is no folder"),
        ("file/a.nii.gz", "there is no folder"),
        ("folder.nii.gz", "it is a folder"),
        ("a.png", "expected one of"),
        ("x" * 300 + ".nii.gz", "name too long"),
    ],
)
def test_bad_output(tmp_path: Path, which: int, name: str, reason: str) -> None:
    like = volume(tmp_path)
    (tmp_path / "file").write_text("a file")
    (tmp_path / "folder.nii.gz").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(VolumeError, match=reason):
        writers(like)[which](tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


@posix
def test_read_only_folder(public_folder: Path) -> None:
    like = volume(public_folder)
    public_folder.chmod(0o555)
    for write in writers(like):
        with without_privilege(), pytest.raises(VolumeError, match=r"not written, .*\(Permission"):
            write(public_folder / "a.nii.gz")
    assert not list(public_folder.iterdir())


@pytest.mark.parametrize(
    "mask", [np.ones((9, 10, 12), bool), np.full(SHAPE, 2), np.full(SHAPE, 0.5), noise() * np.nan]
)
def test_what_is_no_mask_of_the_volume_is_not_written(tmp_path: Path, mask: np.ndarray) -> None:
    with pytest.raises(VolumeError, match="not written"):
        write_mask(mask, volume(tmp_path), tmp_path / "a.nii.gz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("data", [noise((9, 10, 12)), np.where(noise() > 100, np.nan, 1)])
def test_what_is_no_image_on_the_grid_is_not_written(tmp_path: Path, data: np.ndarray) -> None:
    with pytest.raises(VolumeError, match="not written"):
        write_image(data, volume(tmp_path), tmp_path / "a.nii.gz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError, MemoryError])
def test_an_interrupted_write_leaves_what_was_there(
    tmp_path: Path, stop: type[BaseException]
) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"before")

    def parts() -> Iterator[bytes]:
        yield b"half"
        raise stop("enough")

    with pytest.raises((VolumeError, KeyboardInterrupt, MemoryError)):
        write_atomically(path, parts())
    assert [file.name for file in tmp_path.iterdir()] == ["a.nii.gz"]
    assert path.read_bytes() == b"before"


def test_a_finished_write_replaces_what_a_link_points_to(tmp_path: Path) -> None:
    (tmp_path / "real.bin").write_bytes(b"before")
    (tmp_path / "link.bin").symlink_to(tmp_path / "real.bin")
    write_atomically(tmp_path / "link.bin", [b"af", b"ter"])
    assert (tmp_path / "link.bin").is_symlink()
    assert (tmp_path / "real.bin").read_bytes() == b"after"

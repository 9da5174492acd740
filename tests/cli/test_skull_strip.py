"""``strokedx skull-strip`` as a user meets it."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from strokedx_core.evaluation.metrics import dice
from strokedx_core.sample import sample_case
from strokedx_core.volume import read_mask


@pytest.fixture
def scan(tmp_path):
    """A copy of the sample T1W scan and its true mask."""
    source, truth = sample_case()["T1W"]
    path = tmp_path / "in" / "head.nii.gz"
    path.parent.mkdir()
    shutil.copy(source, path)
    return path, truth


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_one_scan_to_a_brain_and_a_mask_on_its_own_grid(strokedx, scan, tmp_path):
    path, truth = scan
    brain, mask = tmp_path / "out" / "brain.nii.gz", tmp_path / "out" / "mask.nii.gz"
    done = strokedx("skull-strip", path, "-o", brain, "-m", mask, "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    assert "ml" in done.stdout
    assert "cpu" in done.stdout
    assert "Research use only" in done.stdout
    source, stripped, found = (nib.load(file) for file in (path, brain, mask))
    for image in (stripped, found):
        assert image.shape == source.shape
        assert np.array_equal(image.affine, source.affine)
        assert image.header["qform_code"] == source.header["qform_code"]
        assert image.header["sform_code"] == source.header["sform_code"]
    inside = np.asarray(found.dataobj) != 0
    assert found.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(stripped.dataobj), np.asarray(source.dataobj) * inside)
    assert dice(inside, read_mask(truth).data) > 0.9
    assert files(tmp_path / "out") == ["brain.nii.gz", "mask.nii.gz"]


def test_report_and_quiet(strokedx, scan, tmp_path):
    path, _ = scan
    report = tmp_path / "report.json"
    done = strokedx("skull-strip", path, "--json", report, "--quiet", "--device", "cpu")
    assert done.exit_code == 0
    assert done.stdout + done.stderr == ""
    content = json.loads(report.read_text())
    assert "Research use only" in content["notice"]
    (entry,) = content["scans"]
    assert entry["input"] == str(path)
    assert 900 < entry["brain_ml"] < 2000
    assert entry["device"] == "cpu"
    assert entry["seconds"]["total"] > 0
    assert isinstance(entry["flags"], list)
    assert files(tmp_path) == ["head.nii.gz", "report.json"]


def test_a_batch_goes_on_past_scans_that_fail(strokedx, scan, tmp_path):
    path, _ = scan
    broken = tmp_path / "in" / "broken.nii.gz"
    broken.write_bytes(path.read_bytes()[:1000])
    missing = tmp_path / "in" / "missing.nii"
    out, report = tmp_path / "out", tmp_path / "report.json"
    done = strokedx("skull-strip", broken, path, missing, "-o", out, "--json", report)
    assert done.exit_code == 2
    assert str(broken) in done.stderr
    assert str(missing) in done.stderr
    assert "2 of 3" in done.stderr
    assert files(out) == ["head_brain.nii.gz", "head_mask.nii.gz"]
    entries = json.loads(report.read_text())["scans"]
    assert ["error" in entry for entry in entries] == [True, False, True]


def test_threshold_shrinks_the_mask(strokedx, scan, tmp_path):
    path, _ = scan
    counts = []
    for threshold in (0.1, 0.9):
        mask = tmp_path / "mask.nii.gz"
        done = strokedx("skull-strip", path, "-m", mask, "--threshold", threshold)
        assert done.exit_code == 0
        counts.append(np.count_nonzero(read_mask(mask).data))
    assert counts[0] > counts[1] > 0


def truncated(path):
    path.write_bytes(path.read_bytes()[:-2000])


def not_an_image(path):
    path.write_bytes(gzip.compress(b"no image at all" * 100))


def four_frames(path):
    image = nib.load(path)
    data = np.stack([np.asarray(image.dataobj)] * 4, axis=-1)
    nib.Nifti1Image(data, image.affine).to_filename(path)


def constant(path):
    nib.Nifti1Image(np.full((20, 20, 20), 7, np.int16), np.eye(4)).to_filename(path)


def mask_for_an_image(path):
    shutil.copy(sample_case()["T1W"][1], path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncated, ""),
        (not_an_image, ""),
        (four_frames, "frame"),
        (constant, "constant"),
        (mask_for_an_image, "mask"),
    ],
)
def test_bad_input_is_one_line_exit_code_2_and_nothing_written(
    strokedx_process, scan, tmp_path, damage, reason
):
    path, _ = scan
    damage(path)
    done = strokedx_process("skull-strip", path, "-o", tmp_path / "out" / "brain.nii.gz")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert str(path) in line
    assert reason in line
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_missing_input_is_refused_without_loading_anything_slow(strokedx_process, tmp_path):
    done = strokedx_process("skull-strip", tmp_path / "none.nii.gz", "-o", tmp_path / "b.nii.gz")
    assert done.returncode == 2
    assert "none.nii.gz" in done.stderr
    assert files(tmp_path) == []


def test_one_frame_of_a_series(strokedx, scan, tmp_path):
    path, _ = scan
    four_frames(path)
    mask = tmp_path / "mask.nii.gz"
    assert strokedx("skull-strip", path, "-m", mask, "--frame", 2).exit_code == 0
    assert nib.load(mask).shape == nib.load(path).shape[:3]
    assert strokedx("skull-strip", path, "-m", mask, "--frame", 4).exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("--device", "abacus"),
        ("--threshold", "1.5"),
        ("--threshold", "0"),
        ("--frame", "-1"),
        ("-m", "mask.png"),
        ("--weights", "none_of_that_name"),
        (),
    ],
    ids=lambda arguments: " ".join(arguments) or "nothing to write",
)
def test_usage_errors_leave_the_exit_code_at_2_and_write_nothing(
    strokedx_process, scan, tmp_path, arguments
):
    path, _ = scan
    wanted = ("-o", tmp_path / "brain.nii.gz") if arguments else ()
    done = strokedx_process("skull-strip", path, *wanted, *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr
    assert files(tmp_path) == ["head.nii.gz"]


def test_the_input_is_never_overwritten(strokedx, scan):
    path, _ = scan
    before = path.read_bytes()
    assert strokedx("skull-strip", path, "-o", path).exit_code == 2
    assert path.read_bytes() == before


def test_the_same_scan_gives_the_same_files(strokedx, scan, tmp_path):
    path, _ = scan
    for name in ("one", "two"):
        assert (
            strokedx("skull-strip", path, "-o", tmp_path / name, "--device", "cpu").exit_code == 0
        )
    for file in ("head_brain.nii.gz", "head_mask.nii.gz"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_scan_is_stripped_without_libraries_it_does_not_need(scan, tmp_path):
    path, _ = scan
    heavy = {"monai", "matplotlib", "rich", "tensorboard", "skimage", "napari"}
    code = (
        "import sys\n"
        "from strokedx_core.cli import app\n"
        f"app(['skull-strip', {str(path)!r}, '-o', {str(tmp_path / 'out')!r}], "
        "standalone_mode=False)\n"
        f"print('loaded:', *({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.splitlines()[-1] == "loaded:"

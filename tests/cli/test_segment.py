"""``strokedx segment`` as a user meets it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from lesion_rule import BLOBS, SPACING, ball, scan, use_rule

from strokedx_core.evaluation.metrics import dice
from strokedx_core.volume import read_mask, read_volume

SPL = np.array([[0, 0, -SPACING, 60], [0, -SPACING, 0, 70], [SPACING, 0, 0, -50], [0, 0, 0, 1.0]])
LESION = ball(*BLOBS["left"]) | ball(*BLOBS["right"])
INSIDE = "16,36,18"


@pytest.fixture
def rule(monkeypatch, tmp_path_factory):
    """The network marks what is bright, and follows clicks."""
    use_rule(monkeypatch, tmp_path_factory.mktemp("weights"))


@pytest.fixture
def case(tmp_path):
    """Folder of a stripped case: dwi and adc on one grid, flair on another."""
    folder = tmp_path / "in"
    folder.mkdir()
    head = scan()
    plain = np.where(LESION, head / 4, head)
    save(head * 10, folder / "dwi.nii.gz")
    adc = np.where(ball((18, 24, 20), 8) & ~LESION, plain * 2, plain)
    save(np.where(LESION, adc / 2, adc) * 8, folder / "adc.nii.gz")
    affine = SPL @ np.diag([2.0, 1, 1, 1])
    affine[:3, 3] += SPL[:3, :3] @ [0.5, 0, 0]
    save((head[::2] + head[1::2]) * 5, folder / "flair.nii.gz", affine)
    save(LESION, folder / "mask.nii.gz", dtype=np.uint8)
    return folder


def save(data, path, affine=SPL, dtype=np.int16):
    image = nib.Nifti1Image(np.rint(data).astype(dtype), affine)
    image.header.set_xyzt_units("mm")
    image.to_filename(path)


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def arguments(case, *names):
    return [part for name in names for part in (f"--{name}", case / f"{name}.nii.gz")]


OPTIONS = ("--no-skull-strip", "--device", "cpu")


@pytest.mark.usefixtures("rule")
def test_a_case_to_a_mask_on_the_grid_of_its_first_image(strokedx, case, tmp_path):
    out, chance = tmp_path / "out" / "lesion.nii.gz", tmp_path / "out" / "p.nii.gz"
    given = arguments(case, "dwi", "adc")
    done = strokedx("segment", "--type", "ischemic", *given, "-o", out, "-p", chance, *OPTIONS)
    assert done.exit_code == 0, done.stderr
    source, mask, probability = (nib.load(p) for p in (case / "dwi.nii.gz", out, chance))
    for image in (mask, probability):
        assert image.shape == source.shape
        assert np.array_equal(image.affine, source.affine)
        assert image.header["sform_code"] == source.header["sform_code"]
    assert mask.get_data_dtype() == np.uint8
    assert probability.get_data_dtype() == np.float32
    found = np.asarray(mask.dataobj) > 0
    assert dice(found, LESION) > 0.85
    values = np.asarray(probability.dataobj)
    assert 0 <= values.min() < values.max() <= 1
    assert np.array_equal(values >= 0.5, found)
    assert done.stdout.startswith(f"2 ischemic lesions, {found.sum() * 0.027:.2f} ml, ")
    assert "1: " in done.stdout
    assert "left" in done.stdout
    assert str(out) in done.stdout
    assert "Research use only" in done.stdout
    assert files(tmp_path / "out") == ["lesion.nii.gz", "p.nii.gz"]


@pytest.mark.usefixtures("rule")
@pytest.mark.parametrize("order", [("dwi", "flair"), ("flair", "dwi"), ("adc", "flair", "dwi")])
def test_the_order_on_the_command_line_decides_the_grid(strokedx, case, tmp_path, order):
    out = tmp_path / "lesion.nii.gz"
    assert strokedx("segment", "-o", out, *OPTIONS, *arguments(case, *order)).exit_code == 0
    assert nib.load(out).shape == nib.load(case / f"{order[0]}.nii.gz").shape


@pytest.mark.usefixtures("rule")
def test_report_and_quiet(strokedx, case, tmp_path):
    out, report = tmp_path / "lesion.nii.gz", tmp_path / "out" / "report.json"
    given = ("segment", *arguments(case, "flair", "dwi"), "-o", out, *OPTIONS)
    done = strokedx(*given, "--json", report, "--quiet")
    assert done.exit_code == 0
    assert done.stdout + done.stderr == ""
    content = json.loads(report.read_text())
    assert "Research use only" in content["notice"]
    (entry,) = content["cases"]
    assert list(entry["inputs"]) == ["FLAIR", "DWI"]
    assert entry["type"] == "general"
    assert [lesion["side"] for lesion in entry["lesions"]] == ["left", "right"]
    total = sum(lesion["ml"] for lesion in entry["lesions"])
    assert total == pytest.approx(entry["lesion_ml"], abs=0.01)
    voxel = tuple(entry["lesions"][0]["voxel"])
    assert read_mask(out).data[voxel]
    assert entry["device"] == "cpu"
    assert entry["seconds"]["total"] > 0
    assert entry["flags"] == []


@pytest.mark.usefixtures("rule")
def test_no_lesion_is_no_error(strokedx, case, tmp_path):
    out = tmp_path / "lesion.nii.gz"
    given = arguments(case, "dwi")
    done = strokedx("segment", "--type", "hemorrhagic", *given, "-o", out, *OPTIONS)
    assert done.exit_code == 0
    assert done.stdout.startswith("no hemorrhagic lesions, 0.00 ml")
    assert not read_mask(out).data.any()


@pytest.mark.usefixtures("rule")
def test_flags_reach_the_terminal(strokedx, case, tmp_path):
    given = ("--dwi", case / "adc.nii.gz", "--flair", case / "adc.nii.gz")
    done = strokedx("segment", *given, "-o", tmp_path / "lesion.nii.gz", *OPTIONS)
    assert done.exit_code == 0
    assert "same-image: DWI and FLAIR are the same image" in done.stdout


@pytest.mark.usefixtures("rule")
def test_clicks_change_the_mask(strokedx, case, tmp_path):
    from strokedx_core.inference.segment import Click, segment_lesions

    out = tmp_path / "lesion.nii.gz"
    given = ("segment", *arguments(case, "dwi"), "-o", out, *OPTIONS)
    clicks = ("--click", f"{INSIDE},+", "--click", "18,20,28,-")
    assert strokedx(*given, *clicks).exit_code == 0
    mask = read_mask(out).data
    assert mask[16, 36, 18]
    assert not mask[18, 20, 28]
    expected = segment_lesions(
        {"DWI": case / "dwi.nii.gz"},
        clicks=[Click((16, 36, 18)), Click((18, 20, 28), positive=False)],
        skull_strip=False,
        device="cpu",
    )
    assert np.array_equal(mask, expected.mask)
    save(np.zeros(LESION.shape), tmp_path / "empty.nii.gz")
    start = ("--previous", tmp_path / "empty.nii.gz", "--click", f"{INSIDE},+")
    assert strokedx(*given, *start, "--type", "hemorrhagic").exit_code == 0
    alone = read_mask(out).data
    assert alone[16, 36, 18]
    assert not alone[20, 24, 12]


@pytest.mark.usefixtures("rule")
def test_threshold_shrinks_the_mask(strokedx, case, tmp_path):
    counts = []
    for threshold in (0.1, 0.9):
        out = tmp_path / "lesion.nii.gz"
        given = (*arguments(case, "dwi"), "-o", out, "--threshold", threshold)
        assert strokedx("segment", *given, *OPTIONS).exit_code == 0
        counts.append(read_mask(out).data.sum())
    assert counts[0] > counts[1] > 0


@pytest.mark.usefixtures("rule")
def test_the_adc_is_computed_where_the_b_value_is_given(strokedx, case, tmp_path, monkeypatch):
    from strokedx_core.inference import segment

    dwi = read_volume(case / "dwi.nii.gz")
    save(dwi.data * np.exp(0.8), case / "b0.nii.gz")
    seen = {}
    run = segment.segment_lesions

    def spying(volumes, **options):
        seen.update(volumes)
        return run(volumes, **options)

    monkeypatch.setattr(segment, "segment_lesions", spying)
    given = (*arguments(case, "dwi", "b0"), "--b-value", "1000", "-o", tmp_path / "l.nii.gz")
    done = strokedx("segment", *given, *OPTIONS)
    assert done.exit_code == 0, done.stderr
    assert list(seen) == ["DWI", "B0", "ADC"]
    assert np.median(seen["ADC"].data[dwi.data > 500]) == pytest.approx(800, rel=0.01)


def truncated(case):
    path = case / "dwi.nii.gz"
    path.write_bytes(path.read_bytes()[:-500])


def not_an_image(case):
    (case / "dwi.nii.gz").write_bytes(gzip.compress(b"no image at all" * 100))


def negative_adc(case):
    save(-read_volume(case / "adc.nii.gz").data, case / "adc.nii.gz")


def somewhere_else(case):
    far = SPL.copy()
    far[:3, 3] += 400
    save(scan() * 10, case / "adc.nii.gz", far)


def mask_for_an_image(case):
    save(LESION, case / "adc.nii.gz", dtype=np.uint8)


def four_frames(case):
    image = nib.load(case / "dwi.nii.gz")
    data = np.stack([np.asarray(image.dataobj)] * 3, axis=-1)
    nib.Nifti1Image(data, image.affine).to_filename(case / "dwi.nii.gz")


@pytest.mark.parametrize(
    ("damage", "names", "reason"),
    [
        (truncated, ["dwi.nii.gz"], ""),
        (not_an_image, ["dwi.nii.gz"], ""),
        (four_frames, ["dwi.nii.gz"], "frame"),
        (negative_adc, ["adc.nii.gz"], "negative"),
        (somewhere_else, ["dwi.nii.gz", "adc.nii.gz"], "does not lie where"),
        (mask_for_an_image, ["adc.nii.gz"], "a mask"),
    ],
)
@pytest.mark.usefixtures("rule")
def test_bad_input_is_one_line_exit_code_2_and_nothing_written(
    strokedx, case, tmp_path, damage, names, reason
):
    damage(case)
    given = (*arguments(case, "dwi", "adc"), "-o", tmp_path / "out" / "lesion.nii.gz")
    done = strokedx("segment", *given, *OPTIONS)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert all(name in line for name in names)
    assert reason in line
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--click", "36,0,0,+"), "outside the image, whose voxels are 0,0,0 to 35,47,39"),
        (("--click", "1,2,+"), "--click takes I,J,K,+"),
        (("--click", "1,2,3"), "--click takes I,J,K,+"),
        (("--click", "1.5,2,3,+"), "--click takes I,J,K,+"),
        (("--threshold", "1"), "--threshold must lie between"),
        (("--type", "tumour"), "--type must be general, ischemic, hemorrhagic"),
        (("--b-value", "1000"), "give both"),
        (("--previous", "in/mask.nii.gz"), "at least one --click"),
        (("--previous", "in/flair.nii.gz", "--click", f"{INSIDE},+"), "not a mask"),
        (("--previous", "in/none.nii.gz", "--click", f"{INSIDE},+"), "none.nii.gz"),
        (("--previous", "small.nii.gz", "--click", f"{INSIDE},+"), "not on the grid of"),
        (("--weights", "skull_strip"), "not for lesions"),
        (("--weights", "none_of_that_name"), "no weights named"),
        (("-p", "p.png"), "-p takes a file ending in"),
        (("-p", "out/lesion.nii.gz"), "would hold the results of both"),
        (("--json", "in/dwi.nii.gz"), "is an input"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_usage_errors_are_one_line_exit_code_2_and_nothing_written(
    request, strokedx, case, tmp_path, monkeypatch, options, reason
):
    if "--weights" not in options:
        request.getfixturevalue("rule")
    save(LESION[:10], tmp_path / "small.nii.gz", dtype=np.uint8)
    monkeypatch.chdir(tmp_path)
    before = files(tmp_path)
    given = (*arguments(Path("in"), "dwi"), "-o", Path("out") / "lesion.nii.gz")
    done = strokedx("segment", *given, *OPTIONS, *options)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert reason in line
    assert done.stdout == ""
    assert files(tmp_path) == before


def test_at_least_one_sequence(strokedx, tmp_path):
    done = strokedx("segment", "-o", tmp_path / "lesion.nii.gz")
    assert done.exit_code == 2
    assert done.stderr == "Error: no sequence was given: name at least one, such as --dwi FILE\n"


def test_the_input_is_never_overwritten(strokedx, case):
    before = (case / "dwi.nii.gz").read_bytes()
    done = strokedx("segment", *arguments(case, "dwi"), "-o", case / "dwi.nii.gz", *OPTIONS)
    assert done.exit_code == 2
    assert (case / "dwi.nii.gz").read_bytes() == before


def test_a_bad_input_is_refused_without_loading_anything_slow(strokedx_process, case, tmp_path):
    mask_for_an_image(case)
    given = arguments(case, "dwi", "adc")
    done = strokedx_process("segment", *given, "-o", tmp_path / "lesion.nii.gz")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.usefixtures("rule")
def test_the_same_case_gives_the_same_files(strokedx, case, tmp_path):
    for name in ("one.nii.gz", "two.nii.gz"):
        given = (
            *arguments(case, "dwi", "adc"),
            "-o",
            tmp_path / name,
            "-p",
            tmp_path / f"p_{name}",
        )
        assert strokedx("segment", *given, *OPTIONS).exit_code == 0
    for prefix in ("", "p_"):
        one, two = ((tmp_path / f"{prefix}{name}.nii.gz").read_bytes() for name in ("one", "two"))
        assert one == two

"""``strokedx evaluate lesion`` as a user meets it."""

from __future__ import annotations

import base64
import csv
import json
import re

import matplotlib.image
import nibabel as nib
import numpy as np
import pytest
from heads import ellipsoid_head

from strokedx_core.cli.pairs import PairingError, match

HEAD = ellipsoid_head((32, 36, 20), (6, 6, 9))
FILES = ["cases.csv", "summary.json", "worst_cases.html"]


def box(*corner, size=4):
    mask = np.zeros(HEAD.data.shape, np.uint8)
    i, j, k = corner
    mask[i : i + size, j : j + size, k : k + size] = 1
    return mask


def save(path, data, affine=HEAD.affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(data, affine).to_filename(path)
    return path


@pytest.fixture
def study(tmp_path):
    """Predictions, references and scans of four cases; the worst is `half`."""
    nothing = box(0, 0, 0, size=0)
    cases = {
        "exact": (box(10, 10, 8), box(10, 10, 8)),
        "half": (box(10, 10, 8) | box(20, 20, 8), box(12, 10, 8) | box(20, 10, 8, size=2)),
        "near": (box(10, 11, 8), box(10, 10, 8)),
        "healthy": (nothing, nothing),
    }
    for case, (prediction, reference) in cases.items():
        save(tmp_path / "made" / f"{case}.nii.gz", prediction)
        save(tmp_path / "true" / f"sub-{case}" / f"{case}_msk.nii", reference * np.float32(7))
        save(tmp_path / "scans" / f"{case}_dwi.nii.gz", HEAD.data)
    return tmp_path


def evaluate(strokedx, study, *options):
    return strokedx(
        "evaluate", "lesion", study / "made", study / "true", "--reference-suffix", "_msk", *options
    )


def written(folder):
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


def pictures(page):
    return [base64.b64decode(data) for data in re.findall(r"data:image/png;base64,([^\"]+)", page)]


def test_folders(strokedx, study, tmp_path):
    out = tmp_path / "results" / "new"
    done = evaluate(
        strokedx, study, "--out", out, "--images", study / "scans", "--image-suffix", "_dwi"
    )
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    assert "Research use only" in done.stdout
    assert re.search(r"^half +0\.3\d\d ", done.stdout, re.MULTILINE)
    assert "Cases: 4. Lesions: 3 of 4 found, 1 false." in done.stdout
    assert "Empty references: 1, of which 1 with an empty prediction." in done.stdout
    assert written(out) == FILES

    with (out / "cases.csv").open(encoding="utf-8", newline="") as stream:
        rows = {row["case"]: row for row in csv.DictReader(stream)}
    assert list(rows) == ["exact", "half", "healthy", "near"]
    assert float(rows["exact"]["dice"]) == float(rows["healthy"]["dice"]) == 1
    assert float(rows["near"]["dice"]) == 0.75
    assert float(rows["near"]["hausdorff95_mm"]) == 6
    assert float(rows["half"]["dice"]) == pytest.approx(2 * 32 / (128 + 72), abs=1e-6)
    counts = ("reference", "predicted", "found", "missed", "false")
    assert [int(rows["half"][f"{name}_lesions"]) for name in counts] == [2, 2, 1, 1, 1]
    voxel_ml = 6 * 6 * 9 / 1000
    assert float(rows["half"]["volume_difference_ml"]) == pytest.approx((128 - 72) * voxel_ml)
    assert rows["half"]["reference"].endswith("sub-half/half_msk.nii")

    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert "Research use only" in summary["notice"]
    assert summary["cases"] == 4
    assert summary["worst_first"] == ["half", "near"]
    dice = summary["measures"]["dice"]
    assert dice["cases"] == 4
    scores = [float(row["dice"]) for row in rows.values()]
    assert dice["mean"]["value"] == pytest.approx(np.mean(scores), abs=1e-6)
    assert min(scores) <= dice["mean"]["low"] < dice["mean"]["value"] < dice["mean"]["high"] <= 1

    page = (out / "worst_cases.html").read_text(encoding="utf-8")
    assert re.findall(r"<h3>(.*)</h3>", page) == ["half", "near"]
    assert "Research use only" in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    drawn = pictures(page)
    assert len(drawn) == 2
    with (tmp_path / "half.png").open("wb") as stream:
        stream.write(drawn[0])
    red, green, blue = np.moveaxis(matplotlib.image.imread(tmp_path / "half.png")[80:, :, :3], 2, 0)
    assert ((red > 0.8) & (blue < 0.2)).any()
    assert ((blue > 0.8) & (red < 0.2)).any()
    assert ((abs(red - green) < 0.01) & (red > 0.4) & (red < 0.9)).any()


def test_two_files_whatever_their_names(strokedx, study):
    done = strokedx(
        "evaluate", "lesion", study / "made" / "near.nii.gz", study / "true/sub-near/near_msk.nii"
    )
    assert done.exit_code == 0, done.stderr
    assert "0.750" in done.stdout
    assert "interval" not in done.stdout
    assert written(study / "out") == []


def test_the_same_command_writes_the_same_bytes(strokedx, study):
    contents = []
    for _ in range(2):
        assert evaluate(strokedx, study, "--out", study / "out", "--quiet").exit_code == 0
        contents.append([(study / "out" / name).read_bytes() for name in FILES])
    assert contents[0] == contents[1]


def test_quiet_and_the_number_of_worst_cases(strokedx, study):
    done = evaluate(strokedx, study, "--out", study / "out", "--worst", 1, "-q")
    assert done.stdout + done.stderr == ""
    page = (study / "out" / "worst_cases.html").read_text(encoding="utf-8")
    assert re.findall(r"<h3>(.*)</h3>", page) == ["half"]


def test_files_that_stay_alone_are_named_everywhere_and_not_counted(strokedx, study):
    save(study / "made" / "extra.nii.gz", box(1, 1, 1))
    (study / "made" / "near.nii.gz").unlink()
    save(study / "true" / "notes.nii.gz", box(1, 1, 1))
    (study / "scans" / "half_dwi.nii.gz").unlink()
    done = evaluate(
        strokedx, study, "--out", study / "out", "--images", study / "scans", "--image-suffix",
        "_dwi",
    )  # fmt: skip
    assert done.exit_code == 0
    assert "Cases: 3." in done.stdout
    lines = done.stderr.splitlines()
    assert [line.split(": ")[1].split(" (")[0] for line in lines] == [
        "Predictions without a reference, not counted",
        "References without a prediction, not counted",
        "Names without the suffix asked for, not looked at",
        "Cases without a scan to draw on",
    ]
    for line, name in zip(lines, ("extra.nii.gz", "near_msk.nii", "notes", "half"), strict=True):
        assert name in line
    summary = json.loads((study / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["predictions_without_reference"] == [str(study / "made" / "extra.nii.gz")]
    assert len(summary["references_without_prediction"]) == 1
    page = (study / "out" / "worst_cases.html").read_text(encoding="utf-8")
    assert "extra.nii.gz" in page
    assert "near_msk.nii" in page


def test_storage_order_of_predictions_and_grids_of_scans_may_differ(strokedx, study):
    for path in (study / "made").iterdir():
        turn = nib.orientations.axcodes2ornt("PSL")
        nib.load(path).as_reoriented(turn).to_filename(path)
    for path in (study / "scans").iterdir():
        other = ellipsoid_head((40, 40, 30), (5, 5, 7))
        save(path, other.data, other.affine)
    done = evaluate(
        strokedx, study, "--out", study / "out", "--images", study / "scans", "--image-suffix",
        "_dwi",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert re.search(r"^near +0\.750 ", done.stdout, re.MULTILINE)


def test_label_maps_are_taken_when_asked(strokedx, study):
    numbered = box(10, 10, 8) | box(20, 20, 8) * 2
    save(study / "made" / "half.nii.gz", numbered)
    refused = evaluate(strokedx, study, "--out", study / "out")
    assert refused.exit_code == 2
    assert "half.nii.gz: not a mask" in refused.stderr
    assert "--labels" in refused.stderr
    assert written(study / "out") == []
    taken = evaluate(strokedx, study, "--out", study / "out", "--labels")
    assert taken.exit_code == 0, taken.stderr
    assert re.search(r"^half +0\.320 ", taken.stdout, re.MULTILINE)
    save(study / "made" / "half.nii.gz", numbered / np.float32(3))
    refused = evaluate(strokedx, study, "--labels")
    assert refused.exit_code == 2
    assert "not a label map" in refused.stderr


def test_flags_reach_terminal_table_and_summary(strokedx, study):
    spotted = box(10, 11, 8).astype(np.float32)
    spotted[0, 0, 0] = np.nan
    save(study / "made" / "near.nii.gz", spotted)
    done = evaluate(strokedx, study, "--out", study / "out")
    assert done.exit_code == 0
    assert "non-finite" in done.stdout
    for name in FILES:
        assert "NaN or infinite" in (study / "out" / name).read_text(encoding="utf-8")
    summary = json.loads((study / "out" / "summary.json").read_text(encoding="utf-8"))
    assert [flag["code"] for flag in summary["flags"]["near"]] == ["non-finite"]


def other_shape(study):
    save(study / "made" / "near.nii.gz", box(10, 11, 8)[1:])
    return "near.nii.gz: on another grid than .*31 × 36 × 20 voxels"


def other_place(study):
    affine = HEAD.affine.copy()
    affine[0, 3] += 2
    save(study / "made" / "near.nii.gz", box(10, 11, 8), affine)
    return "near.nii.gz: on another grid than .*up to 2 mm"


def two_at_once(study):
    other_shape(study)
    (study / "made" / "half.nii.gz").write_bytes(b"")
    return "(?s)half.nii.gz: the file is empty.*near.nii.gz: on another grid.*2 of 4 cases"


def truncated(study):
    path = study / "true" / "sub-near" / "near_msk.nii"
    path.write_bytes(path.read_bytes()[:-500])
    return "near_msk.nii: truncated"


def probabilities(study):
    save(study / "made" / "near.nii.gz", np.linspace(0, 1, HEAD.data.size).reshape(HEAD.data.shape))
    return "near.nii.gz: not a mask"


def four_frames(study):
    save(study / "made" / "near.nii.gz", np.stack([box(10, 11, 8)] * 4, axis=-1))
    return "near.nii.gz: a 4-D image"


def scan_is_a_mask(study):
    save(study / "scans" / "near_dwi.nii.gz", box(10, 11, 8))
    return "near_dwi.nii.gz: a mask"


def scan_elsewhere(study):
    affine = HEAD.affine.copy()
    affine[0, 3] += 900
    save(study / "scans" / "near_dwi.nii.gz", HEAD.data, affine)
    return "near_dwi.nii.gz: does not lie where"


def no_folder(study):
    (study / "made").rename(study / "elsewhere")
    return "made: no such file or folder"


def empty_folder(study):
    for path in (study / "made").iterdir():
        path.unlink()
    return "made: holds no images"


def other_suffix(study):
    for path in (study / "true").rglob("*.nii"):
        path.rename(path.with_name("x" + path.name.replace("_msk", "")))
    return "no image has a name that ends in _msk"


def nothing_in_common(study):
    for path in (study / "made").iterdir():
        path.rename(path.with_name("my_" + path.name))
    return "no prediction has the name of a reference .*--prediction-suffix"


def same_name_twice(study):
    save(study / "made" / "near.nii", box(10, 11, 8))
    return "are both named near"


def out_is_a_file(study):
    (study / "out").write_text("mine")
    return "out is a file"


def file_and_folder(study):
    (study / "true").rename(study / "folder")
    save(study / "true.nii", box(1, 1, 1)).rename(study / "true")
    return "files or folders, not both"


@pytest.mark.parametrize(
    "spoil",
    [
        other_shape, other_place, two_at_once, truncated, probabilities, four_frames,
        scan_is_a_mask, scan_elsewhere, no_folder, empty_folder, other_suffix, nothing_in_common,
        same_name_twice, out_is_a_file, file_and_folder,
    ],
)  # fmt: skip
def test_bad_input_is_named_and_nothing_is_written(strokedx, study, spoil):
    message = spoil(study)
    before = written(study)
    done = evaluate(
        strokedx, study, "--out", study / "out", "--images", study / "scans", "--image-suffix",
        "_dwi",
    )  # fmt: skip
    assert done.exit_code == 2
    assert re.search(message, done.stderr), done.stderr
    assert done.stderr.startswith("Error: ")
    assert written(study) == before


def test_images_without_a_place_for_pictures_and_masks_beside_themselves(strokedx, study):
    done = evaluate(strokedx, study, "--images", study / "scans")
    assert done.exit_code == 2
    assert "--out" in done.stderr
    for path in (study / "made", study / "made" / "near.nii.gz"):
        done = strokedx("evaluate", "lesion", path, path)
        assert done.exit_code == 2
        assert "compared with itself" in done.stderr


def test_in_a_process_of_its_own(strokedx_process, study):
    done = evaluate(strokedx_process, study, "--out", study / "out")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert written(study / "out") == FILES


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_names_that_repeat_are_told_apart_by_their_folders(tmp_path):
    made = touch(tmp_path / "made", "sub-01/lesion.nii.gz", "sub-02/lesion.nii.gz")
    true = touch(tmp_path / "true", "sub-01/mask.nii", "sub-02/mask.nii", "sub-03/mask.nii")
    found = match(made, true, suffixes=("lesion", "mask", ""))
    assert [pair.case for pair in found.pairs] == ["sub-01", "sub-02"]
    assert found.pairs[1].prediction == made / "sub-02" / "lesion.nii.gz"
    assert found.references_alone == (true / "sub-03" / "mask.nii",)


def test_predictions_and_references_in_one_folder(tmp_path):
    folder = touch(tmp_path, "a_pred.nii", "a_true.nii.gz", "b_pred.nii", "b_true.mgz", "c.txt")
    found = match(folder, folder, suffixes=("_pred", "_true", ""))
    assert [pair.case for pair in found.pairs] == ["a", "b"]
    assert found.pairs[1].reference == folder / "b_true.mgz"


def test_hidden_files_are_no_cases(tmp_path):
    made = touch(tmp_path / "made", "a.nii", "._a.nii", ".trash/b.nii")
    found = match(made, touch(tmp_path / "true", "a.nii"))
    assert [pair.case for pair in found.pairs] == ["a"]
    assert found.predictions_alone == ()


def test_one_name_for_two_references(tmp_path):
    true = touch(tmp_path / "true", "x/a.nii", "x/a.mgz")
    with pytest.raises(PairingError, match=r"a\.mgz and .*a\.nii are both named x/a"):
        match(touch(tmp_path / "made", "a.nii"), true)

"""``strokedx analyze``: one command from sequences to masks, captions and a page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from lesion_rule import BLOBS, SPACING, ball, scan, use_rule
from typer.testing import Result

from strokedx_core.evaluation.metrics import dice

Strokedx = Callable[..., Result]
AFFINE = np.array(
    [[0, 0, -SPACING, 60], [0, -SPACING, 0, 70], [SPACING, 0, 0, -50], [0, 0, 0, 1.0]]
)
LESION = ball(*BLOBS["left"]) | ball(*BLOBS["right"])


@pytest.fixture
def dwi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stripped scan with two bright lesions; the network marks what is bright."""
    (tmp_path / "weights").mkdir()
    use_rule(monkeypatch, tmp_path / "weights")
    path = tmp_path / "dwi.nii.gz"
    nib.Nifti1Image(np.rint(scan() * 10).astype(np.int16), AFFINE).to_filename(path)
    return path


def test_everything_in_one_folder(strokedx: Strokedx, tmp_path: Path, dwi: Path) -> None:
    people = tmp_path / "participants.tsv"
    people.write_text("participant_id\tage\nsub-7\t63\n")
    out = tmp_path / "new" / "case"
    done = strokedx("analyze", "--dwi", dwi, "-o", out, "--type", "ischemic", "--device", "cpu",
                    "--history", people, "--subject", "sub-7")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == [
        "brain_mask.nii.gz", "captions.json", "captions.tsv", "lesion_mask.nii.gz",
        "lesion_probability.nii.gz", "report.html",
    ]  # fmt: skip
    mask = nib.load(out / "lesion_mask.nii.gz")
    assert np.array_equal(mask.affine, AFFINE)
    found = np.asarray(mask.dataobj) > 0
    assert dice(found, LESION) > 0.85
    content = json.loads((out / "captions.json").read_text(encoding="utf-8"))
    text = content["captions"]["case"]["text"]
    assert text.startswith("63 years old. 2 infarcts, ")
    assert "on both sides" in text
    assert done.stdout.splitlines()[0] == text
    measured = content["findings"]["case"]
    assert measured["volume"]["value"] == pytest.approx(found.sum() * SPACING**3 / 1000, rel=1e-5)
    assert measured["dwi_ratio"]["value"] == pytest.approx(4, rel=0.1)
    page = (out / "report.html").read_text(encoding="utf-8")
    for said in (text, *(one["text"] for one in content["captions"]["lesions"])):
        assert said in page
    assert len(re.findall('<img[^>]+src="data:image/png', page)) == 2
    assert "Research use only" in page
    assert not re.search(r"(src|href)=\"http", page), "it needs no network"


def test_no_lesion_has_a_page_too(strokedx: Strokedx, tmp_path: Path, dwi: Path) -> None:
    out = tmp_path / "case"
    done = strokedx("analyze", "--dwi", dwi, "-o", out, "--type", "hemorrhagic", "--device", "cpu",
                    "--language", "de")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("Keine Blutung markiert.")
    assert "None is marked." in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name at least one"),
        (("--dwi", "missing.nii.gz"), "missing.nii.gz"),
        (("--dwi", "dwi.nii.gz", "--b-value", "1000"), "give both"),
        (("--dwi", "dwi.nii.gz", "--type", "tumour"), "--type must be"),
        (("--dwi", "dwi.nii.gz", "--subject", "7"), "give both"),
    ],
)
def test_unusable(
    strokedx: Strokedx, dwi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...], words: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    done = strokedx("analyze", *arguments, "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert words in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_folder(strokedx: Strokedx, dwi: Path) -> None:
    done = strokedx("analyze", "--dwi", dwi, "-o", dwi)
    assert done.exit_code == 2
    assert "is a file" in done.stderr

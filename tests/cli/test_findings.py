"""``strokedx findings`` and ``strokedx caption``: files in, words and JSON out."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import atlases
import jsonschema
import nibabel as nib
import numpy as np
import pytest
from typer.testing import Result

from strokedx_core.captions.schema import json_schema
from strokedx_core.weights import find_weights

Strokedx = Callable[..., Result]


@pytest.fixture
def lesion(tmp_path: Path) -> Path:
    mask = atlases.ball((-40, 8, 40), 16) | atlases.ball((40, 8, 40), 8)
    return atlases.write_mask(tmp_path / "lesion.nii.gz", mask)


@pytest.fixture
def dwi(tmp_path: Path) -> Path:
    bright = atlases.ball((-40, 8, 40), 16)
    data = np.where(bright, 900, 400) + 40 * np.random.default_rng(0).normal(size=atlases.SHAPE)
    path = tmp_path / "dwi.nii.gz"
    inside = atlases.labels() > 0
    nib.Nifti1Image((data * inside).astype(np.float32), atlases.AFFINE).to_filename(path)
    return path


def test_findings_of_a_mask_in_mni_space(strokedx: Strokedx, tmp_path: Path, lesion: Path) -> None:
    image, table = atlases.write(tmp_path)
    out = tmp_path / "new" / "findings.json"
    done = strokedx("findings", "--lesion", lesion, "--in-mni", "--atlas", image,
                    "--atlas-labels", table, "-o", out)  # fmt: skip
    assert done.exit_code == 0, done.stderr
    content = json.loads(out.read_text(encoding="utf-8"))
    about = {content.pop(name) and name for name in ("program", "notice", "inputs")}
    assert about == {"program", "notice", "inputs"}
    assert content.pop("flags") == []
    jsonschema.validate(content, json_schema())
    assert content["case"]["count"]["value"] == 2
    lines = done.stdout.splitlines()
    assert lines[0].startswith("2 lesions, ")
    assert lines[1].endswith(" mm long, left, MCA left 98%")
    assert "not assessable, no DWI was given: dwi_ratio, dwi_flair_mismatch" in done.stdout
    assert lines[-1] == "Research use only: not a medical device."


def test_brain_mask_tells_the_sides(strokedx: Strokedx, tmp_path: Path, lesion: Path) -> None:
    brain = atlases.write_mask(tmp_path / "brain.nii.gz", atlases.labels() > 0)
    done = strokedx("caption", "--lesion", lesion, "--brain", brain, "--length", "line")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith("on the left")
    assert done.stdout.splitlines()[1].endswith("on the right")


def test_brain_is_found_where_none_is_given(
    strokedx: Strokedx, tmp_path: Path, lesion: Path, dwi: Path
) -> None:
    done = strokedx("caption", "--lesion", lesion, "--dwi", dwi, "--length", "line")
    assert done.exit_code == 0, done.stderr
    assert "in the left " in done.stdout.splitlines()[0]
    assert "already-stripped" in done.stdout


def test_any_sequence_shows_the_anatomy(
    strokedx: Strokedx, tmp_path: Path, lesion: Path, dwi: Path
) -> None:
    out = tmp_path / "findings.json"
    done = strokedx("findings", "--lesion", lesion, "--swi", dwi, "-o", out)
    assert done.exit_code == 0, done.stderr
    content = json.loads(out.read_text(encoding="utf-8"))
    assert content["case"]["lobes"]["value"]
    assert "no DWI was given" in content["case"]["dwi_ratio"]["not_assessable"]


def test_a_network_of_ones_own_writes(
    strokedx: Strokedx, tmp_path: Path, lesion: Path, dwi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = {name: find_weights(name) for name in ("caption", "caption_type")}
    monkeypatch.setenv("STROKEDX_WEIGHTS", str(tmp_path / "installed"))
    done = strokedx("weights", "install", shipped["caption"], "--name", "mine")
    assert done.exit_code == 0, done.stderr
    texts = []
    for given in ((), ("--weights", "mine", "--type-weights", shipped["caption_type"])):
        out = tmp_path / f"{len(texts)}.json"
        done = strokedx("caption", "--lesion", lesion, "--dwi", dwi, "--neural", *given, "-o", out)
        assert done.exit_code == 0, done.stderr
        assert "network, checked: " in done.stdout
        texts.append(json.loads(out.read_text(encoding="utf-8"))["captions"]["neural"])
    assert texts[0] == texts[1]


def test_caption_files(strokedx: Strokedx, tmp_path: Path, lesion: Path) -> None:
    people = tmp_path / "participants.tsv"
    people.write_text("participant_id\tage\tsex\nsub-7\t63\tF\n")
    out = tmp_path / "caption.json"
    done = strokedx("caption", "--lesion", lesion, "--in-mni", "--history", people, "--subject",
                    "7", "--type", "ischemic", "--language", "de", "-o", out)  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("63 Jahre alt, weiblich. 2 Infarkte, zusammen ")
    content = json.loads(out.read_text(encoding="utf-8"))
    assert content["history"] == {"age": 63, "sex": "female", "nihss": None, "prior_stroke": None}
    assert content["captions"]["case"]["text"] == done.stdout.strip()
    assert [one["number"] for one in content["captions"]["lesions"]] == [1, 2]
    with out.with_suffix(".tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["level"] for row in rows[:3]] == ["case", "lesion", "lesion"]
    slices = [row for row in rows if row["level"] == "slice"]
    found = content["findings"]["case"]["slices"]["value"]
    assert [int(slices[0]["number"]), int(slices[-1]["number"])] == found
    assert slices[0]["text"].startswith(f"Schicht {found[0]}: ")


def test_sentence_for_each_slice(strokedx: Strokedx, lesion: Path) -> None:
    done = strokedx("caption", "--lesion", lesion, "--length", "slice")
    lines = done.stdout.splitlines()
    assert all(line.startswith("slice ") for line in lines[:-1])
    assert lines[-1] == "Research use only: not a medical device."


@pytest.mark.parametrize("length", ["line", "slice", "case"])
def test_nothing_marked(strokedx: Strokedx, tmp_path: Path, length: str) -> None:
    empty = atlases.write_mask(tmp_path / "empty.nii.gz", np.zeros(atlases.SHAPE))
    done = strokedx("caption", "--lesion", empty, "--length", length)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("No stroke lesion is marked.")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--type", "tumour"), "--type must be"),
        (("--language", "xx"), "--language must be de, en"),
        (("--history", "people.tsv"), "give both"),
        (("--subject", "7"), "give both"),
        (("--history", "people.tsv", "--subject", "7"), "people.tsv"),
        (("--atlas", "atlas.nii.gz"), "give both"),
        (("--atlas", "atlas.nii.gz", "--atlas-labels", "atlas.tsv"), "say --in-mni"),
        (("-o", "caption.nii.gz"), "a file of text"),
        (("--brain", "missing.nii.gz"), "missing.nii.gz"),
        (("--neural",), "--neural needs an image"),
        (("--weights", "caption"), "give --neural too"),
        (("--swi", "swi.nii.gz", "--neural", "--type-weights", "none-such"), "none-such"),
    ],
)
def test_unusable(
    strokedx: Strokedx, lesion: Path, arguments: tuple[str, ...], words: str,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    atlases.write(tmp_path)
    done = strokedx("caption", "--lesion", lesion, *arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert not done.stdout


def test_an_input_is_never_overwritten(strokedx: Strokedx, tmp_path: Path, lesion: Path) -> None:
    people = tmp_path / "caption.tsv"
    people.write_text("participant_id\tage\nsub-7\t63\n")
    done = strokedx("caption", "--lesion", lesion, "--history", people, "--subject", "7",
                    "-o", tmp_path / "caption.json")  # fmt: skip
    assert done.exit_code == 2
    assert "would be overwritten" in done.stderr
    assert people.read_text().startswith("participant_id")

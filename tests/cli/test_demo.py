"""``strokedx demo`` from the shipped case to a page of pictures."""

from __future__ import annotations

import re

import nibabel as nib
import pytest

from strokedx_core.sample import sample_case


def test_demo_can_be_run_twice_and_writes_everything(strokedx, tmp_path):
    out = tmp_path / "demo"
    for _ in range(2):
        done = strokedx("demo", "--out", out, "--device", "cpu")
        assert done.exit_code == 0, done.stderr
    case = sample_case()
    names = [scan.name.removesuffix(".nii.gz") for scan, _ in case.values()]
    stroke = ("stroke_lesion_mask.nii.gz", "stroke_brain_mask.nii.gz", "stroke_lesion.png")
    expected = {"index.html", *stroke}
    for name in names:
        expected |= {f"{name}_mask.nii.gz", f"{name}_brain.nii.gz", f"{name}.png"}
    assert {path.name for path in out.iterdir()} == expected
    for name, (scan, _) in zip(names, case.values(), strict=True):
        assert nib.load(out / f"{name}_mask.nii.gz").shape == nib.load(scan).shape
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "Research use only" in page
    linked = set(re.findall(r'(?:src|href)="([^"]+)"', page))
    assert linked == expected - {"index.html"}


@pytest.mark.parametrize("modality", ["T1W", "FLAIR", "DWI"])
def test_demo_reports_dice_volume_and_time_of_each_step(demo_text, modality):
    part = demo_text[demo_text.index(f"{modality}  ") :]
    score = float(re.search(r"Dice (\d\.\d+)", part)[1])
    found, true = (float(number) for number in re.search(r"(\d+) ml \(truly (\d+)", part).groups())
    assert score > 0.95
    assert found == pytest.approx(true, rel=0.1)
    for step in ("read", "find the brain", "write", "draw"):
        assert re.search(rf"{step} \d+\.\d+ s", part)


def test_demo_ends_with_a_lesion_and_what_it_is(demo_text):
    part = demo_text[demo_text.index("acute infarct on DWI and ADC") :]
    assert float(re.search(r"Dice (\d\.\d+)", part)[1]) > 0.5
    for step in ("find brain and lesion", "tell where it is"):
        assert re.search(rf"{step} \d+\.\d+ s", part)
    # The infarct was put into the territory of the left middle cerebral artery.
    assert "left middle cerebral artery" in part
    assert "right" not in part
    assert "ADC" in part
    assert "Research use only" in part


@pytest.fixture(scope="module")
def demo_text(tmp_path_factory):
    from typer.testing import CliRunner

    from strokedx_core.cli import app

    out = tmp_path_factory.mktemp("demo")
    done = CliRunner().invoke(app, ["demo", "--out", str(out), "--device", "cpu"])
    assert done.exit_code == 0, done.stderr
    return done.stdout

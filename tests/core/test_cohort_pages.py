"""Pages of a study in a real browser: the slider moves, the table sorts, nothing is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import look
from system_libraries import browser
from typer.testing import CliRunner

from strokedx_core.cli import app
from strokedx_core.cohort.demo import write_study

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser() is None, reason="Chromium is missing: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people, one of whom cannot be read, with the pages of all."""
    folder = tmp_path_factory.mktemp("study")
    study, out = write_study(folder / "study", 4, coarse=3), folder / "out"
    path = study / "sub-0003" / "dwi" / "sub-0003_rec-TRACE_dwi.nii.gz"
    path.write_bytes(path.read_bytes()[:1000])
    for level, code in (("participant", 1), ("group", 0)):
        words = ["cohort", str(study), str(out), level, "-q"]
        words += ["--workers", "0"] if level == "participant" else []
        assert CliRunner().invoke(app, words).exit_code == code
    return out


def test_slices_can_be_scrolled(out: Path, tmp_path: Path) -> None:
    page = out / "sub-0001" / "sub-0001_report.html"
    script = """
      const found = {ready: document.body.dataset.ready, planes: {}};
      for (const plane of ["axial", "coronal", "sagittal"]) {
        const canvas = document.getElementById(plane);
        const slider = document.getElementById(plane + "-slider");
        const told = document.getElementById(plane + "-number");
        const sum = () => canvas.getContext("2d")
          .getImageData(0, 0, canvas.width, canvas.height).data.reduce((a, b) => a + b, 0);
        const before = sum();
        slider.value = Number(slider.value) + 8;
        slider.dispatchEvent(new Event("input"));
        found.planes[plane] = [before, sum(), told.textContent];
      }
      const canvas = document.getElementById("axial");
      const orange = () => {
        const {width, height} = canvas, places = [];
        const data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
        for (let n = 0; n < data.length; n += 4)
          if (data[n] == 255 && data[n + 1] == 140 && data[n + 2] == 0)
            places.push((n / 4) % width);
        return places;
      };
      const slider = document.getElementById("axial-slider");
      slider.value = Number(slider.value) - 8; slider.dispatchEvent(new Event("input"));
      const places = orange();
      found.lesion = places.reduce((a, b) => a + b, 0) / places.length / canvas.width;
      document.getElementById("outlines").click();
      found.without = orange().length;
      found.caption = document.getElementById("caption").textContent;
      return found;"""
    seen = look(page, script, tmp_path)
    found = seen.result
    assert found["ready"] == "yes"
    for before, after, told in found["planes"].values():
        assert before != after
        assert " of " in told
    # The infarct is on the left: on the right of the picture.
    assert "left" in found["caption"]
    assert found["lesion"] > 0.5
    assert found["without"] == 0
    assert not seen.console
    assert not seen.requests


def test_the_table_sorts_and_searches(out: Path, tmp_path: Path) -> None:
    script = """
      const rows = () => [...document.querySelectorAll("#people tbody tr")];
      const column = n => rows().filter(row => !row.hidden)
        .map(row => row.cells[n].textContent.trim());
      const heads = [...document.querySelectorAll("#people th button")];
      const found = {first: column(0)};
      const lesion = heads.findIndex(head => head.textContent.startsWith("Lesion, ml"));
      heads[lesion].click();
      found.ascending = column(lesion);
      heads[lesion].click();
      found.descending = column(lesion);
      const search = document.getElementById("search");
      search.value = "failed"; search.dispatchEvent(new Event("input"));
      found.searched = column(0);
      const links = [...document.querySelectorAll("#people a")];
      found.links = links.map(link => link.getAttribute("href"));
      found.pictures = [...document.images].map(image => image.naturalWidth);
      return found;"""
    seen = look(out / "index.html", script, tmp_path)
    found = seen.result
    assert found["first"][0] == "0003"
    assert sorted(found["first"]) == ["0001", "0002", "0003", "0004"]
    numbers = [float(text) for text in found["ascending"] if text]
    assert numbers == sorted(numbers)
    assert found["ascending"][-1] == "" == found["descending"][-1]
    assert [float(text) for text in found["descending"] if text] == numbers[::-1]
    assert found["searched"] == ["0003"]
    assert len(found["links"]) == 3
    assert all((out / link).is_file() for link in found["links"])
    assert len(found["pictures"]) == 2
    assert min(found["pictures"]) > 300
    assert not seen.console
    assert not seen.requests


@pytest.mark.parametrize("page", ["index.html", "sub-0001/sub-0001_report.html"])
def test_a_phone_is_wide_enough(out: Path, tmp_path: Path, page: str) -> None:
    script = "return [document.documentElement.scrollWidth, innerWidth];"
    seen = look(out / page, script, tmp_path, size="500,900")
    wide, window = seen.result
    assert wide <= window

"""The documentation builds without a warning, tells what there is, and asks nobody for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from strokedx_core.weights import shipped

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(folder)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_it_tells_what_there_is(site: Path) -> None:
    cards = (site / "cards" / "index.html").read_text()
    for name in shipped():
        assert f'id="{name}"' in cards
    commands = (site / "commands" / "index.html").read_text()
    for name in ("skull-strip", "train lesion", "weights install", "cohort"):
        assert f"strokedx {name}</h2>" in re.sub(r"<a class=.headerlink.*?</a>", "", commands)
    assert "skull_strip" in (site / "reference" / "python" / "index.html").read_text()
    assert not list(site.rglob("*.py"))


@pytest.mark.slow
def test_it_asks_nobody_for_anything(site: Path) -> None:
    asked = r"<(?:script|img|iframe)[^>]*src=.https?:|<link[^>]*rel=.stylesheet.[^>]*https?:"
    for page in site.rglob("*.html"):
        assert not re.search(asked, page.read_text()), page


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8")):
        if not link.startswith("http"):
            assert (ROOT / link).exists(), link

"""What the distribution declares is what its code needs."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from sources import imported

import strokedx_core

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Only ever imported inside napari, which brings them.
WITH_NAPARI = {"napari", "pint"}
# Imported only where the extra that brings them was asked for.
EXTRAS = {"dask_jobqueue"}
# Used without being imported: torch.utils.tensorboard writes through it.
NOT_IMPORTED = {"tensorboard"}


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def base():
    return {canonical(re.match(r"[\w.-]+", line)[0]): line for line in PROJECT["dependencies"]}


def needed():
    """Distributions that the code imports, by the installed environment's own account."""
    names = set()
    for path in (ROOT / "src").rglob("*.py"):
        names |= imported(path.read_text(encoding="utf-8"))
    names -= {*sys.stdlib_module_names, "strokedx_core", "napari_strokedx", *WITH_NAPARI, *EXTRAS}
    homes = packages_distributions()
    return {canonical(homes[name][0]) for name in names}


def test_everything_that_is_imported_is_declared_and_the_other_way_round():
    assert needed() | NOT_IMPORTED == set(base())


def test_what_an_extra_brings_is_declared_there():
    extra = {re.match(r"[\w.-]+", line)[0] for line in PROJECT["optional-dependencies"]["cluster"]}
    assert {canonical(name) for name in EXTRAS} == extra


@pytest.mark.parametrize("name", ["napari", "pyqt5", "pyqt6", "pyside2", "pyside6"])
def test_napari_and_qt_stay_out_of_the_base_dependencies(name):
    assert name not in base()


@pytest.mark.parametrize("line", PROJECT["dependencies"])
def test_base_dependencies_have_no_upper_pin(line):
    assert re.fullmatch(r"[\w.-]+>=[\d.]+", line)


def test_everything_that_is_declared_is_pinned_for_make():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = {canonical(line.split("==")[0]) for line in text.splitlines() if "==" in line}
    assert set(base()) <= pinned
    assert "torch==2.13.0" in text.splitlines()


def test_the_manifest_is_one_file_under_two_names():
    link = ROOT / "napari.yaml"
    assert link.is_symlink()
    assert link.resolve() == (ROOT / "src" / "napari_strokedx" / "napari.yaml").resolve()
    assert f"name: {PROJECT['name']}" in link.read_text(encoding="utf-8").splitlines()


def test_the_version_is_that_of_the_installed_distribution():
    from importlib.metadata import version

    assert version("napari-strokedx") == strokedx_core.__version__

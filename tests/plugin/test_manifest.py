from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import pytest
from napari._app_model.constants import MenuId
from npe2 import PluginManifest

PACKAGE = Path(find_spec("napari_strokedx").origin).parent
MANIFEST = PACKAGE / "napari.yaml"


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_file(MANIFEST)


def test_npe2_finds_every_object_that_the_manifest_names() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "npe2", "validate", "--imports", "napari-strokedx"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_name_is_that_of_the_distribution(manifest: PluginManifest) -> None:
    points = distribution("napari-strokedx").entry_points.select(group="napari.manifest")
    assert [(point.name, point.value) for point in points] == [
        (manifest.name, "napari_strokedx:napari.yaml")
    ]


def test_the_link_at_the_top_of_the_repository_is_the_manifest() -> None:
    top = PACKAGE.parent.parent / "napari.yaml"
    if not (top.parent / "pyproject.toml").exists():
        pytest.skip("not run from the repository")
    assert top.is_symlink()
    assert top.read_bytes() == MANIFEST.read_bytes()


def test_menus_are_such_as_napari_lets_plugins_add_to(manifest: PluginManifest) -> None:
    menus = set(manifest.contributions.menus)
    assert menus == {"napari/layers/annotate", "napari/layers/segment"}
    assert menus <= {str(menu) for menu in MenuId.contributables()}


def test_every_contribution_has_its_command(manifest: PluginManifest) -> None:
    found = manifest.contributions
    commands = {command.id for command in found.commands}
    used = {
        item.command
        for group in (found.readers, found.writers, found.sample_data, found.widgets)
        for item in group
    }
    used |= {item.command for items in found.menus.values() for item in items}
    assert used == commands


def test_importing_the_package_imports_neither_napari_nor_torch() -> None:
    code = "import sys, napari_strokedx; print(*{'napari', 'torch', 'qtpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_readers_and_the_widgets_do_without_torch_until_a_run() -> None:
    code = (
        "import sys, napari_strokedx.widgets.skull_strip, napari_strokedx.widgets.lesion,"
        "napari_strokedx.writer, napari_strokedx.sample_data; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

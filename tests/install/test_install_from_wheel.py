"""The wheel, as a user gets it: installed from napari's plugin dialog, then used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

pytestmark = [pytest.mark.install, pytest.mark.gui, pytest.mark.timeout(3600)]


def call(*command: str | Path, cwd: Path) -> str:
    """Run a command with the pinned versions; its output, or a failure that shows it."""
    pins = str(ROOT / "constraints.txt")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        "PIP_CONSTRAINT": pins,
        "UV_CONSTRAINT": pins,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "NAPARI_CONFIG": "",
    }
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder from which the repository cannot be imported; gigabytes, so removed at the end."""
    folder = tmp_path_factory.mktemp("elsewhere")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def wheel(elsewhere: Path) -> Path:
    call(sys.executable, "-m", "build", "--wheel", "--outdir", elsewhere, ROOT, cwd=elsewhere)
    (built,) = elsewhere.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(elsewhere: Path) -> Path:
    """Interpreter of a fresh environment with napari and its plugin manager alone."""
    call(sys.executable, "-m", "venv", elsewhere / "venv", cwd=elsewhere)
    folder = "Scripts" if sys.platform == "win32" else "bin"
    python = elsewhere / "venv" / folder / "python"
    call(python, "-m", "pip", "install", "napari[all]", "napari-plugin-manager", cwd=elsewhere)
    return python


def versions(python: Path, cwd: Path) -> dict[str, str]:
    listed = json.loads(call(python, "-m", "pip", "list", "--format=json", cwd=cwd))
    return {item["name"].lower(): item["version"] for item in listed}


def test_the_wheel_installs_from_the_plugin_dialog_and_works(
    wheel: Path, python: Path, elsewhere: Path
) -> None:
    before = versions(python, elsewhere)
    assert "torch" not in before
    said = call(python, HERE / "install_through_plugin_manager.py", wheel, cwd=elsewhere)
    after = versions(python, elsewhere)
    assert "napari-strokedx" in after, said
    # A plugin must not move napari, Qt or anything else that was there. The one exception is what a
    # fresh environment is made with: PyTorch wants a newer setuptools than Python brings.
    kept = {name: version for name, version in before.items() if name != "setuptools"}
    assert {name: after.get(name) for name in kept} == kept

    pictures = ROOT / "test-output"
    pictures.mkdir(exist_ok=True)
    picture = pictures / "installed_from_wheel.png"
    output = call(python, HERE / "use_in_window.py", picture, cwd=elsewhere)
    found = json.loads(output.strip().splitlines()[-1])
    assert Path(found["from"]).is_relative_to(elsewhere)
    assert found["scans"] >= 3
    assert len(found["layers"]) == 1
    assert found["voxels"] > 0
    assert found["status"].startswith("Brain of ")
    assert picture.stat().st_size > 10_000

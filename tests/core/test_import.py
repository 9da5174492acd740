"""Importing must be cheap, and the core must not know napari or Qt."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sources import imported

import strokedx_core

SOURCES = sorted(Path(strokedx_core.__file__).parent.rglob("*.py"))
VIEWER = {
    "PyQt5", "PyQt6", "PySide2", "PySide6", "app_model", "magicgui", "napari", "napari_strokedx",
    "npe2", "qtpy", "superqt", "vispy",
}  # fmt: skip


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.strip()


def test_import_takes_less_than_a_third_of_a_second_and_no_heavy_library():
    heavy = {"torch", "monai", "napari", "qtpy", "matplotlib", "scipy", "rich"}
    # Seconds of the processor, which on a machine with nothing else to do are the seconds of the
    # clock: how long other programs make this one wait is not its fault.
    code = (
        "import sys, time; start = time.process_time(); import strokedx_core; "
        f"print(time.process_time() - start, *({heavy!r} & set(sys.modules)))"
    )
    took = []
    for _ in range(3):
        seconds, *loaded = run(code).split()
        took.append(float(seconds))
        assert not loaded
    assert min(took) < 0.3, took


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_core_never_imports_the_viewer(path):
    assert not imported(path.read_text(encoding="utf-8")) & VIEWER


def test_the_check_on_the_viewer_sees_imports_inside_functions():
    source = "def draw():\n    from napari.layers import Image\n    import qtpy.QtCore as core\n"
    assert imported(source) & VIEWER == {"napari", "qtpy"}


def test_every_public_name_is_there_and_nothing_else():
    for name in strokedx_core.__all__:
        assert getattr(strokedx_core, name) is not None
        assert name in dir(strokedx_core)
    with pytest.raises(AttributeError, match="no_such_name"):
        strokedx_core.no_such_name  # noqa: B018


def test_lazy_names_are_the_objects_of_their_modules():
    from strokedx_core.inference.skull_strip import skull_strip
    from strokedx_core.volume import Volume

    assert strokedx_core.Volume is Volume
    assert strokedx_core.skull_strip is skull_strip

"""What all tests share: a display for windows, check data where there is any, a made-up head."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from heads import Head, ellipsoid_head
from system_libraries import missing_packages

_display: subprocess.Popen[bytes] | None = None
_no_window = ""


def _start_display() -> None:
    """Give this process a virtual screen, unless there is a real one or no way to a window."""
    global _display, _no_window
    missing = missing_packages()
    if missing:
        _no_window = f"no window can be opened here; missing: {' '.join(missing)}"
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        return
    if sys.platform != "linux" or os.environ.get("DISPLAY"):
        return
    read, write = os.pipe()
    _display = subprocess.Popen(
        [
            *(str(shutil.which("Xvfb")), "-displayfd", str(write), "-nolisten", "tcp"),
            *("-screen", "0", "1600x1000x24", "+extension", "GLX"),
        ],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as pipe:
        number = pipe.readline().strip()
    if number:
        os.environ["DISPLAY"] = f":{number}"
        os.environ["QT_QPA_PLATFORM"] = "xcb"
    else:
        _no_window = "Xvfb is installed but did not start"
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


def pytest_configure(config: pytest.Config) -> None:
    """Start the display before anything imports Qt: one for each process that runs tests."""
    if config.option.collectonly:
        return
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        # Workers share the cores: a thread that waits is not to keep one from another worker's.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    else:
        _start_display()


def pytest_unconfigure() -> None:
    """Stop the display that this run started."""
    if _display is not None:
        _display.terminate()
        _display.wait()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked `gui` where no window can be opened."""
    if _no_window and item.get_closest_marker("gui"):
        pytest.skip(_no_window)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of third-party scans, or a skip that says why there is none."""
    named = os.environ.get("STROKEDX_DATA", "")
    if not named:
        pytest.skip("STROKEDX_DATA is not set: no third-party scans to check on")
    if not Path(named).is_dir():
        pytest.skip(f"STROKEDX_DATA is {named}, which is not a folder")
    return Path(named)


@pytest.fixture
def head() -> Head:
    """`ellipsoid_head` at 3 mm."""
    return ellipsoid_head()


@pytest.fixture
def head_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes `ellipsoid_head` as a NIfTI file of the name given and returns its path."""

    def write(name: str = "head.nii.gz", **how: object) -> Path:
        made = ellipsoid_head(**how)  # type: ignore[arg-type]
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.Nifti1Image(made.data.clip(0).astype(np.int16), made.affine).to_filename(path)
        return path

    return write

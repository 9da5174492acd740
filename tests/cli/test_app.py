"""The command as a whole."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

import strokedx_core

COMMANDS = ("skull-strip", "demo", "weights")


def test_help_names_every_command_within_six_tenths_of_a_second(strokedx_process):
    took = []
    # The best of several: a busy machine can only make a run slower.
    for _ in range(5):
        start = time.perf_counter()
        done = strokedx_process("--help")
        took.append(time.perf_counter() - start)
        assert done.returncode == 0
        assert all(name in done.stdout for name in COMMANDS)
    assert min(took) < 0.6


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_loads_no_heavy_library(command):
    code = (
        "import sys\n"
        "from strokedx_core.cli import app\n"
        f"try:\n    app([{command!r}, '--help'])\n"
        "except SystemExit as stop:\n    assert stop.code == 0\n"
        "print(*{'torch', 'monai', 'matplotlib', 'nibabel', 'numpy', 'napari'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "Usage" in done.stdout
    assert done.stdout.splitlines()[-1] == ""


def test_version(strokedx):
    done = strokedx("--version")
    assert done.exit_code == 0
    assert done.stdout.strip() == f"strokedx {strokedx_core.__version__}"


def test_no_command_is_a_usage_error_that_shows_the_help(strokedx):
    done = strokedx()
    assert done.exit_code == 2
    assert "skull-strip" in done.stdout + done.stderr

"""The command as a whole."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

import strokedx_core

COMMANDS = ("skull-strip", "demo", "evaluate", "weights")


def test_help_names_every_command_within_six_tenths_of_a_second(strokedx_process):
    took = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = strokedx_process("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Seconds of the processor, which on a machine with nothing else to do are the seconds of
        # the clock: how long other programs make this one wait is not its fault.
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == 0
        assert all(name in done.stdout for name in COMMANDS)
    assert min(took) < 0.6, took


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


@pytest.mark.parametrize(("code", "expected"), [("0", 0), ("2", 2), ("None", 0)])
def test_a_process_with_pytorch_leaves_nothing_undone(code, expected):
    """It ends without the interpreter's tidying up; what was printed and promised is there."""
    program = (
        "import atexit, sys\n"
        "import torch\n"
        "from strokedx_core import cli\n"
        "atexit.register(print, 'promised')\n"
        f"cli.app = lambda: (print('printed'), print('told', file=sys.stderr), sys.exit({code}))\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == expected
    assert done.stdout.split() == ["printed", "promised"]
    assert done.stderr == "told\n"


def test_words_for_an_exit_code_still_reach_the_terminal():
    program = (
        "import sys\n"
        "from strokedx_core import cli\n"
        "cli.app = lambda: sys.exit('words')\n"
        "cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "words\n")

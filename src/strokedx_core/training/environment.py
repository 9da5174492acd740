"""Where and with what a run was made: versions, devices, processes, commit."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from strokedx_core import __version__

__all__ = ["commit", "describe_environment"]


def commit() -> str:
    """The commit of the code that runs, where it runs from a checkout."""
    here = Path(__file__)
    # A folder that git knows may lie around an installed package and have nothing to do with it.
    tracked = ["git", "-C", str(here.parent), "ls-files", "--error-unmatch", here.name]
    describe = ["git", "-C", str(here.parent), "describe", "--always", "--dirty"]
    try:
        subprocess.run(tracked, capture_output=True, check=True, timeout=10)
        done = subprocess.run(describe, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def describe_environment() -> dict[str, Any]:
    """Program, commit, versions, devices and processes, as JSON values."""
    gpus = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return {
        "program": f"strokedx {__version__}",
        "commit": commit(),
        "command": sys.argv,
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": {name: version(name) for name in ("torch", "monai", "numpy", "nibabel")},
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
        "cuda": torch.version.cuda,
        "processes": int(os.environ.get("WORLD_SIZE", 1)),
        "nodes": int(os.environ.get("GROUP_WORLD_SIZE", 1)),
    }

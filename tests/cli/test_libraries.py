"""PyTorch brought in ahead of its import, and memory that is reused."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading

import pytest

from strokedx_core.cli.libraries import load_libraries

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads what only Linux tells")


def _python(code: str) -> list[str]:
    """What a fresh interpreter prints, by words."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.split()


@linux
def test_libraries_are_there_before_the_import() -> None:
    code = """
import sys, threading
from strokedx_core.cli.libraries import load_libraries
load_libraries()
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join()
print("libtorch_cpu" in open("/proc/self/maps").read(), "torch" in sys.modules)
import torch
print(float(torch.ones(2, 3).sum()))
"""
    assert _python(code) == ["True", "False", "6.0"]


def test_nothing_is_loaded_where_pytorch_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    before = threading.active_count()
    load_libraries()
    assert threading.active_count() == before


def test_import_leaves_the_collector_on() -> None:
    code = """
import gc, sys
from strokedx_core.cli.libraries import import_inference
import_inference()
print(gc.isenabled(), "torch" in sys.modules, gc.get_freeze_count() > 10_000)
"""
    assert _python(code) == ["True", "True", "True"]


def test_a_collector_that_is_off_stays_off() -> None:
    code = """
import gc
from strokedx_core.cli.libraries import import_inference
gc.disable()
import_inference()
print(gc.isenabled())
"""
    assert _python(code) == ["False"]


@linux
def test_memory_of_large_arrays_is_reused() -> None:
    code = """
import resource, sys
import numpy as np
from strokedx_core.cli.libraries import _keep_memory
if sys.argv[1:] == ["keep"]:
    _keep_memory()
np.ones(2**24)  # 128 MiB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    np.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

    def faults(*words: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        return int(done.stdout)

    usual, kept = faults(), faults("keep")
    if usual < 100:
        pytest.skip("the system gives whole huge pages: faults tell nothing")
    assert kept < usual / 4

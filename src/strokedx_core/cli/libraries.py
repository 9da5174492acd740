"""PyTorch, brought in without making a single scan wait for more of it than it must."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import sys
import threading
from pathlib import Path

__all__ = ["import_inference", "load_libraries"]


def load_libraries() -> None:
    """Begin to load PyTorch's shared libraries, in a thread, while other things are read.

    They take a third of a second that Python need not wait for. Where they cannot be found or
    loaded so, the import that follows loads them, or says what is wrong with them.
    """
    found = importlib.util.find_spec("torch") if "torch" not in sys.modules else None
    if found is None or found.origin is None or sys.platform not in ("linux", "darwin"):
        return
    folder = Path(found.origin).with_name("lib")
    suffix = ".so" if sys.platform == "linux" else ".dylib"

    def load() -> None:
        # In this order, and the first one for all to see, as PyTorch does it.
        with contextlib.suppress(OSError):
            ctypes.CDLL(str(folder / f"libtorch_global_deps{suffix}"), mode=ctypes.RTLD_GLOBAL)
            ctypes.CDLL(str(folder / f"libtorch_cpu{suffix}"))

    threading.Thread(target=load, daemon=True).start()


def import_inference() -> None:
    """Import what predicts, PyTorch with it.

    Python's collector of garbage walks everything that PyTorch brings, again and again while it is
    imported and once more when the process ends: a third of the time of a single scan. It is told
    to leave these objects alone, which live as long as the process anyway.
    """
    if sys.platform == "linux":
        _keep_memory()
    if "torch" not in sys.modules and gc.isenabled():
        gc.disable()
        try:
            import torch  # noqa: F401
        finally:
            gc.freeze()
            gc.enable()


def _keep_memory() -> None:
    """Let the C library reuse the memory of large arrays.

    By default it gives each back to the system, which has to fill it with zeros page by page when
    the next one is made: a fifteenth of the time of a single scan.
    """
    max_mmaps, trim_threshold = -4, -1  # M_MMAP_MAX and M_TRIM_THRESHOLD of glibc's malloc.h
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(max_mmaps, 0)
        mallopt(trim_threshold, 2**31 - 1)

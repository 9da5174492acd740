"""One run on an output folder at a time."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from strokedx_core.cohort.exams import CohortError
from strokedx_core.cohort.records import OUTSIDE

__all__ = ["only_one"]


@contextmanager
def only_one(out: Path, shard: tuple[int, int] = (1, 1)) -> Iterator[None]:
    """Hold an output folder; runs of different shards share it.

    The system gives the lock back when the process that holds it ends, however it ends.

    Parameters
    ----------
    out : Path
    shard : (i, n)

    Raises
    ------
    CohortError
        If another run holds it, naming that one.
    OSError
        If nothing can be written there.
    """
    folder = out / OUTSIDE
    folder.mkdir(parents=True, exist_ok=True)
    alone = shard == (1, 1)
    with ExitStack() as held:
        held.enter_context(_locked(folder / "run.lock", shared=not alone))
        if not alone:
            held.enter_context(_locked(folder / f"shard-{shard[0]}-of-{shard[1]}.lock"))
        yield


@contextmanager
def _locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # no such locks on this system: who stands in the file must be alive
        with _present(path):
            yield
        return
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            raise CohortError(_held(path)) from None
        if not shared:
            file.truncate(0)
            file.write(_who())
            file.flush()
        yield


@contextmanager
def _present(path: Path) -> Iterator[None]:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        raise CohortError(f"{_held(path)}; remove {path} if that run is no more") from None
    try:
        os.write(descriptor, _who().encode())
        yield
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


def _who() -> str:
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    return json.dumps({"process": os.getpid(), "host": platform.node(), "since": now})


def _held(path: Path) -> str:
    told = "another run"
    try:
        who = json.loads(path.read_text(encoding="utf-8"))
        told = f"process {who['process']} on {who['host']}, since {who['since']}"
    except (OSError, ValueError, KeyError):
        pass  # held by runs of shards, or being written this moment
    return f"{path.parents[1]}: another run works on this folder: {told}"

"""Generated cases that are made once and kept in files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.progress import track

from strokedx_core.training.checkpoint import load_checkpoint, save_checkpoint

__all__ = ["kept_cases"]

_CHUNK = 100
"""Cases that are kept in one file."""


def kept_cases(
    stem: Path, count: int, make: Callable[[int], dict[str, Any]], what: str, quiet: bool
) -> Iterator[dict[str, Any]]:
    """The first so many cases, those that are kept and what is lacking.

    Parameters
    ----------
    stem : Path
        Files are named by it and the number of their first case.
    count : int
    make : callable
        Makes case number n, of what `checkpoint.save_checkpoint` takes.
    what : str
        Said beside the progress bar.
    quiet : bool
        No progress bar.
    """
    chunks = range(0, count, _CHUNK)
    for first in track(chunks, f"{what}, {_CHUNK} at a time", disable=quiet):
        path = stem.with_name(f"{stem.name}-{first:06d}.pt")
        wanted = min(_CHUNK, count - first)
        kept = load_checkpoint(path)["cases"] if path.exists() else []
        if len(kept) < wanted:
            kept += [make(first + number) for number in range(len(kept), wanted)]
            path.parent.mkdir(parents=True, exist_ok=True)
            save_checkpoint({"cases": kept}, path)
        yield from kept[:wanted]

"""How far a command has come."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress"]


@contextmanager
def progress(title: str, count: int, quiet: bool) -> Iterator[Callable[[], None]]:
    """A bar for several scans on a terminal; nothing anywhere else.

    Parameters
    ----------
    title : str
        What is being done.
    count : int
        How many times the function that this gives will be called.
    quiet : bool
        No bar at all.
    """
    if count < 2 or quiet or not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (title, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=count)
        yield lambda: bar.advance(task)

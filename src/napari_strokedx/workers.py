"""Long work off the main thread. Nothing here touches a layer or a widget."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from napari.qt.threading import create_worker

from strokedx_core.volume import Flag, VolumeError

if TYPE_CHECKING:
    from napari_strokedx.layers import Source
    from strokedx_core.inference.skull_strip import Progress, SkullStripResult

__all__ = [
    "Failure",
    "Job",
    "Outcome",
    "Step",
    "find_devices",
    "start_finding_devices",
    "start_job",
    "start_skull_strip",
]

_log = logging.getLogger(__name__)


class Step(NamedTuple):
    """What `strokedx_core.inference.skull_strip.Progress` is, before PyTorch is there."""

    done: int
    total: int
    message: str


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a run found, in the axes of the layer it started from.

    Attributes
    ----------
    source : Source
    mask : ndarray of uint8
    stripped : ndarray
        The source's values, of its type, and 0 outside the mask.
    volume_ml : float
    seconds : float
    device : str
    flags : tuple of Flag
    """

    source: Source
    mask: np.ndarray
    stripped: np.ndarray
    volume_ml: float
    seconds: float
    device: str
    flags: tuple[Flag, ...]


@dataclass(frozen=True)
class Failure:
    """Why there is no result, in one line."""

    message: str


class Job:
    """A run in another thread, which can be cancelled between two of its steps."""

    def __init__(self, work: Callable[[], Generator[Any, None, Any]]) -> None:
        steps = work()

        def in_thread() -> Generator[Any, None, Any]:
            try:
                return (yield from steps)
            except Exception as error:
                if not isinstance(error, _expected()):
                    _log.exception("run failed")
                return Failure(_one_line(error) or type(error).__name__)

        self.worker = create_worker(in_thread, _start_thread=False)
        # By then the thread has let go of the generator: closing it frees what it holds.
        self.worker.finished.connect(steps.close)

    def start(self) -> None:
        """Start the thread."""
        self.worker.start()

    def cancel(self) -> None:
        """Stop after the step that is running now; nothing is returned then."""
        self.worker.quit()


def start_skull_strip(
    source: Source,
    *,
    device: str,
    weights: str | None,
    yielded: Callable[[Step | Progress], None],
    returned: Callable[[Outcome | Failure], None],
    finished: Callable[[], None],
) -> Job:
    """Start a skull strip.

    Parameters
    ----------
    source : Source
        Of `layer_source`.
    device : str
        auto, cuda, mps or cpu.
    weights : str or None
        Name of weights; those that ship where not given.
    yielded, returned, finished : callable
        Called on the main thread, if they are methods of a widget: for each step; with the outcome,
        unless cancelled; and at the end in any case.
    """
    return start_job(
        lambda: _skull_strip(source, device, weights),
        yielded=yielded,
        returned=returned,
        finished=finished,
    )


def start_job(
    work: Callable[[], Generator[Any, None, Any]],
    *,
    yielded: Callable[[Any], None],
    returned: Callable[[Any], None],
    finished: Callable[[], None],
) -> Job:
    """Start any work that yields its steps; the callables are those of `start_skull_strip`."""
    job = Job(work)
    job.worker.yielded.connect(yielded)
    job.worker.returned.connect(returned)
    job.worker.finished.connect(finished)
    job.start()
    return job


def _skull_strip(
    source: Source, device: str, weights: str | None
) -> Generator[Step | Progress, None, Outcome]:
    yield Step(0, 0, "loading PyTorch")
    from strokedx_core.inference.skull_strip import skull_strip_steps

    yield Step(0, 0, "reading the layer")
    start = perf_counter()
    # Read once where it is lazy.
    source = replace(source, array=np.asarray(source.array))
    volume = source.volume()
    result: SkullStripResult = yield from skull_strip_steps(volume, device=device, weights=weights)
    seconds = perf_counter() - start
    yield Step(1, 1, "making layers")
    mask = np.ascontiguousarray(source.grid.to_layer(result.mask))
    return Outcome(
        source=source,
        mask=mask.view(np.uint8),
        stripped=_stripped(source.array, mask),
        volume_ml=result.volume_ml,
        seconds=seconds,
        device=result.device,
        flags=tuple(result.flags),
    )


def _stripped(array: np.ndarray, mask: np.ndarray) -> np.ndarray:
    stripped = np.where(mask, array, array.dtype.type(0))
    if stripped.dtype.kind == "f":
        np.nan_to_num(stripped, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return stripped


def find_devices() -> list[str]:
    """Devices to choose from, best first.

    Importing PyTorch for it takes a second or two, which a first run then need not spend.
    """
    import torch

    import strokedx_core.inference.skull_strip  # noqa: F401

    found = ["cpu"]
    if torch.backends.mps.is_available():
        found.insert(0, "mps")
    if torch.cuda.is_available():
        found.insert(0, "cuda")
    return found


def start_finding_devices(returned: Callable[[list[str]], None]) -> None:
    """Call `find_devices` in a thread and hand over what it found; silent where it fails."""
    worker = create_worker(_find_devices_or_none, _start_thread=False)
    worker.returned.connect(returned)
    worker.start()


def _find_devices_or_none() -> list[str]:
    try:
        return find_devices()
    except Exception:
        _log.exception("no device could be looked for")
        return []


def _expected() -> tuple[type[Exception], ...]:
    """Errors whose message says all there is to say."""
    from strokedx_core.inference.devices import DeviceError
    from strokedx_core.weights import WeightsError

    return VolumeError, DeviceError, WeightsError


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())

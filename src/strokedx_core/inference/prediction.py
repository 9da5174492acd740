"""What every prediction shares: network, patches, clock, and a device to fall back on."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from strokedx_core.inference.devices import autocast_dtype, choose_device
from strokedx_core.inference.sliding_window import sliding_window
from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.volume import Flag
from strokedx_core.weights import find_weights, load_network

__all__ = [
    "PATCH",
    "Clock",
    "Progress",
    "finish",
    "loaded_network",
    "on_device",
    "patch_shape",
    "predict_grid",
    "run_mirrored",
    "run_network",
    "within",
]

PATCH = (160, 192, 160)
"""Voxels predicted at once, at most. A head at 1.5 mm fits into one patch."""

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """How far a prediction is: `done` of `total` steps, and what comes next."""

    done: int
    total: int
    message: str


class Clock:
    """Seconds that each named step took, those of the same name added up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.perf_counter()

    def mark(self, name: str) -> None:
        """Put the time since the last mark down to a step."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self.last
        self.last = now


def finish(steps: Generator[Progress, None, T]) -> T:
    """Drive a prediction to its end, and return what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result


def within(
    steps: Generator[Progress, None, T], start: int, end: int, total: int
) -> Generator[Progress, None, T]:
    """Drive a prediction that is part of a larger one: from step `start` of `total` to `end`."""
    while True:
        try:
            part = next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result
        yield Progress(start + (end - start) * part.done // part.total, total, part.message)


def on_device(
    device: str, predict: Callable[[torch.device], Generator[Progress, None, T]]
) -> Generator[Progress, None, tuple[T, torch.device, tuple[Flag, ...]]]:
    """Predict on a device, or on the processor where its memory does not suffice.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "mps"}
    predict : callable
        From the device to the steps of a prediction; called again where it has to start over.

    Returns
    -------
    result : what `predict` returns
    device : torch.device
        Where it ran.
    flags : tuple of Flag
        ``cpu-fallback`` where that is not what was asked for.
    """
    place = choose_device(device)
    try:
        return (yield from predict(place)), place, ()
    except RuntimeError as error:
        # CUDA has an error of its own for this, MPS only the words.
        if place.type == "cpu" or "out of memory" not in str(error):
            raise
    said = f"{place.type} ran out of memory; the processor was used instead"
    processor = torch.device("cpu")
    return (yield from predict(processor)), processor, (Flag("cpu-fallback", said),)


_LOADED: dict[tuple[Path, int, str], UNet3D] = {}


def loaded_network(weights: str | Path, device: torch.device) -> UNet3D:
    """Networks stay loaded between scans, until their file changes."""
    path = find_weights(weights).resolve()
    key = (path, path.stat().st_mtime_ns, str(device))
    if key not in _LOADED:
        _LOADED[key] = load_network(path, device)
    return _LOADED[key]


def run_network(network: UNet3D, image: Tensor) -> Tensor:
    """Probabilities of one patch, in half precision where that is faster.

    Parameters
    ----------
    network : UNet3D
    image : Tensor, shape (1, in channels, x, y, z)
        Sizes are multiples of the network's divisor.

    Returns
    -------
    Tensor, shape (1, out channels, x, y, z), float32
    """
    dtype = autocast_dtype(image.device)
    with (
        torch.inference_mode(),
        torch.autocast(image.device.type, dtype or torch.bfloat16, enabled=dtype is not None),
    ):
        logits: Tensor = network(image.contiguous(memory_format=torch.channels_last_3d))
    return logits.float().sigmoid()


def patch_shape(shape: tuple[int, int, int], divisor: int) -> tuple[int, int, int]:
    """What the network takes at once of a grid of this shape; it may be larger than the grid."""
    x, y, z = (
        min(max(1, limit // divisor), -(-size // divisor)) * divisor
        for size, limit in zip(shape, PATCH, strict=True)
    )
    # A single voxel at the bottleneck has no spread to normalize by.
    return (max(x, 2 * divisor), y, z) if x == y == z == divisor else (x, y, z)


def run_mirrored(network: UNet3D, image: Tensor) -> Tensor:
    """Mean of the probabilities of one patch and of its mirror image, mirrored back.

    Parameters and result are those of `run_network`; the first spatial axis runs from left to
    right.
    """
    both = run_network(network, torch.cat((image, image.flip(2))))
    return (both[:1] + both[1:].flip(2)) / 2


def predict_grid(
    network: UNet3D,
    image: Tensor,
    message: str,
    *,
    mirrored: bool = False,
) -> Generator[Progress, None, Tensor]:
    """Probabilities on a whole grid, patch by patch.

    Parameters
    ----------
    network : UNet3D
    image : Tensor, shape (in channels, x, y, z)
        Where the network is.
    message : str
        What the progress says.
    mirrored : bool
        Whether each patch is seen in its mirror image too.

    Returns
    -------
    Tensor, shape (out channels, x, y, z), float32
    """
    x, y, z = image.shape[1:]
    run = run_mirrored if mirrored else run_network
    windows = sliding_window(
        image[None],
        lambda part: run(network, part),
        patch_shape((x, y, z), network.divisor),
    )
    while True:
        try:
            done, total = next(windows)
        except StopIteration as stop:
            probability: Tensor = stop.value[0]
            return probability
        yield Progress(done, total, message)

"""Find the brain: whole head on a coarse grid first, then the brain on a finer one."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from strokedx_core.inference.brain_mask import (
    already_stripped,
    clean_mask,
    largest_piece,
    mask_flags,
)
from strokedx_core.inference.devices import autocast_dtype, choose_device
from strokedx_core.inference.sliding_window import sliding_window
from strokedx_core.intensity import normalise
from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.tasks import TASKS
from strokedx_core.volume import (
    Flag,
    Volume,
    read_volume,
    resample,
    to_canonical,
    working_grid,
)
from strokedx_core.weights import find_weights, load_network, read_card

__all__ = ["Progress", "SkullStripResult", "skull_strip", "skull_strip_steps"]

MARGIN_MM = 15.0
"""How far around the brain found on the coarse grid the fine one reaches."""

PATCH = (160, 192, 160)
"""Voxels predicted at once, at most. A head at 1.5 mm fits into one patch."""


@dataclass(frozen=True)
class Progress:
    """How far a prediction is: `done` of `total` steps, and what comes next."""

    done: int
    total: int
    message: str


@dataclass(frozen=True, eq=False)
class SkullStripResult:
    """A brain mask and how it came about.

    Attributes
    ----------
    mask : ndarray of bool, shape of the volume
    volume : Volume
        The input.
    flags : tuple of Flag
        What to look at: the input's own flags, and what is unusual about the mask.
    device : str
        Where the network ran.
    volume_ml : float
    seconds : dict
        Time of each step.
    """

    mask: np.ndarray
    volume: Volume
    flags: tuple[Flag, ...]
    device: str
    volume_ml: float
    seconds: dict[str, float] = field(default_factory=dict)

    def brain(self) -> np.ndarray:
        """The volume with 0 outside the mask; float32, shape of the volume."""
        brain: np.ndarray = self.volume.data * self.mask
        return brain


def skull_strip(
    volume: Volume | Path | str,
    *,
    device: str = "auto",
    weights: str | Path | None = None,
    threshold: float = 0.5,
) -> SkullStripResult:
    """Find the brain in one volume of any MR contrast, with or without the skull.

    Parameters
    ----------
    volume : Volume or path
    device : {"auto", "cpu", "cuda", "mps"}
    weights : str or path, optional
        Name of shipped weights or a `.safetensors` file with its card beside it.
    threshold : float
        Probability from which a voxel is brain.

    Returns
    -------
    SkullStripResult
        On the grid of the volume.

    Raises
    ------
    VolumeError
        If a path is given that cannot be read as a volume.
    DeviceError
        If the device is not there.
    WeightsError
        If the weights cannot be used.

    Notes
    -----
    After Hoopes et al., "SynthStrip" (NeuroImage 2022), in that the network has only seen images
    generated from label maps.
    """
    steps = skull_strip_steps(volume, device=device, weights=weights, threshold=threshold)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: SkullStripResult = stop.value
            return result


def skull_strip_steps(
    volume: Volume | Path | str,
    *,
    device: str = "auto",
    weights: str | Path | None = None,
    threshold: float = 0.5,
) -> Generator[Progress, None, SkullStripResult]:
    """`skull_strip` step by step: yields `Progress`, returns the result; closing it cancels.

    Parameters, result and errors are those of `skull_strip`.
    """
    if not isinstance(volume, Volume):
        volume = read_volume(volume)
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must lie between 0 and 1, not {threshold}")
    place = choose_device(device)
    name = weights or TASKS["skull-strip"].default_weights
    clock = _Clock()
    try:
        found, ran_on = (yield from _predict(volume, name, place, clock)), place
        notes: tuple[Flag, ...] = ()
    except RuntimeError as error:
        # CUDA has an error of its own for this, MPS only the words.
        if place.type == "cpu" or "out of memory" not in str(error):
            raise
        ran_on = torch.device("cpu")
        found = yield from _predict(volume, name, ran_on, clock)
        notes = (
            Flag("cpu-fallback", f"{place.type} ran out of memory; the processor was used instead"),
        )
    mask = clean_mask(found.probability, found.start, found.step, volume, threshold)
    given = already_stripped(volume, mask)
    if given is not None:
        mask = given
        notes += (Flag("already-stripped", "all but the brain was 0 already: kept as it came"),)
    clock.mark("mask")
    volume_ml = float(np.count_nonzero(mask)) * volume.voxel_ml
    flags = (*volume.flags, *notes, *mask_flags(mask, volume, volume_ml))
    return SkullStripResult(mask, volume, flags, ran_on.type, volume_ml, clock.seconds)


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.perf_counter()

    def mark(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self.last
        self.last = now


@dataclass(frozen=True, eq=False)
class _Found:
    """Probabilities on a grid laid over part of the canonical volume."""

    probability: np.ndarray
    start: tuple[float, float, float]
    step: tuple[float, float, float]


def _predict(
    volume: Volume, weights: str | Path, device: torch.device, clock: _Clock
) -> Generator[Progress, None, _Found]:
    yield Progress(0, 1, "loading the weights")
    network, spacings = _network(weights, device), read_card(weights).spacings_mm
    clock.mark("load")
    data, affine = to_canonical(volume.data, volume.affine)
    found: _Found | None = None
    for number, spacing in enumerate(spacings):
        shape, start, step = working_grid(data.shape, affine, spacing)
        if found is not None:
            box = _box(found, data.shape, step, spacing)
            if box is None:
                break
            shape, start = box
        message = "looking for the brain" if number == 0 else "drawing its boundary"
        image = torch.from_numpy(
            np.ascontiguousarray(resample(data, shape, start, step, outside="zero"))
        )
        clock.mark("resample")
        patch = _patch(shape, network.divisor)
        scaled = normalise(image.to(device))[None, None]
        windows = sliding_window(scaled, lambda x: _run(network, x), patch)
        while True:
            try:
                done, total = next(windows)
            except StopIteration as stop:
                probability = stop.value[0, 0].cpu().numpy()
                break
            yield Progress(number * total + done, len(spacings) * total, message)
        clock.mark("network")
        found = _Found(probability, start, step)
    assert found is not None
    return found


def _patch(shape: tuple[int, int, int], divisor: int) -> tuple[int, int, int]:
    """What the network takes at once of a grid of this shape; it may be larger than the grid."""
    x, y, z = (
        min(max(1, limit // divisor), -(-size // divisor)) * divisor
        for size, limit in zip(shape, PATCH, strict=True)
    )
    # A single voxel at the bottleneck has no spread to normalize by.
    return (max(x, 2 * divisor), y, z) if x == y == z == divisor else (x, y, z)


_LOADED: dict[tuple[Path, int, str], UNet3D] = {}


def _network(weights: str | Path, device: torch.device) -> UNet3D:
    """Networks stay loaded between scans, until their file changes."""
    path = find_weights(weights).resolve()
    key = (path, path.stat().st_mtime_ns, str(device))
    if key not in _LOADED:
        _LOADED[key] = load_network(path, device)
    return _LOADED[key]


def _run(network: UNet3D, image: Tensor) -> Tensor:
    dtype = autocast_dtype(image.device)
    with (
        torch.inference_mode(),
        torch.autocast(image.device.type, dtype or torch.bfloat16, enabled=dtype is not None),
    ):
        logits: Tensor = network(image.contiguous(memory_format=torch.channels_last_3d))
    return logits.float().sigmoid()


def _box(
    found: _Found, shape: tuple[int, ...], step: tuple[float, float, float], spacing: float
) -> tuple[tuple[int, int, int], tuple[float, float, float]] | None:
    """Shape and start of the finer grid around the largest piece; None where there is none."""
    piece = found.probability > 0.5
    if not piece.any():
        return None
    piece = largest_piece(piece)
    sizes, starts = [], []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        hit = np.flatnonzero(piece.any(axis=others))
        margin = MARGIN_MM / spacing * step[axis]
        low = found.start[axis] + found.step[axis] * (hit[0] - 0.5) - margin
        high = found.start[axis] + found.step[axis] * (hit[-1] + 0.5) + margin
        low, high = max(low, -0.5), min(high, shape[axis] - 0.5)
        count = max(1, int(np.ceil((high - low) / step[axis])))
        sizes.append(count)
        starts.append((low + high) / 2 - step[axis] * (count - 1) / 2)
    return tuple(sizes), tuple(starts)  # type: ignore[return-value]

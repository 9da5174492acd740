"""Find the brain: whole head on a coarse grid first, then the brain on a finer one."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from strokedx_core.inference.brain_mask import (
    already_stripped,
    clean_mask,
    largest_piece,
    mask_flags,
)
from strokedx_core.inference.prediction import (
    Clock,
    Progress,
    finish,
    loaded_network,
    on_device,
    predict_grid,
    within,
)
from strokedx_core.intensity import normalise
from strokedx_core.tasks import TASKS
from strokedx_core.volume import (
    Flag,
    Volume,
    read_volume,
    resample,
    to_canonical,
    working_grid,
)
from strokedx_core.weights import read_card

__all__ = [
    "Found",
    "Progress",
    "SkullStripResult",
    "finer_grid",
    "skull_strip",
    "skull_strip_steps",
    "without_air",
]

MARGIN_MM = 15.0
"""How far around the brain found on the coarse grid the fine one reaches."""

LEAST_MARGIN_MM = 8.0
"""How far it reaches at least where a little less makes it much cheaper: the network pads every
side to a multiple of its divisor."""

_STEPS = 100  # of the progress, for each grid


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
    return finish(skull_strip_steps(volume, device=device, weights=weights, threshold=threshold))


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
    scan, name = volume, weights or TASKS["skull-strip"].default_weights
    clock = Clock()
    found, ran_on, notes = yield from on_device(
        device, lambda place: _predict(scan, name, place, clock)
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


@dataclass(frozen=True, eq=False)
class Found:
    """Probabilities on a grid laid over part of the canonical volume."""

    probability: np.ndarray
    start: tuple[float, float, float]
    step: tuple[float, float, float]


def _predict(
    volume: Volume, weights: str | Path, device: torch.device, clock: Clock
) -> Generator[Progress, None, Found]:
    yield Progress(0, 1, "loading the weights")
    network, spacings = loaded_network(weights, device), read_card(weights).spacings_mm
    clock.mark("load")
    data, affine = to_canonical(volume.data, volume.affine)
    found: Found | None = None
    for number, spacing in enumerate(spacings):
        shape, start, step = working_grid(data.shape, affine, spacing)
        if found is not None:
            box = finer_grid(found, data.shape, step, spacing, network.divisor)
            if box is None:
                break
            shape, start = box
        message = "looking for the brain" if number == 0 else "drawing its boundary"
        image = torch.from_numpy(
            np.ascontiguousarray(resample(data, shape, start, step, outside="zero"))
        )
        if found is None:
            image, start = without_air(image, start, step, network.divisor)
        clock.mark("resample")
        windows = predict_grid(network, normalise(image.to(device))[None], message)
        steps = number * _STEPS, (number + 1) * _STEPS
        whole = yield from within(windows, *steps, len(spacings) * _STEPS)
        probability = whole[0].cpu().numpy()
        clock.mark("network")
        found = Found(probability, start, step)
    assert found is not None
    return found


def without_air(
    image: torch.Tensor,
    start: tuple[float, float, float],
    step: tuple[float, float, float],
    multiple: int,
) -> tuple[torch.Tensor, tuple[float, float, float]]:
    """Cut off air beside the head, along axes where the network has less to look at then."""
    bright = image > 0.1 * float(image.flatten()[::7].quantile(0.99))
    starts = list(start)
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        filled = (bright.float().mean(others) > 0.01).nonzero()
        size = image.shape[axis]
        if len(filled) == 0:
            continue
        first, last = max(0, int(filled[0]) - 2), min(size, int(filled[-1]) + 3)
        wanted = -(-(last - first) // multiple) * multiple
        if wanted < size:
            low = min(max(0, (first + last - wanted) // 2), size - wanted)
            image = image.narrow(axis, low, wanted)
            starts[axis] += low * step[axis]
    x, y, z = starts
    return image, (x, y, z)


def finer_grid(
    found: Found,
    shape: tuple[int, ...],
    step: tuple[float, float, float],
    spacing: float,
    multiple: int,
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
        low = found.start[axis] + found.step[axis] * (hit[0] - 0.5)
        high = found.start[axis] + found.step[axis] * (hit[-1] + 0.5)
        edges = []
        for margin_mm in (LEAST_MARGIN_MM, MARGIN_MM):
            margin = margin_mm / spacing * step[axis]
            edges.append((max(low - margin, -0.5), min(high + margin, shape[axis] - 0.5)))
        least, full = (max(1, int(np.ceil((b - a) / step[axis]))) for a, b in edges)
        # As wide as the padding of the narrowest allows.
        count = min(full, -(-least // multiple) * multiple)
        low, high = edges[1]
        if count < full:
            low, high = edges[0]
        sizes.append(count)
        starts.append((low + high) / 2 - step[axis] * (count - 1) / 2)
    return tuple(sizes), tuple(starts)  # type: ignore[return-value]

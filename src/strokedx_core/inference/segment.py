"""Find stroke lesions in the sequences of one case, and mend the mask with clicks."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np

from strokedx_core.inference.automatic import automatic_steps
from strokedx_core.inference.clicks import ClickSession
from strokedx_core.inference.lesion_case import Sequences
from strokedx_core.inference.lesions import Click, ClickError, Lesion, LesionResult
from strokedx_core.inference.prediction import Progress, finish, within

__all__ = [
    "Click",
    "ClickError",
    "Lesion",
    "LesionResult",
    "Progress",
    "segment_lesions",
    "segment_lesions_steps",
]


def segment_lesions(
    volumes: Sequences,
    *,
    lesion_type: str = "general",
    device: str = "auto",
    weights: str | Path | None = None,
    threshold: float = 0.5,
    skull_strip: bool = True,
    clicks: Sequence[Click] = (),
    previous: np.ndarray | None = None,
    brain: np.ndarray | None = None,
) -> LesionResult:
    """Find stroke lesions in any subset of the sequences of one case.

    Parameters
    ----------
    volumes : mapping of str to Volume or path
        By modality, one of `strokedx_core.tasks.MODALITIES`. They may lie on different grids; the
        result lies on the grid of the first.
    lesion_type : {"general", "ischemic", "hemorrhagic"}
        What counts as a lesion: any of stroke, infarcts, or blood.
    device : {"auto", "cpu", "cuda", "mps"}
    weights : str or path, optional
        Name of shipped weights or a `.safetensors` file with its card beside it.
    threshold : float
        Probability from which a voxel is lesion.
    skull_strip : bool
        False for images without skull, or to look at the whole head.
    clicks : sequence of Click
        Applied one after the other, as `ClickSession` does, to what was found without them.
    previous : ndarray, shape of the first volume, optional
        Mask to start from in place of what the network finds without clicks.
    brain : ndarray, shape of the first volume, optional
        Where the brain is; found where not given.

    Returns
    -------
    LesionResult
        On the grid of the first volume.

    Raises
    ------
    VolumeError
        If no volume is given, a path cannot be read as one, an ADC map is negative, volumes do not
        show the same place, or a mask has another shape than the first volume.
    ClickError
        If a click lies outside the first volume or far from the brain.
    DeviceError
        If the device is not there.
    WeightsError
        If the weights cannot be used.
    """
    steps = segment_lesions_steps(
        volumes,
        lesion_type=lesion_type,
        device=device,
        weights=weights,
        threshold=threshold,
        skull_strip=skull_strip,
        clicks=clicks,
        previous=previous,
        brain=brain,
    )
    return finish(steps)


def segment_lesions_steps(
    volumes: Sequences,
    *,
    lesion_type: str = "general",
    device: str = "auto",
    weights: str | Path | None = None,
    threshold: float = 0.5,
    skull_strip: bool = True,
    clicks: Sequence[Click] = (),
    previous: np.ndarray | None = None,
    brain: np.ndarray | None = None,
) -> Generator[Progress, None, LesionResult]:
    """`segment_lesions` step by step: yields `Progress`, returns the result; closing it cancels.

    Parameters, result and errors are those of `segment_lesions`.
    """
    preparing = automatic_steps(
        volumes,
        lesion_type=lesion_type,
        device=device,
        weights=weights,
        threshold=threshold,
        skull_strip=skull_strip,
        start=previous,
        brain=brain,
        clicks=clicks,
    )
    if not clicks:
        _, result = yield from preparing
        return result
    # The case and its skull stripping count as much as 100 clicks.
    total = 100 + len(clicks)
    session = ClickSession.of(*(yield from within(preparing, 0, 100, total)))
    for number, click in enumerate(clicks):
        yield Progress(100 + number, total, f"click {number + 1} of {len(clicks)}")
        session.click(click)
    return session.result()

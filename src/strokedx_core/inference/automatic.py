"""From the volumes of a case to its lesions without a click."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from strokedx_core.inference.alignment import find_movement
from strokedx_core.inference.brain_mask import PLAUSIBLE_ML
from strokedx_core.inference.lesion_case import (
    LesionCase,
    Sequences,
    place_on_grid,
    read_sequences,
)
from strokedx_core.inference.lesions import (
    Click,
    LesionResult,
    PieceRule,
    check_click,
    check_threshold,
    mask_of,
)
from strokedx_core.inference.plausibility import modality_flags
from strokedx_core.inference.prediction import Clock, Progress, on_device, within
from strokedx_core.inference.skull_strip import skull_strip_steps
from strokedx_core.tasks import LESION_TYPES, TASKS
from strokedx_core.volume import Flag, Volume, VolumeError, same_grid

__all__ = ["align_sequences", "automatic_steps", "check_mask", "find_brain"]

STRIP_ORDER = ("FLAIR", "T2W", "T1W", "B0", "DWI", "SWI", "ADC")
"""Which sequence the brain is looked for in, of those on the grid of the first."""

_STEPS = 100  # of the progress
_STRIPPED = 60


def automatic_steps(
    volumes: Sequences,
    *,
    lesion_type: str = "general",
    device: str = "auto",
    weights: str | Path | None = None,
    threshold: float = 0.5,
    skull_strip: bool = True,
    start: np.ndarray | None = None,
    brain: np.ndarray | None = None,
    clicks: Sequence[Click] = (),
) -> Generator[Progress, None, tuple[LesionCase, LesionResult]]:
    """Prepare a case, and find its lesions unless a mask to start from is given.

    Parameters and errors are those of `strokedx_core.inference.segment.segment_lesions`; `start` is
    its `previous`. Clicks are looked at before any work starts, not carried out.

    Returns
    -------
    case : LesionCase
        Ready for clicks.
    result : LesionResult
        What the network found; or the mask to start from, of probability 1.
    """
    check_threshold(threshold)
    if lesion_type not in LESION_TYPES:
        raise ValueError(f"lesion type must be {', '.join(LESION_TYPES)}, not {lesion_type!r}")
    clock = Clock()
    sequences = read_sequences(volumes)
    first = next(iter(sequences.values()))
    for click in clicks:
        check_click(click, first.shape)
    start = None if start is None else check_mask(start, first, "the mask to start from")
    flags = tuple(flag for volume in sequences.values() for flag in volume.flags)
    clock.mark("read")

    if brain is not None:
        brain = check_mask(brain, first, "the brain mask")
    elif skull_strip:
        stripping = within(find_brain(sequences, device), 0, _STRIPPED, _STEPS)
        brain, found = yield from stripping
        flags += found
    else:
        brain = _unstripped(first)
    clock.mark("brain")

    if len(sequences) > 1:
        yield Progress(_STRIPPED, _STEPS, "laying the sequences over each other")
        sequences, found = align_sequences(sequences, brain)
        flags += found
    clock.mark("alignment")

    task = TASKS["lesion"]
    asked: tuple[tuple[str, str | Path], ...]
    if weights is None:
        asked = task.all_weights_for(sequences, lesion_type)
    else:
        asked = ((lesion_type, weights),)
    inside = brain

    def predict(
        place: torch.device,
    ) -> Generator[Progress, None, tuple[LesionCase, np.ndarray, PieceRule]]:
        cases = []
        for kind, name in asked:
            yield Progress(0, 1, "bringing the sequences together")
            cases.append(place_on_grid(sequences, inside, kind, name, place))
        clock.mark("grids")
        if start is not None:
            return cases[0], start.astype(np.float32), cases[0].rule
        found = []
        for number, case in enumerate(cases):
            part = number * _STEPS, (number + 1) * _STEPS, len(cases) * _STEPS
            found.append((yield from within(case.predict(), *part)))
        clock.mark("network")
        rule = PieceRule.strictest(case.rule for case in cases)
        return cases[0], np.maximum.reduce(found), rule

    steps = within(on_device(device, predict), _STRIPPED, _STEPS, _STEPS)
    (case, probability, rule), ran_on, notes = yield from steps
    flags += (*notes, *modality_flags(sequences, case))
    mask = start
    if mask is None:
        mask = mask_of(probability, threshold, first.voxel_ml, rule=rule)
    clock.mark("mask")
    result = LesionResult(
        probability=probability,
        mask=mask,
        brain=brain,
        volume=first,
        lesion_type=lesion_type,
        flags=tuple(dict.fromkeys(flags)),
        device=ran_on.type,
        volume_ml=float(np.count_nonzero(mask)) * first.voxel_ml,
        threshold=threshold,
        seconds=clock.seconds,
        rule=rule,
    )
    return case, result


def check_mask(mask: np.ndarray, volume: Volume, name: str) -> np.ndarray:
    """A mask as bool, checked to lie on the grid of a volume."""
    mask = np.asarray(mask)
    if mask.shape != volume.shape:
        raise VolumeError(
            f"{name} is of shape {mask.shape}, where the first volume's {volume.shape} is needed"
        )
    return mask != 0


def find_brain(
    case: Mapping[str, Volume], device: str
) -> Generator[Progress, None, tuple[np.ndarray, tuple[Flag, ...]]]:
    """The brain on the grid of the first volume, from the sequence that shows it best there.

    Where that one yields no whole brain, the next is tried.

    Returns
    -------
    brain : ndarray of bool
    flags : tuple of Flag
        Of the skull stripping.
    """
    first = next(iter(case.values()))
    there = [
        modality
        for modality in STRIP_ORDER
        if modality in case and same_grid(case[modality], first)
    ]
    tried = []
    for number, modality in enumerate(there):
        part = number * _STRIPPED // len(there), _STRIPPED * (number + 1) // len(there)
        volume = replace(case[modality], flags=())
        steps = skull_strip_steps(volume, device=device)
        result = yield from within(steps, *part, _STRIPPED)
        if not {"brain-volume", "empty-mask"} & {flag.code for flag in result.flags}:
            return result.mask, result.flags
        tried.append(result)
    low, high = PLAUSIBLE_ML
    best = min(tried, key=lambda result: max(low - result.volume_ml, result.volume_ml - high))
    return best.mask, best.flags


def align_sequences(
    case: Mapping[str, Volume], brain: np.ndarray
) -> tuple[dict[str, Volume], tuple[Flag, ...]]:
    """Move what does not lie on the first volume; volumes that share a grid move together."""
    (reference, first), *others = case.items()
    moved, flags = {reference: first}, []
    groups: list[list[str]] = []
    for modality, volume in others:
        group = next((names for names in groups if same_grid(case[names[0]], volume)), None)
        if same_grid(first, volume):
            moved[modality] = volume
        elif group is None:
            groups.append([modality])
        else:
            group.append(modality)
    for names in groups:
        # Of a diffusion series, the map says least of where the brain ends.
        leader = min(names, key=STRIP_ORDER.index)
        movement = find_movement(first, case[leader], brain)
        for name in names:
            moved[name] = case[name]
            if movement is not None:
                moved[name] = replace(case[name], affine=movement.matrix @ case[name].affine)
                said = (
                    f"{name}: moved by {movement.displacement_mm:.1f} mm and "
                    f"{movement.degrees:.1f}° to lie on the {reference}"
                )
                flags.append(Flag("aligned", said))
    return {modality: moved[modality] for modality in case}, tuple(flags)


def _unstripped(volume: Volume) -> np.ndarray:
    """What is not background: voxels that are not 0 where an image was stripped, else the head."""
    nonzero = volume.data != 0
    if np.count_nonzero(nonzero) < 0.6 * nonzero.size:
        return nonzero
    bright = volume.data > 0.2 * np.percentile(volume.data[nonzero], 95)
    head: np.ndarray = ndimage.binary_closing(np.pad(bright, 2), iterations=2)[2:-2, 2:-2, 2:-2]
    return head

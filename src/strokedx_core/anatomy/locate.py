"""Where each voxel of a brain lies: structure, arterial territory, side, MNI coordinate.

from strokedx_core.anatomy.locate import locate
anatomy = locate(read_volume("dwi.nii.gz"))
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from strokedx_core.anatomy.anatomy_map import VENTRICLE, AnatomyMap
from strokedx_core.anatomy.regions import CHANNELS, STRUCTURES, TERRITORIES
from strokedx_core.anatomy.registration import affine_to_mni
from strokedx_core.inference.brain_grid import BrainGrid
from strokedx_core.inference.devices import autocast_dtype
from strokedx_core.inference.prediction import Progress, finish, loaded_network, on_device
from strokedx_core.inference.skull_strip import skull_strip_steps
from strokedx_core.intensity import normalise_brain
from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.tasks import TASKS
from strokedx_core.volume import Flag, Volume, VolumeError, check_same_space, resample
from strokedx_core.weights import WeightsError, find_weights, read_card

__all__ = ["locate", "locate_steps", "probabilities"]

SEEN_MM = 3.0
"""How far around the brain the network sees."""

MOST = 3
"""Sequences that are looked at, at most; their answers are averaged, and each takes its time."""

FINER = 2
"""How much finer than the network's own the grid is on which voxels are told apart."""

EDGE_MM = 10.0
"""Over this length from its edge inwards, the closer look takes over from the first."""

_Answer = tuple[Tensor, BrainGrid]
"""Probabilities as `_answer` gives them, and their grid."""


def locate(
    volumes: Volume | Sequence[Volume],
    *,
    brain: np.ndarray | None = None,
    device: str = "auto",
    weights: str | Path | None = None,
) -> AnatomyMap:
    """Tell the parts of a brain apart.

    Parameters
    ----------
    volumes : Volume, or sequence of Volume
        Of any contrast; of several, the result lies on the grid of the first, and up to `MOST` are
        looked at.
    brain : ndarray, shape of the first volume, optional
        Where the brain is; found where not given.
    device : {"auto", "cpu", "cuda", "mps"}
    weights : str or path, optional
        Name of shipped weights or a `.safetensors` file with its card beside it. Without it, the
        shipped weights look at the whole brain, and others of theirs more closely at its middle.

    Raises
    ------
    VolumeError
        If no brain is found, or the volumes do not show the same place.
    WeightsError
        If the weights cannot be used.
    """
    return finish(locate_steps(volumes, brain=brain, device=device, weights=weights))


def locate_steps(
    volumes: Volume | Sequence[Volume],
    *,
    brain: np.ndarray | None = None,
    device: str = "auto",
    weights: str | Path | None = None,
) -> Generator[Progress, None, AnatomyMap]:
    """As `locate`, one step after the other."""
    looked_at = [volumes] if isinstance(volumes, Volume) else list(volumes)[:MOST]
    if not looked_at:
        raise VolumeError("no sequence was given; at least one is needed")
    check_same_space(looked_at)
    first = looked_at[0]
    flags: tuple[Flag, ...] = ()
    if brain is None:
        result = yield from skull_strip_steps(first, device=device)
        brain, flags = result.mask, result.flags
    if brain.shape != first.shape:
        raise VolumeError(f"the brain mask is of shape {brain.shape}, not {first.shape}")
    inside = brain != 0
    if not inside.any():
        raise VolumeError(f"{first.path}: no brain was found to tell the parts of")
    name = weights or TASKS["anatomy"].default_weights

    def predict(place: torch.device) -> Generator[Progress, None, AnatomyMap]:
        closer = TASKS["anatomy"].closer_weights
        looks = [name, closer] if closer and not weights else [name]
        answers: list[_Answer] = []
        for look, which in enumerate(looks):
            network = _anatomy_network(which, place)
            card = read_card(which)
            spacing, shape = card.spacings_mm[-1], card.text["input"].get("shape")
            grid = BrainGrid.around(inside, first.affine, spacing, network.divisor, shape)
            answer = torch.zeros((CHANNELS, *grid.shape), device=place)
            for number, volume in enumerate(looked_at):
                done, total = look * len(looked_at) + number, len(looks) * len(looked_at)
                yield Progress(done, total, "telling the parts of the brain apart")
                image = _image(grid, volume, inside, spacing).to(place)
                answer += _answer(network, image) / len(looked_at)
            answers.append((answer.cpu(), grid))
        return _map(answers, inside, flags)

    anatomy, _, notes = yield from on_device(device, predict)
    if notes:
        return AnatomyMap(**{**vars(anatomy), "flags": (*anatomy.flags, *notes)})
    return anatomy


def probabilities(
    image: Tensor, weights: str | Path | None = None, device: torch.device | str = "cpu"
) -> Tensor:
    """What the network makes of a brain that is on its grid already.

    Parameters
    ----------
    image : Tensor, shape (x, y, z)
        Normalised, of the brain alone; sizes are multiples of the network's divisor.
    weights : str or path, optional
    device : torch.device

    Returns
    -------
    Tensor, shape (`regions.CHANNELS`, x, y, z)
        Of the right half, of each structure, of each territory.
    """
    place = torch.device(device)
    network = _anatomy_network(weights or TASKS["anatomy"].default_weights, place)
    return _answer(network, image.to(place))


def _anatomy_network(weights: str | Path, device: torch.device) -> UNet3D:
    network = loaded_network(weights, device)
    if (network.config["in_channels"], network.config["out_channels"]) != (1, CHANNELS):
        raise WeightsError(f"{find_weights(weights)}: not for anatomy")
    return network


def _image(grid: BrainGrid, volume: Volume, brain: np.ndarray, spacing: float) -> Tensor:
    inside = grid.mask(brain)
    seen = ndimage.distance_transform_edt(~inside) * spacing <= SEEN_MM
    placed = grid.image(volume.data, volume.affine) * seen
    return normalise_brain(torch.from_numpy(placed), torch.from_numpy(inside))


def _answer(network: UNet3D, image: Tensor) -> Tensor:
    """Probabilities, the mean over an image and its mirror image: of the right half, of each
    structure, of each territory."""
    both = torch.stack((image, image.flip(0)))[:, None]
    dtype = autocast_dtype(image.device)
    with (
        torch.inference_mode(),
        torch.autocast(image.device.type, dtype or torch.bfloat16, enabled=dtype is not None),
    ):
        logits = network(both.contiguous(memory_format=torch.channels_last_3d)).float()
    as_seen, mirrored = logits[0], logits[1].flip(1)
    # In the mirror, right is left.
    parts = [(as_seen[:1].sigmoid() + (-mirrored[:1]).sigmoid()) / 2]
    middle = 1 + len(STRUCTURES)
    for cut in (slice(1, middle), slice(middle, None)):
        parts.append((as_seen[cut].softmax(0) + mirrored[cut].softmax(0)) / 2)
    return torch.cat(parts)


def _map(answers: list[_Answer], brain: np.ndarray, flags: tuple[Flag, ...]) -> AnatomyMap:
    """Labels on the native grid, of a look at the whole brain and closer ones at a part of it."""
    first, grid = answers[0]
    labels = [grid.nearest(part, FINER) for part in _labels(first)]
    for closer, part_grid in answers[1:]:
        box = part_grid.native_box(part_grid.box)
        parts = _labels(_taken_over(closer, part_grid, first, grid))
        for whole, part in zip(labels, parts, strict=True):
            whole[box] = part_grid.nearest(part, FINER)[box]
    # Where the brain is at all, its mask knows.
    found, territories, sides = (whole * brain for whole in labels)
    affine = grid.native_affine
    centres = _centres(found, territories, sides, affine)
    return AnatomyMap(found, territories, sides > 0, affine, affine_to_mni(centres), flags)


def _labels(answer: Tensor) -> list[np.ndarray]:
    """Structure, territory and right half of each voxel of a finer grid: uint8."""
    finer = F.interpolate(answer[None], scale_factor=FINER, mode="trilinear", align_corners=False)
    middle = 1 + len(STRUCTURES)
    right = finer[0, 0] > 0.5
    structure = 1 + _largest(finer[0, 1:middle])
    territory = 1 + _largest(finer[0, middle:])
    numbers = torch.where(structure == VENTRICLE, 0, 2 * territory - 1 + right)
    return [part.to(torch.uint8).numpy() for part in (structure, numbers, right)]


def _largest(channels: Tensor) -> Tensor:
    """Number of the largest channel of each voxel: `argmax`, which takes ten times as long where
    channels lie far apart in memory."""
    best, number = channels[0], torch.zeros(channels.shape[1:], dtype=torch.uint8)
    for n, channel in enumerate(channels[1:], start=1):
        number.masked_fill_(channel > best, n)
        best = torch.maximum(best, channel)
    return number


def _taken_over(closer: Tensor, part_grid: BrainGrid, first: Tensor, grid: BrainGrid) -> Tensor:
    """A closer look's answer, which gives way to the first one's towards the edge."""
    start = [(a - b) / c for a, b, c in zip(part_grid.start, grid.start, grid.step, strict=True)]
    step = [a / b for a, b in zip(part_grid.step, grid.step, strict=True)]
    places = (start[0], start[1], start[2]), (step[0], step[1], step[2])
    before = np.stack([resample(one.numpy(), part_grid.shape, *places) for one in first])
    share = torch.ones(part_grid.shape)
    sizes = np.linalg.norm(part_grid.affine[:3, :3], axis=0)
    for axis, (count, size) in enumerate(zip(part_grid.shape, sizes, strict=True)):
        at = torch.arange(count) + 0.5
        within = torch.minimum(at, count - at) * float(size) / EDGE_MM
        share = torch.minimum(share, within.view([-1 if a == axis else 1 for a in range(3)]))
    return torch.lerp(torch.from_numpy(before), closer, share)


def _centres(
    structure: np.ndarray, territory: np.ndarray, right: np.ndarray, affine: np.ndarray
) -> dict[tuple[str, bool], tuple[np.ndarray, float]]:
    """Centroid, RAS mm, and volume of every part on either side."""
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    voxels = np.nonzero(structure)
    places = np.column_stack(voxels) @ affine[:3, :3].T + affine[:3, 3]
    side = right[voxels].astype(int)
    found = {}
    for numbers, names in (
        (2 * structure[voxels].astype(int) - 2 + side, STRUCTURES),
        (territory[voxels].astype(int) - 1, tuple(TERRITORIES)),
    ):
        valid = numbers >= 0
        counts = np.bincount(numbers[valid], minlength=2 * len(names))
        sums = [
            np.bincount(numbers[valid], places[valid, axis], 2 * len(names)) for axis in range(3)
        ]
        for index, name in enumerate(names):
            for half in (0, 1):
                count = counts[2 * index + half]
                if count:
                    centre = np.array([s[2 * index + half] for s in sums]) / count
                    found[name, bool(half)] = centre, float(count) * voxel_ml
    return found

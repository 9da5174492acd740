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
from strokedx_core.volume import Flag, Volume, VolumeError, check_same_space
from strokedx_core.weights import WeightsError, find_weights, read_card

__all__ = ["locate", "locate_steps"]

SEEN_MM = 3.0
"""How far around the brain the network sees."""

MOST = 3
"""Sequences that are looked at, at most; their answers are averaged."""

FINER = 2
"""How much finer than the network's own the grid is on which voxels are told apart."""


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
        Name of shipped weights or a `.safetensors` file with its card beside it.

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
        network = _anatomy_network(name, place)
        spacing = read_card(name).spacings_mm[-1]
        grid = BrainGrid.around(inside, first.affine, spacing, network.divisor)
        answer = torch.zeros((CHANNELS, *grid.shape), device=place)
        for number, volume in enumerate(looked_at):
            yield Progress(number, len(looked_at), "telling the parts of the brain apart")
            image = _image(grid, volume, inside, spacing).to(place)
            answer += _answer(network, image) / len(looked_at)
        return _map(answer, grid, inside, flags)

    anatomy, _, notes = yield from on_device(device, predict)
    if notes:
        return AnatomyMap(**{**vars(anatomy), "flags": (*anatomy.flags, *notes)})
    return anatomy


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


def _map(answer: Tensor, grid: BrainGrid, brain: np.ndarray, flags: tuple[Flag, ...]) -> AnatomyMap:
    finer = F.interpolate(answer[None], scale_factor=FINER, mode="trilinear", align_corners=False)
    middle = 1 + len(STRUCTURES)
    right = finer[0, 0] > 0.5
    structure = 1 + finer[0, 1:middle].argmax(0)
    territory = 1 + finer[0, middle:].argmax(0)
    numbers = torch.where(structure == VENTRICLE, 0, 2 * territory - 1 + right)
    # Where the brain is at all, its mask knows.
    found, territories, sides = (
        grid.nearest(part.to("cpu", torch.uint8).numpy(), FINER) * brain
        for part in (structure, numbers, right)
    )
    centres = _centres(found, territories, sides, grid.native_affine)
    affine = grid.native_affine
    return AnatomyMap(found, territories, sides > 0, affine, affine_to_mni(centres), flags)


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

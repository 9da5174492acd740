"""One case made ready for the lesion network: brain found, all sequences on one working grid."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from strokedx_core.anatomy.midplane import midplane_distance
from strokedx_core.inference.brain_grid import NEAR, SAME, Box, BrainGrid
from strokedx_core.inference.lesions import PieceRule
from strokedx_core.inference.prediction import (
    Progress,
    loaded_network,
    predict_grid,
    run_mirrored,
)
from strokedx_core.intensity import normalise_brain
from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.synthesis.clicks import draw_clicks
from strokedx_core.tasks import LESION_TYPES, MODALITIES
from strokedx_core.volume import (
    Flag,
    Volume,
    VolumeError,
    check_modality_values,
    check_same_space,
    read_volume,
)
from strokedx_core.weights import WeightsError, find_weights, read_card

__all__ = [
    "CLICK_PATCH",
    "LesionCase",
    "Sequences",
    "place_on_grid",
    "read_sequences",
    "sequences_on_grid",
    "unclicked_input",
]

CLICK_PATCH = (64, 64, 48)
"""Voxels of what is predicted around a click, at most: more would answer later."""

SEEN_MM = 3.0
"""How far around the brain the network sees."""

KEPT_MM = 2.0
"""How far around the brain a lesion may reach."""

CHANNELS = len(MODALITIES) + 3
"""What the network takes: the sequences, positive clicks, negative clicks, the mask before. A
network with a midplane takes the distance from it besides."""

Sequences = Mapping[str, Volume | Path | str]


def lesion_input(image: Tensor, prompts: Tensor | None, distance: Tensor | None) -> Tensor:
    """What a lesion network is given.

    Parameters
    ----------
    image : Tensor, shape (7, x, y, z)
        Normalised sequences.
    prompts : Tensor, shape (3, x, y, z), optional
        Positive clicks, negative clicks, the mask before; nothing of it where not given.
    distance : Tensor, shape (x, y, z), optional
        As `anatomy.midplane.midplane_distance` gives it, where the network has a midplane.

    Returns
    -------
    Tensor, shape (10 or 11, x, y, z)
    """
    if prompts is None:
        prompts = image.new_zeros((3, *image.shape[1:]))
    return torch.cat((image, prompts, *(() if distance is None else (distance[None],))))


def unclicked_input(image: Tensor, brain: Tensor, midplane: bool) -> Tensor:
    """What a lesion network is given before anybody has clicked.

    Parameters
    ----------
    image : Tensor, shape (7, x, y, z)
        Normalised sequences.
    brain : Tensor of bool, shape (x, y, z)
    midplane : bool
        Whether the network has one.

    Returns
    -------
    Tensor, shape (10 or 11, x, y, z)
    """
    return lesion_input(image, None, midplane_distance(image, brain) if midplane else None)


def read_sequences(volumes: Sequences) -> dict[str, Volume]:
    """Read what is given as a path, and check that the volumes make a case.

    Parameters
    ----------
    volumes : mapping of str to Volume or path
        By modality, one of `tasks.MODALITIES`.

    Returns
    -------
    dict of str to Volume
        In the same order, flags of each with the modality in front.

    Raises
    ------
    VolumeError
        If there is no volume, one cannot be read, is not what its modality can be, or does not lie
        where the others lie.
    ValueError
        If a modality is unknown.
    """
    if not volumes:
        raise VolumeError("no sequence was given; at least one is needed")
    for modality in volumes:
        if modality not in MODALITIES:
            raise ValueError(f"modality must be one of {', '.join(MODALITIES)}, not {modality!r}")
    case = {}
    for modality, given in volumes.items():
        volume = given if isinstance(given, Volume) else read_volume(given)
        flags = (*volume.flags, *check_modality_values(volume, modality))
        told = tuple(Flag(flag.code, f"{modality}: {flag.message}") for flag in flags)
        case[modality] = replace(volume, flags=told)
    check_same_space(case)
    return case


@dataclass(eq=False)
class LesionCase:
    """What the network needs to know of a case, prepared once for any number of clicks.

    Attributes
    ----------
    volume : Volume
        The first.
    brain : ndarray of bool, native
    grid : BrainGrid
    image : Tensor, shape (7, x, y, z), float32
        Normalised sequences on the working grid, 0 where there is none, on the network's device.
    kept : Tensor of bool, shape (x, y, z)
        Where lesions may lie.
    distance : Tensor, shape (x, y, z), or None
        From the midplane, where the network asks for it.
    network : UNet3D
    channel : int
        Output of the network for the lesion type.
    levels : mapping of str to float
        Median of the brain by modality, before normalising.
    rule : PieceRule
        Of the weights' card.
    """

    volume: Volume
    brain: np.ndarray
    grid: BrainGrid
    image: Tensor
    kept: Tensor
    distance: Tensor | None
    network: UNet3D
    channel: int
    levels: Mapping[str, float]
    rule: PieceRule

    def predict(self) -> Generator[Progress, None, np.ndarray]:
        """Probability of the whole case without clicks: float32, native, 0 away from the brain."""
        inputs = lesion_input(self.image, None, self.distance)
        found = yield from predict_grid(self.network, inputs, "looking for lesions", mirrored=True)
        native = np.zeros(self.volume.shape, np.float32, order="F")
        box = self._whole()
        values = (found[self.channel] * self.kept).cpu().numpy()
        native[self.grid.native_box(box)] = self.grid.native(values, box)
        return native

    def predict_around(
        self,
        centre: tuple[float, float, float],
        points: Mapping[bool, list[tuple[float, float, float]]],
        mask: np.ndarray,
    ) -> tuple[Box, np.ndarray]:
        """Probability in a patch around a point.

        Parameters
        ----------
        centre : three float
            Working voxels.
        points : mapping of bool to list
            Positive and negative clicks, working voxels.
        mask : ndarray of bool, native
            The mask before.

        Returns
        -------
        box : three slice
            Where the patch lies on the working grid.
        probability : ndarray, shape of the patch, float32
        """
        divisor = self.network.divisor
        patch = [-(-size // divisor) * divisor for size in CLICK_PATCH]
        low = [
            min(max(round(place) - reach // 2, 0), max(size - reach, 0))
            for place, size, reach in zip(centre, self.grid.shape, patch, strict=True)
        ]
        shape = tuple(map(min, self.grid.shape, patch))
        x, y, z = (slice(first, first + n) for first, n in zip(low, shape, strict=True))
        box, device = (x, y, z), self.image.device
        drawn = []
        for sign in (True, False):
            places = [
                [at - first for at, first in zip(point, low, strict=True)] for point in points[sign]
            ]
            drawn.append(draw_clicks(shape, places, device))
        before = torch.from_numpy(self.grid.mask(mask, box)).to(device, torch.float32)
        distance = None if self.distance is None else self.distance[box]
        prompts = torch.stack([*drawn, before])
        inputs = lesion_input(self.image[(slice(None), *box)], prompts, distance)
        found = run_mirrored(self.network, inputs[None])[0, self.channel] * self.kept[box]
        return box, found.cpu().numpy()

    def _whole(self) -> Box:
        x, y, z = (slice(0, size) for size in self.grid.shape)
        return x, y, z


def place_on_grid(
    case: Mapping[str, Volume],
    brain: np.ndarray,
    lesion_type: str,
    weights: str | Path,
    device: torch.device,
) -> LesionCase:
    """Bring the sequences of a case onto the network's grid, and load the network.

    Parameters
    ----------
    case : mapping of str to Volume
        As `read_sequences` gives it.
    brain : ndarray of bool
        On the grid of the first volume.
    lesion_type : str
        One of `tasks.LESION_TYPES`.
    weights : str or path
    device : torch.device

    Raises
    ------
    WeightsError
        If the weights cannot be used, or are not for lesions.
    """
    network = _lesion_network(weights, device)
    first = next(iter(case.values()))
    card = read_card(weights)
    spacing = card.spacings_mm[-1]
    own = NEAR if card.text["input"].get("near_voxels", False) else SAME
    grid = BrainGrid.around(brain, first.affine, spacing, network.divisor, own=own)
    image, inside, levels = sequences_on_grid(case, brain, grid, spacing)
    placed = torch.from_numpy(image).to(device)
    kept = torch.from_numpy(_grown(inside, KEPT_MM / spacing)).to(device)
    distance = None
    if network.config.get("midplane", False):
        distance = midplane_distance(placed, torch.from_numpy(inside))
    channel = LESION_TYPES.index(lesion_type)
    return LesionCase(
        first, brain, grid, placed, kept, distance, network, channel, levels,
        PieceRule.of_card(card.text["input"]),
    )  # fmt: skip


def sequences_on_grid(
    case: Mapping[str, Volume], brain: np.ndarray, grid: BrainGrid, spacing: float
) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """What the network sees of the sequences of a case, in use and in training.

    Parameters
    ----------
    case : mapping of str to Volume
        As `read_sequences` gives it.
    brain : ndarray of bool
        On the grid that `grid` was laid over.
    grid : BrainGrid
    spacing : float
        Its voxel size, mm.

    Returns
    -------
    image : ndarray, shape (7, x, y, z), float32
        Normalised sequences, 0 away from the brain and where there is none.
    inside : ndarray of bool, shape (x, y, z)
        The brain.
    levels : dict of str to float
        Median of the brain by modality, before normalising.
    """
    inside = grid.mask(brain)
    seen = _grown(inside, SEEN_MM / spacing)
    image = np.zeros((len(MODALITIES), *grid.shape), np.float32)
    levels = {}
    for modality, volume in case.items():
        placed = grid.image(volume.data, volume.affine) * seen
        scaled = normalise_brain(torch.from_numpy(placed), torch.from_numpy(inside))
        image[MODALITIES.index(modality)] = scaled.numpy()
        levels[modality] = float(np.median(placed[inside])) if inside.any() else 0.0
    return image, inside, levels


def _lesion_network(weights: str | Path, device: torch.device) -> UNet3D:
    network = loaded_network(weights, device)
    found = network.config["in_channels"], network.config["out_channels"]
    if found != (CHANNELS, len(LESION_TYPES)):
        raise WeightsError(
            f"{find_weights(weights)}: not for lesions (a network of {found[0]} channels to "
            f"{found[1]}, where {CHANNELS} to {len(LESION_TYPES)} are needed)"
        )
    return network


def _grown(mask: np.ndarray, voxels: float) -> np.ndarray:
    """A mask and all that is no further from it than so many voxels."""
    reach = int(voxels)
    ball = sum(offset**2 for offset in np.ogrid[(slice(-reach, reach + 1),) * 3]) <= voxels**2
    grown: np.ndarray = ndimage.binary_dilation(mask, ball)
    return grown

"""Real cases as the network sees them: read, laid on its grid as in use, kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from strokedx_core.datasets.cases import CaseFiles
from strokedx_core.inference.automatic import align_sequences, find_brain
from strokedx_core.inference.brain_grid import BrainGrid
from strokedx_core.inference.lesion_case import read_sequences, sequences_on_grid
from strokedx_core.inference.prediction import finish
from strokedx_core.inference.skull_strip import Found, finer_grid, without_air
from strokedx_core.intensity import normalise
from strokedx_core.tasks import LESION_TYPES, MODALITIES
from strokedx_core.volume import (
    Volume,
    VolumeError,
    onto_grid,
    read_mask,
    read_volume,
    resample,
    same_grid,
    to_canonical,
    working_grid,
    write_atomically,
)

__all__ = [
    "Item",
    "Stored",
    "case_name",
    "head_item",
    "lesion_item",
    "mask_on",
    "place_lesion",
]

FORMAT = 1
"""Raised whenever cases come out differently than before."""


@dataclass(frozen=True)
class Item:
    """What one training image is made of.

    Attributes
    ----------
    case : CaseFiles
    modalities : tuple of str
        Sequences that are looked at together.
    """

    case: CaseFiles
    modalities: tuple[str, ...]

    @property
    def name(self) -> str:
        """As messages have it."""
        return f"{case_name(self.case)} ({'+'.join(self.modalities)})"

    @property
    def files(self) -> list[Path]:
        """Files that are read for it."""
        masks = [path for path in (self.case.brain, self.case.lesion) if path is not None]
        return [*(self.case.images[name] for name in self.modalities), *masks]


def case_name(case: CaseFiles) -> str:
    """Data set, person and session."""
    return " ".join(part for part in (case.dataset, case.person, case.session) if part)


def head_item(item: Item, spacings: tuple[float, ...], multiple: int) -> tuple[Tensor, Tensor]:
    """A head on the last of the grids that skull stripping works on, and where its brain is.

    Parameters
    ----------
    item : Item
        Of one sequence.
    spacings : tuple of float
        Spacing of the whole head; then, for the grid around the brain, of that too.
    multiple : int
        The network's divisor.

    Returns
    -------
    image : Tensor, shape (1, x, y, z), float32
    target : Tensor, shape (1, x, y, z), float32
        1 in the brain.

    Raises
    ------
    VolumeError
        If a file cannot be read, or no brain is marked.
    """
    (modality,) = item.modalities
    volume = read_volume(item.case.images[modality])
    assert item.case.brain is not None
    mask = mask_on(item.case.brain, volume)
    if not mask.any():
        raise VolumeError(f"{item.case.brain}: no brain is marked")
    data, affine = to_canonical(volume.data, volume.affine)
    brain, _ = to_canonical(mask, volume.affine)
    shape, start, step = working_grid(data.shape, affine, spacings[0])
    if len(spacings) > 1:
        # As in use, but around the brain as it is.
        truth = resample(brain, shape, start, step, outside="zero")
        found = Found(truth, start, step)
        _, _, step = working_grid(data.shape, affine, spacings[1])
        box = finer_grid(found, data.shape, step, spacings[1], multiple)
        if box is None:
            raise VolumeError(f"{item.case.brain}: what is marked is smaller than a voxel")
        shape, start = box
    image = torch.from_numpy(
        np.ascontiguousarray(resample(data, shape, start, step, outside="zero"))
    )
    if len(spacings) == 1:
        image, start = without_air(image, start, step, multiple)
    target = resample(brain, tuple(image.shape), start, step, outside="zero") >= 0.5
    return normalise(image)[None], torch.from_numpy(np.ascontiguousarray(target)).float()[None]


def place_lesion(
    item: Item, spacing: float, multiple: int
) -> tuple[BrainGrid, np.ndarray, np.ndarray, np.ndarray]:
    """Lay the sequences of a case on the grid around its brain, as in use.

    The brain is the data set's own where it has one, and found otherwise.

    Returns
    -------
    grid : BrainGrid
        Laid over the sequence on whose grid the lesion was drawn, if any, else the first.
    image : ndarray, shape (7, x, y, z), float32
    lesion : ndarray of bool, shape (x, y, z)
    truth : ndarray of bool, native

    Raises
    ------
    VolumeError
        If a file cannot be read, or volumes do not show the same place.
    """
    case = item.case
    assert case.lesion is not None
    lesion = read_mask(case.lesion)
    volumes = {name: read_volume(case.images[name]) for name in item.modalities}
    drawn_on = [name for name in volumes if same_grid(volumes[name], lesion)]
    first = drawn_on[0] if drawn_on else item.modalities[0]
    volumes = {first: volumes[first], **volumes}
    sequences = read_sequences(volumes)
    if case.brain is not None:
        brain = mask_on(case.brain, sequences[first])
    else:
        brain, _ = finish(find_brain(sequences, "cpu"))
    if len(sequences) > 1:
        sequences, _ = align_sequences(sequences, brain)
    grid = BrainGrid.around(brain, sequences[first].affine, spacing, multiple)
    image, _, _ = sequences_on_grid(sequences, brain, grid, spacing)
    placed = grid.image(lesion.data, lesion.affine) >= 0.5
    return grid, image, placed, mask_on(case.lesion, sequences[first])


def lesion_item(item: Item, spacing: float, multiple: int, alone: bool) -> tuple[Tensor, Tensor]:
    """A case on the lesion network's grid, and its lesions.

    Parameters
    ----------
    item : Item
    spacing : float
    multiple : int
        The network's divisor.
    alone : bool
        Whether the one sequence is the only channel and the lesion, of whatever type, the target.

    Returns
    -------
    image : Tensor, shape (7 or 1, x, y, z), float32
    target : Tensor, shape (3 or 1, x, y, z), float32
        1 in lesions of the type, 0 elsewhere, -1 where the data set does not say the type.
    """
    _, image, lesion, _ = place_lesion(item, spacing, multiple)
    marked = torch.from_numpy(lesion).float()
    if alone:
        channel = MODALITIES.index(item.modalities[0])
        return torch.from_numpy(image[channel : channel + 1]), marked[None]
    target = marked.new_full((len(LESION_TYPES), *marked.shape), -1.0)
    target[0] = marked
    for channel, name in enumerate(LESION_TYPES[1:], start=1):
        if item.case.lesion_type in LESION_TYPES[1:]:
            target[channel] = marked if item.case.lesion_type == name else 0.0
        elif not lesion.any():
            target[channel] = 0.0
    return torch.from_numpy(image), target


def mask_on(path: Path, volume: Volume) -> np.ndarray:
    """A mask on the grid of a volume."""
    mask = read_mask(path)
    if same_grid(mask, volume):
        return mask.data.astype(bool)
    return onto_grid(mask.data, mask.affine, volume.shape, volume.affine) >= 0.5


class Stored:
    """Cases laid on one grid, kept in a folder so that each is read and resampled once.

    Parameters
    ----------
    folder : Path
    recipe : mapping
        JSON values: all that decides how a case comes out.
    """

    def __init__(self, folder: Path, recipe: Mapping[str, object]) -> None:
        self.folder, self.recipe = folder, {"format": FORMAT, **recipe}

    def path(self, item: Item) -> Path:
        """Where an item is kept: named by the hash of the recipe and of its files' states."""
        files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in item.files]
        told = [self.recipe, item.case.lesion_type, item.modalities, files]
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{digest[:32]}.safetensors"

    def read(self, item: Item) -> tuple[Tensor, Tensor]:
        """Image and target of an item, float32; prepared where they are not kept yet.

        Raises
        ------
        VolumeError
            If one of its files cannot be read or used.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file, save

        try:
            kept = self.path(item)
        except OSError as error:
            raise VolumeError(f"{error.filename}: {error.strerror}") from error
        try:
            tensors = load_file(kept)
        except (OSError, SafetensorError):  # not there yet, or damaged: it is made again
            image, target = self._prepare(item)
            tensors = {"image": image.half(), "target": target.to(torch.int8)}
            self.folder.mkdir(parents=True, exist_ok=True)
            whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
            try:
                write_atomically(kept, [save(whole)])
            except VolumeError as error:  # that the disk is full is not the case's fault
                raise OSError(str(error)) from error
        return tensors["image"].float(), tensors["target"].float()

    def _prepare(self, item: Item) -> tuple[Tensor, Tensor]:
        spacings, multiple = self.recipe["spacings"], self.recipe["multiple"]
        assert isinstance(spacings, list)
        assert isinstance(multiple, int)
        if self.recipe["task"] == "skull-strip":
            return head_item(item, tuple(spacings), multiple)
        return lesion_item(item, spacings[0], multiple, bool(self.recipe["alone"]))

"""What the captioner is trained on: generated cases and their claims, or real cases and texts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from strokedx_core.anatomy.atlas import AtlasError, read_atlas
from strokedx_core.captions.on_grid import blood_on_grid, lesion_on_grid, pieces_on_grid
from strokedx_core.captions.parts import parts_of
from strokedx_core.datasets.cases import CaseFiles, DataSetError
from strokedx_core.datasets.splits import make_split, read_split
from strokedx_core.inference.brain_grid import BrainGrid
from strokedx_core.inference.lesion_case import read_sequences, sequences_on_grid
from strokedx_core.nets.captioner import pieces_of
from strokedx_core.synthesis.anatomy import load_anatomy
from strokedx_core.synthesis.described import Described, describe
from strokedx_core.synthesis.labels import Head, load_head
from strokedx_core.synthesis.lesion_shapes import LesionShape, load_shapes
from strokedx_core.synthesis.mni import head_to_mni
from strokedx_core.synthesis.stroke import StrokeCase, generate_case
from strokedx_core.tasks import MODALITIES
from strokedx_core.training.caption_config import CaptionConfig
from strokedx_core.training.kept_cases import kept_cases
from strokedx_core.training.real_cases import Item, place_lesion
from strokedx_core.training.tables import ConfigError
from strokedx_core.training.typer_config import TyperConfig
from strokedx_core.volume import VolumeError

__all__ = [
    "FOLDERS",
    "CaptionCase",
    "described_cases",
    "divided",
    "generated_cases",
    "heads_and_shapes",
    "real_cases",
]

FOLDERS = ("head-labels", "lesion-masks", "atlas")
"""What generated cases are made from."""

_FORMAT = 9
"""Raised whenever generated cases come out differently than before."""


@dataclass(frozen=True, eq=False)
class CaptionCase:
    """A case and what can be said of it.

    Attributes
    ----------
    there : tuple of int
        Numbers of the sequences that there are, as in `tasks.MODALITIES`.
    image : Tensor of float16, shape (len(there), x, y, z)
        Normalised sequences.
    lesion : Tensor of bool, shape (x, y, z)
    parts : Tensor of uint8, shape (x, y, z)
        As `captions.parts.parts_of` tells them.
    blood : Tensor of bool, shape (x, y, z)
        The part of the lesion that is blood; not known of a case with a text.
    pieces : Tensor of uint8, shape (x, y, z)
        Number of the piece of the lesion that a voxel is of, from 1 for the largest.
    claims : dict of str to str
        Of the whole case; empty where there is a text.
    slices : dict of int to dict
        Slice along z → claims of what lies on it.
    text : str
        Of the data set; "" of a generated case.
    """

    there: tuple[int, ...]
    image: Tensor
    lesion: Tensor
    parts: Tensor
    blood: Tensor
    pieces: Tensor
    claims: dict[str, str] = field(default_factory=dict)
    slices: dict[int, dict[str, str]] = field(default_factory=dict)
    text: str = ""

    def whole(self) -> Tensor:
        """All sequences, shape (7, x, y, z), float32, 0 where there is none."""
        image = torch.zeros((len(MODALITIES), *self.lesion.shape))
        image[list(self.there)] = self.image.float()
        return image

    def seen(self) -> tuple[Tensor, Tensor, Tensor]:
        """What the captioner looks at: all sequences, the lesion, and the parts."""
        return self.whole(), self.lesion.float()[None], self.parts[None]


def generated_cases(
    config: CaptionConfig,
    folders: Mapping[str, Path],
    cache: Path,
    *,
    held_out: bool,
    multiple: int = 1,
    quiet: bool = True,
) -> list[CaptionCase]:
    """Generated cases, those of the cache and what it lacks.

    Parameters
    ----------
    config : CaptionConfig
    folders : mapping of str to Path
        By `FOLDERS`.
    cache : Path
    held_out : bool
        Whether those to validate on.
    multiple : int
        Sizes of the grids that scans are brought onto are multiples of it.
    quiet : bool
        No progress bar.

    Raises
    ------
    ConfigError
        If a folder lacks what is needed.
    """
    missing = [name for name in FOLDERS if name not in folders]
    if missing:
        raise ConfigError(f"generated cases need --{' and --'.join(missing)}")
    count = config.validation_cases if held_out else config.cases
    key = config.model_dump_json(
        include={"seed", "validation", "validation_shapes", "grid", "scan_spacing", "generator"}
    )
    digest = hashlib.sha256(f"{_FORMAT}{key}{multiple}{held_out}".encode()).hexdigest()[:16]
    made: list[Callable[[int], tuple[StrokeCase, Described]]] = []

    def make(number: int) -> dict[str, Any]:
        if not made:
            made.append(described_cases(config, folders, cache, held_out=held_out))
        return _plain(_seen(config, multiple, *made[0](number)))

    what = "cases to validate on" if held_out else "cases to train on"
    return [
        _case(values)
        for values in kept_cases(cache / f"described-{digest}", count, make, what, quiet)
    ]


def described_cases(
    config: CaptionConfig, folders: Mapping[str, Path], cache: Path, *, held_out: bool
) -> Callable[[int], tuple[StrokeCase, Described]]:
    """What makes generated case number n, and says what is true of it.

    Parameters and errors are as in `generated_cases`.
    """
    image = folders["atlas"]
    files, shapes = heads_and_shapes(config, folders, cache, held_out=held_out)
    try:
        atlas = read_atlas(image, image.with_name(image.name.split(".")[0] + ".tsv"))
        heads = [
            (head, to_mni, load_anatomy(path, head, to_mni, atlas, cache))
            for path, head, to_mni in files
        ]
    except (AtlasError, ValueError) as error:
        raise ConfigError(str(error)) from error
    recipe = config.recipe()

    def make(number: int) -> tuple[StrokeCase, Described]:
        seed = (config.seed << 24) + (int(held_out) << 23) + number
        head, to_mni, anatomy = heads[seed % len(heads)]
        case = generate_case(head, to_mni, shapes, seed, recipe=recipe)
        return case, describe(case, anatomy, to_mni)

    return make


def heads_and_shapes(
    config: CaptionConfig | TyperConfig, folders: Mapping[str, Path], cache: Path, *, held_out: bool
) -> tuple[list[tuple[Path, Head, Tensor]], list[LesionShape]]:
    """What cases are generated from: label maps, each with its file and its way to MNI space, and
    shapes of lesions; those to validate on, or all others.

    Raises
    ------
    ConfigError
        If a file cannot be used, or there are none.
    """
    try:
        shapes = [
            shape
            for shape in load_shapes(folders["lesion-masks"], cache)
            if shape.plausible and shape.person.endswith(config.validation_shapes) == held_out
        ]
        heads = [
            (path, load_head(path, cache))
            for path in sorted(folders["head-labels"].glob("*.*"))
            if (path.name.split(".")[0] in config.validation) == held_out
        ]
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if not heads or not shapes:
        what = "label map" if not heads else "lesion mask"
        raise ConfigError(f"no {what} to {'validate' if held_out else 'train'} on")
    return [(path, head, head_to_mni(head)) for path, head in heads], shapes


def _seen(config: CaptionConfig, multiple: int, case: StrokeCase, said: Described) -> CaptionCase:
    there = tuple(sorted(MODALITIES.index(name) for name in case.sequences))
    if config.scan_spacing is None:
        image, lesion, blood = said.image, said.lesion, torch.from_numpy(said.blood)
        pieces, slices = pieces_of(lesion), said.slices
    else:
        image, lesion, blood, pieces, slices = _brought(config.grid.spacing, multiple, case, said)
    image = image[list(there)]
    numbers = pieces.clamp_max(255).to(torch.uint8)
    return CaptionCase(
        there, image.half(), lesion, parts_of(image[0]), blood, numbers, said.claims, slices
    )


def _brought(
    spacing: float, multiple: int, case: StrokeCase, said: Described
) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[int, dict[str, str]]]:
    """A generated scan on the captioner's grid, brought there as in use."""
    images, brain = case.volumes(), case.brain.numpy()
    affine = next(iter(images.values())).affine
    grid = BrainGrid.around(brain, affine, spacing, multiple)
    image, _, _ = sequences_on_grid(read_sequences(images), brain, grid, spacing)
    lesion = lesion_on_grid(said.lesion.numpy(), grid)
    pieces = pieces_on_grid(said.found.labels, lesion, grid)
    marked = lesion > 0
    blood = blood_on_grid(said.lesion.numpy(), said.blood, marked, grid)
    slices = {}
    for layer in np.flatnonzero(marked.any(axis=(0, 1))):
        index = round(grid.start[2] + grid.step[2] * int(layer))
        if index in said.slices:
            slices[int(layer)] = said.slices[index]
    seen, mask, bleeds, numbers = map(torch.from_numpy, (image, marked, blood, pieces))
    return seen, mask, bleeds, numbers, slices


def _plain(case: CaptionCase) -> dict[str, Any]:
    return {
        "there": list(case.there), "image": case.image, "lesion": case.lesion,
        "parts": case.parts, "blood": case.blood, "pieces": case.pieces,
        "said": json.dumps([case.claims, case.slices]),
    }  # fmt: skip


def _case(values: Mapping[str, Any]) -> CaptionCase:
    claims, slices = json.loads(values["said"])
    by_number = {int(number): said for number, said in slices.items()}
    names = "image", "lesion", "parts", "blood", "pieces"
    image, lesion, parts, blood, pieces = (values[name] for name in names)
    there = tuple(values["there"])
    return CaptionCase(there, image, lesion, parts, blood, pieces, claims, by_number)


def divided(
    config: CaptionConfig, folders: Mapping[str, Path]
) -> tuple[list[CaseFiles], list[CaseFiles]]:
    """Cases of the data sets that have a text and a lesion mask: to train, and to validate on;
    nobody is in both.

    Raises
    ------
    ConfigError
        If a folder is not given, or fewer than three people in it have both.
    """
    from strokedx_core.datasets import find_cases

    files: list[CaseFiles] = []
    for name in config.data_sets:
        if name not in folders:
            raise ConfigError(f"the folder of {name} is not given")
        try:
            files += find_cases(name, folders[name])
        except ValueError as error:
            raise ConfigError(str(error)) from error
    files = [case for case in files if case.text and case.lesion is not None]
    people = {(case.dataset, case.person) for case in files}
    if len(people) < 3:
        raise ConfigError(
            f"{', '.join(config.data_sets)}: {len(people)} people with a text and a lesion mask "
            "are too few to divide; 3 are needed"
        )
    kept = folders.get("split")
    try:
        if kept is not None and kept.exists():
            split = read_split(kept)
        else:
            split = make_split(files, seed=config.seed, validation=config.held_out, test=0.0)
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                split.write(kept)
        train, validation, _ = split.divide(files)
    except DataSetError as error:
        raise ConfigError(str(error)) from error
    return train, validation


def real_cases(
    config: CaptionConfig, folders: Mapping[str, Path], multiple: int
) -> tuple[list[CaptionCase], list[CaptionCase], list[str]]:
    """Cases with texts of data sets, to train and to validate on.

    Parameters
    ----------
    config : CaptionConfig
    folders : mapping of str to Path
        By the names of the data sets.
    multiple : int
        Grid sizes are multiples of it.

    Returns
    -------
    train, validation : list of CaptionCase
    left_out : list of str
        Who could not be read, and why.

    Raises
    ------
    ConfigError
        As `divided`, and if nobody of either part could be read.
    """
    left_out: list[str] = []
    parts: list[list[CaptionCase]] = []
    for files in divided(config, folders):
        part = []
        for case in files:
            try:
                part.append(_read(case, config.grid.spacing, multiple))
            except VolumeError as error:
                left_out.append(f"{case.key}: {error}")
        parts.append(part)
    train, validation = parts
    if not train or not validation:
        raise ConfigError(f"too few cases could be read: {'; '.join(left_out[:3])}")
    return train, validation, left_out


def _read(case: CaseFiles, spacing: float, multiple: int) -> CaptionCase:
    names = tuple(name for name in MODALITIES if name in case.images)
    _, image, lesion, _ = place_lesion(Item(case, names), spacing, multiple)
    there = tuple(MODALITIES.index(name) for name in names)
    looked_at, marked = torch.from_numpy(image[list(there)]), torch.from_numpy(lesion)
    parts, blood = parts_of(looked_at[0]), torch.zeros_like(marked)
    pieces = pieces_of(marked).clamp_max(255).to(torch.uint8)
    return CaptionCase(there, looked_at.half(), marked, parts, blood, pieces, text=case.text or "")

"""What each task trains on: images by number, what is validated, and how errors are weighed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from strokedx_core.inference.lesion_case import unclicked_input
from strokedx_core.synthesis.head import generate
from strokedx_core.synthesis.labels import Head, load_head
from strokedx_core.synthesis.lesion_shapes import load_shapes
from strokedx_core.synthesis.mni import head_to_mni
from strokedx_core.synthesis.stroke import (
    StrokeCase,
    StrokeRecipe,
    another_view,
    generate_case,
)
from strokedx_core.tasks import MODALITIES
from strokedx_core.training.config import (
    ConfigError,
    GridConfig,
    LesionConfig,
    SkullStripConfig,
    TrainingConfig,
)
from strokedx_core.training.losses import lesion_loss, skull_strip_loss
from strokedx_core.training.prompting import add_clicks
from strokedx_core.training.seeds import mixed_seed

__all__ = [
    "LesionProblem",
    "Problem",
    "SkullStripProblem",
    "Trial",
    "load_heads",
    "number_seed",
]


class Trial(NamedTuple):
    """A validation image: what it is called, image and target without batch axis, and the channel
    of the image to look at.

    A target below 0 says that it is not known there.
    """

    title: str
    image: Tensor
    target: Tensor
    shown: int


class Problem(Protocol):
    """A task as the training loop sees it."""

    @property
    def config(self) -> TrainingConfig:
        """What the training was told."""

    @property
    def share(self) -> float:
        """About how many voxels of an image are marked, 0 to 1."""

    @property
    def exclusive(self) -> tuple[slice, ...]:
        """Groups of channels of which the strongest alone is marked in each voxel; any other
        channel is marked where its logit is positive."""

    def training(self, number: int, grid: GridConfig) -> tuple[Tensor, Tensor]:
        """Image and target number `number`: channels first, no batch axis."""

    def prompt(
        self, network: torch.nn.Module, image: Tensor, target: Tensor, numbers: Sequence[int]
    ) -> Tensor:
        """The batch, of images of these numbers, with what a user would add to each after seeing
        the network's answer."""

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """What is minimized, for a batch in float32."""

    def trials(self, grid: GridConfig) -> Iterator[Trial]:
        """Validation images on one grid, the same ones every time."""


_POOL = 32
"""Cases of which views are shuffled together."""


def number_seed(config: TrainingConfig, number: int) -> int:
    """Seed of image number `number` of a run; another run's seed gives other images."""
    return mixed_seed(config.seed, number)


def load_heads(
    folder: Path, config: TrainingConfig, cache: Path, device: torch.device
) -> tuple[list[Head], list[Head]]:
    """Heads to train on and heads held out."""
    paths = sorted(p for p in folder.glob("*") if p.name.endswith((".nii", ".nii.gz", ".mgz")))
    names = {path.name.split(".")[0]: path for path in paths}
    missing = [name for name in config.validation if name not in names]
    if missing:
        raise ConfigError(
            f"{folder}: validation asks for {', '.join(missing)}; "
            f"found {', '.join(names) or 'no label maps (.nii, .nii.gz, .mgz)'}"
        )
    try:
        heads = {name: load_head(path, cache).to(device) for name, path in names.items()}
    except ValueError as error:
        raise ConfigError(str(error)) from error
    held_out = [heads.pop(name) for name in config.validation]
    if not heads:
        raise ConfigError(f"{folder}: no label map is left to train on beside those held out")
    return list(heads.values()), held_out


class SkullStripProblem:
    """Generated heads of any contrast, and where the brain is.

    Parameters
    ----------
    config : SkullStripConfig
    folders : mapping
        "head-labels": folder of whole-head label maps.
    cache : Path
        Where prepared label maps are kept.
    device : torch.device
        Where images are made.

    Raises
    ------
    ConfigError
        If a folder lacks what the configuration names.
    """

    share = 0.5
    exclusive = ()

    def __init__(
        self,
        config: SkullStripConfig,
        folders: Mapping[str, Path],
        cache: Path,
        device: torch.device,
    ) -> None:
        self.config: SkullStripConfig = config
        self.heads, self.held_out = load_heads(folders["head-labels"], config, cache, device)

    def training(self, number: int, grid: GridConfig) -> tuple[Tensor, Tensor]:
        """Image and brain mask number `number`: shape (1, x, y, z)."""
        seed = number_seed(self.config, number)
        rng = torch.Generator().manual_seed(seed)
        head = self.heads[int(torch.randint(len(self.heads), (), generator=rng))]
        sample = generate(head, seed, recipe=self.config.recipe(grid))
        return sample.image[None], sample.target[None]

    def prompt(
        self, network: torch.nn.Module, image: Tensor, target: Tensor, numbers: Sequence[int]
    ) -> Tensor:
        """Nothing is added: skull stripping takes no clicks."""
        return image

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """`losses.skull_strip_loss`."""
        return skull_strip_loss(logits, target)

    def trials(self, grid: GridConfig) -> Iterator[Trial]:
        """Every contrast of every head held out."""
        recipe = self.config.recipe(grid)
        for contrast in self.config.validation_contrasts:
            for head_number, head in enumerate(self.held_out):
                for number in range(self.config.validation_images):
                    seed = 1_000_003 * (head_number + 1) + number
                    sample = generate(head, seed, contrast=contrast, recipe=recipe)
                    title = f"{contrast} {grid.spacing} mm"
                    yield Trial(title, sample.image[None], sample.target[None], 0)


class LesionProblem:
    """Generated strokes in any sequences, and clicks on what the network gets wrong.

    Parameters are those of `SkullStripProblem`; `folders` has "lesion-masks" too.
    """

    share = 0.01
    exclusive = ()

    def __init__(
        self,
        config: LesionConfig,
        folders: Mapping[str, Path],
        cache: Path,
        device: torch.device,
    ) -> None:
        self.config: LesionConfig = config
        heads, held_out = load_heads(folders["head-labels"], config, cache, device)
        self.heads = [(head, head_to_mni(head)) for head in heads]
        self.held_out = [(head, head_to_mni(head)) for head in held_out]
        try:
            shapes = load_shapes(folders["lesion-masks"], cache)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        shapes = [shape for shape in shapes if shape.plausible]
        held = config.validation_shapes
        self.shapes = [s for s in shapes if not s.person.endswith(held)]
        self._pool = -1
        self._cases: dict[tuple[int, GridConfig], StrokeCase] = {}
        self.shapes_held_out = [s for s in shapes if s.person.endswith(held)]
        if not self.shapes or not self.shapes_held_out:
            raise ConfigError(
                f"{folders['lesion-masks']}: no masks on one side of the split by names ending "
                f"in {held!r}"
            )

    def _input(self, case: StrokeCase) -> Tensor:
        """Sequences, no clicks yet, and the distance from the midplane where it is asked for."""
        return unclicked_input(case.image, case.brain, self.config.network.midplane)

    def training(self, number: int, grid: GridConfig) -> tuple[Tensor, Tensor]:
        """Image number `number`, shape (10 or 11, x, y, z), and its target, shape (3, x, y, z)."""
        # Cases come in pools; all views of a pool's cases are shuffled, and then the next pool's.
        pool, place = divmod(number, _POOL * self.config.views)
        rng = torch.Generator().manual_seed(mixed_seed(self.config.seed, pool, 1))
        order = torch.randperm(_POOL * self.config.views, generator=rng)
        case = self._case(pool * _POOL + int(order[place]) % _POOL, grid)
        turn = torch.Generator().manual_seed(mixed_seed(self.config.seed, number, 2))
        view = another_view(case, turn)
        return self._input(view), view.target

    def _case(self, number: int, grid: GridConfig) -> StrokeCase:
        """Generated case number `number`; kept as long as more views of it may be asked for."""
        if number // _POOL != self._pool:
            self._cases.clear()
            self._pool = number // _POOL
        if (number, grid) not in self._cases:
            seed = number_seed(self.config, number)
            rng = torch.Generator().manual_seed(seed)
            head, to_mni = self.heads[int(torch.randint(len(self.heads), (), generator=rng))]
            recipe = self.config.recipe(grid)
            assert isinstance(recipe, StrokeRecipe)
            case = generate_case(head, to_mni, self.shapes, seed, recipe=recipe)
            if self.config.views == 1:
                return case
            self._cases[number, grid] = case
        return self._cases[number, grid]

    def prompt(
        self, network: torch.nn.Module, image: Tensor, target: Tensor, numbers: Sequence[int]
    ) -> Tensor:
        """Clicks on the network's errors, for some of the batch."""
        return add_clicks(self.config, network, image, target, numbers)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """`losses.lesion_loss`."""
        return lesion_loss(logits, target, self.config)

    def trials(self, grid: GridConfig) -> Iterator[Trial]:
        """Every set of sequences with every kind of stroke validated; on the first grid only."""
        if grid != self.config.grids[0]:
            return
        recipe = self.config.recipe(grid)
        assert isinstance(recipe, StrokeRecipe)
        for names in self.config.validation_sets:
            for kind in ("infarct", "old infarct", "haemorrhage", "none"):
                for number in range(self.config.validation_images):
                    head, to_mni = self.held_out[number % len(self.held_out)]
                    case = generate_case(
                        head, to_mni, self.shapes_held_out, 1_000_003 + number,
                        sequences=names, kind=kind, recipe=recipe,
                    )  # fmt: skip
                    title = f"{kind} {'+'.join(names)}"
                    shown = MODALITIES.index(names[0])
                    yield Trial(title, self._input(case), case.target, shown)

"""Training on cases of one's own, alone or mixed with generated ones."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from strokedx_core.datasets.cases import CaseFiles
from strokedx_core.inference.lesion_case import unclicked_input
from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.tasks import LESION_TYPES, MODALITIES
from strokedx_core.training.config import (
    ConfigError,
    GridConfig,
    LesionConfig,
    RealConfig,
    TrainingConfig,
)
from strokedx_core.training.failures import BadCasesError
from strokedx_core.training.losses import known_entropy, lesion_loss, skull_strip_loss
from strokedx_core.training.patches import augment, cut_patch
from strokedx_core.training.problems import Problem, Trial
from strokedx_core.training.prompting import add_clicks
from strokedx_core.training.real_cases import Item, Stored
from strokedx_core.volume import VolumeError

__all__ = ["RealProblem", "items_of"]


def items_of(cases: Sequence[CaseFiles], config: TrainingConfig) -> list[Item]:
    """What can be trained on or measured of cases: those with the mask and the sequences wanted.

    Parameters
    ----------
    cases : sequence of CaseFiles
    config : TrainingConfig
        With `real`.
    """
    real = _real(config)
    items = []
    for case in cases:
        names = tuple(name for name in real.modalities if name in case.images)
        mask = case.brain if config.task == "skull-strip" else case.lesion
        other = real.lesion_type not in (LESION_TYPES[0], case.lesion_type)
        if mask is None or not names or (config.task == "lesion" and other):
            continue
        apart = config.task == "skull-strip" or real.alone
        items += [Item(case, (name,)) for name in names] if apart else [Item(case, names)]
    return items


class RealProblem:
    """Cases of one's own among generated ones.

    Parameters
    ----------
    config : TrainingConfig
        With `real`.
    cases, held_out : sequence of CaseFiles
        To train on, and to validate on.
    cache : Path
        Where cases laid on the network's grid are kept; bad ones are named in the folder "skipped"
        beside it.
    device : torch.device
        Where generated images are made, if any are.
    generated : Problem, optional
        Where the images come from that are not real.

    Raises
    ------
    ConfigError
        If there is nothing to train or to validate on.
    """

    def __init__(
        self,
        config: TrainingConfig,
        cases: Sequence[CaseFiles],
        held_out: Sequence[CaseFiles],
        cache: Path,
        device: torch.device,
        generated: Problem | None = None,
    ) -> None:
        self.config, self.real = config, _real(config)
        self.items, self.held_out = items_of(cases, config), items_of(held_out, config)
        for use, items, given in (
            ("train", self.items, cases),
            ("validate", self.held_out, held_out),
        ):
            if not items:
                raise ConfigError(
                    f"real: none of the {len(given)} cases to {use} on has what {config.task} "
                    f"needs: its mask and one of {', '.join(self.real.modalities)}"
                )
        self.generated, self.device = generated, device
        self.skipped = cache.parent / "skipped"
        with torch.device("meta"):
            self.divisor = UNet3D(**config.network.model_dump()).divisor
        spacings = [grid.spacing for grid in config.grids]
        heads = config.task == "skull-strip"
        self.stored = {
            grid: Stored(
                cache / "cases",
                {
                    "task": config.task,
                    # Skull stripping looks at the whole head first, and then around the brain.
                    "spacings": [spacings[0], grid.spacing][: n + 1] if heads else [grid.spacing],
                    "multiple": self.divisor,
                    "alone": self.real.alone,
                },
            )
            for n, grid in enumerate(config.grids)
        }

    @property
    def exclusive(self) -> tuple[slice, ...]:
        """Any channel may be marked."""
        return ()

    @property
    def share(self) -> float:
        """About how many voxels are marked; cross-entropy alone begins undecided."""
        return 0.5 if self.config.task == "skull-strip" or self.config.loss == "bce" else 0.01

    def training(self, number: int, grid: GridConfig) -> tuple[Tensor, Tensor]:
        """Image and target number `number`: channels first, no batch axis."""
        rng = np.random.default_rng((self.config.seed, number, 1))
        if self.generated is not None and rng.random() >= self.real.share:
            return self.generated.training(number, grid)
        image, target = self._some(number, grid)
        image, target = cut_patch(image, target, grid.shape, self.real.foreground, rng)
        lesions = self.config.task == "lesion"
        if self.real.augment:
            image, target = augment(image, target, rng, zero_stays=lesions)
        image = self._input(self._dropped(image, rng))
        if self.generated is not None:
            image, target = image.to(self.device), target.to(self.device)
        return image, target

    def _some(self, number: int, grid: GridConfig) -> tuple[Tensor, Tensor]:
        """The item whose turn it is, all once before one comes again; a bad one's successor."""
        turn, place = divmod(number, len(self.items))
        order = np.random.default_rng((self.config.seed, turn, 2)).permutation(len(self.items))
        for offset in range(len(self.items)):
            found = self._read(self.items[order[(place + offset) % len(order)]], grid)
            if found is not None:
                return found
        raise BadCasesError("no case can be read")

    def _read(self, item: Item, grid: GridConfig) -> tuple[Tensor, Tensor] | None:
        """An item on a grid; None, named once, where it cannot be read."""
        note = hashlib.sha256(item.name.encode()).hexdigest()[:16]
        try:
            return self.stored[grid].read(item)
        except VolumeError as error:
            said = f"{item.name}: {error}"
        path = self.skipped / f"{note}.txt"
        if not path.exists():
            # A file of its own: processes that make images know nothing of each other.
            self.skipped.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{said}\n", encoding="utf-8")
            sys.stderr.write(f"skipped: {said}\n")
        bad = sorted(self.skipped.glob("*.txt"))
        if len(bad) > self.real.bad_cases:
            reasons = "; ".join(path.read_text(encoding="utf-8").strip() for path in bad)
            raise BadCasesError(
                f"{len(bad)} cases cannot be read, more than real.bad_cases "
                f"({self.real.bad_cases}) lets pass: {reasons}"
            )
        return None

    def _dropped(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Some sequences left out, but for one."""
        there = image.flatten(1).any(1).nonzero()[:, 0].tolist()
        if self.config.task != "lesion" or self.real.alone or not self.real.drop or not there:
            return image
        stays = there[int(rng.integers(len(there)))]
        gone = [n for n in there if n != stays and rng.random() < self.real.drop]
        image = image.clone()
        image[gone] = 0
        return image

    def _input(self, image: Tensor) -> Tensor:
        """Sequences, no clicks yet, and the distance from the midplane where it is asked for."""
        if not isinstance(self.config, LesionConfig) or self.real.alone:
            return image
        # Sequences are 0 away from the brain.
        return unclicked_input(image, (image != 0).any(0), self.config.network.midplane)

    def prompt(
        self, network: torch.nn.Module, image: Tensor, target: Tensor, numbers: Sequence[int]
    ) -> Tensor:
        """Clicks, for lesions; where the type is not known, on what is wrong about any lesion."""
        if not isinstance(self.config, LesionConfig) or self.real.alone:
            return image
        known = torch.where(target < 0, target[:, :1], target)
        return add_clicks(self.config, network, image, known, numbers)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The task's loss, or cross-entropy; what is not known costs nothing."""
        if self.config.loss == "bce":
            return known_entropy(logits, target)
        if not isinstance(self.config, LesionConfig):
            return skull_strip_loss(logits, target)
        # As if it were absent and the network said so.
        unknown = target < 0
        logits, target = logits.masked_fill(unknown, -30.0), target.clamp_min(0)
        return lesion_loss(logits, target, self.config)

    def trials(self, grid: GridConfig) -> Iterator[Trial]:
        """Every item held out, whole; of lesions, the type that is asked for."""
        for item in self.held_out:
            found = self._read(item, grid)
            if found is None:
                continue
            image, target = found
            title = "+".join(item.modalities)
            if len(self.config.grids) > 1:
                title = f"{title} {grid.spacing} mm"
            if len(target) == len(LESION_TYPES):
                asked = LESION_TYPES.index(self.real.lesion_type)
                others = torch.arange(len(target)) != asked
                target = target.masked_fill(others[:, None, None, None], -1.0)
            sizes = [-size % self.divisor for size in reversed(image.shape[1:])]
            padding = [n for missing in sizes for n in (0, missing)]
            image, target = F.pad(image, padding), F.pad(target, padding)
            channels = len(image) == len(MODALITIES)
            shown = MODALITIES.index(item.modalities[0]) if channels else 0
            yield Trial(title, self._input(image), target, shown)


def _real(config: TrainingConfig) -> RealConfig:
    if config.real is None:
        raise ConfigError("real: names no data set")
    return config.real

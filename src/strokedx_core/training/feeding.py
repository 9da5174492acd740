"""Batches for the training loop: which images a process makes, in which order, on which grid."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from strokedx_core.training.config import GridConfig, TrainingConfig
from strokedx_core.training.failures import BadCasesError
from strokedx_core.training.problems import Problem
from strokedx_core.training.seeds import mixed_seed

__all__ = ["Images", "batches", "drawn", "grid_of_step"]


class Images(Dataset[tuple[Tensor, Tensor]]):
    """Training images by number: image n is the same whoever asks for it, and when."""

    def __init__(self, problem: Problem, numbers: range) -> None:
        self.problem, self.numbers = problem, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        number = self.numbers[item]
        # One grid a step, so that the images of a batch can be stacked.
        grid = grid_of_step(self.problem.config, number // self.problem.config.batch)
        return self.problem.training(number, grid)


def grid_of_step(config: TrainingConfig, step: int) -> GridConfig:
    """The grid that a step trains on."""
    shares = torch.tensor([grid.share for grid in config.grids])
    rng = torch.Generator().manual_seed(mixed_seed(config.seed, step, 3))
    return config.grids[int(torch.multinomial(shares, 1, generator=rng))]


def drawn(config: TrainingConfig, step: int, part: int, rank: int, world: int) -> range:
    """Numbers of the images that a process works on in a part of a step.

    Consecutive images of a step go to consecutive processes: the global batch is the same for any
    number of them.
    """
    size = config.batch // world // config.accumulate
    mine = range(step * config.batch + rank, (step + 1) * config.batch, world)
    return mine[part * size : (part + 1) * size]


def batches(
    problem: Problem, step: int, rank: int, world: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and targets of a process from a step on, as many at a time as `drawn` names.

    Raises
    ------
    BadCasesError
        If too many cases cannot be read.
    """
    config = problem.config
    mine = range(step * config.batch + rank, config.steps * config.batch, world)
    # Generated images are made where the network is, and a GPU belongs to one process.
    real = config.real is not None and config.real.share == 1
    workers = config.workers if real or device.type != "cuda" else 0
    loader = DataLoader(
        Images(problem, mine),
        batch_size=config.batch // world // config.accumulate,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        multiprocessing_context="fork" if workers else None,
    )
    try:
        yield from ((image.to(device), target.to(device)) for image, target in loader)
    except BadCasesError as error:
        # A worker's error comes back with all of its traceback in the message.
        told = str(error).strip().splitlines()[-1]
        raise BadCasesError(told.split("BadCasesError: ")[-1]) from None

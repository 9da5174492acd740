"""What every training loop does at each step: learning rate and averaged weights."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import nn

__all__ = ["Schedule", "follow", "learning_rate"]


class Schedule(Protocol):
    """Settings of a run that the learning rate and the average follow from."""

    @property
    def steps(self) -> int: ...
    @property
    def warmup(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def final_learning_rate(self) -> float: ...
    @property
    def ema(self) -> float: ...


def learning_rate(config: Schedule, step: int) -> float:
    """Learning rate of a step: rising for `warmup` steps, then half a cosine down."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    span = config.learning_rate - config.final_learning_rate
    return config.final_learning_rate + span * 0.5 * (1 + math.cos(math.pi * done))


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, config: Schedule, step: int) -> None:
    """Move the averaged weights towards the model's, further in the first steps; running statistics
    are copied."""
    weight = 1 - min(config.ema, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), weight=weight)
    for mean, value in zip(average.buffers(), model.buffers(), strict=True):
        mean.copy_(value)

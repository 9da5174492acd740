"""How good the averaged weights are, on the images that a problem validates on."""

from __future__ import annotations

from typing import NamedTuple

import torch

from strokedx_core.training.failures import BadCasesError
from strokedx_core.training.network import autocast
from strokedx_core.training.problems import Problem
from strokedx_core.training.run_log import Picture

__all__ = ["Validation", "validate"]


class Validation(NamedTuple):
    """Dice by title with their mean and worst; share of voxels that are right; what to look at."""

    scores: dict[str, float]
    accuracy: float
    pictures: list[Picture]


def validate(model: torch.nn.Module, problem: Problem, device: torch.device) -> Validation:
    """Run the network on every validation image, with running statistics.

    Voxels whose target is negative are not known, and count nowhere. Where neither target nor
    network marks anything, Dice is 1.

    Raises
    ------
    BadCasesError
        If no image, or too few of real cases, can be read.
    """
    config = problem.config
    scores: dict[str, list[float]] = {}
    pictures: list[Picture] = []
    right = seen = 0
    model.eval()
    for grid in config.grids:
        for trial in problem.trials(grid):
            image, target = trial.image.to(device), trial.target.to(device)
            with torch.no_grad(), autocast(config, device):
                logits = model(image[None])[0].float()
            known = target >= 0
            found, truth = _marked(logits, problem.exclusive) & known, target > 0.5
            total = int(found.sum() + truth.sum())
            dice = 2 * int((found & truth).sum()) / total if total else 1.0
            right += int(((found == truth) & known).sum())
            seen += int(known.sum())
            if trial.title not in scores:
                channel = int(known.flatten(1).any(1).int().argmax())
                title = f"{trial.title}, Dice {dice:.3f}"
                pictures.append((title, image[trial.shown], target[channel], logits[channel]))
            scores.setdefault(trial.title, []).append(dice)
    model.train()
    every = [dice for values in scores.values() for dice in values]
    if not every:
        raise BadCasesError("no case that validation looks at can be read")
    summary = {name: sum(values) / len(values) for name, values in scores.items()}
    best_and_worst = {"mean": sum(every) / len(every), "worst": min(every)}
    return Validation(best_and_worst | summary, right / seen, pictures)


def _marked(logits: torch.Tensor, exclusive: tuple[slice, ...]) -> torch.Tensor:
    """Where a channel's logit is positive, or in an exclusive group the largest of all."""
    marked = logits > 0
    for group in exclusive:
        marked[group] = logits[group] == logits[group].amax(0, keepdim=True)
    return marked

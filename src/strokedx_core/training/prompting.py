"""Clicks in training: what a user would add after seeing the network's answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from strokedx_core.synthesis.clicks import draw_clicks, simulate_clicks
from strokedx_core.tasks import LESION_TYPES, MODALITIES
from strokedx_core.training.config import LesionConfig

__all__ = ["add_clicks"]


def add_clicks(
    config: LesionConfig,
    network: torch.nn.Module,
    image: Tensor,
    target: Tensor,
    numbers: Sequence[int],
) -> Tensor:
    """Clicks on the network's errors in one of the lesion types, for some of the batch."""
    draws = [np.random.default_rng((config.seed, number)) for number in numbers]
    chosen = [n for n, rng in enumerate(draws) if rng.random() < config.clicks]
    if not chosen:
        return image
    image = image.clone()
    network.eval()
    with torch.no_grad():
        found = network(image[chosen]) > 0
    network.train()
    first = len(MODALITIES)
    for n, answer in zip(chosen, found, strict=True):
        rng = draws[n]
        channel = int(rng.integers(len(LESION_TYPES)))
        truth = target[n, channel].cpu().numpy() > 0.5
        before = answer[channel].cpu().numpy()
        if rng.random() < 0.3:
            before = np.zeros_like(truth)
        count = 1 + int(rng.integers(config.most_clicks))
        clicks = simulate_clicks(before, truth, count, rng)
        for offset, kind in enumerate((True, False)):
            points = [voxel for voxel, positive in clicks if positive is kind]
            image[n, first + offset] = draw_clicks(truth.shape, points, image.device)
        if rng.random() < 0.7:
            image[n, first + 2] = torch.from_numpy(before).to(image)
    return image

"""A lesion network whose answers are known beforehand, and a case for it.

It finds what is more than 2.5 times as bright as brain in any sequence, adds a ball of about 3
voxels around positive clicks, takes one away around negative clicks, and keeps the mask before. As
hemorrhagic it finds nothing but what is clicked.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import pytest

SPACING = 3.0
SHAPE = (36, 48, 40)
"""Axes to superior, posterior, left."""
BLOBS = {"left": ((18, 20, 28), 5.0), "right": ((20, 24, 12), 3.5)}
"""Centre and radius, in voxels, of the two lesions of `scan`."""


class RuleNetwork(nn.Module):
    divisor = 16
    config = {"in_channels": 10, "out_channels": 3}  # noqa: RUF012

    def forward(self, inputs: Tensor) -> Tensor:
        bright = 8 * (inputs[:, :7].amax(1) - 2.5)
        clicked = 40 * inputs[:, 7] - 40 * inputs[:, 8] + 20 * inputs[:, 9]
        return torch.stack([bright + clicked, bright + clicked, clicked - 12], dim=1)


def use_rule(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let lesion runs use `RuleNetwork`."""
    from strokedx_core.inference import lesion_case
    from strokedx_core.nets.unet3d import UNet3D
    from strokedx_core.tasks import TASKS
    from strokedx_core.weights import read_card, write_weights

    path = folder / "rule.safetensors"
    network = UNet3D(in_channels=10, out_channels=3, widths=(4, 4), stem_stride=2)
    text = {**read_card("skull_strip").text, "name": "rule", "task": "lesion"}
    text = {**text, "architecture": network.config, "input": {"spacings_mm": [1.6]}}
    write_weights(network.state_dict(), text, path)
    task = replace(TASKS["lesion"], default_weights=str(path), special_weights=())
    monkeypatch.setitem(TASKS, "lesion", task)
    monkeypatch.setattr(lesion_case, "_lesion_network", lambda *_: RuleNetwork())


def ball(centre: tuple[float, ...], radius: float) -> np.ndarray:
    """Voxels of `SHAPE` no further than so many voxels from a centre."""
    places = np.indices(SHAPE) - np.reshape(centre, (3, 1, 1, 1))
    return (places**2).sum(axis=0) <= radius**2


def scan() -> np.ndarray:
    """A brain without skull, and two lesions in it that are 4 times as bright."""
    middle = (np.array(SHAPE) - 1) / 2
    places = (np.indices(SHAPE) - middle.reshape(3, 1, 1, 1)) / (middle * 0.9).reshape(3, 1, 1, 1)
    brain = (places**2).sum(axis=0) <= 1
    noise = np.random.default_rng(0).normal(100, 3, SHAPE)
    for centre, radius in BLOBS.values():
        noise[ball(centre, radius)] *= 4
    return (noise * brain).astype(np.float32)

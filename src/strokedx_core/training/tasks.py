"""Which problem a configuration is for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from strokedx_core.training.anatomy import AnatomyProblem
from strokedx_core.training.config import (
    AnatomyConfig,
    LesionConfig,
    SkullStripConfig,
    TrainingConfig,
)
from strokedx_core.training.problems import LesionProblem, Problem, SkullStripProblem

__all__ = ["FOLDERS", "problem_of"]

FOLDERS = {
    "skull-strip": ("head-labels",),
    "lesion": ("head-labels", "lesion-masks"),
    "anatomy": ("head-labels", "lesion-masks", "atlas"),
}
"""Task → folders and files that its training takes."""


def problem_of(
    config: TrainingConfig, folders: Mapping[str, Path], cache: Path, device: torch.device
) -> Problem:
    """The problem a configuration is for.

    Raises
    ------
    ConfigError
        If a folder lacks what the configuration names.
    """
    if isinstance(config, AnatomyConfig):
        return AnatomyProblem(config, folders, cache, device)
    if isinstance(config, LesionConfig):
        return LesionProblem(config, folders, cache, device)
    assert isinstance(config, SkullStripConfig)
    return SkullStripProblem(config, folders, cache, device)

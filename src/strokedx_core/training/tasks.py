"""Which problem a configuration is for, and which cases it is about."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from strokedx_core.datasets.cases import DataSetError
from strokedx_core.training.anatomy import AnatomyProblem
from strokedx_core.training.config import (
    AnatomyConfig,
    ConfigError,
    LesionConfig,
    SkullStripConfig,
    TrainingConfig,
)
from strokedx_core.training.problems import LesionProblem, Problem, SkullStripProblem

if TYPE_CHECKING:
    from strokedx_core.datasets.cases import CaseFiles

__all__ = ["FOLDERS", "Parts", "cases_of", "problem_of"]

FOLDERS = {
    "skull-strip": ("head-labels",),
    "lesion": ("head-labels", "lesion-masks"),
    "anatomy": ("head-labels", "lesion-masks", "atlas"),
}
"""Task → folders and files that its generated images are made from."""


def problem_of(
    config: TrainingConfig, folders: Mapping[str, Path], cache: Path, device: torch.device
) -> Problem:
    """The problem a configuration is for.

    Raises
    ------
    ConfigError
        If a folder is missing, or lacks what the configuration names.
    """
    if config.real is None:
        return _generated(config, folders, cache, device)
    if isinstance(config, AnatomyConfig):
        raise ConfigError("real: anatomy is trained on generated images alone")
    from strokedx_core.training.real_problem import RealProblem

    others = None
    if config.real.share < 1:
        others = _generated(config, folders, cache, device)
    parts = cases_of(config, folders)
    return RealProblem(config, parts.train, parts.validation, cache, device, others)


def _generated(
    config: TrainingConfig, folders: Mapping[str, Path], cache: Path, device: torch.device
) -> Problem:
    missing = [name for name in FOLDERS[config.task] if name not in folders]
    if missing:
        raise ConfigError(f"generated images need --{' and --'.join(missing)}")
    if isinstance(config, AnatomyConfig):
        return AnatomyProblem(config, folders, cache, device)
    if isinstance(config, LesionConfig):
        return LesionProblem(config, folders, cache, device)
    assert isinstance(config, SkullStripConfig)
    return SkullStripProblem(config, folders, cache, device)


class Parts(NamedTuple):
    """Cases to train on, to validate on, and kept for the end; nobody is in two of them."""

    train: list[CaseFiles]
    validation: list[CaseFiles]
    test: list[CaseFiles]


def cases_of(config: TrainingConfig, folders: Mapping[str, Path]) -> Parts:
    """The cases of a configuration's data sets, divided by person.

    Where `folders` names a file "split", the division that it keeps is used; it is made, by stroke
    type and lesion size, where there is no such file yet. Without it people are divided as
    `real.split` says.

    Raises
    ------
    ConfigError
        If the folder of a data set is not given, no data set has this name, there are too few
        people to divide, or the kept division does not hold somebody.
    """
    from strokedx_core.datasets import find_cases
    from strokedx_core.datasets.splits import make_split, read_split

    real = config.real
    assert real is not None
    try:
        cases: list[CaseFiles] = []
        for name in real.data_sets:
            if name not in folders:
                raise ConfigError(f"real: the folder of {name} is not given")
            cases += find_cases(name, folders[name])
        people = sorted({(case.dataset, case.person) for case in cases})
        if len(people) < 3:
            raise ConfigError(f"real: {len(people)} people are too few to divide; 3 are needed")
        kept = folders.get("split")
        if kept is not None:
            if kept.exists():
                split = read_split(kept)
            else:
                split = make_split(
                    cases, seed=real.split, validation=real.validation, test=real.test
                )
                kept.parent.mkdir(parents=True, exist_ok=True)
                split.write(kept)
            return Parts(*split.divide(cases, real.fold))
    except DataSetError as error:
        raise ConfigError(str(error)) from error
    if real.fold is not None:
        raise ConfigError("real.fold: folds are those of a kept division; name its file")
    order = np.random.default_rng(real.split).permutation(len(people))
    counts = [max(1, round(share * len(people))) for share in (real.validation, real.test)]
    ends = [0, counts[0], sum(counts), len(people)]
    groups = [{people[n] for n in order[low:high]} for low, high in pairwise(ends)]
    validation, test, train = (
        [case for case in cases if (case.dataset, case.person) in group] for group in groups
    )
    return Parts(train, validation, test)

"""Protocols run on a data set, and measured on the same people kept for the end, in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from strokedx_core.evaluation.metrics import dice
from strokedx_core.inference.lesion_case import unclicked_input
from strokedx_core.inference.prediction import finish, predict_grid
from strokedx_core.inference.skull_strip import skull_strip
from strokedx_core.tasks import LESION_TYPES, MODALITIES
from strokedx_core.training.config import RealConfig, TrainingConfig
from strokedx_core.training.network import device_of
from strokedx_core.training.protocol import configured
from strokedx_core.training.real_cases import Item, mask_on, place_lesion
from strokedx_core.training.real_problem import items_of
from strokedx_core.training.run_log import read_metrics
from strokedx_core.training.segmentation import train
from strokedx_core.training.tasks import cases_of
from strokedx_core.volume import VolumeError, read_volume
from strokedx_core.weights import load_network

__all__ = ["Measured", "measure", "run_protocol", "table"]


@dataclass(frozen=True)
class Measured:
    """What came of a protocol.

    Attributes
    ----------
    name : str
    weights : Path
        The best of the run.
    epochs : list of dict
        Rows of its metrics.csv.
    dice, accuracy : dict of str to float
        By image of the people kept for the end, on the images' own grids.
    unreadable : tuple of str
        Images that could not be measured on, and why.
    """

    name: str
    weights: Path
    epochs: list[dict[str, str]]
    dice: dict[str, float]
    accuracy: dict[str, float]
    unreadable: tuple[str, ...] = ()


def run_protocol(
    name: str,
    folders: Mapping[str, Path],
    out: Path,
    *,
    changes: Mapping[str, Any] = MappingProxyType({}),
    quiet: bool = False,
) -> Measured:
    """Train by a protocol, and measure on the people kept for the end.

    Parameters
    ----------
    name : str
        One of `protocol.protocol_names`.
    folders : mapping of str to Path
        Of the data sets, by name; "head-labels" and "lesion-masks" for generated images, if any.
    out : Path
        Run folder.
    changes : mapping
        Values that take the place of the protocol's.
    quiet : bool
        No progress bar.

    Raises
    ------
    ConfigError
        If the protocol, a change or the data cannot be used. Otherwise as `segmentation.train`.
    """
    config = configured(name, folders, changes)
    weights = train(config, folders, out, quiet=quiet)
    return measure(name, config, cases_of(config, folders).test, out, weights)


def measure(
    name: str, config: TrainingConfig, cases: Sequence[Any], run: Path, weights: Path
) -> Measured:
    """Measure weights on cases, each image on its own grid."""
    dices, accuracies, unreadable = {}, {}, []
    for item in items_of(cases, config):
        try:
            found, truth = _predicted(item, config, weights)
        except VolumeError as error:
            unreadable.append(f"{item.name}: {error}")
            continue
        dices[item.name] = dice(found, truth)
        accuracies[item.name] = float((found == truth).mean())
    return Measured(name, weights, read_metrics(run), dices, accuracies, tuple(unreadable))


def _predicted(item: Item, config: TrainingConfig, weights: Path) -> tuple[np.ndarray, np.ndarray]:
    """What the network finds, and what is true, on the image's own grid."""
    if config.task == "skull-strip":
        assert item.case.brain is not None
        volume = read_volume(item.case.images[item.modalities[0]])
        return skull_strip(volume, weights=weights).mask, mask_on(item.case.brain, volume)
    device, spacing = device_of(0), config.grids[-1].spacing
    network = load_network(weights, device)
    grid, sequences, _, truth = place_lesion(item, spacing, network.divisor)
    image = torch.from_numpy(sequences)
    real = config.real or RealConfig(data_sets=("none",))
    channel = 0
    if real.alone:
        first = MODALITIES.index(item.modalities[0])
        image = image[first : first + 1]
    else:
        wanted = network.config.get("midplane", False)
        image = unclicked_input(image, (image != 0).any(0), wanted)
        channel = LESION_TYPES.index(real.lesion_type)
    found = finish(predict_grid(network, image.to(device), "looking for lesions"))
    probability = found[channel].cpu().numpy()
    native = np.zeros(truth.shape, np.float32)
    native[grid.native_box(grid.box)] = grid.native(probability, grid.box)
    return native >= 0.5, truth


def table(results: Sequence[Measured]) -> str:
    """Per epoch and in the end, the protocols beside each other, in words and numbers."""
    names = [result.name for result in results]
    lines = ["validation".ljust(12) + "".join(name.center(39) for name in names)]
    head = f"{'loss':>11} {'accuracy %':>12} {'Dice':>8}".ljust(39)
    lines.append("epoch".ljust(12) + head * len(results))
    for number in range(max(len(result.epochs) for result in results)):
        cells = []
        for result in results:
            rows = result.epochs[number : number + 1]
            cells += [
                f"{float(row['loss']):11.5f} {100 * float(row['accuracy']):12.2f} "
                f"{float(row['Dice mean']):8.4f}".ljust(39)
                for row in rows
            ] or [" " * 39]
        lines.append(str(number + 1).ljust(12) + "".join(cells))
    lines.append("")
    lines.append("kept for the end, on the images' own grids, with the best epoch's weights")
    for result in results:
        lines += [f"{result.name}: not measured: {said}" for said in result.unreadable]
        scores = list(result.dice.values())
        if not scores:
            lines.append(f"{result.name}: no case was kept that it can be measured on")
            continue
        lines.append(
            f"{result.name}: {len(scores)} images, accuracy "
            f"{100 * np.mean(list(result.accuracy.values())):.2f} %, Dice mean "
            f"{np.mean(scores):.4f}, median {np.median(scores):.4f}, worst {min(scores):.4f}"
        )
    return "\n".join(line.rstrip() for line in lines)

"""Protocols of the captioner on a data set with texts, and the table that compares them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from strokedx_core.training.caption_config import CaptionConfig, caption_config_from
from strokedx_core.training.captioning import train_captioner
from strokedx_core.training.protocol import caption_values
from strokedx_core.training.run_log import read_metrics
from strokedx_core.training.tables import ConfigError

__all__ = ["CaptionMeasured", "caption_table", "read_caption_protocol", "run_caption_protocol"]


@dataclass(frozen=True)
class CaptionMeasured:
    """What came of a protocol.

    Attributes
    ----------
    name : str
    weights : Path
        The best of the run.
    epochs : list of dict
        Rows of its metrics.csv.
    """

    name: str
    weights: Path
    epochs: list[dict[str, str]]


def read_caption_protocol(
    name: str, changes: Mapping[str, Any] = MappingProxyType({}), cases: int = 1
) -> CaptionConfig:
    """A captioner's protocol by name, for so many cases to train on.

    Raises
    ------
    ConfigError
        If a value is wrong.
    """
    values = caption_values(name, changes)
    epochs = values.pop("epochs")
    if not isinstance(epochs, int) or epochs < 1:
        raise ConfigError(f"{name}: epochs: a whole number from 1 is wanted, not {epochs!r}")
    epoch = math.ceil(cases / caption_config_from(values, name).batch)
    return caption_config_from(values | {"steps": epochs * epoch, "steps_per_epoch": epoch}, name)


def run_caption_protocol(
    name: str,
    folders: Mapping[str, Path],
    out: Path,
    *,
    changes: Mapping[str, Any] = MappingProxyType({}),
    quiet: bool = False,
) -> CaptionMeasured:
    """Train by a protocol; people held out are validated on after each epoch.

    Parameters and errors are those of `comparison.run_protocol`.
    """
    from strokedx_core.training.caption_cases import divided

    config = read_caption_protocol(name, changes)
    train, _ = divided(config, folders)
    config = read_caption_protocol(name, changes, len(train))
    weights = train_captioner(config, folders, out, quiet=quiet)
    return CaptionMeasured(name, weights, read_metrics(out))


def caption_table(results: Sequence[CaptionMeasured]) -> str:
    """Per epoch, the protocols beside each other: loss, and share of the people held out whose text
    was written word for word."""
    lines = ["epoch".ljust(8) + "".join(result.name.center(36) for result in results)]
    lines.append(" " * 8 + f"{'loss':>14} {'texts right':>14}".ljust(36) * len(results))
    for number in range(max(len(result.epochs) for result in results)):
        cells = []
        for result in results:
            rows = result.epochs[number : number + 1]
            cells += [
                f"{float(row['loss']):14.5f} {float(row['accuracy mean']):14.4f}".ljust(36)
                for row in rows
            ] or [" " * 36]
        lines.append(str(number + 1).ljust(8) + "".join(cells))
    return "\n".join(line.rstrip() for line in lines)

"""Named configurations for data sets of one's own: the original project's, and ours beside each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from strokedx_core.datasets.cases import CaseFiles
from strokedx_core.training.config import (
    RECIPE_FOLDER,
    ConfigError,
    RealConfig,
    TrainingConfig,
    config_from,
    read_toml,
)
from strokedx_core.training.real_problem import items_of
from strokedx_core.training.tasks import cases_of

__all__ = [
    "Protocol",
    "caption_values",
    "configured",
    "is_caption",
    "protocol_names",
    "read_protocol",
]

_FOLDER = Path(__file__).parent / "protocols"


def protocol_names() -> list[str]:
    """Names of all protocols, such as "seed/nfbs-skull-strip"."""
    return sorted(
        path.relative_to(_FOLDER).with_suffix("").as_posix() for path in _FOLDER.rglob("*.toml")
    )


@dataclass(frozen=True)
class Protocol:
    """A configuration that is complete once the number of cases is known.

    Attributes
    ----------
    name : str
    epochs : int
        How often each case is trained on.
    config : TrainingConfig
        Of so many steps as if there were one case.
    """

    name: str
    epochs: int
    config: TrainingConfig

    @property
    def data_sets(self) -> tuple[str, ...]:
        """Names of the data sets whose folders it takes."""
        return self._real.data_sets

    @property
    def _real(self) -> RealConfig:
        assert self.config.real is not None
        return self.config.real

    def configuration(self, cases: Sequence[CaseFiles], *, mixed: bool) -> TrainingConfig:
        """The configuration for these cases to train on.

        Parameters
        ----------
        cases : sequence of CaseFiles
        mixed : bool
            Whether there are label maps to generate the other images from; otherwise all are real.

        Raises
        ------
        ConfigError
            If none of the cases can be trained on.
        """
        real = self._real if mixed else self._real.model_copy(update={"share": 1.0})
        count = len(items_of(cases, self.config))
        if not count:
            raise ConfigError(
                f"{self.name}: none of the {len(cases)} cases to train on has the mask and the "
                f"sequences it takes ({', '.join(real.modalities)}; lesion type {real.lesion_type})"
            )
        epoch = math.ceil(count / (self.config.batch * real.share))
        steps = {"steps": self.epochs * epoch, "steps_per_epoch": epoch}
        return self.config.model_copy(update={"real": real, **steps})


def read_protocol(name: str, changes: Mapping[str, Any] = MappingProxyType({})) -> Protocol:
    """A protocol by name.

    Parameters
    ----------
    name : str
    changes : mapping
        Values that take the place of the protocol's, table by table.

    Raises
    ------
    ConfigError
        If there is none of this name, naming those there are, or a change is wrong.
    """
    if name not in protocol_names():
        raise ConfigError(f"no protocol {name!r}; there are {', '.join(protocol_names())}")
    values = _merged(read_toml(_FOLDER / f"{name}.toml"), changes)
    task, recipe = values.pop("task"), values.pop("recipe", None)
    if task == "caption":
        raise ConfigError(f"{name}: a captioner is trained by `strokedx train --protocol` alone")
    base = read_toml(RECIPE_FOLDER / f"{recipe}.toml") if recipe else {}
    data = [*values.pop("data", []), *base.pop("data", [])]
    epochs = values.pop("epochs")
    if not isinstance(epochs, int) or epochs < 1:
        raise ConfigError(f"{name}: epochs: a whole number from 1 is wanted, not {epochs!r}")
    steps = {"data": data, "steps": epochs, "steps_per_epoch": 1}
    return Protocol(name, epochs, config_from(_merged(base, values) | steps, task, name))


def caption_values(name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a captioner's protocol."""
    values = _merged(read_toml(_FOLDER / f"{name}.toml"), changes)
    del values["task"]
    return values


def is_caption(name: str) -> bool:
    """Whether a protocol is a captioner's."""
    return name in protocol_names() and read_toml(_FOLDER / f"{name}.toml")["task"] == "caption"


def configured(
    name: str, folders: Mapping[str, Path], changes: Mapping[str, Any] = MappingProxyType({})
) -> TrainingConfig:
    """A protocol's configuration for the cases in these folders.

    Parameters and errors are those of `comparison.run_protocol`.
    """
    protocol = read_protocol(name, changes)
    parts = cases_of(protocol.config, folders)
    return protocol.configuration(parts.train, mixed="head-labels" in folders)


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values with others in their place; tables in both are merged key by key."""
    merged = dict(values)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = {**merged[key], **value} if both else value
    return merged

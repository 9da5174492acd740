"""Tables of a training's configuration: network, grids, real cases, data that a card will name."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from strokedx_core.tasks import LESION_TYPES, MODALITIES

__all__ = [
    "GRID_FIELDS",
    "ConfigError",
    "DataConfig",
    "GridConfig",
    "NetworkConfig",
    "RealConfig",
    "Strict",
    "check_generator",
    "read_toml",
    "reasons",
]


class ConfigError(ValueError):
    """A configuration file cannot be used; the message names the file, the key and the reason."""


class Strict(BaseModel):
    """A table that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkConfig(Strict):
    """Arguments of `nets.unet3d.UNet3D`."""

    in_channels: int = 1
    out_channels: int = 1
    widths: tuple[int, ...] = (16, 32, 64, 96, 128)
    convs: int | tuple[int, ...] = 2
    norm: Literal["instance", "batch"] = "instance"
    stem_stride: int = 2
    upsampling: Literal["transposed", "trilinear"] = "trilinear"
    slope: float = 0.01
    fine: int = 0
    plain: int = 0
    conditional: bool = False
    midplane: bool = False


GRID_FIELDS = ("shape", "spacing", "shift")
"""Fields of a generator's recipe that follow from a grid."""


class GridConfig(Strict):
    """A grid on which the network is trained and later used.

    Attributes
    ----------
    shape : three int
        Voxels of the training images.
    spacing : float
        Isotropic spacing, mm.
    share : float
        Relative number of steps that train on this grid.
    shift : float
        How far the head may lie from the middle, mm.
    """

    shape: tuple[int, int, int] = (96, 96, 96)
    spacing: float = Field(2.2, gt=0)
    share: float = Field(1.0, gt=0)
    shift: float = Field(20.0, ge=0)


class DataConfig(Strict):
    """Label maps or scans that are trained on, as the card will name them."""

    name: str
    licence: str
    use: str = "anatomy that training images were generated from; no scan was trained on"


class RealConfig(Strict):
    """Cases of one's own that are trained on.

    Attributes
    ----------
    data_sets : tuple of str
        Names of data sets, of `datasets.DATA_SETS`; training is told the folder of each.
    share : float
        Share of the training images that are real; the rest is generated. 1 generates none.
    modalities : tuple of str
        Sequences that are looked at; a case without any of them is left out.
    alone : bool
        For lesions: each sequence by itself is the only channel of the network, and one type of
        lesion the only answer.
    lesion_type : {"general", "ischemic", "hemorrhagic"}
        For lesions: "ischemic" and "hemorrhagic" leave out cases of another type, or of none that
        is known; it is also what validation measures.
    validation, test : float
        Shares of the people that are validated on, and kept for the end.
    split : int
        Number of the division; the same people and number divide alike, whatever the seed.
    fold : int, optional
        Of a kept division: the people of this fold are validated on, those of all others trained.
    foreground : float
        Share of the patches whose middle lies on what is to be found, where the patch is smaller
        than the case.
    augment : bool
        Whether images are turned, stretched, mirrored, blurred and made noisy.
    drop : float
        For lesions: probability with which each sequence of a case is left out; one always stays.
    bad_cases : int
        Cases that cannot be read and are skipped, each named, before the run stops.
    """

    data_sets: tuple[str, ...] = Field(min_length=1)
    share: float = Field(1.0, gt=0, le=1)
    modalities: tuple[str, ...] = Field(MODALITIES, min_length=1)
    alone: bool = False
    lesion_type: str = LESION_TYPES[0]
    validation: float = Field(0.1, gt=0, lt=0.5)
    test: float = Field(0.1, gt=0, lt=0.5)
    split: int = Field(0, ge=0)
    fold: int | None = Field(None, ge=0)
    foreground: float = Field(0.5, ge=0, le=1)
    augment: bool = True
    drop: float = Field(0.0, ge=0, lt=1)
    bad_cases: int = Field(3, ge=0)

    @model_validator(mode="after")
    def _known(self) -> Self:
        unknown = set(self.modalities) - set(MODALITIES)
        if unknown:
            raise ValueError(f"modalities: unknown {sorted(unknown)}")
        if self.lesion_type not in LESION_TYPES:
            raise ValueError(f"lesion_type: {self.lesion_type!r} is none of {list(LESION_TYPES)}")
        return self


def check_generator(values: Mapping[str, Any], recipe: type, own: Collection[str] = ()) -> None:
    """Check the fields that a configuration gives of a generator's recipe.

    Parameters
    ----------
    values : mapping
    recipe : dataclass
    own : collection of str
        Fields that follow from elsewhere and are not to be given.

    Raises
    ------
    ValueError
        Naming every one that the recipe lacks or that has another type.
    """
    known = {f.name for f in dataclasses.fields(recipe)} - set(own)
    if unknown := set(values) - known:
        raise ValueError(f"generator: unknown keys {sorted(unknown)}; known: {sorted(known)}")
    try:
        TypeAdapter(recipe).validate_python(dict(values))
    except ValidationError as error:
        raise ValueError(f"generator: {reasons(error)}") from error


def read_toml(path: Path | str) -> dict[str, Any]:
    """Values of a TOML file.

    Raises
    ------
    ConfigError
        If there is none, naming the file.
    """
    try:
        with Path(path).open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error


def reasons(error: ValidationError) -> str:
    """Every key that is wrong, and why."""
    return "; ".join(
        f"{'.'.join(map(str, e['loc'])) or 'configuration'}: {e['msg']}" for e in error.errors()
    )

"""Configuration of a training run: a TOML file, every key checked, unknown keys refused."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from strokedx_core.synthesis.contrasts import CONTRASTS
from strokedx_core.synthesis.head import HeadRecipe

__all__ = ["ConfigError", "SkullStripConfig", "read_config"]


class ConfigError(ValueError):
    """A configuration file cannot be used; the message names the file, the key and the reason."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkConfig(_Strict):
    """Arguments of `nets.unet3d.UNet3D`."""

    in_channels: int = 1
    out_channels: int = 1
    widths: tuple[int, ...] = (16, 32, 64, 96, 128)
    convs: int = 2
    norm: Literal["instance", "batch"] = "instance"
    stem_stride: int = 2
    upsampling: Literal["transposed", "trilinear"] = "trilinear"
    slope: float = 0.01


class GridConfig(_Strict):
    """A grid on which the network is trained and later used.

    Attributes
    ----------
    shape : three int
        Voxels of the training images.
    spacing : float
        Isotropic spacing, mm.
    share : float
        Relative number of steps that train on this grid.
    """

    shape: tuple[int, int, int] = (96, 96, 96)
    spacing: float = Field(2.2, gt=0)
    share: float = Field(1.0, gt=0)
    shift: float = Field(20.0, ge=0)


class SkullStripConfig(_Strict):
    """Everything that decides what `strokedx train skull-strip` produces.

    Attributes
    ----------
    steps : int
        Optimizer steps in all.
    steps_per_epoch : int
        Steps between two validations.
    checkpoint_every : int
        Steps between two checkpoints within an epoch.
    batch : int
        Images a step, over all processes.
    learning_rate, final_learning_rate, warmup, weight_decay, clip
        AdamW with a linear warm-up of `warmup` steps, then a cosine to `final_learning_rate`.
        Gradients are clipped to the norm `clip`.
    ema : float
        Decay of the exponential moving average of the weights, which is what is validated and kept.
    precision : {"bf16", "float32"}
    start : path, optional
        Weights file to start from.
    validation : tuple of str
        Names of the label maps held out.
    validation_images : int
        Images for each held-out head and contrast.
    grids : tuple of GridConfig
        In the order in which inference passes over them: whole head first.
    generator : dict
        Fields of `synthesis.head.HeadRecipe` other than the grid.
    """

    seed: int = 0
    steps: int = Field(20_000, gt=0)
    steps_per_epoch: int = Field(500, gt=0)
    checkpoint_every: int = Field(250, gt=0)
    batch: int = Field(1, gt=0)
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    warmup: int = 200
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = Field(0.999, ge=0, lt=1)
    precision: Literal["bf16", "float32"] = "bf16"
    workers: int = Field(1, ge=0)
    start: Path | None = None
    validation: tuple[str, ...] = ("seg_19", "seg_20")
    validation_images: int = Field(2, gt=0)
    validation_contrasts: tuple[str, ...] = ("T1W", "T2W", "FLAIR", "DWI", "ADC", "random")
    network: NetworkConfig = NetworkConfig()
    grids: tuple[GridConfig, ...] = (GridConfig(),)
    generator: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits(self) -> SkullStripConfig:
        unknown = set(self.validation_contrasts) - set(CONTRASTS)
        if unknown:
            raise ValueError(f"validation_contrasts: unknown {sorted(unknown)}")
        known = {f.name for f in dataclasses.fields(HeadRecipe)} - {"shape", "spacing", "shift"}
        unknown = set(self.generator) - known
        if unknown:
            raise ValueError(f"generator: unknown keys {sorted(unknown)}; known: {sorted(known)}")
        return self

    def recipe(self, grid: GridConfig) -> HeadRecipe:
        """The generator's recipe on one of the grids."""
        return HeadRecipe(
            shape=grid.shape, spacing=grid.spacing, shift=grid.shift, **self.generator
        )


def read_config(path: Path | str) -> SkullStripConfig:
    """Read and check a configuration file.

    Raises
    ------
    ConfigError
        Naming the file and every key that is wrong.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
        return SkullStripConfig(**values)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    except ValidationError as error:
        reasons = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'configuration'}: {e['msg']}" for e in error.errors()
        )
        raise ConfigError(f"{path}: {reasons}") from error

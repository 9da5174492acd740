"""Configuration of a training run: a TOML file, every key checked, unknown keys refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, ValidationError, model_validator

from strokedx_core.anatomy.regions import CHANNELS
from strokedx_core.inference.lesions import PieceRule
from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.synthesis.contrasts import CONTRASTS
from strokedx_core.synthesis.head import HeadRecipe
from strokedx_core.synthesis.stroke import KINDS, StrokeRecipe
from strokedx_core.tasks import MODALITIES
from strokedx_core.training.tables import (
    GRID_FIELDS,
    ConfigError,
    DataConfig,
    GridConfig,
    NetworkConfig,
    RealConfig,
    Strict,
    check_generator,
    read_toml,
    reasons,
)

__all__ = [
    "CONFIGS",
    "RECIPES",
    "RECIPE_FOLDER",
    "AnatomyConfig",
    "ConfigError",
    "DataConfig",
    "GridConfig",
    "LesionConfig",
    "NetworkConfig",
    "RealConfig",
    "SkullStripConfig",
    "TrainingConfig",
    "config_from",
    "read_config",
    "read_toml",
]

RECIPE_FOLDER = Path(__file__).parent / "recipes"
RECIPES = {
    task: RECIPE_FOLDER / f"{task.replace('-', '_')}.toml"
    for task in ("skull-strip", "lesion", "anatomy")
}
"""Task → configuration that is trained by where none is named."""


class TrainingConfig(Strict):
    """What every training is told.

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
    optimizer : {"adamw", "muon"}
        "muon" moves the network's filters by Muon, all else by AdamW at a quarter of the learning
        rate. With it, 4e-3 learnt faster than 1e-3 did with AdamW.
    learning_rate, final_learning_rate, warmup, weight_decay, clip
        Of the optimizer, with a linear warm-up of `warmup` steps, then a cosine to
        `final_learning_rate`. Gradients are clipped to the norm `clip`.
    ema : float
        Decay of the exponential moving average of the weights, which is what is validated and kept.
    precision : {"auto", "bf16", "float32"}
        "auto" is bf16 where the device computes in it. A processor that only emulates it is twenty
        times slower than in float32.
    workers : int
        Processes that make images while the network trains, on CPUs, and on GPUs where all images
        are real. None is best where the network keeps all cores busy itself.
    accumulate : int
        Parts that a step's images are worked in, one after the other: each needs that much less
        memory. Where the loss is a mean over images the step is the same; batch norm sees the
        parts.
    gradient_checkpointing : bool
        Compute features again on the way back rather than keep them: about a third slower, and a
        large network needs a fraction of the memory.
    compile : bool
        Let `torch.compile` translate the network, once a shape; worth it on a GPU.
    loss : {"task", "bce"}
        The task's own loss, or binary cross-entropy alone; that only where all images are real.
    start : path, optional
        Weights file to start from; its network may be deeper, or narrower, than the one trained.
    validation : tuple of str
        Names of the label maps held out.
    validation_images : int
        Images for each held-out head and each thing validated.
    grids : tuple of GridConfig
        In the order in which inference passes over them: whole head first.
    generator : dict
        Fields of the task's generator recipe other than the grid.
    data : tuple of DataConfig
        What is trained on and under which licences, for the card.
    real : RealConfig, optional
        Cases of one's own that are trained on, alone or beside the generated ones.
    """

    seed: int = Field(0, ge=0, lt=2**20)
    steps: int = Field(20_000, gt=0)
    steps_per_epoch: int = Field(500, gt=0)
    checkpoint_every: int = Field(250, gt=0)
    batch: int = Field(1, gt=0)
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(1e-3, gt=0)
    final_learning_rate: float = Field(1e-5, ge=0)
    warmup: int = Field(200, ge=0)
    weight_decay: float = Field(1e-4, ge=0)
    clip: float = Field(1.0, gt=0)
    ema: float = Field(0.999, ge=0, lt=1)
    precision: Literal["auto", "bf16", "float32"] = "auto"
    workers: int = Field(0, ge=0)
    accumulate: int = Field(1, gt=0)
    gradient_checkpointing: bool = False
    compile: bool = False
    loss: Literal["task", "bce"] = "task"
    start: Path | None = None
    validation: tuple[str, ...] = Field(("seg_19", "seg_20"), min_length=1)
    validation_images: int = Field(2, gt=0)
    network: NetworkConfig = NetworkConfig()
    grids: tuple[GridConfig, ...] = Field((GridConfig(),), min_length=1)
    generator: dict[str, Any] = Field(default_factory=dict)
    data: tuple[DataConfig, ...] = ()
    real: RealConfig | None = None

    task: ClassVar[str]
    channels: ClassVar[tuple[int, int]]
    generator_recipe: ClassVar[type[HeadRecipe]]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_generator(self.generator, self.generator_recipe, GRID_FIELDS)
        unknown = set(self.generator.get("modalities", {})) - set(CONTRASTS)
        if unknown:
            raise ValueError(f"generator.modalities: unknown {sorted(unknown)}")
        if self.batch % self.accumulate:
            raise ValueError(f"accumulate: batch ({self.batch}) must be a multiple of it")
        all_real = self.real is not None and self.real.share == 1
        if self.loss == "bce" and not all_real:
            raise ValueError("loss: generated images are trained on with the task's own")
        if self.compile and self.gradient_checkpointing:
            raise ValueError("compile, gradient_checkpointing: only one of the two can be used")
        if self.real is not None and self.real.alone and not all_real:
            raise ValueError("real.alone: generated cases have all sequences at once")
        channels = (1, 1) if self.real is not None and self.real.alone else self.channels
        if (self.network.in_channels, self.network.out_channels) != channels:
            raise ValueError(
                f"network: {self.task} wants in_channels = {channels[0]} and "
                f"out_channels = {channels[1]}"
            )
        with torch.device("meta"):
            try:
                divisor = UNet3D(**self.network.model_dump()).divisor
            except ValueError as error:
                raise ValueError(f"network: {error}") from error
        for grid in self.grids:
            if any(size % divisor or size < 1 for size in grid.shape) or max(grid.shape) == divisor:
                raise ValueError(
                    f"grids: shape {list(grid.shape)} must be multiples of {divisor}, "
                    "not all of them 1"
                )
        return self

    def recipe(self, grid: GridConfig) -> HeadRecipe:
        """The generator's recipe on one of the grids."""
        return self.generator_recipe(
            shape=grid.shape, spacing=grid.spacing, shift=grid.shift, **self.generator
        )


class SkullStripConfig(TrainingConfig):
    """Everything that decides what `strokedx train skull-strip` produces.

    Attributes
    ----------
    validation_contrasts : tuple of str
        Contrasts that are validated.
    """

    validation_contrasts: tuple[str, ...] = Field(
        ("T1W", "T2W", "FLAIR", "DWI", "ADC", "random"), min_length=1
    )

    task = "skull-strip"
    channels = (1, 1)
    generator_recipe = HeadRecipe

    @model_validator(mode="after")
    def _known(self) -> Self:
        unknown = set(self.validation_contrasts) - set(CONTRASTS)
        if unknown:
            raise ValueError(f"validation_contrasts: unknown {sorted(unknown)}")
        return self


class LesionConfig(TrainingConfig):
    """Everything that decides what `strokedx train lesion` produces.

    Attributes
    ----------
    clicks : float
        Share of images that come with clicks on the network's own errors.
    most_clicks : int
        Clicks an image comes with, at most.
    views : int
        How often a generated case is trained on, each time mirrored or not and with other
        brightness. Making a case takes half as long as a step on it.
    lesion_weight : float
        Weight of a lesion's voxel in the cross-entropy; any other voxel has 1.
    absent_weight : float
        Weight of what is marked of lesion types that are not there.
    entropy_volume : float
        Voxels that the summed cross-entropy is divided by: marked with a probability of 0.63, so
        many false ones cost as much as missing a lesion.
    missed_weight : float
        Weight of the cross-entropy of a lesion's own voxels, small pieces as much as large parts.
    sure_odds, faint_ml : float
        What the weights ask of a piece in use, as in `inference.lesions.PieceRule`; for the card.
    near_voxels : bool
        Whether voxels near the weights' size are taken as they are in use, as
        `inference.brain_grid.NEAR` tells; for the card. Real cases are laid on the weights' size.
    validation_sets : tuple of tuple of str
        Sequences that are validated together.
    validation_shapes : str
        Ending of the names of the lesion masks held out, before the last underscore.
    """

    network: NetworkConfig = NetworkConfig(in_channels=10, out_channels=3)
    clicks: float = Field(0.5, ge=0, le=1)
    most_clicks: int = Field(5, ge=1)
    views: int = Field(1, ge=1)
    lesion_weight: float = Field(2.0, gt=0)
    absent_weight: float = Field(0.3, ge=0)
    entropy_volume: float = Field(2000.0, gt=0)
    missed_weight: float = Field(0.0, ge=0)
    sure_odds: float = Field(PieceRule.sure_odds, ge=1)
    faint_ml: float | None = Field(PieceRule.faint_ml, gt=0)
    near_voxels: bool = False
    validation_sets: tuple[tuple[str, ...], ...] = Field(
        (("DWI", "ADC"), ("DWI", "B0"), ("FLAIR",), ("T1W",), ("T2W", "FLAIR", "SWI")),
        min_length=1,
    )
    validation_shapes: str = "0"

    task = "lesion"
    channels = (10, 3)
    generator_recipe = StrokeRecipe

    @model_validator(mode="after")
    def _known(self) -> Self:
        drawn = {name for names in self.generator.get("sets", {}) for name in names.split("+")}
        if drawn - set(MODALITIES):
            raise ValueError(f"generator.sets: unknown {sorted(drawn - set(MODALITIES))}")
        unknown = {name for names in self.validation_sets for name in names} - set(MODALITIES)
        if unknown or not all(self.validation_sets):
            raise ValueError(f"validation_sets: unknown {sorted(unknown)}")
        unknown = set(self.generator.get("kinds", {})) - set(KINDS)
        if unknown:
            raise ValueError(f"generator.kinds: unknown {sorted(unknown)}")
        return self


class AnatomyConfig(TrainingConfig):
    """Everything that decides what `strokedx train anatomy` produces.

    Attributes
    ----------
    validation_contrasts : tuple of str
        Sequences that are validated.
    part : bool
        Whether the grid holds but a part of the brain, around its middle; so it does in use.
    """

    part: bool = False
    network: NetworkConfig = NetworkConfig(in_channels=1, out_channels=CHANNELS)
    validation_contrasts: tuple[str, ...] = Field(MODALITIES, min_length=1)

    task = "anatomy"
    channels = (1, CHANNELS)
    generator_recipe = StrokeRecipe

    @model_validator(mode="after")
    def _known(self) -> Self:
        sets = self.generator.get("sets", {})
        if not sets or set(sets) - set(MODALITIES):
            raise ValueError("generator.sets: single sequences are wanted, such as T1W = 1")
        unknown = set(self.validation_contrasts) - set(MODALITIES)
        if unknown:
            raise ValueError(f"validation_contrasts: unknown {sorted(unknown)}")
        return self


CONFIGS: dict[str, type[TrainingConfig]] = {
    config.task: config for config in (SkullStripConfig, LesionConfig, AnatomyConfig)
}
"""Task → what its training is told."""


def config_from(values: Mapping[str, Any], task: str, source: Path | str) -> TrainingConfig:
    """A task's configuration from the values of a file.

    Raises
    ------
    ConfigError
        Naming `source` and every key that is wrong.
    """
    try:
        return CONFIGS[task](**values)
    except ValidationError as error:
        raise ConfigError(f"{source}: {reasons(error)}") from error


def read_config(path: Path | str, task: str = "skull-strip") -> TrainingConfig:
    """Read and check a configuration file of a task.

    Raises
    ------
    ConfigError
        Naming the file and every key that is wrong.
    """
    return config_from(read_toml(path), task, path)

"""Configuration of the captioner's training: a TOML file, every key checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, ValidationError, model_validator

from strokedx_core.synthesis.stroke import StrokeRecipe
from strokedx_core.training.tables import (
    GRID_FIELDS,
    ConfigError,
    DataConfig,
    GridConfig,
    Strict,
    check_generator,
    read_toml,
    reasons,
)

__all__ = ["RECIPE", "CaptionConfig", "caption_config_from", "read_caption_config"]

RECIPE = Path(__file__).parent / "recipes" / "caption.toml"
"""Configuration with which the captioner that ships is trained."""


class CaptionConfig(Strict):
    """Everything that decides what `strokedx train caption` produces.

    Attributes
    ----------
    steps, steps_per_epoch, checkpoint_every : int
        Optimizer steps in all, between two validations, and between two checkpoints.
    batch : int
        Cases a step.
    phrasings : int
        Texts that are learnt of each case in a step; real cases have one.
    learning_rate, final_learning_rate, warmup, weight_decay, clip
        AdamW with a linear warm-up, then a cosine.
    encoder_rate : float
        Learning rate of the image encoder, as a share of the others'.
    ema : float
        Decay of the exponential moving average of the weights, which is what is validated and kept.
    start : str, optional
        Weights to start from: a captioner, or a lesion network whose encoder is taken over; a name
        or a file. Without it, all is new.
    encoder : dict
        Arguments of `UNet3D`, for a network that does not start from weights.
    width, layers, heads, length, vocabulary : int
        As `nets.captioner.Captioner` has them.
    slices : float
        Share of what is learnt that is on a single slice.
    resampled : float
        Share of the whole cases that are learnt as from a grid that lies beside, as in use:
        blurred, with pieces of the lesion that touch.
    cases, validation_cases : int
        Generated cases; each is made once and kept in the run's cache.
    validation : tuple of str
        Names of the label maps held out.
    validation_shapes : str
        Ending of the names of the lesion masks held out, before the last underscore.
    grid : GridConfig
    scan_spacing : float, optional
        Voxel size of the generated scans, mm, which are then brought onto the grid as in use.
        Without it they are made on the grid itself.
    generator : dict
        Fields of the stroke generator's recipe other than the grid.
    data : tuple of DataConfig
        What is trained on and under which licences, for the card.
    data_sets : tuple of str
        Names of data sets with texts of their own, which are learnt in place of generated ones.
    held_out : float
        Share of the people of those data sets that are validated on.
    """

    seed: int = Field(0, ge=0, lt=2**20)
    steps: int = Field(4000, gt=0)
    steps_per_epoch: int = Field(500, gt=0)
    checkpoint_every: int = Field(100, gt=0)
    batch: int = Field(8, gt=0)
    phrasings: int = Field(4, gt=0)
    learning_rate: float = Field(1e-3, gt=0)
    final_learning_rate: float = Field(1e-5, ge=0)
    encoder_rate: float = Field(0.3, ge=0)
    warmup: int = Field(100, ge=0)
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, gt=0)
    ema: float = Field(0.998, ge=0, lt=1)
    start: str | None = None
    encoder: dict[str, Any] = Field(
        default_factory=lambda: {
            "in_channels": 10, "out_channels": 3, "widths": [8, 16, 32, 64, 96],
            "convs": [1, 1, 2, 2, 2], "stem_stride": 1, "plain": 1, "conditional": True,
        }
    )  # fmt: skip
    width: int = Field(128, gt=0)
    layers: int = Field(3, gt=0)
    heads: int = Field(4, gt=0)
    length: int = Field(80, gt=0)
    vocabulary: int = Field(700, gt=260)
    slices: float = Field(0.3, ge=0, le=1)
    resampled: float = Field(0.6, ge=0, le=1)
    cases: int = Field(4000, gt=0)
    validation_cases: int = Field(500, gt=0)
    validation: tuple[str, ...] = Field(("seg_19", "seg_20"), min_length=1)
    validation_shapes: str = "0"
    grid: GridConfig = GridConfig(shape=(48, 64, 48), spacing=3.0, shift=6.0)
    scan_spacing: float | None = Field(None, gt=0)
    generator: dict[str, Any] = Field(default_factory=dict)
    data: tuple[DataConfig, ...] = ()
    data_sets: tuple[str, ...] = ()
    held_out: float = Field(0.2, gt=0, lt=1)

    task: ClassVar[str] = "caption"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_generator(self.generator, StrokeRecipe, GRID_FIELDS)
        if self.width % self.heads:
            raise ValueError(f"width ({self.width}) must be a multiple of heads ({self.heads})")
        return self

    def recipe(self) -> StrokeRecipe:
        """The generator's recipe."""
        grid, spacing = self.grid, self.scan_spacing or self.grid.spacing
        x, y, z = (round(count * grid.spacing / spacing) for count in grid.shape)
        return StrokeRecipe(shape=(x, y, z), spacing=spacing, shift=grid.shift, **self.generator)


def caption_config_from(values: dict[str, Any], source: Path | str) -> CaptionConfig:
    """The configuration that the values of a file make.

    Raises
    ------
    ConfigError
        Naming `source` and every key that is wrong.
    """
    try:
        return CaptionConfig(**values)
    except ValidationError as error:
        raise ConfigError(f"{source}: {reasons(error)}") from error


def read_caption_config(path: Path | str = RECIPE) -> CaptionConfig:
    """Read and check a configuration file.

    Raises
    ------
    ConfigError
        Naming the file and every key that is wrong.
    """
    return caption_config_from(read_toml(path), path)

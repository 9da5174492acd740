"""Configuration of the training of the network that tells types: a TOML file, every key checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from strokedx_core.synthesis.stroke import StrokeRecipe
from strokedx_core.tasks import MODALITIES
from strokedx_core.training.tables import (
    ConfigError,
    DataConfig,
    NetworkConfig,
    Strict,
    check_generator,
    read_toml,
    reasons,
)

__all__ = ["RECIPE", "TyperConfig", "read_typer_config"]

RECIPE = Path(__file__).parent / "recipes" / "caption_type.toml"
"""Configuration with which the network that ships is trained."""


class TyperConfig(Strict):
    """Everything that decides what `strokedx train caption-type` produces.

    Attributes
    ----------
    steps, steps_per_epoch, checkpoint_every : int
        Optimizer steps in all, between two validations, and between two checkpoints.
    batch : int
        Cases a step.
    learning_rate, final_learning_rate, warmup, weight_decay, clip
        Muon for the filters, AdamW at a quarter of the rate for all else, with a linear warm-up,
        then a cosine.
    ema : float
        Decay of the exponential moving average of the weights, which is what is validated and kept.
    start : str, optional
        Weights to go on from, or those of a lesion network whose first resolutions are taken over;
        a name or a file.
    network : NetworkConfig
        The seven sequences, two empty channels and the lesion in, blood out.
    hidden : int
        Channels between the two layers that tell the type.
    dropout : float
    spacing : float
        Voxel size on which it works, mm.
    longest : int
        Voxels along each side that are learnt of a case at once, at most.
    share : float
        How much its answer counts in use, beside the captioner's own.
    cases, validation_cases : int
        Generated cases; each is made once and kept in the run's cache.
    validation : tuple of str
        Names of the label maps held out.
    validation_shapes : str
        Ending of the names of the lesion masks held out, before the last underscore.
    generator : dict
        Fields of the stroke generator's recipe; its grid is that of the scans.
    data : tuple of DataConfig
        What is trained on and under which licences, for the card.
    """

    seed: int = Field(0, ge=0, lt=2**20)
    steps: int = Field(2000, gt=0)
    steps_per_epoch: int = Field(250, gt=0)
    checkpoint_every: int = Field(50, gt=0)
    batch: int = Field(4, gt=0)
    learning_rate: float = Field(3e-3, gt=0)
    final_learning_rate: float = Field(1e-5, ge=0)
    warmup: int = Field(50, ge=0)
    weight_decay: float = Field(1e-3, ge=0)
    clip: float = Field(1.0, gt=0)
    ema: float = Field(0.998, ge=0, lt=1)
    start: str | None = None
    network: NetworkConfig = NetworkConfig(
        in_channels=len(MODALITIES) + 3, widths=(12, 24, 48), convs=(1, 1, 2), stem_stride=1,
        upsampling="transposed", plain=1, conditional=True,
    )  # fmt: skip
    hidden: int = Field(64, gt=0)
    dropout: float = Field(0.1, ge=0, lt=1)
    spacing: float = Field(2.0, gt=0)
    longest: int = Field(64, ge=8)
    share: float = Field(0.5, ge=0, le=1)
    cases: int = Field(2000, gt=0)
    validation_cases: int = Field(200, gt=0)
    validation: tuple[str, ...] = Field(("seg_19", "seg_20"), min_length=1)
    validation_shapes: str = "0"
    generator: dict[str, Any] = Field(default_factory=dict)
    data: tuple[DataConfig, ...] = ()

    task: ClassVar[str] = "caption-type"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_generator(self.generator, StrokeRecipe)
        channels = self.network.in_channels, self.network.out_channels
        if channels != (len(MODALITIES) + 3, 1):
            raise ValueError(f"network: {len(MODALITIES) + 3} channels to 1 are needed")
        divisor = self.network.stem_stride * 2 ** (len(self.network.widths) - 1)
        if self.longest % divisor:
            raise ValueError(f"longest ({self.longest}) must be a multiple of {divisor}")
        return self

    def recipe(self) -> StrokeRecipe:
        """The generator's recipe."""
        recipe: StrokeRecipe = TypeAdapter(StrokeRecipe).validate_python(self.generator)
        return recipe


def read_typer_config(path: Path | str = RECIPE) -> TyperConfig:
    """Read and check a configuration file.

    Raises
    ------
    ConfigError
        Naming the file and every key that is wrong.
    """
    try:
        return TyperConfig(**read_toml(path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {reasons(error)}") from error

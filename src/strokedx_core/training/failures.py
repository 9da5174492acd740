"""What ends a training early, told so that one knows what to do, and kept so that one can look."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from strokedx_core.training.checkpoint import save_checkpoint
from strokedx_core.training.config import TrainingConfig

__all__ = ["BadCasesError", "NoMemoryError", "check_loss", "memory_advice"]

_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")


class BadCasesError(RuntimeError):
    """More cases cannot be read than may be skipped; the message names them."""


class NoMemoryError(RuntimeError):
    """Memory does not suffice; the message says which setting to lower."""


def check_loss(
    loss: Tensor, image: Tensor, target: Tensor, numbers: Sequence[int], step: int, path: Path
) -> None:
    """Keep the batch and stop where a loss is no number.

    Parameters
    ----------
    loss : Tensor, scalar
    image, target : Tensor
        The batch, as the network saw it.
    numbers : sequence of int
        Of its images.
    step : int
    path : Path
        Where the batch is kept, to be read with `training.checkpoint.load_checkpoint`.

    Raises
    ------
    FloatingPointError
        If the loss is not finite.
    """
    value = float(loss.item())
    if math.isfinite(value):
        return
    batch = {"image": image.detach().cpu(), "target": target.detach().cpu()}
    save_checkpoint({"step": step, "loss": value, "numbers": list(numbers), **batch}, path)
    seen = "the batch itself is finite"
    if not image.isfinite().all():
        seen = "the batch holds voxels that are no numbers"
    raise FloatingPointError(
        f"loss is {value} at step {step}, {seen}; it is kept in {path}; "
        'lower learning_rate or use precision = "float32"'
    )


@contextmanager
def memory_advice(config: TrainingConfig, world: int) -> Iterator[None]:
    """Turn an error for lack of memory into one that says which setting to lower.

    Parameters
    ----------
    config : TrainingConfig
    world : int
        How many processes share a batch.

    Raises
    ------
    NoMemoryError
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        said = str(error).lower()
        if not isinstance(error, MemoryError) and not any(words in said for words in _NO_MEMORY):
            raise
        raise NoMemoryError(f"out of memory: {_advice(config, world)}") from error


def _advice(config: TrainingConfig, world: int) -> str:
    at_once = config.batch // world // config.accumulate
    largest = max(config.grids, key=lambda grid: math.prod(grid.shape))
    shape = "×".join(map(str, largest.shape))
    ways = []
    if at_once > 1:
        ways.append(
            f"raise accumulate from {config.accumulate} to {config.accumulate * at_once} "
            f"(1 image at a time in place of {at_once}, the same step)"
        )
    if not config.gradient_checkpointing:
        ways.append("set gradient_checkpointing = true (the same step, slower)")
    if config.workers:
        ways.append(f"lower workers from {config.workers}")
    ways.append(f"lower the shape of [[grids]] from {shape}")
    return "; or ".join(ways)

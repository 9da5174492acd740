"""Checkpoints that are whole or not there, and which configuration they belong to."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from strokedx_core.training.config import TrainingConfig

__all__ = ["load_checkpoint", "same_settings", "save_checkpoint", "settings_text"]


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write `state` beside `path`, flush it to disk, then rename: a kill leaves old or new.

    Parameters
    ----------
    state : dict
        Tensors, numbers, strings, lists and dicts only, so that it loads without pickle's dangers.
    path : Path

    Raises
    ------
    OSError
        If it cannot be written, the disk being full for one; what was there before is whole.
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except (OSError, RuntimeError) as error:
        cause = _cause(error)
        if cause is None:
            raise
        kept = "the one before it is whole" if path.exists() else "there was none before"
        raise OSError(f"{path}: not written ({cause.strerror or cause}); {kept}") from error
    finally:
        beside.unlink(missing_ok=True)


def _cause(error: BaseException | None) -> OSError | None:
    """The system's error behind one of PyTorch's, which tells of zip archives and not of disks."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, on the CPU."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def settings_text(config: TrainingConfig) -> str:
    """What decides the outcome of a run, as JSON for its checkpoints."""
    return json.dumps(config.model_dump(mode="json", exclude={"workers"}))


def same_settings(config: TrainingConfig, kept: str) -> bool:
    """Whether settings that a checkpoint kept are those of a configuration.

    Parameters
    ----------
    config : TrainingConfig
    kept : str
        Of `settings_text`. Keys that came later count as they are when left out, so that a run of
        an earlier version goes on.
    """
    try:
        earlier = type(config)(**json.loads(kept))
    except ValidationError:
        return False
    return settings_text(earlier) == settings_text(config)

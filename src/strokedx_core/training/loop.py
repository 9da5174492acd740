"""The loop of the trainings that run in one process: captions, and the type of stroke in them.

from strokedx_core.training.loop import read_state, train_steps
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import AdamW

from strokedx_core.training.checkpoint import load_checkpoint, save_checkpoint
from strokedx_core.training.optimizers import FilterMuon
from strokedx_core.training.run_log import RunLog
from strokedx_core.training.steps import follow, learning_rate
from strokedx_core.training.tables import ConfigError

if TYPE_CHECKING:
    from strokedx_core.training.caption_config import CaptionConfig
    from strokedx_core.training.typer_config import TyperConfig

__all__ = ["read_state", "train_steps"]


def read_state(out: Path, config: CaptionConfig | TyperConfig) -> dict[str, Any]:
    """What a run's last checkpoint holds; where there is none, what stands before the first step.

    Raises
    ------
    ConfigError
        If the run folder belongs to another configuration.
    """
    last, settings = out / "last.pt", config.model_dump_json()
    if not last.exists():
        return {"step": 0, "best": -1.0, "losses": [], "config": settings}
    state = load_checkpoint(last)
    if state["config"] != settings:
        raise ConfigError(f"{out}: holds a run with another configuration; name another folder")
    return state


def train_steps(
    config: CaptionConfig | TyperConfig,
    model: nn.Module,
    average: nn.Module,
    optimizer: AdamW | FilterMuon,
    log: RunLog,
    state: Mapping[str, Any],
    *,
    learn: Callable[[int], float],
    validate: Callable[[int], Mapping[str, float]],
    kept: Mapping[str, Any],
) -> None:
    """Go on from a state until `config.steps`.

    Parameters
    ----------
    config : CaptionConfig or TyperConfig
    model, average : Module
        Of which the second follows the first, and is what is validated and kept. Where no step was
        done they are trained as they come; else the state's weights are loaded.
    optimizer : AdamW or FilterMuon
        A group's "share" of the learning rate is 1 where it has none.
    log : RunLog
        Closed at the end. Its folder gets `last.pt`, and `best.pt`, the average with the best
        validation.
    state : mapping
        As `read_state` gives it.
    learn : callable
        Number of a step → its loss; leaves the gradients in `model`.
    validate : callable
        Steps done → scores of `average`, of which "mean" decides; notes them in the log.
    kept : mapping
        What both checkpoints hold besides.

    Raises
    ------
    OSError
        If a checkpoint cannot be written; the one before it stays whole.
    """
    step, best, settings = state["step"], state["best"], state["config"]
    if step:
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
    else:
        average.load_state_dict(model.state_dict())
    average.eval()
    try:
        while step < config.steps:
            began, rate = time.perf_counter(), learning_rate(config, step)
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("share", 1.0)
            model.train().zero_grad(set_to_none=True)
            loss = learn(step)
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            follow(average, model, config, step)
            step += 1
            log.step(step, loss, rate, time.perf_counter() - began, 0.0)
            end_of_epoch = step % config.steps_per_epoch == 0 or step == config.steps
            if end_of_epoch:
                scores = dict(validate(step))
                if scores["mean"] > best:
                    best = scores["mean"]
                    weights = {
                        "model": average.state_dict(), "step": step, "scores": scores,
                        "config": settings, **kept,
                    }  # fmt: skip
                    save_checkpoint(weights, log.out / "best.pt")
            if end_of_epoch or step % config.checkpoint_every == 0:
                reached = {
                    "model": model.state_dict(), "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(), "step": step, "best": best,
                    "losses": log.losses, "config": settings, **kept,
                }  # fmt: skip
                save_checkpoint(reached, log.out / "last.pt")
    finally:
        log.close()

"""Train a U-Net on generated heads: the whole loop, top to bottom, for every task.

One process, CPU or GPU:

    strokedx train skull-strip --head-labels DIR --config recipe.toml --out runs/skull-strip

Several processes (a GPU each where there are GPUs, gloo on CPUs):

    torchrun --nproc-per-node 4 -m strokedx_core.training.segmentation \
        --head-labels DIR --config recipe.toml --out runs/skull-strip

Without --config, the recipe of the weights that ship is used. Lesions: `--task lesion
--lesion-masks DIR` besides; anatomy: `--task anatomy --lesion-masks DIR --atlas FILE`.

A run that was stopped, however abruptly, goes on from its last checkpoint when the same command is
given again, and ends with the same weights as if it had never stopped: every image depends on the
seed and its own number alone, and nothing else is random. On the processor that holds bit for bit;
a GPU adds up gradients in an order of its own each time.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from strokedx_core.inference.devices import autocast_dtype
from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.training.checkpoint import load_checkpoint, save_checkpoint
from strokedx_core.training.config import (
    CONFIGS,
    RECIPES,
    ConfigError,
    GridConfig,
    TrainingConfig,
    read_config,
)
from strokedx_core.training.export import export_run
from strokedx_core.training.problems import Problem
from strokedx_core.training.run_log import Picture, RunLog
from strokedx_core.training.tasks import FOLDERS, problem_of
from strokedx_core.weights import WeightsError, load_network

__all__ = ["train"]


class _Images(Dataset[tuple[Tensor, Tensor]]):
    """Training images by number: image n is the same whoever asks for it, and when."""

    def __init__(self, problem: Problem, numbers: range) -> None:
        self.problem, self.numbers = problem, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        number = self.numbers[item]
        # One grid a step, so that the images of a batch can be stacked.
        grid = _grid_of_step(self.problem.config, number // self.problem.config.batch)
        return self.problem.training(number, grid)


def _grid_of_step(config: TrainingConfig, step: int) -> GridConfig:
    shares = torch.tensor([grid.share for grid in config.grids])
    rng = torch.Generator().manual_seed((config.seed << 40) + (1 << 39) + step)
    return config.grids[int(torch.multinomial(shares, 1, generator=rng))]


def _learning_rate(config: TrainingConfig, step: int) -> float:
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    span = config.learning_rate - config.final_learning_rate
    return config.final_learning_rate + span * 0.5 * (1 + math.cos(math.pi * done))


def _follow(average: torch.nn.Module, model: torch.nn.Module, decay: float) -> None:
    """Move the averaged weights towards the model's; running statistics are copied."""
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), weight=1 - decay)
        for mean, value in zip(average.buffers(), model.buffers(), strict=True):
            mean.copy_(value)


def _validate(
    model: torch.nn.Module, problem: Problem, device: torch.device
) -> tuple[dict[str, float], list[Picture]]:
    """Dice by title on validation images, and the images to look at."""
    config = problem.config
    scores: dict[str, list[float]] = {}
    pictures = []
    model.eval()
    for grid in config.grids:
        for trial in problem.trials(grid):
            with torch.no_grad(), _autocast(config, device):
                logits = model(trial.image[None])[0].float()
            found, truth = logits > 0, trial.target > 0.5
            total = int(found.sum() + truth.sum())
            dice = 2 * int((found & truth).sum()) / total if total else 1.0
            if trial.title not in scores:
                title = f"{trial.title}, Dice {dice:.3f}"
                image = trial.image[trial.shown]
                pictures.append((title, image, trial.target[0], logits[0]))
            scores.setdefault(trial.title, []).append(dice)
    model.train()
    every = [dice for values in scores.values() for dice in values]
    summary = {name: sum(values) / len(values) for name, values in scores.items()}
    return {"mean": sum(every) / len(every), "worst": min(every)} | summary, pictures


def _autocast(config: TrainingConfig, device: torch.device) -> torch.autocast:
    enabled = config.precision == "bf16"
    if config.precision == "auto":
        enabled = autocast_dtype(device) == torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def _device(rank: int) -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda", rank % torch.cuda.device_count())
    return torch.device("cpu")


def _network(config: TrainingConfig, device: torch.device) -> UNet3D:
    network = UNet3D(**config.network.model_dump()).to(device)
    # A second call, because the overloads of `to` do not name both.
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network


def _start_from(model: UNet3D, other: UNet3D) -> None:
    """Take over other weights; layers that are not alike in both stay new."""
    free = {"in_channels": 0, "out_channels": 0, "fine": 0, "plain": 0, "conditional": 0}
    if model.config | free != other.config | free:
        raise ConfigError("start: the network is built differently")
    mine = model.state_dict()
    theirs = other.state_dict().items()
    fitting = {k: v for k, v in theirs if k in mine and v.shape == mine[k].shape}
    model.load_state_dict(mine | fitting)


def train(
    config: TrainingConfig, folders: Mapping[str, Path], out: Path, *, quiet: bool = False
) -> Path:
    """Train until `config.steps`, from the run's checkpoint where there is one.

    Parameters
    ----------
    config : TrainingConfig
    folders : mapping of str to Path
        "head-labels": whole-head label maps; for lesions, "lesion-masks" too; for anatomy, both
        and the file "atlas".
    out : Path
        Run folder: `last.pt` (everything needed to go on), `best.pt` (averaged weights with the
        best mean validation Dice), `epochs/` (averaged weights after each epoch), `metrics.csv`,
        `slices/`, TensorBoard events, `config.json`; at the end the best weights,
        `weights.safetensors`, and their card, `weights.toml`.
    quiet : bool
        No progress bar.

    Returns
    -------
    Path
        The best weights.

    Raises
    ------
    ConfigError
        If a folder lacks what is needed or holds something else, the weights to start from do not
        fit, or the run folder belongs to another configuration.
    FloatingPointError
        If the loss is no longer a number.
    """
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = _device(int(os.environ.get("LOCAL_RANK", 0)))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if config.batch % world:
        raise ConfigError(f"batch ({config.batch}) must be a multiple of the {world} processes")
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    main = rank == 0
    out.mkdir(parents=True, exist_ok=True)
    if main:
        # Prepare the cache once; the other processes then only read it.
        problem = problem_of(config, folders, out / "cache", device)
    if world > 1:
        dist.barrier()
    if not main:
        problem = problem_of(config, folders, out / "cache", device)

    torch.manual_seed(config.seed)
    model, average = _network(config, device), _network(config, device)
    optimizer = torch.optim.AdamW(
        model.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    step, best, losses = 0, -1.0, []
    last = out / "last.pt"
    settings = config.model_dump(mode="json", exclude={"workers"})
    if last.exists():
        state = load_checkpoint(last)
        if json.loads(state["config"]) != settings:
            raise ConfigError(f"{out}: holds a run with another configuration; name another folder")
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step, best, losses = state["step"], state["best"], state["losses"]
    else:
        # A new network begins with how often a voxel is marked, and need not learn that first
        # (Lin et al., "Focal loss for dense object detection", ICCV 2017).
        odds = math.log(problem.share / (1 - problem.share))
        torch.nn.init.constant_(model.output.bias, odds)  # type: ignore[arg-type]
        if config.start is not None:
            try:
                _start_from(model, load_network(config.start))
            except (WeightsError, RuntimeError) as error:
                raise ConfigError(f"start: {error}") from error
        average.load_state_dict(model.state_dict())
    wrapped = DistributedDataParallel(model) if world > 1 else model

    share = config.batch // world
    numbers = range(step * config.batch, config.steps * config.batch)
    # Consecutive images of a step go to consecutive processes: the global batch is the same for
    # any number of them.
    mine = range(numbers.start + rank, numbers.stop, world)
    workers = 0 if device.type == "cuda" else config.workers
    batches: Iterator[Any] = iter(
        DataLoader(
            _Images(problem, mine),
            batch_size=share,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            multiprocessing_context="fork" if workers else None,
        )
    )
    log = RunLog(out, config, step, losses, quiet) if main else None
    try:
        begin = time.perf_counter()
        while step < config.steps:
            image, target = (tensor.to(device) for tensor in next(batches))
            for group in optimizer.param_groups:
                group["lr"] = _learning_rate(config, step)
            with _autocast(config, device):
                drawn = range(step * config.batch + rank, (step + 1) * config.batch, world)
                image = problem.prompt(model, image, target, drawn)
                logits = wrapped(image.contiguous(memory_format=torch.channels_last_3d))
            loss = problem.loss(logits.float(), target)
            if not math.isfinite(loss.item()):
                raise FloatingPointError(
                    f"loss is {loss.item()} at step {step}; lower learning_rate or use float32"
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            _follow(average, model, min(config.ema, (1 + step) / (10 + step)))
            step += 1
            if log is None:
                continue
            seconds, begin = time.perf_counter() - begin, time.perf_counter()
            log.step(step, loss.item(), _learning_rate(config, step - 1), seconds)
            end_of_epoch = step % config.steps_per_epoch == 0 or step == config.steps
            if end_of_epoch:
                scores, pictures = _validate(average, problem, device)
                log.epoch(step, scores, pictures)
                weights = {
                    "model": average.state_dict(),
                    "step": step,
                    "scores": scores,
                    "task": config.task,
                    "config": json.dumps(settings),
                }
                save_checkpoint(weights, out / "epochs" / f"step_{step:06d}.pt")
                if scores["mean"] > best:
                    best = scores["mean"]
                    save_checkpoint(weights, out / "best.pt")
            if end_of_epoch or step % config.checkpoint_every == 0:
                state = {
                    "model": model.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step,
                    "best": best,
                    "losses": log.losses,
                    "config": json.dumps(settings),
                }
                save_checkpoint(state, last)
    finally:
        if log is not None:
            log.close()
    if main:
        export_run(out, out / "weights.safetensors", name=out.resolve().name)
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()
    return out / "weights.safetensors"


def main(arguments: list[str] | None = None) -> None:
    """Entry for `torchrun` and `python -m`."""
    parser = argparse.ArgumentParser(description="Train a task's network on generated heads.")
    parser.add_argument("--task", choices=sorted(CONFIGS), default="skull-strip")
    parser.add_argument("--head-labels", type=Path, required=True)
    parser.add_argument("--lesion-masks", type=Path)
    parser.add_argument("--atlas", type=Path)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args(arguments)
    given = {name: getattr(options, name.replace("-", "_")) for name in FOLDERS[options.task]}
    folders = {name: path for name, path in given.items() if path is not None}
    for name in given.keys() - folders.keys():
        parser.error(f"--task {options.task} needs --{name}")
    config = read_config(options.config or RECIPES[options.task], options.task)
    train(config, folders, options.out, quiet=options.quiet)


if __name__ == "__main__":
    main()

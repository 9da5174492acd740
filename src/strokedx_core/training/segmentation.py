"""Train a U-Net to find the brain in generated heads: the whole loop, top to bottom.

One process, CPU or GPU:

    strokedx train skull-strip --head-labels DIR --config recipe.toml --out runs/skull-strip

Several processes (a GPU each where there are GPUs, gloo on CPUs):

    torchrun --nproc-per-node 4 -m strokedx_core.training.segmentation \
        --head-labels DIR --config recipe.toml --out runs/skull-strip

Without --config, the recipe of the weights that ship is used.

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from monai.losses.dice import DiceLoss
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from strokedx_core.inference.devices import autocast_dtype
from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.synthesis.head import generate
from strokedx_core.synthesis.labels import Head, load_head
from strokedx_core.training.checkpoint import load_checkpoint, save_checkpoint
from strokedx_core.training.config import (
    DEFAULT_RECIPE,
    ConfigError,
    GridConfig,
    SkullStripConfig,
    read_config,
)
from strokedx_core.training.export import export_run
from strokedx_core.training.run_log import Picture, RunLog
from strokedx_core.weights import WeightsError, load_network

__all__ = ["train"]


class _Images(Dataset[tuple[Tensor, Tensor]]):
    """Training images by number: image n is the same whoever asks for it, and when."""

    def __init__(self, config: SkullStripConfig, heads: list[Head], numbers: range) -> None:
        self.config, self.heads, self.numbers = config, heads, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        number = self.numbers[item]
        seed = (self.config.seed << 40) + number
        rng = torch.Generator().manual_seed(seed)
        # One grid a step, so that the images of a batch can be stacked.
        grid = _grid_of_step(self.config, number // self.config.batch)
        head = self.heads[int(torch.randint(len(self.heads), (), generator=rng))]
        sample = generate(head, seed, recipe=self.config.recipe(grid))
        return sample.image[None], sample.target[None]


def _grid_of_step(config: SkullStripConfig, step: int) -> GridConfig:
    shares = torch.tensor([grid.share for grid in config.grids])
    rng = torch.Generator().manual_seed((config.seed << 40) + (1 << 39) + step)
    return config.grids[int(torch.multinomial(shares, 1, generator=rng))]


def _learning_rate(config: SkullStripConfig, step: int) -> float:
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
    model: torch.nn.Module, config: SkullStripConfig, heads: list[Head], device: torch.device
) -> tuple[dict[str, float], list[Picture]]:
    """Dice of each contrast and grid on held-out heads, and the images to look at."""
    scores: dict[str, list[float]] = {}
    pictures = []
    model.eval()
    for grid in config.grids:
        recipe = config.recipe(grid)
        for contrast in config.validation_contrasts:
            for head_number, head in enumerate(heads):
                for image_number in range(config.validation_images):
                    seed = 1_000_003 * (head_number + 1) + image_number
                    sample = generate(head, seed, contrast=contrast, recipe=recipe)
                    with torch.no_grad(), _autocast(config, device):
                        logits = model(sample.image[None, None])
                    found, truth = logits[0, 0].float() > 0, sample.target > 0.5
                    total = int(found.sum() + truth.sum())
                    dice = 2 * int((found & truth).sum()) / total if total else 1.0
                    scores.setdefault(f"{contrast} {grid.spacing} mm", []).append(dice)
                    if image_number == head_number == 0:
                        title = f"{contrast} {grid.spacing} mm, Dice {dice:.3f}"
                        pictures.append((title, sample.image, sample.target, logits[0, 0].float()))
    model.train()
    every = [dice for values in scores.values() for dice in values]
    summary = {name: sum(values) / len(values) for name, values in scores.items()}
    return {"mean": sum(every) / len(every), "worst": min(every)} | summary, pictures


def _autocast(config: SkullStripConfig, device: torch.device) -> torch.autocast:
    enabled = config.precision == "bf16"
    if config.precision == "auto":
        enabled = autocast_dtype(device) == torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def _device(rank: int) -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda", rank % torch.cuda.device_count())
    return torch.device("cpu")


def _heads(folder: Path, config: SkullStripConfig, cache: Path) -> tuple[list[Head], list[Head]]:
    paths = sorted(p for p in folder.glob("*") if p.name.endswith((".nii", ".nii.gz", ".mgz")))
    names = {path.name.split(".")[0]: path for path in paths}
    missing = [name for name in config.validation if name not in names]
    if missing:
        raise ConfigError(
            f"{folder}: validation asks for {', '.join(missing)}; "
            f"found {', '.join(names) or 'no label maps (.nii, .nii.gz, .mgz)'}"
        )
    try:
        heads = {name: load_head(path, cache) for name, path in names.items()}
    except ValueError as error:
        raise ConfigError(str(error)) from error
    held_out = [heads.pop(name) for name in config.validation]
    if not heads:
        raise ConfigError(f"{folder}: no label map is left to train on beside those held out")
    return list(heads.values()), held_out


def _network(config: SkullStripConfig, device: torch.device) -> UNet3D:
    network = UNet3D(**config.network.model_dump()).to(device)
    # A second call, because the overloads of `to` do not name both.
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network


def train(config: SkullStripConfig, head_labels: Path, out: Path, *, quiet: bool = False) -> Path:
    """Train until `config.steps`, from the run's checkpoint where there is one.

    Parameters
    ----------
    config : SkullStripConfig
    head_labels : Path
        Folder of whole-head label maps.
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
        If the folder lacks label maps or holds something else, the weights to start from do not
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
        _heads(head_labels, config, out / "cache")
    if world > 1:
        dist.barrier()
    heads, held_out = _heads(head_labels, config, out / "cache")
    if device.type == "cuda":
        heads = [head.to(device) for head in heads]
        held_out = [head.to(device) for head in held_out]

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
        if config.start is not None:
            try:
                model.load_state_dict(load_network(config.start).state_dict())
            except (WeightsError, RuntimeError) as error:
                raise ConfigError(f"start: {error}") from error
        average.load_state_dict(model.state_dict())
    wrapped = DistributedDataParallel(model) if world > 1 else model
    dice_loss = DiceLoss(sigmoid=True)

    share = config.batch // world
    numbers = range(step * config.batch, config.steps * config.batch)
    # Consecutive images of a step go to consecutive processes: the global batch is the same for
    # any number of them.
    mine = range(numbers.start + rank, numbers.stop, world)
    workers = 0 if device.type == "cuda" else config.workers
    batches: Iterator[Any] = iter(
        DataLoader(
            _Images(config, heads, mine),
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
                logits = wrapped(image.contiguous(memory_format=torch.channels_last_3d))
            logits = logits.float()
            loss = dice_loss(logits, target) + F.binary_cross_entropy_with_logits(logits, target)
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
                scores, pictures = _validate(average, config, held_out, device)
                log.epoch(step, scores, pictures)
                weights = {
                    "model": average.state_dict(),
                    "step": step,
                    "scores": scores,
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
    parser = argparse.ArgumentParser(description="Train skull stripping on generated heads.")
    parser.add_argument("--head-labels", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=DEFAULT_RECIPE)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args(arguments)
    train(read_config(options.config), options.head_labels, options.out, quiet=options.quiet)


if __name__ == "__main__":
    main()

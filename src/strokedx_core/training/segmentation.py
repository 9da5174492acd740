"""Train a U-Net to find the brain in generated heads: the whole loop, top to bottom.

One process, CPU or GPU:

    strokedx train skull-strip --head-labels DIR --config skull_strip.toml --out runs/skull-strip

Several processes (a GPU each where there are GPUs, gloo on CPUs):

    torchrun --nproc-per-node 4 -m strokedx_core.training.segmentation \
        --head-labels DIR --config skull_strip.toml --out runs/skull-strip

A run that was stopped, however abruptly, goes on from its last checkpoint when the same command is
given again, and ends with the same weights as if it had never stopped: every image depends on the
seed and its own number alone, and nothing else is random.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
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
from monai.losses import DiceLoss
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.synthesis.head import generate
from strokedx_core.synthesis.labels import Head, load_head
from strokedx_core.training.checkpoint import load_checkpoint, save_checkpoint
from strokedx_core.training.config import ConfigError, SkullStripConfig, read_config

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


def _grid_of_step(config: SkullStripConfig, step: int):
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
) -> tuple[dict[str, float], list[tuple[str, Tensor, Tensor, Tensor]]]:
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


def _autocast(config: SkullStripConfig, device: torch.device) -> contextlib.AbstractContextManager:
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")


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
    held_out = [load_head(names[name], cache) for name in config.validation]
    others = [load_head(p, cache) for name, p in names.items() if name not in config.validation]
    if not others or not held_out:
        raise ConfigError(f"{folder}: at least one label map to train on and one to validate on")
    return others, held_out


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
        `slices/`, TensorBoard events, `config.json`.

    Returns
    -------
    Path
        The best weights' checkpoint.

    Raises
    ------
    ConfigError
        If the folder lacks label maps, or the run folder belongs to another configuration.
    FloatingPointError
        If the loss is no longer a number.
    """
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = _device(int(os.environ.get("LOCAL_RANK", 0)))
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
    model = UNet3D(**config.network.model_dump())
    if config.start is not None:
        from strokedx_core.weights import load_network

        model.load_state_dict(load_network(config.start).state_dict())
    layout = torch.channels_last_3d
    model = model.to(device, memory_format=layout)
    average = UNet3D(**config.network.model_dump()).to(device, memory_format=layout)
    average.load_state_dict(model.state_dict())
    optimizer = torch.optim.AdamW(
        model.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    step, best = 0, -1.0
    last = out / "last.pt"
    settings = config.model_dump(mode="json", exclude={"workers"})
    if last.exists():
        state = load_checkpoint(last)
        if json.loads(state["config"]) != settings:
            raise ConfigError(f"{out}: holds a run with another configuration; name another folder")
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step, best = state["step"], state["best"]
    wrapped = DistributedDataParallel(model) if world > 1 else model
    dice_loss = DiceLoss(sigmoid=True)
    log = _Log(out, config, step, quiet) if main else None

    share = config.batch // world
    numbers = range(step * config.batch, config.steps * config.batch)
    # Consecutive images of a step go to consecutive processes: the global batch is the same for
    # any number of them.
    mine = range(numbers.start + rank, numbers.stop, world)
    batches: Iterator[Any] = iter(
        DataLoader(
            _Images(config, heads, mine),
            batch_size=share,
            num_workers=0 if device.type == "cuda" else config.workers,
            prefetch_factor=4 if config.workers and device.type == "cpu" else None,
            multiprocessing_context="fork" if config.workers and device.type == "cpu" else None,
        )
    )
    begin = time.perf_counter()
    while step < config.steps:
        image, target = (tensor.to(device) for tensor in next(batches))
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(config, step)
        with _autocast(config, device):
            logits = wrapped(image.contiguous(memory_format=layout))
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
        log.step(step, loss.item(), _learning_rate(config, step - 1), time.perf_counter() - begin)
        begin = time.perf_counter()
        end_of_epoch = step % config.steps_per_epoch == 0 or step == config.steps
        if end_of_epoch:
            scores, pictures = _validate(average, config, held_out, device)
            log.epoch(step, scores, pictures)
            weights = {"model": average.state_dict(), "step": step, "config": json.dumps(settings)}
            save_checkpoint(weights, out / "epochs" / f"step_{step:06d}.pt")
            if scores["mean"] > best:
                best = scores["mean"]
                save_checkpoint(weights | {"scores": scores}, out / "best.pt")
        if end_of_epoch or step % config.checkpoint_every == 0:
            save_checkpoint(
                {
                    "model": model.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step,
                    "best": best,
                    "config": json.dumps(settings),
                },
                last,
            )
    if log is not None:
        log.close()
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()
    return out / "best.pt"


class _Log:
    """Progress bar, metrics.csv, TensorBoard events and slice pictures of one run."""

    def __init__(self, out: Path, config: SkullStripConfig, step: int, quiet: bool) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )
        from torch.utils.tensorboard import SummaryWriter

        self.out = out
        for folder in ("epochs", "slices"):
            (out / folder).mkdir(exist_ok=True)
        (out / "config.json").write_text(config.model_dump_json(indent=2))
        self.events = SummaryWriter(str(out), purge_step=step + 1)
        self.table = out / "metrics.csv"
        self._forget_after(step)
        self.losses: list[float] = []
        self.seconds: list[float] = []
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            disable=quiet,
        )
        self.task = self.bar.add_task("training", total=config.steps, completed=step, note="")
        self.bar.start()

    def _forget_after(self, step: int) -> None:
        """Drop the rows of steps that will be done again."""
        if not self.table.exists():
            return
        with self.table.open(newline="") as file:
            header, *rows = csv.reader(file)
        kept = [row for row in rows if int(row[0]) <= step]
        beside = self.table.with_suffix(".part")
        with beside.open("w", newline="") as file:
            csv.writer(file).writerows([header, *kept])
        beside.replace(self.table)

    def step(self, step: int, loss: float, rate: float, seconds: float) -> None:
        self.losses.append(loss)
        self.seconds.append(seconds)
        if step % 10 == 0:
            self.events.add_scalar("loss", loss, step)
            self.events.add_scalar("learning rate", rate, step)
        self.bar.update(self.task, completed=step, note=f"loss {loss:.4f}")

    def epoch(self, step: int, scores: dict[str, float], pictures: list[Any]) -> None:
        row: dict[str, float] = {
            "step": step,
            "loss": sum(self.losses) / len(self.losses),
            "seconds a step": sum(self.seconds) / len(self.seconds),
            **{f"Dice {name}": value for name, value in scores.items()},
        }
        self.losses, self.seconds = [], []
        new = not self.table.exists()
        with self.table.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(row)
            writer.writerow(
                f"{value:.5g}" if name != "step" else step for name, value in row.items()
            )
        for name, value in scores.items():
            self.events.add_scalar(f"Dice/{name}", value, step)
        self.events.flush()
        _draw(pictures, self.out / "slices" / f"step_{step:06d}.png")
        self.bar.console.print(
            f"step {step}: loss {row['loss']:.4f}, validation Dice mean {scores['mean']:.4f}, "
            f"worst {scores['worst']:.4f}, {row['seconds a step']:.2f} s a step"
        )

    def close(self) -> None:
        self.bar.stop()
        self.events.close()


def _draw(pictures: list[Any], path: Path) -> None:
    """One column an image: middle slices in three planes, truth green, network red."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.4 * len(pictures), 7.5), layout="tight")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, len(pictures), squeeze=False)
    for column, (title, image, target, logits) in enumerate(pictures):
        for row in range(3):
            middle = image.shape[row] // 2
            image_slice, truth, found = (
                volume.select(row, middle).T.cpu().numpy() for volume in (image, target, logits)
            )
            axis = axes[row, column]
            axis.imshow(image_slice, cmap="gray", origin="lower", vmin=0, vmax=1.2)
            for field, level, colour in ((truth, 0.5, "lime"), (found, 0.0, "red")):
                if field.min() < level < field.max():
                    axis.contour(field, [level], colors=colour, linewidths=0.8)
            axis.axis("off")
        axes[0, column].set_title(title, fontsize=7)
    figure.savefig(path, dpi=80)


def main(arguments: list[str] | None = None) -> None:
    """Entry for `torchrun` and `python -m`."""
    parser = argparse.ArgumentParser(description="Train skull stripping on generated heads.")
    parser.add_argument("--head-labels", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args(arguments)
    train(read_config(options.config), options.head_labels, options.out, quiet=options.quiet)


if __name__ == "__main__":
    main()

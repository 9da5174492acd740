"""Train a U-Net on generated or real images: the whole loop, top to bottom, for every task.

One process, CPU or GPU:

    strokedx train skull-strip --head-labels DIR --config recipe.toml --out runs/skull-strip

Several processes (a GPU each where there are GPUs, gloo on CPUs):

    torchrun --nproc-per-node 4 -m strokedx_core.training.segmentation \
        --head-labels DIR --config recipe.toml --out runs/skull-strip

Without --config, the recipe of the weights that ship is used. Lesions: `--task lesion
--lesion-masks DIR` besides; anatomy: `--task anatomy --lesion-masks DIR --atlas FILE`. Cases of
one's own: `--protocol NAME --data nfbs=FOLDER`, or a recipe with a table [real]. Several machines:
`docs/slurm.md`.

A run that was stopped, however abruptly, goes on from its last checkpoint when the same command is
given again, and ends with the same weights as if it had never stopped: every image depends on the
seed and its own number alone, and nothing else is random. On the processor that holds bit for bit;
a GPU adds up gradients in an order of its own each time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from strokedx_core.training.checkpoint import (
    load_checkpoint,
    same_settings,
    save_checkpoint,
    settings_text,
)
from strokedx_core.training.config import (
    CONFIGS,
    RECIPES,
    ConfigError,
    TrainingConfig,
    read_config,
    read_toml,
)
from strokedx_core.training.export import export_run
from strokedx_core.training.failures import check_loss, memory_advice
from strokedx_core.training.feeding import batches, drawn
from strokedx_core.training.network import autocast, begin, device_of, make_network
from strokedx_core.training.optimizers import make_optimizer
from strokedx_core.training.run_log import RunLog
from strokedx_core.training.steps import follow, learning_rate
from strokedx_core.training.tasks import FOLDERS, problem_of
from strokedx_core.training.validation import validate

__all__ = ["train"]


def train(
    config: TrainingConfig, folders: Mapping[str, Path], out: Path, *, quiet: bool = False
) -> Path:
    """Train until `config.steps`, from the run's checkpoint where there is one.

    Parameters
    ----------
    config : TrainingConfig
    folders : mapping of str to Path
        "head-labels": whole-head label maps; for lesions, "lesion-masks" too; for anatomy, both
        and the file "atlas". The folder of each data set in `config.real`, by its name; where all
        images are real, those alone.
    out : Path
        Run folder: `last.pt` (everything needed to go on), `best.pt` (averaged weights with the
        best mean validation Dice), `epochs/` (averaged weights after each epoch), `metrics.csv`
        and `curves.png`, `slices/`, TensorBoard events, `config.json`, `environment.json`; at the
        end the best and the last weights, `weights.safetensors` and `weights_last.safetensors`,
        and their cards.
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
        If the loss is no longer a number; the batch is kept in the run folder.
    BadCasesError
        If more real cases cannot be read than `config.real` lets pass.
    NoMemoryError
        Naming the setting to lower.
    OSError
        If a checkpoint cannot be written; the one before it stays whole.
    """
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = device_of(int(os.environ.get("LOCAL_RANK", 0)))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if config.batch % (world * config.accumulate):
        raise ConfigError(
            f"batch ({config.batch}) must be a multiple of the {world} processes"
            + (f" times accumulate ({config.accumulate})" if config.accumulate > 1 else "")
        )
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    main = rank == 0
    out.mkdir(parents=True, exist_ok=True)
    if main:
        shutil.rmtree(out / "skipped", ignore_errors=True)
        # Prepare the cache once; the other processes then only read it.
        problem = problem_of(config, folders, out / "cache", device)
    if world > 1:
        dist.barrier()
    if not main:
        problem = problem_of(config, folders, out / "cache", device)

    torch.manual_seed(config.seed)
    model, average = make_network(config, device), make_network(config, device)
    optimizer = make_optimizer(model, config)
    step, best, losses = 0, -1.0, []
    last, settings = out / "last.pt", settings_text(config)
    if last.exists():
        state = load_checkpoint(last)
        if not same_settings(config, state["config"]):
            raise ConfigError(f"{out}: holds a run with another configuration; name another folder")
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step, best, losses = state["step"], state["best"], state["losses"]
    else:
        begin(model, config, problem.share)
        average.load_state_dict(model.state_dict())
    shared = DistributedDataParallel(model) if world > 1 else None
    network = torch.compile(shared or model) if config.compile else shared or model

    feed = batches(problem, step, rank, world, device)
    log = RunLog(out, config, step, losses, quiet) if main else None
    try:
        start = time.perf_counter()
        while step < config.steps:
            rate, loss_of_step, waited = learning_rate(config, step), 0.0, 0.0
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("share", 1.0)
            model.zero_grad(set_to_none=True)
            for part in range(config.accumulate):
                alone = shared is not None and part < config.accumulate - 1
                with (
                    memory_advice(config, world),
                    # Processes add up their gradients after the last part.
                    shared.no_sync() if shared is not None and alone else nullcontext(),
                ):
                    asked = time.perf_counter()
                    image, target = next(feed)
                    waited += time.perf_counter() - asked
                    numbers = drawn(config, step, part, rank, world)
                    with autocast(config, device):
                        image = problem.prompt(model, image, target, numbers)
                        logits = network(image.contiguous(memory_format=torch.channels_last_3d))
                    loss = problem.loss(logits.float(), target)
                    kept = out / f"not_a_number_{rank}.pt"
                    check_loss(loss, image, target, numbers, step, kept)
                    (loss / config.accumulate).backward()
                loss_of_step += loss.item() / config.accumulate
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            follow(average, model, config, step)
            step += 1
            if log is None:
                continue
            seconds, start = time.perf_counter() - start, time.perf_counter()
            log.step(step, loss_of_step, rate, seconds, waited)
            end_of_epoch = step % config.steps_per_epoch == 0 or step == config.steps
            if end_of_epoch:
                with memory_advice(config, world):
                    found = validate(average, problem, device)
                log.epoch(step, found)
                weights = {
                    "model": average.state_dict(),
                    "step": step,
                    "scores": found.scores,
                    "task": config.task,
                    "config": settings,
                }
                save_checkpoint(weights, out / "epochs" / f"step_{step:06d}.pt")
                if found.scores["mean"] > best:
                    best = found.scores["mean"]
                    save_checkpoint(weights, out / "best.pt")
            if end_of_epoch or step % config.checkpoint_every == 0:
                state = {
                    "model": model.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step,
                    "best": best,
                    "losses": log.losses,
                    "config": settings,
                }
                save_checkpoint(state, last)
    finally:
        if log is not None:
            log.close()
    if main:
        export_run(out, out / "weights.safetensors", name=out.resolve().name)
        export_run(
            out,
            out / "weights_last.safetensors",
            name=f"{out.resolve().name}_last",
            checkpoint=f"epochs/step_{config.steps:06d}.pt",
        )
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()
    return out / "weights.safetensors"


def main(arguments: list[str] | None = None) -> None:
    """Entry for `torchrun` and `python -m`."""
    parser = argparse.ArgumentParser(description="Train a task's network.")
    parser.add_argument("--task", choices=sorted(CONFIGS), default="skull-strip")
    parser.add_argument("--protocol", help="a named configuration in place of --task and --config")
    parser.add_argument("--data", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--head-labels", type=Path)
    parser.add_argument("--lesion-masks", type=Path)
    parser.add_argument("--atlas", type=Path)
    parser.add_argument("--split", type=Path, help="division of the people of a data set")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args(arguments)
    folders = {name: Path(folder) for name, _, folder in (d.partition("=") for d in options.data)}
    for name in ("head-labels", "lesion-masks", "atlas", "split"):
        path = getattr(options, name.replace("-", "_"))
        if path is not None:
            folders[name] = path
    if options.protocol:
        from strokedx_core.training.protocol import configured

        changes = read_toml(options.config) if options.config else {}
        config = configured(options.protocol, folders, changes)
    else:
        config = read_config(options.config or RECIPES[options.task], options.task)
        needed = FOLDERS[options.task] if config.real is None or config.real.share < 1 else ()
        for name in set(needed) - folders.keys():
            parser.error(f"--task {options.task} needs --{name}")
    train(config, folders, options.out, quiet=options.quiet)


if __name__ == "__main__":
    main()

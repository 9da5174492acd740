"""Larger batches and networks than memory holds, and processes that die."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch.optim import AdamW, Muon
from training_run import CONFIG, command, environment

from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.training.checkpoint import load_checkpoint
from strokedx_core.training.config import SkullStripConfig
from strokedx_core.training.optimizers import FilterMuon, make_optimizer
from strokedx_core.training.segmentation import train

BATCH_FILE = Path(__file__).parents[2] / "docs" / "train.sbatch"
SHORT = (
    CONFIG.replace("steps = 60", "steps = 4")
    .replace("checkpoint_every = 4", "checkpoint_every = 1")
    .replace("validation_images = 2", "validation_images = 1")
    .replace("[40, 40, 40]", "[24, 24, 24]")
    .replace("widths = [8, 16, 16]", "widths = [4, 8]")
)


def apart(one: Path, other: Path) -> torch.Tensor:
    """How far the weights of two runs lie from each other."""
    first, second = (load_checkpoint(run / "last.pt")["model"] for run in (one, other))
    return torch.cat([(first[name] - value).abs().flatten() for name, value in second.items()])


def small_run(heads: Path, out: Path, **values: Any) -> Path:
    config = SkullStripConfig(**tomllib.loads(SHORT) | values)
    train(config, {"head-labels": heads}, out, quiet=True)
    return out


@pytest.fixture(scope="module")
def whole(heads_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps of two images each."""
    return small_run(heads_folder, tmp_path_factory.mktemp("whole") / "run")


def test_a_step_in_parts_is_the_same_step(whole: Path, heads_folder: Path, tmp_path: Path) -> None:
    parts = small_run(heads_folder, tmp_path / "parts", accumulate=2)
    assert load_checkpoint(parts / "last.pt")["step"] == 4
    # Adam divides a gradient by its size: where it is all but zero, rounding decides the step.
    difference = apart(parts, whole)
    assert float(difference.quantile(0.99)) < 1e-4
    assert float(difference.max()) < 1e-2
    losses = [
        (run / "metrics.csv").read_text().splitlines()[1].split(",")[1] for run in (parts, whole)
    ]
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-4)


def test_checkpointed_runs_are_the_same(whole: Path, heads_folder: Path, tmp_path: Path) -> None:
    other = small_run(heads_folder, tmp_path / "run", gradient_checkpointing=True)
    assert not apart(other, whole).any()


def test_features_computed_again_change_neither_gradients_nor_statistics() -> None:
    torch.manual_seed(0)
    plain = UNet3D(1, 1, (4, 8, 8), norm="batch", stem_stride=1, upsampling="transposed")
    again = UNet3D(1, 1, (4, 8, 8), norm="batch", stem_stride=1, upsampling="transposed")
    again.load_state_dict(plain.state_dict())
    again.checkpointing = True
    image = torch.rand(2, 1, 8, 8, 8)
    kept = []
    for network in (plain, again):
        held: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, held=held: held.append(tensor.numel()) or tensor, lambda tensor: tensor
        ):
            loss = network(image).square().mean()
        kept.append(sum(held))
        loss.backward()
    for (name, one), other in zip(plain.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad), name
    for (name, one), other in zip(plain.named_buffers(), again.buffers(), strict=True):
        assert torch.equal(one, other), name
    assert kept[1] < kept[0] / 2
    assert all(layer.momentum == 0.1 for layer in again.modules() if hasattr(layer, "momentum"))


def test_muon_learns_and_goes_on_where_it_was() -> None:
    config = SkullStripConfig(**tomllib.loads(SHORT), optimizer="muon")
    image = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    target = (image > 0.5).float()

    def learn(network: UNet3D, optimizer: AdamW | FilterMuon, steps: int) -> list[float]:
        losses = []
        for _ in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = 0.02 * group.get("share", 1.0)
            network.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(network(image), target)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    torch.manual_seed(0)
    network = UNet3D(1, 1, (4, 8), stem_stride=1)
    before = {name: value.clone() for name, value in network.named_parameters()}
    optimizer = make_optimizer(network, config)
    losses = learn(network, optimizer, 10)
    assert losses[-1] < 0.9 * losses[0]
    for name, value in network.named_parameters():
        assert not torch.equal(value, before[name]), name
    other = UNet3D(1, 1, (4, 8), stem_stride=1)
    other.load_state_dict(network.state_dict())
    again = make_optimizer(other, config)
    again.load_state_dict(deepcopy(optimizer.state_dict()))
    assert learn(network, optimizer, 3) == learn(other, again, 3)
    assert isinstance(
        make_optimizer(network, config.model_copy(update={"optimizer": "adamw"})), AdamW
    )


def test_muon_moves_filters_as_the_published_one_does() -> None:
    """To what bfloat16, in which PyTorch's own works, makes of it."""
    torch.manual_seed(0)
    network = UNet3D(2, 1, (8, 16), stem_stride=1)
    filters = {name: p for name, p in network.named_parameters() if p.ndim == 5}
    matrices = {name: torch.nn.Parameter(p.detach().flatten(1)) for name, p in filters.items()}
    start = {name: matrix.detach().clone() for name, matrix in matrices.items()}
    published = Muon(matrices.values(), lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    ours = FilterMuon(network, network.output, weight_decay=0.1)
    for group in ours.param_groups:
        group["lr"] = 0.02
    for _ in range(4):
        for name, each in filters.items():
            # Strong and weak directions.
            strength = torch.logspace(0, -3, len(each))[:, None, None, None, None]
            each.grad = torch.randn_like(each) * strength
            matrices[name].grad = each.grad.flatten(1)
        published.step()
        ours.step()
    last = filters.pop("head.weight")
    assert last is network.output.weight
    assert len(filters) > 4
    for name in filters:
        step = matrices[name].detach() - start[name]
        assert (filters[name].detach().flatten(1) - matrices[name]).norm() < 0.03 * step.norm()
    # AdamW's first steps are as long as its learning rate, for each value.
    moved = last.detach().flatten(1) - start["head.weight"]
    assert moved.abs().max() < 4.5 * 0.02


def test_the_original_network_takes_a_step() -> None:
    """All its 90 million parameters, with features computed again, on a grid that is small."""
    torch.manual_seed(0)
    network = UNet3D.seed_protocol()
    network.checkpointing = True
    optimizer = torch.optim.SGD(network.parameters(), 1e-2)
    image, target = torch.rand(2, 1, 16, 16, 16), torch.zeros(2, 1, 16, 16, 16)
    before = [p.detach().clone() for p in network.parameters()]
    loss = torch.nn.functional.binary_cross_entropy_with_logits(network(image), target)
    loss.backward()
    optimizer.step()
    assert network.parameter_count == 90_298_561
    assert (
        sum(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True)) > 40
    )


@pytest.mark.slow
# PyTorch's own compiler uses what PyTorch calls deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_network_trains_alike(whole: Path, heads_folder: Path, tmp_path: Path) -> None:
    compiled = small_run(heads_folder, tmp_path / "run", compile=True)
    assert float(apart(compiled, whole).quantile(0.99)) < 1e-3


def test_one_of_two_ways_to_save_memory_or_time(heads_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only one of the two"):
        small_run(heads_folder, tmp_path, compile=True, gradient_checkpointing=True)
    with pytest.raises(ValueError, match=r"batch \(2\) must be a multiple"):
        small_run(heads_folder, tmp_path, accumulate=3)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_killed_process_ends_the_run_and_two_machines_go_on(
    heads_folder: Path, tmp_path: Path
) -> None:
    config, run, steps = tmp_path / "two.toml", tmp_path / "two", 30
    config.write_text(SHORT.replace("steps = 4", f"steps = {steps}"), encoding="utf-8")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    again = [*launch, *command(heads_folder, config, run)[1:]]
    process = subprocess.Popen(
        again, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while not (run / "last.pt").exists() and process.poll() is None:
        time.sleep(0.02)
    workers = {
        child.environ()["RANK"]: child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "RANK" in child.environ()
    }
    assert sorted(workers) == ["0", "1"]
    os.kill(workers["1"].pid, signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "SIGKILL" in said or "Signal 9" in said
    assert not any(worker.is_running() for worker in workers.values())
    assert 0 < load_checkpoint(run / "last.pt")["step"] < steps
    assert not (run / "weights.safetensors").exists()

    # As on two machines without SLURM, started on each.
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    told = {"NODES": "2", "HEAD": "localhost", "PORT": port, "PATH": path}
    machines = [
        subprocess.Popen(
            ["bash", str(BATCH_FILE), *command(heads_folder, config, run)[3:]],
            env=environment() | told,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for machine in machines:
        _, said = machine.communicate(timeout=500)
        assert machine.returncode == 0, said
    nodes = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    assert (nodes["processes"], nodes["nodes"]) == (2, 2)
    unbroken = small_run(heads_folder, tmp_path / "one", steps=steps)
    assert load_checkpoint(run / "last.pt")["step"] == steps
    difference = apart(run, unbroken)
    assert float(difference.quantile(0.99)) < 1e-3
    assert float(difference.max()) < 3e-2

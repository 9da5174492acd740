"""Training that fails: a full disk, too little memory. What is kept, and what is said."""

from __future__ import annotations

import resource
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from training_run import CONFIG

from strokedx_core.training.checkpoint import load_checkpoint, same_settings, save_checkpoint
from strokedx_core.training.config import SkullStripConfig
from strokedx_core.training.failures import NoMemoryError, memory_advice
from strokedx_core.training.segmentation import train


@contextmanager
def limited(kind: int, limit: int) -> Iterator[None]:
    """The operating system gives this process no more than so much."""
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


@pytest.mark.parametrize("room", [0, 5_000, 200_000])
def test_a_checkpoint_that_finds_no_room_leaves_the_former_one_whole(
    tmp_path: Path, room: int
) -> None:
    path = tmp_path / "last.pt"
    large = {"step": 2, "model": {"w": torch.ones(100_000)}}
    with (
        limited(resource.RLIMIT_FSIZE, room),
        pytest.raises(OSError, match=r"last\.pt: not written .File too large.; there was none"),
    ):
        save_checkpoint(large, path)
    save_checkpoint({"step": 1, "model": {"w": torch.ones(3)}}, path)
    with (
        limited(resource.RLIMIT_FSIZE, room),
        pytest.raises(OSError, match=r"not written .File too large.; the one before it is whole"),
    ):
        save_checkpoint(large, path)
    assert load_checkpoint(path)["step"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]
    save_checkpoint(large, path)
    assert load_checkpoint(path)["step"] == 2


def test_too_little_memory_names_the_settings_to_lower(heads_folder: Path, tmp_path: Path) -> None:
    values = tomllib.loads(CONFIG)
    values["grids"] = [{"shape": [288, 288, 288], "spacing": 1.0}]
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    room = pages * resource.getpagesize() + 700 * 2**20
    with (
        limited(resource.RLIMIT_AS, room),
        pytest.raises(NoMemoryError, match="raise accumulate from 1 to 2") as stopped,
    ):
        train(
            SkullStripConfig(**values), {"head-labels": heads_folder}, tmp_path / "run", quiet=True
        )
    assert "gradient_checkpointing = true" in str(stopped.value)
    assert "lower the shape of [[grids]] from 288×288×288" in str(stopped.value)


def test_only_what_helps_is_advised() -> None:
    values = tomllib.loads(CONFIG) | {"accumulate": 2, "gradient_checkpointing": True, "workers": 3}
    with pytest.raises(NoMemoryError) as stopped, memory_advice(SkullStripConfig(**values), 1):
        torch.empty(2**60)
    said = str(stopped.value)
    assert "accumulate" not in said
    assert "gradient_checkpointing" not in said
    assert "lower workers from 3; or lower the shape of [[grids]] from 40×40×40" in said
    with (
        pytest.raises(RuntimeError, match="Sizes of tensors") as other,
        memory_advice(SkullStripConfig(**values), 1),
    ):
        torch.cat([torch.ones(1, 2), torch.ones(1, 3)])
    assert not isinstance(other.value, NoMemoryError)


def test_runs_of_earlier_versions_go_on() -> None:
    config = SkullStripConfig(**tomllib.loads(CONFIG))
    later = {"accumulate", "compile", "gradient_checkpointing", "loss", "real", "workers"}
    earlier = config.model_dump_json(exclude=later)
    assert same_settings(config, earlier)
    assert not same_settings(config.model_copy(update={"accumulate": 2}), earlier)
    assert not same_settings(config, earlier.replace('"seed":3', '"seed":4'))
    assert not same_settings(config, earlier.replace('"seed"', '"sead"'))

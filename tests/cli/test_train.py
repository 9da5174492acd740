"""`strokedx train`: errors in one line, and a run of a few steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from training_run import CONFIG, write_heads
from typer.testing import Result

Run = Callable[..., Result]


def test_help_names_the_options(strokedx: Run) -> None:
    shown = strokedx("train", "skull-strip", "--help")
    assert shown.exit_code == 0
    assert all(option in shown.stdout for option in ("--head-labels", "--config", "--out"))


def test_wrong_keys_and_folders_are_refused(strokedx: Run, tmp_path: Path) -> None:
    config = tmp_path / "recipe.toml"
    config.write_text("stepz = 1\n", encoding="utf-8")
    run = tmp_path / "run"
    (tmp_path / "empty").mkdir()
    file = tmp_path / "file"
    file.touch()
    for words, options in {
        "nowhere: no such folder": ("--head-labels", tmp_path / "nowhere", "--out", run),
        "file: not a folder": ("--head-labels", tmp_path, "--out", file),
        "stepz: Extra": ("--head-labels", tmp_path, "--config", config, "--out", run),
        "seg_19, seg_20; found no label maps": ("--head-labels", tmp_path / "empty", "--out", run),
    }.items():
        refused = strokedx("train", "skull-strip", *options)
        assert refused.exit_code == 2
        assert refused.stderr.startswith("Error: ")
        assert words in refused.stderr
        assert refused.stdout == ""


@pytest.mark.slow
def test_a_few_steps(strokedx: Run, tmp_path: Path) -> None:
    heads = write_heads(tmp_path / "heads")
    config = tmp_path / "recipe.toml"
    config.write_text(CONFIG.replace("steps = 60", "steps = 2"), encoding="utf-8")
    run = tmp_path / "run"
    done = strokedx(
        *("train", "skull-strip", "--head-labels", heads, "--config", config, "--out", run),
        "--quiet",
    )
    assert done.exit_code == 0
    assert f"weights: {run / 'weights.safetensors'}" in done.stdout
    assert (run / "weights.safetensors").exists()
    assert (run / "weights.toml").exists()

"""Run folders: what they keep of where they ran, their curves, and two beside each other."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from strokedx_core.cli import app
from strokedx_core.training.run_log import WAITING
from strokedx_core.weights import load_network, read_card

Change = Callable[[dict[str, object]], dict[str, object]]


def compare(*runs: Path) -> Result:
    return CliRunner().invoke(app, ["runs", "compare", *map(str, runs)])


@pytest.mark.slow
class TestRunFolder:
    def test_where_it_ran(self, trained: Path) -> None:
        told = json.loads((trained / "environment.json").read_text(encoding="utf-8"))
        assert told["versions"]["torch"] == torch.__version__
        assert told["processes"] == 1
        assert told["commit"]
        assert "--head-labels" in told["command"]

    def test_curves_accuracy_and_waiting(self, trained: Path) -> None:
        assert (trained / "curves.png").read_bytes()[:4] == b"\x89PNG"
        with (trained / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert all(0 < float(row[WAITING]) < 1 for row in rows)
        assert all(0.5 < float(row["accuracy"]) <= 1 for row in rows)

    def test_the_last_weights_too(self, trained: Path) -> None:
        card = read_card(trained / "weights_last.safetensors")
        assert (card.name, card.text["training"]["steps"]) == ("unbroken_last", 60)
        assert load_network(trained / "weights_last.safetensors").parameter_count > 0

    def test_two_runs_beside_each_other(self, trained: Path, tmp_path: Path) -> None:
        other = tmp_path / "other"
        other.mkdir()
        for name in ("config.json", "environment.json", "metrics.csv"):
            shutil.copy(trained / name, other)
        same = compare(trained, other)
        assert same.exit_code == 0
        assert "configuration: the same" in same.stdout
        assert "environment: the same" in same.stdout

        config = json.loads((other / "config.json").read_text(encoding="utf-8"))
        config["learning_rate"] = 0.5
        config["grids"][0]["spacing"] = 2.0
        (other / "config.json").write_text(json.dumps(config), encoding="utf-8")
        (other / "environment.json").unlink()  # as runs of earlier versions are
        rows = (other / "metrics.csv").read_text(encoding="utf-8").splitlines()
        (other / "metrics.csv").write_text("\n".join(rows[:2]) + "\n", encoding="utf-8")
        lines = [line.split() for line in compare(trained, other).stdout.splitlines()]
        assert ["learning_rate", "0.01", "0.5"] in lines
        assert ["grids.0.spacing", "3.0", "2.0"] in lines
        assert not any(line[:1] == ["seed"] for line in lines)
        with (trained / "metrics.csv").open(newline="") as file:
            losses = [row["loss"] for row in csv.DictReader(file)]
        at = lines.index(["loss", "A", "B"])
        assert lines[at + 1 : at + 4] == [
            ["20", losses[0], losses[0]], ["40", losses[1]], ["60", losses[2]],
        ]  # fmt: skip


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    refused = compare(tmp_path, tmp_path)
    assert refused.exit_code == 2
    assert "no training run (config.json is missing)" in refused.stderr
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    assert "config.json: cannot be read" in compare(tmp_path, tmp_path).stderr
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert "no training run (metrics.csv" in compare(tmp_path, tmp_path).stderr

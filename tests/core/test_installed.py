"""Weights of one's own: installed where commands and widgets find them, or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from strokedx_core.cli import app
from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.weights import (
    WeightsError,
    available,
    find_weights,
    install_weights,
    load_network,
    read_card,
    shipped,
    write_weights,
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where weights are installed meanwhile."""
    path = tmp_path / "user" / "weights"
    monkeypatch.setenv("STROKEDX_WEIGHTS", str(path))
    return path


def written(path: Path, task: str = "skull-strip", channels: tuple[int, int] = (1, 1)) -> Path:
    """Weights of a small network, as a run leaves them."""
    torch.manual_seed(len(path.stem))
    network = UNet3D(*channels, widths=(4, 8))
    card: dict[str, Any] = {
        "name": "mine",
        "task": task,
        "title": "Mine",
        "architecture": network.config,
        "input": {"spacings_mm": [3.0]},
    }
    write_weights(network.state_dict(), card, path)
    return path


def weights(*words: object) -> Result:
    return CliRunner().invoke(app, ["weights", *map(str, words)])


def test_installed_weights_are_found_by_name(tmp_path: Path, folder: Path) -> None:
    file = written(tmp_path / "weights.safetensors")
    done = weights("install", file)
    assert done.exit_code == 0
    assert "installed: mine, for skull-strip" in done.stdout
    file.unlink()
    assert find_weights("mine") == folder / "mine.safetensors"
    assert available("skull-strip") == ["skull_strip", "mine"]
    assert "mine" not in available("lesion")
    assert "mine" not in shipped()
    assert load_network("mine").config["widths"] == [4, 8]
    (line,) = [row for row in weights("list").stdout.splitlines() if row.startswith("mine ")]
    assert "Mine (installed, for skull-strip)" in line
    assert 'name = "mine"' in weights("show", "mine").stdout
    assert weights("remove", "mine").exit_code == 0
    assert list(folder.iterdir()) == []
    assert "no weights named 'mine' are installed" in weights("remove", "mine").stderr


def test_a_name_of_ones_own(tmp_path: Path) -> None:
    file = written(tmp_path / "weights.safetensors")
    assert install_weights(file, name="site-2") == "site-2"
    assert read_card("site-2").name == "site-2"
    again = weights("install", file, "--name", "site-2")
    assert again.exit_code == 2
    assert "installed already" in again.stderr
    other = written(tmp_path / "other.safetensors")
    assert weights("install", other, "--name", "site-2", "--replace").exit_code == 0
    assert find_weights("site-2").read_bytes() == other.read_bytes()


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4] + b"oops")


def other_network(path: Path) -> None:
    card = path.with_suffix(".toml")
    card.write_text(card.read_text().replace('norm = "instance"', 'norm = "batch"'))


def other_task(path: Path) -> None:
    written(path, task="lesion")


def unknown_task(path: Path) -> None:
    written(path, task="tumour")


def no_card(path: Path) -> None:
    path.with_suffix(".toml").unlink()


def no_spacing(path: Path) -> None:
    card = path.with_suffix(".toml")
    card.write_text(card.read_text().replace("3.0,", ""))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (damaged, "damaged or not the file its card describes"),
        (other_network, "does not fit its card's architecture"),
        (other_task, r"task lesion takes and gives \(10, 3\) channels, this network \(1, 1\)"),
        (unknown_task, "task 'tumour' is none of skull-strip"),
        (no_card, "card is missing"),
        (no_spacing, "spacings_mm must be positive"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, folder: Path, spoil: Callable[[Path], None], words: str
) -> None:
    file = written(tmp_path / "weights.safetensors")
    spoil(file)
    with pytest.raises(WeightsError, match=words):
        install_weights(file)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["../mine", ".mine", "a b", "mine.safetensors", "skull_strip"])
def test_names_that_are_taken_or_none(tmp_path: Path, folder: Path, name: str) -> None:
    file = written(tmp_path / "weights.safetensors")
    refused = weights("install", file, "--name", name)
    assert refused.exit_code == 2
    assert repr(name) in refused.stderr
    assert not folder.exists()


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes(b"")
    assert "end in .safetensors" in weights("install", tmp_path / "best.pt").stderr
    assert "no such weights" in weights("install", tmp_path / "none.safetensors").stderr


def test_a_card_that_was_spoiled_later_is_named(tmp_path: Path, folder: Path) -> None:
    install_weights(written(tmp_path / "weights.safetensors"))
    (folder / "mine.toml").write_text("name = ", encoding="utf-8")
    assert available("skull-strip") == ["skull_strip"]
    assert "mine  unusable: " in weights("list").stdout

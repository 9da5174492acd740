"""One small training run that several tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from training_run import CONFIG, run, write_heads


@pytest.fixture(scope="session")
def heads_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the label maps head_a, head_b and head_c."""
    return write_heads(tmp_path_factory.mktemp("heads"))


@pytest.fixture(scope="session")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configuration of the small run."""
    path = tmp_path_factory.mktemp("config") / "small.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained(
    heads_folder: Path, config_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Run folder of the small run, trained without a break."""
    out = tmp_path_factory.mktemp("runs") / "unbroken"
    run(heads_folder, config_file, out)
    return out

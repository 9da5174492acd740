"""The anatomy network's training: what it is shown, and that a short run learns from it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from strokedx_core.anatomy.regions import CHANNELS, STRUCTURES, TERRITORIES
from strokedx_core.training.anatomy import AnatomyProblem
from strokedx_core.training.config import (
    RECIPES,
    AnatomyConfig,
    ConfigError,
    GridConfig,
    read_config,
)
from strokedx_core.training.segmentation import train

GRID = GridConfig(shape=(32, 48, 32), spacing=4.5, shift=4.0)


@pytest.fixture(scope="module")
def folders(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two real label maps, a hundred real lesions, the atlas."""
    heads, masks = (tmp_path_factory.mktemp(name) for name in ("heads", "masks"))
    for name in ("seg_02.nii.gz", "seg_19.nii.gz"):
        (heads / name).symlink_to(data_dir / "head_labels" / name)
    for path in sorted((data_dir / "lesion_masks").glob("*.nii.gz"))[:100]:
        (masks / path.name).symlink_to(path)
    atlas = data_dir / "atlas" / "arterial_territories.nii.gz"
    return {"head-labels": heads, "lesion-masks": masks, "atlas": atlas}


@pytest.fixture(scope="module")
def config() -> AnatomyConfig:
    return AnatomyConfig(
        seed=3,
        steps=60,
        steps_per_epoch=30,
        batch=1,
        learning_rate=6e-3,
        warmup=5,
        ema=0.8,
        validation=("seg_19",),
        validation_images=1,
        validation_contrasts=("T1W",),
        network={  # type: ignore[arg-type]
            "in_channels": 1, "out_channels": CHANNELS, "widths": (12, 24, 32), "convs": 1,
            "stem_stride": 1,
        },
        grids=(GRID,),
        generator={
            "sets": {"T1W": 1.0}, "random_contrast": 0.0, "stripped": 1.0, "rotation": 5.0,
            "crop": 0.0, "bias": 0.1,
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.mark.data
def test_each_voxel_is_one_thing_at_most(
    folders: dict[str, Path], config: AnatomyConfig, cache: Path
) -> None:
    problem = AnatomyProblem(config, folders, cache / "cache", torch.device("cpu"))
    for number in range(3):
        image, target = problem.training(number, GRID)
        assert image.shape == (1, *GRID.shape)
        assert target.shape == (CHANNELS, *GRID.shape)
        structures = target[1 : 1 + len(STRUCTURES)].sum(0)
        territories = target[1 + len(STRUCTURES) :].sum(0)
        assert set(structures.unique().tolist()) == {0.0, 1.0}
        assert set(territories.unique().tolist()) == {0.0, 1.0}
        ventricle = target[1 + STRUCTURES.index("ventricle")]
        # Fluid in sulci and the ventral diencephalon have a territory, but no structure.
        inside = territories + ventricle
        assert set(inside.unique().tolist()) == {0.0, 1.0}
        assert (structures <= inside).all()
        assert 0.75 < structures.sum() / inside.sum() < 0.99
        assert len(TERRITORIES) == int((target[1 + len(STRUCTURES) :].sum((1, 2, 3)) > 0).sum())
        # The image's right half, whether the head is mirrored or not.
        x = target[0].nonzero()[:, 0].float().mean()
        left = (inside - target[0]).nonzero()[:, 0].float().mean()
        assert x > left + 5


@pytest.mark.data
def test_a_short_training_tells_the_largest_parts_apart(
    folders: dict[str, Path], config: AnatomyConfig, cache: Path
) -> None:
    train(config, folders, cache, quiet=True)
    with (cache / "metrics.csv").open(encoding="utf-8", newline="") as file:
        first, last = csv.DictReader(file)
    assert float(last["Dice mean"]) > 0.5
    assert float(last["loss"]) < 0.85 * float(first["loss"])


def test_the_shipped_recipe_is_a_recipe() -> None:
    assert read_config(RECIPES["anatomy"], "anatomy").channels == (1, CHANNELS)


def test_sequences_come_one_by_one() -> None:
    with pytest.raises(ValueError, match="single sequences"):
        AnatomyConfig(generator={"sets": {"DWI+ADC": 1.0}})


@pytest.mark.data
def test_another_atlas_is_refused(
    folders: dict[str, Path], config: AnatomyConfig, tmp_path: Path
) -> None:
    import atlases

    image, _ = atlases.write(tmp_path)
    with pytest.raises(ConfigError, match="lacks some of the arterial territories"):
        AnatomyProblem(config, {**folders, "atlas": image}, tmp_path, torch.device("cpu"))

"""Training: a small real run, killed, resumed, spread over processes, and misconfigured."""

from __future__ import annotations

import csv
import itertools
import json
import math
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from phantom import label_map, t1w
from training_run import CONFIG, command, environment

import strokedx_core
from strokedx_core.inference.skull_strip import skull_strip
from strokedx_core.training.checkpoint import load_checkpoint, save_checkpoint
from strokedx_core.training.config import (
    RECIPES,
    ConfigError,
    SkullStripConfig,
    read_config,
)
from strokedx_core.training.feeding import Images
from strokedx_core.training.problems import SkullStripProblem
from strokedx_core.training.run_log import WAITING
from strokedx_core.training.seeds import mixed_seed
from strokedx_core.training.segmentation import train
from strokedx_core.training.steps import learning_rate
from strokedx_core.volume import volume_from_array
from strokedx_core.weights import load_network, read_card

VALIDATION_DICE = 0.75


def rows_of(run: Path) -> list[dict[str, str]]:
    """Rows of metrics.csv without the times."""
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds a step"], row[WAITING]
    return rows


def changed(**values: Any) -> SkullStripConfig:
    """The small run's configuration with other values."""
    import tomllib

    return SkullStripConfig(**tomllib.loads(CONFIG) | values)


class TestConfig:
    def test_shipped_recipe(self) -> None:
        config = read_config(RECIPES["skull-strip"])
        assert config.data[0].licence == "Apache-2.0"
        for grid in config.grids:
            assert config.recipe(grid).spacing == grid.spacing

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("stepz = 3", "stepz: Extra inputs"),
            ("steps = 0", "steps: Input should be greater than 0"),
            ('steps = "many"', "steps: Input should be a valid integer"),
            ("seed = -1", "seed"),
            ("steps = ", "not TOML"),
            ("validation = []", "validation: "),
            ('validation_contrasts = ["CT"]', "validation_contrasts: unknown .'CT'"),
            ("grids = []", "grids: "),
            ("[network]\nwidths = [8]", "network: widths must name"),
            ("[network]\nstem_stride = 3", "network: stem_stride"),
            ('[network]\nnorm = "layer"', r"network.norm: Input should be 'instance' or 'batch'"),
            ("[network]\nin_channels = 2", "network: skull-strip wants in_channels = 1"),
            ("[network]\ndepth = 4", "network.depth: Extra inputs"),
            ("[[grids]]\nshape = [40, 40, 40]", "grids: shape .* must be multiples of 32"),
            ("[[grids]]\nshape = [32, 32, 32]", "grids: shape"),
            ("[[grids]]\nspacing = 0.0", "grids.0.spacing"),
            ("[generator]\nrain = 1.0", "generator: unknown keys .'rain'"),
            ("[generator]\nspacing = 1.0", "generator: unknown keys .'spacing'"),
            ('[generator]\nbias = "much"', "generator: bias: Input should be a valid number"),
            ("[generator]\nmodalities = { CT = 1.0 }", "generator.modalities: unknown .'CT'"),
            ('[[data]]\nname = "mine"', "data.0.licence: Field required"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, text: str, words: str) -> None:
        path = tmp_path / "bad.toml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=words) as refused:
            read_config(path)
        assert str(refused.value).startswith(f"{path}: ")

    def test_files_that_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="No such file"):
            read_config(tmp_path / "nowhere.toml")
        with pytest.raises(ConfigError, match="directory"):
            read_config(tmp_path)
        (tmp_path / "binary.toml").write_bytes(b"\xff\x00\x80")
        with pytest.raises(ConfigError, match="not TOML"):
            read_config(tmp_path / "binary.toml")

    def test_folders_that_lack_label_maps(self, tmp_path: Path, heads_folder: Path) -> None:
        with pytest.raises(ConfigError, match=r"asks for head_c; found no label maps"):
            train(changed(), {"head-labels": tmp_path}, tmp_path / "run", quiet=True)
        with pytest.raises(ConfigError, match=r"asks for seg_9; found head_a, head_b, head_c"):
            train(
                changed(validation=["seg_9"]),
                {"head-labels": heads_folder},
                tmp_path / "run",
                quiet=True,
            )
        shutil.copy(heads_folder / "head_c.nii.gz", tmp_path)
        with pytest.raises(ConfigError, match="no label map is left to train on"):
            train(changed(), {"head-labels": tmp_path}, tmp_path / "run", quiet=True)
        (tmp_path / "torn.nii.gz").write_bytes(b"\x1f\x8b torn")
        with pytest.raises(ConfigError, match=r"torn\.nii\.gz"):
            train(changed(), {"head-labels": tmp_path}, tmp_path / "run", quiet=True)

    def test_batches_that_processes_cannot_share(
        self, heads_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WORLD_SIZE", "3")
        with pytest.raises(ConfigError, match=r"batch \(2\) must be a multiple of the 3 processes"):
            train(changed(), {"head-labels": heads_folder}, tmp_path / "run", quiet=True)


def test_learning_rate_rises_and_falls() -> None:
    config = changed()
    rates = [learning_rate(config, step) for step in range(config.steps)]
    assert rates[0] == config.learning_rate / config.warmup
    assert max(rates) == pytest.approx(rates[config.warmup - 1])
    assert max(rates) == pytest.approx(config.learning_rate)
    assert rates[config.warmup :] == sorted(rates[config.warmup :], reverse=True)
    assert rates[-1] == pytest.approx(config.final_learning_rate, rel=0.1)


def test_images_depend_on_their_number_alone(heads_folder: Path, tmp_path: Path) -> None:

    config = changed(
        grids=[{"shape": [16, 16, 16], "spacing": 6}, {"shape": [24, 16, 16], "spacing": 5}]
    )
    problem = SkullStripProblem(
        config, {"head-labels": heads_folder}, tmp_path, torch.device("cpu")
    )
    whole = Images(problem, range(20))
    shares = Images(problem, range(1, 20, 2))
    assert torch.equal(whole[7][0], shares[3][0])
    shapes = {tuple(whole[number][0].shape) for number in range(20)}
    assert shapes == {(1, 16, 16, 16), (1, 24, 16, 16)}
    # The two images of a step must stack.
    for step in range(10):
        assert whole[2 * step][0].shape == whole[2 * step + 1][0].shape


def test_another_seed_gives_other_images(heads_folder: Path, tmp_path: Path) -> None:
    """What a run's seed decides must reach the lowest 32 bits of what PyTorch is given."""
    grid = {"shape": [16, 16, 16], "spacing": 6}
    one, other = (
        SkullStripProblem(
            changed(seed=seed, grids=[grid]), {"head-labels": heads_folder}, tmp_path,
            torch.device("cpu"),
        )
        for seed in (0, 1)
    )  # fmt: skip
    first, second = ([p.training(n, p.config.grids[0])[0] for n in range(6)] for p in (one, other))
    assert not any(torch.equal(a, b) for a in first for b in second)
    assert len({mixed_seed(*parts) for parts in itertools.product(range(40), repeat=3)}) == 40**3


def test_checkpoints_are_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint({"step": 1, "model": {"w": torch.ones(3)}}, path)

    class Unwritable:
        def __reduce__(self) -> str:
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        save_checkpoint({"step": 2, "model": Unwritable()}, path)
    assert load_checkpoint(path)["step"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.slow
class TestRun:
    def test_it_learns(self, trained: Path) -> None:
        rows = rows_of(trained)
        assert [int(row["step"]) for row in rows] == [20, 40, 60]
        losses = [float(row["loss"]) for row in rows]
        assert losses[2] < losses[1] < losses[0]
        assert losses[2] < 0.7 * losses[0]
        assert float(rows[-1]["Dice mean"]) > VALIDATION_DICE

    def test_what_it_leaves(self, trained: Path) -> None:
        names = ["step_000020", "step_000040", "step_000060"]
        assert sorted(path.stem for path in (trained / "epochs").iterdir()) == names
        assert sorted(path.stem for path in (trained / "slices").iterdir()) == names
        assert all(path.read_bytes()[:4] == b"\x89PNG" for path in (trained / "slices").iterdir())
        assert json.loads((trained / "config.json").read_text())["steps"] == 60
        assert not list(trained.rglob("*.part"))

        best = load_checkpoint(trained / "best.pt")
        dice = {int(row["step"]): float(row["Dice mean"]) for row in rows_of(trained)}
        assert dice[best["step"]] == max(dice.values())
        kept = load_checkpoint(trained / "epochs" / f"step_{best['step']:06d}.pt")
        assert all(torch.equal(kept["model"][name], best["model"][name]) for name in best["model"])

    def test_curves_for_tensorboard(self, trained: Path) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(trained)).Reload()
        assert {"loss", "learning rate", "Dice/mean", "Dice/worst"} <= set(events.Tags()["scalars"])
        assert [event.step for event in events.Scalars("Dice/mean")] == [20, 40, 60]

    def test_the_card(self, trained: Path) -> None:
        card = read_card(trained / "weights.safetensors")
        best = load_checkpoint(trained / "best.pt")
        assert card.name == "unbroken"
        assert card.task == "skull-strip"
        assert card.spacings_mm == (3.0,)
        assert card.text["data"][0]["name"] == "made-up heads"
        assert card.text["data"][0]["licence"] == "BSD-3-Clause"
        assert card.text["training"]["steps"] == best["step"]
        assert card.text["training"]["recipe"]["seed"] == 3
        assert card.text["training"]["program"] == f"strokedx {strokedx_core.__version__}"
        (results,) = card.text["results"].values()
        assert results == best["scores"]

    def test_its_weights_find_the_brain(self, trained: Path) -> None:
        weights = trained / "weights.safetensors"
        network = load_network(weights)
        best = load_checkpoint(trained / "best.pt")["model"]
        for name, value in network.state_dict().items():
            torch.testing.assert_close(value, best[name], rtol=2**-10, atol=1e-6)
        labels, affine = label_map()
        result = skull_strip(volume_from_array(t1w(labels), affine), device="cpu", weights=weights)
        truth = (labels > 0) & (labels < 500) & (labels != 24)
        dice = 2 * (result.mask & truth).sum() / (result.mask.sum() + truth.sum())
        assert dice > VALIDATION_DICE

    def test_a_finished_run_is_left_as_it_is(
        self, trained: Path, heads_folder: Path, tmp_path: Path
    ) -> None:
        run = tmp_path / "unbroken"
        shutil.copytree(trained, run)
        (run / "weights.safetensors").unlink()
        assert (
            train(changed(), {"head-labels": heads_folder}, run, quiet=True)
            == run / "weights.safetensors"
        )
        for name in ("weights.safetensors", "metrics.csv", "last.pt", "best.pt"):
            assert (run / name).read_bytes() == (trained / name).read_bytes()

    def test_another_configuration_is_refused(self, trained: Path, heads_folder: Path) -> None:
        before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
        with pytest.raises(ConfigError, match="another configuration; name another folder"):
            train(changed(learning_rate=0.02), {"head-labels": heads_folder}, trained, quiet=True)
        assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before

    def test_starting_from_weights(self, trained: Path, heads_folder: Path, tmp_path: Path) -> None:
        weights = trained / "weights.safetensors"
        one_step = {
            "start": str(weights),
            "steps": 1,
            "learning_rate": 1e-12,
            "final_learning_rate": 0.0,
            "validation_images": 1,
        }
        started = train(
            changed(**one_step), {"head-labels": heads_folder}, tmp_path / "run", quiet=True
        )
        for name, value in load_network(weights).state_dict().items():
            torch.testing.assert_close(load_network(started).state_dict()[name], value)
        card = started.with_suffix(".toml").read_text(encoding="utf-8")
        assert 'start = "weights.safetensors"' in card
        assert str(tmp_path) not in card
        with pytest.raises(ConfigError, match="start: "):
            train(
                changed(**one_step, network={"widths": [8, 8]}),
                {"head-labels": heads_folder},
                tmp_path / "other",
                quiet=True,
            )

    def test_a_loss_that_is_no_number_ends_the_run(
        self, heads_folder: Path, tmp_path: Path
    ) -> None:
        config = changed(learning_rate=1e30, warmup=0)
        with pytest.raises(FloatingPointError, match="lower learning_rate") as stopped:
            train(config, {"head-labels": heads_folder}, tmp_path, quiet=True)
        kept = tmp_path / "not_a_number_0.pt"
        assert str(kept) in str(stopped.value)
        batch = load_checkpoint(kept)
        assert not math.isfinite(batch["loss"])
        assert batch["numbers"] == [2 * batch["step"], 2 * batch["step"] + 1]
        # The very images that were trained on.
        problem = SkullStripProblem(
            config, {"head-labels": heads_folder}, tmp_path / "cache", torch.device("cpu")
        )
        for place, number in enumerate(batch["numbers"]):
            image, target = problem.training(number, config.grids[0])
            assert torch.equal(batch["image"][place], image)
            assert torch.equal(batch["target"][place], target)

    @pytest.mark.timeout(1800)
    def test_killed_at_random_it_ends_the_same(
        self, trained: Path, heads_folder: Path, config_file: Path, tmp_path: Path
    ) -> None:
        run = tmp_path / "unbroken"
        last = run / "last.pt"
        chance = random.Random(1)
        with (trained / "metrics.csv").open(newline="") as file:
            step = min(float(row["seconds a step"]) for row in csv.DictReader(file))

        def written() -> int:
            return last.stat().st_mtime_ns if last.exists() else 0

        for attempt in range(4):
            before = written()
            process = subprocess.Popen(
                command(heads_folder, config_file, run),
                env=environment(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            # The first dies before it has kept anything, the others at any point after they have.
            while attempt and written() == before and process.poll() is None:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 8) * step)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
        assert 0 < load_checkpoint(last)["step"] < 60
        # What a kill amid writing leaves.
        for name in (".last.pt.part", ".best.pt.part", "epochs/.step_000020.pt.part"):
            (run / name).parent.mkdir(exist_ok=True)
            (run / name).write_bytes(b"torn")

        subprocess.run(
            command(heads_folder, config_file, run),
            env=environment(),
            check=True,
            capture_output=True,
        )
        assert rows_of(run) == rows_of(trained)
        for name in ("last.pt", "best.pt"):
            ours, unbroken = load_checkpoint(run / name), load_checkpoint(trained / name)
            assert ours["step"] == unbroken["step"]
            for part in {"model", "average"} & set(ours):
                for tensor, value in unbroken[part].items():
                    assert torch.equal(ours[part][tensor], value), f"{name} {part} {tensor}"
        weights = "weights.safetensors"
        assert (run / weights).read_bytes() == (trained / weights).read_bytes()
        assert sorted(p.name for p in (run / "epochs").glob("[!.]*")) == sorted(
            p.name for p in (trained / "epochs").iterdir()
        )

    @pytest.mark.timeout(1800)
    def test_two_processes_train_the_same_network(self, heads_folder: Path, tmp_path: Path) -> None:
        short = CONFIG.replace("steps = 60", "steps = 4").replace(
            "validation_images = 2", "validation_images = 1"
        )
        config = tmp_path / "two.toml"
        config.write_text("workers = 1\n" + short, encoding="utf-8")
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        done = subprocess.run(
            [
                *(*launch, "--nproc-per-node", "2"),
                *command(heads_folder, config, tmp_path / "two")[1:],
            ],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        config.write_text(short, encoding="utf-8")
        train(read_config(config), {"head-labels": heads_folder}, tmp_path / "one", quiet=True)
        two, one = (load_checkpoint(tmp_path / name / "last.pt") for name in ("two", "one"))
        assert two["step"] == one["step"] == 4
        apart = torch.cat(
            [(two["model"][name] - value).abs().flatten() for name, value in one["model"].items()]
        )
        # Adam divides a gradient by its size: where it is all but zero, rounding decides the step.
        assert float(apart.quantile(0.999)) < 1e-3
        assert float(apart.max()) < 1e-2
        assert (tmp_path / "two" / "weights.safetensors").exists()

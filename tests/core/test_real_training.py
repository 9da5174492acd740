"""Training on real cases: seen as in use, kept on disk, cut, changed, mixed, and skipped if bad."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_datasets import write_icpsr, write_nfbs

import strokedx_core.inference.skull_strip as inference
from strokedx_core.datasets import find_cases
from strokedx_core.datasets.cases import CaseFiles
from strokedx_core.inference.lesion_case import place_on_grid, read_sequences
from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.training.config import LesionConfig, SkullStripConfig
from strokedx_core.training.failures import BadCasesError
from strokedx_core.training.patches import augment, cut_patch
from strokedx_core.training.problems import SkullStripProblem
from strokedx_core.training.real_cases import Item, Stored
from strokedx_core.training.real_problem import RealProblem, items_of
from strokedx_core.training.segmentation import train
from strokedx_core.volume import VolumeError, read_mask
from strokedx_core.weights import write_weights

HEADS: dict[str, Any] = {
    "seed": 3,
    "steps": 8,
    "steps_per_epoch": 4,
    "learning_rate": 1e-2,
    "warmup": 0,
    "ema": 0.5,
    "batch": 2,
    "precision": "float32",
    "network": {"widths": [4, 8]},
    "grids": [{"shape": [20, 24, 20], "spacing": 9.0}],
    "real": {"data_sets": ["nfbs"]},
}
LESIONS = HEADS | {
    "network": {"in_channels": 10, "out_channels": 3, "widths": [4, 8]},
    "grids": [{"shape": [20, 24, 20], "spacing": 8.0}],
    "real": {"data_sets": ["icpsr38464"]},
}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def nfbs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nfbs(tmp_path_factory.mktemp("NFBS_Dataset"))


@pytest.fixture(scope="module")
def icpsr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_icpsr(tmp_path_factory.mktemp("ICPSR_38464"))


def heads(folder: Path) -> list[CaseFiles]:
    return find_cases("nfbs", folder)


def strokes(folder: Path) -> list[CaseFiles]:
    return find_cases("icpsr38464", folder)


def real(config: dict[str, Any], **values: Any) -> dict[str, Any]:
    """A configuration with other values in its table [real]."""
    return config | {"real": config["real"] | values}


class TestSeenAsInUse:
    def test_a_head(self, nfbs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What training sees of a head is what skull stripping gives to its network."""
        config = SkullStripConfig(**HEADS)
        network = UNet3D(**config.network.model_dump())
        card = {
            "name": "mine",
            "task": "skull-strip",
            "architecture": network.config,
            "input": {"spacings_mm": [9.0]},
        }
        write_weights(network.state_dict(), card, tmp_path / "mine.safetensors")
        seen: list[torch.Tensor] = []
        predict = inference.predict_grid

        def watched(network: Any, image: torch.Tensor, *words: Any, **more: Any) -> Any:
            seen.append(image)
            return predict(network, image, *words, **more)

        monkeypatch.setattr(inference, "predict_grid", watched)
        case = heads(nfbs)[0]
        inference.skull_strip(case.images["T1W"], weights=tmp_path / "mine.safetensors")
        problem = RealProblem(config, [case], [case], tmp_path / "cache", CPU)
        image, target = problem.stored[config.grids[0]].read(problem.items[0])
        torch.testing.assert_close(image, seen[0], rtol=2**-10, atol=1e-4)
        assert case.brain is not None
        brain = read_mask(case.brain)
        litres = float(target.sum()) * 9.0**3 / 1e6
        assert litres == pytest.approx(brain.data.sum() * brain.voxel_ml / 1000, rel=0.03)

    def test_a_stroke(self, icpsr: Path, tmp_path: Path) -> None:
        """What training sees of a stroke is what `strokedx segment` gives to its network."""
        network = UNet3D(10, 3, (4, 8))
        card = {
            "name": "mine",
            "task": "lesion",
            "architecture": network.config,
            "input": {"spacings_mm": [8.0]},
        }
        write_weights(network.state_dict(), card, tmp_path / "mine.safetensors")
        case = strokes(icpsr)[0]
        assert case.brain is not None
        names = ("DWI", "B0", "ADC")
        sequences = read_sequences({name: case.images[name] for name in names})
        brain = read_mask(case.brain).data.astype(bool)
        placed = place_on_grid(sequences, brain, "general", tmp_path / "mine.safetensors", CPU)
        config = LesionConfig(**real(LESIONS, modalities=names))
        problem = RealProblem(config, [case], [case], tmp_path / "cache", CPU)
        image, target = problem.stored[config.grids[0]].read(problem.items[0])
        torch.testing.assert_close(image, placed.image, rtol=2**-10, atol=1e-4)
        assert case.lesion_type == "ischemic"
        assert torch.equal(target[0], target[1])
        assert target[0].any()
        assert not target[2].any()


class TestKeptOnDisk:
    @pytest.fixture
    def item(self, nfbs: Path, tmp_path: Path) -> Item:
        shutil.copytree(nfbs, tmp_path / "data")
        return Item(heads(tmp_path / "data")[0], ("T1W",))

    def stored(self, folder: Path, **recipe: Any) -> Stored:
        usual = {"task": "skull-strip", "spacings": [9.0], "multiple": 4, "alone": False}
        return Stored(folder, usual | recipe)

    def test_a_case_is_read_once(self, item: Item, tmp_path: Path) -> None:
        stored = self.stored(tmp_path / "cases")
        image, target = stored.read(item)
        kept = stored.path(item).stat().st_mtime_ns
        again = stored.read(item)
        assert stored.path(item).stat().st_mtime_ns == kept
        assert torch.equal(image, again[0])
        assert torch.equal(target, again[1])
        assert len(list((tmp_path / "cases").iterdir())) == 1

    def test_another_recipe_or_file_is_another_case(self, item: Item, tmp_path: Path) -> None:
        stored = self.stored(tmp_path / "cases")
        paths = {stored.path(item), self.stored(tmp_path / "cases", spacings=[8.0]).path(item)}
        assert item.case.brain is not None
        item.case.brain.write_bytes(item.case.brain.read_bytes() + b"\0")
        assert len({*paths, stored.path(item)}) == 3

    def test_what_was_kept_and_spoiled_is_made_again(self, item: Item, tmp_path: Path) -> None:
        stored = self.stored(tmp_path / "cases")
        image, _ = stored.read(item)
        whole = stored.path(item).read_bytes()
        stored.path(item).write_bytes(whole[:-100])
        assert torch.equal(stored.read(item)[0], image)
        assert stored.path(item).read_bytes() == whole

    def test_files_that_are_gone_are_named(self, item: Item, tmp_path: Path) -> None:
        item.case.images["T1W"].unlink()
        with pytest.raises(VolumeError, match=r"T1w\.nii\.gz: No such file"):
            self.stored(tmp_path).read(item)


class TestPatches:
    def test_they_lie_around_what_is_to_be_found(self) -> None:
        rng = np.random.default_rng(0)
        image = torch.arange(20.0**3).reshape(1, 20, 20, 20)
        target = torch.zeros(2, 20, 20, 20)
        target[1, 17, 3, 19] = 1
        hits = []
        for foreground in (1.0, 0.0):
            found = [cut_patch(image, target, (8, 4, 8), foreground, rng) for _ in range(60)]
            assert all(part.shape == (1, 8, 4, 8) for part, _ in found)
            hits.append(sum(bool(marks.any()) for _, marks in found))
        assert hits[0] == 60
        assert hits[1] < 20

    def test_smaller_cases_are_padded_all_around(self) -> None:
        image, target = torch.ones(1, 4, 6, 8), torch.ones(3, 4, 6, 8)
        rng = np.random.default_rng(0)
        cut, marks = cut_patch(image, target, (8, 8, 4), 0.0, rng)
        assert cut.shape == (1, 8, 8, 4)
        assert cut.sum() == 4 * 6 * 4
        assert cut[0, 2:6, 1:7].all()
        assert torch.equal(marks[0], cut[0])

    def test_changed_images_keep_what_is_known(self) -> None:
        image = torch.rand(3, 16, 16, 16) + 0.2
        image[1] = 0  # a sequence that is not there
        image[:, :4] = 0  # cut away
        target = torch.zeros(3, 16, 16, 16)
        target[0, 6:10, 6:10, 6:10] = 1
        target[2] = -1  # a type that is not known
        different = 0
        for seed in range(12):
            made = [
                augment(image, target, np.random.default_rng(seed), zero_stays=True)
                for _ in range(2)
            ]
            assert torch.equal(made[0][0], made[1][0]), "an image depends on its seed alone"
            changed, marks = made[0]
            assert type(changed) is torch.Tensor
            assert not changed[1].any()
            assert set(marks[0].unique().tolist()) == {0.0, 1.0}
            assert not marks[1].any()
            assert (marks[2] == -1).all()
            assert 30 < marks[0].sum() < 120
            different += not torch.equal(changed, image)
        assert different > 8


class TestProblem:
    def test_each_case_in_its_turn(self, nfbs: Path, tmp_path: Path) -> None:
        # Whole heads: nothing is drawn but whose turn it is.
        whole = {"grids": [{"shape": [24, 28, 24], "spacing": 9.0}]}
        config = SkullStripConfig(**real(HEADS, augment=False) | whole)
        cases = heads(nfbs)[:5]
        problem = RealProblem(config, cases, cases[:1], tmp_path / "cache", CPU)
        grid = config.grids[0]
        first, second = (
            [problem.training(number, grid)[0].sum().item() for number in numbers]
            for numbers in (range(5), range(5, 10))
        )
        assert len(set(first)) == 5
        assert set(first) == set(second)
        assert first != second
        again = RealProblem(config, cases, cases[:1], tmp_path / "cache", CPU)
        for number in (9, 2):
            for one, other in zip(
                problem.training(number, grid), again.training(number, grid), strict=True
            ):
                assert torch.equal(one, other)

    def test_real_and_generated_images_in_the_ratio_that_was_asked_for(
        self, nfbs: Path, heads_folder: Path, tmp_path: Path
    ) -> None:
        config = SkullStripConfig(**real(HEADS, share=0.5) | {"validation": ["head_c"]})
        generated = SkullStripProblem(config, {"head-labels": heads_folder}, tmp_path, CPU)
        cases = heads(nfbs)
        problem = RealProblem(config, cases, cases[:1], tmp_path / "cache", CPU, generated)
        grid, count = config.grids[0], 0
        for number in range(24):
            image, _ = problem.training(number, grid)
            made, _ = generated.training(number, grid)
            count += not torch.equal(image, made)
        assert 6 <= count <= 18

    def test_types_and_masks_decide_who_is_trained_on(self, icpsr: Path) -> None:
        cases = strokes(icpsr)
        counts = {
            kind: len(items_of(cases, LesionConfig(**real(LESIONS, lesion_type=kind))))
            for kind in ("general", "ischemic", "hemorrhagic")
        }
        assert counts == {"general": 10, "ischemic": 7, "hemorrhagic": 3}
        unmarked = [replace(cases[0], lesion=None), *cases[1:]]
        assert len(items_of(unmarked, LesionConfig(**LESIONS))) == 9
        alone = real(LESIONS, alone=True, modalities=["DWI", "ADC"]) | {"network": HEADS["network"]}
        assert len(items_of(cases, LesionConfig(**alone))) == 20

    def test_a_type_that_is_not_known_costs_nothing(self, icpsr: Path, tmp_path: Path) -> None:
        config = LesionConfig(**LESIONS)
        cases = [replace(case, lesion_type=None) for case in strokes(icpsr)[:2]]
        problem = RealProblem(config, cases, cases, tmp_path / "cache", CPU)
        _, target = problem.training(0, config.grids[0])
        assert (target[1:] == -1).all()
        target = target[None]
        marked = torch.zeros_like(target)
        marked[:, 1:] = 9.0
        assert problem.loss(marked, target) == problem.loss(torch.zeros_like(target), target)
        marked[:, 0] = 9.0
        assert problem.loss(marked, target) != problem.loss(torch.zeros_like(target), target)
        for trial in problem.trials(config.grids[0]):
            assert (trial.target[1:] == -1).all()
            assert (trial.target[0] >= 0).all()

    def test_sequences_are_left_out_but_one_stays(self, icpsr: Path, tmp_path: Path) -> None:
        config = LesionConfig(**real(LESIONS, drop=0.7))
        cases = strokes(icpsr)[:2]
        problem = RealProblem(config, cases, cases, tmp_path / "cache", CPU)
        left = {
            int(problem.training(number, config.grids[0])[0].flatten(1).any(1).sum())
            for number in range(20)
        }
        assert left == {1, 2, 3}


class TestBadCases:
    """Files that break off while training goes on."""

    @pytest.fixture
    def data(self, nfbs: Path, tmp_path: Path) -> Path:
        shutil.copytree(nfbs, tmp_path / "data")
        return tmp_path / "data"

    def spoil(self, cases: list[CaseFiles]) -> None:
        for case in cases:
            path = case.images["T1W"]
            path.write_bytes(path.read_bytes()[:2000])

    def test_a_few_are_named_and_skipped(
        self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config = SkullStripConfig(**real(HEADS, bad_cases=1))
        cases = heads(data)
        problem = RealProblem(config, cases[:5], cases[5:6], tmp_path / "run" / "cache", CPU)
        self.spoil(cases[2:3])
        before = [problem.training(number, config.grids[0])[1] for number in range(5)]
        said = capsys.readouterr().err
        assert said.count("skipped: ") == 1
        assert cases[2].person in said
        assert "T1w.nii.gz" in said
        (note,) = (tmp_path / "run" / "skipped").iterdir()
        assert note.read_text(encoding="utf-8") in said
        assert len(before) == 5

    @pytest.mark.parametrize("workers", [0, 1])
    def test_more_than_a_few_stop_the_run(
        self, data: Path, tmp_path: Path, workers: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        cases = heads(data)
        self.spoil(cases[:8])
        config = SkullStripConfig(**real(HEADS, bad_cases=2) | {"workers": workers})
        with pytest.raises(BadCasesError, match=r"^3 cases cannot be read, more") as stopped:
            train(config, {"nfbs": data}, tmp_path / "run", quiet=True)
        assert str(stopped.value).count("T1w.nii.gz") == 3
        assert "Traceback" not in str(stopped.value)
        capsys.readouterr()


def test_a_run_on_real_cases_alone_lowers_its_loss(nfbs: Path, tmp_path: Path) -> None:
    config = SkullStripConfig(**HEADS | {"steps": 48, "steps_per_epoch": 12})
    weights = train(config, {"nfbs": nfbs}, tmp_path / "run", quiet=True)
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    losses, scores = ([float(row[name]) for row in rows] for name in ("loss", "Dice mean"))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.93 * losses[0]
    assert scores[-1] > scores[0] + 0.03
    card = weights.with_suffix(".toml").read_text(encoding="utf-8")
    assert "cases of nfbs" in card
    assert "held-out people" in card
    assert str(tmp_path) not in card

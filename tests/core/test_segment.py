"""Lesions of a case: wherever its volumes lie, however they are stored, whichever there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from lesion_rule import BLOBS, SPACING, RuleNetwork, ball, scan, use_rule
from orientations import AXES, turned, turned_back

from strokedx_core.diffusion import adc_from
from strokedx_core.evaluation.metrics import dice
from strokedx_core.inference import automatic, lesion_case, prediction
from strokedx_core.inference.brain_grid import NEAR, SAME, BrainGrid
from strokedx_core.inference.devices import DeviceError
from strokedx_core.inference.lesion_case import place_on_grid
from strokedx_core.inference.lesions import SMALLEST_ML, PieceRule, drop_small, mask_of
from strokedx_core.inference.prediction import Progress
from strokedx_core.inference.segment import (
    Click,
    ClickError,
    LesionResult,
    segment_lesions,
    segment_lesions_steps,
)
from strokedx_core.inference.skull_strip import SkullStripResult
from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.sample import sample_case
from strokedx_core.tasks import LESION_TYPES, MODALITIES, TASKS, SpecialWeights
from strokedx_core.volume import (
    Flag,
    Volume,
    VolumeError,
    onto_grid,
    read_volume,
    volume_from_array,
)
from strokedx_core.weights import WeightsError, write_weights

SPL = np.array([[0, 0, -SPACING, 60], [0, -SPACING, 0, 70], [SPACING, 0, 0, -50], [0, 0, 0, 1.0]])
"""Place of `lesion_rule.scan`, whose axes point to superior, posterior and left."""
TRUTH = {side: ball(*BLOBS[side]) for side in BLOBS}
LESION = TRUTH["left"] | TRUTH["right"]


@pytest.fixture
def rule(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The network marks what is bright, and follows clicks."""
    use_rule(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of the real shape that has learnt nothing."""
    torch.manual_seed(0)
    return saved(UNet3D(10, 3), tmp_path_factory.mktemp("weights") / "random.safetensors")


def saved(network: UNet3D, path: Path) -> Path:
    card = {"name": path.stem, "task": "lesion", "architecture": network.config}
    write_weights(network.state_dict(), {**card, "input": {"spacings_mm": [1.6]}}, path)
    return path


def head() -> Volume:
    return volume_from_array(scan(), SPL)


def segment(volumes: Mapping[str, Any], **options: Any) -> LesionResult:
    return segment_lesions(volumes, **{"device": "cpu", "skull_strip": False, **options})


def elsewhere(volume: Volume, shape: tuple[int, ...], affine: np.ndarray) -> Volume:
    """The same image on another grid."""
    return volume_from_array(onto_grid(volume.data, volume.affine, shape, affine), affine)


def tilted(degrees: float, spacing: tuple[float, float, float]) -> np.ndarray:
    """Grid around the middle of `head`, for a shape of 60 x 60 x 50."""
    angle = np.radians(degrees)
    c, s = np.cos(angle), np.sin(angle)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) * spacing
    middle = SPL[:3, :3] @ ((np.array(scan().shape) - 1) / 2) + SPL[:3, 3]
    affine[:3, 3] = middle - affine[:3, :3] @ [29.5, 29.5, 24.5]
    return affine


@pytest.mark.usefixtures("rule")
class TestResult:
    def test_both_lesions_are_found_with_their_sizes_and_sides(self) -> None:
        volume = head()
        result = segment({"DWI": volume})
        assert result.mask.dtype == bool
        assert result.probability.dtype == np.float32
        assert result.mask.shape == result.probability.shape == result.brain.shape == volume.shape
        assert dice(result.mask, LESION) > 0.85
        assert result.volume_ml == pytest.approx(result.mask.sum() * 0.027)
        assert result.device == "cpu"
        assert result.volume is volume or np.array_equal(result.volume.data, volume.data)
        first, second = result.lesions()
        assert (first.number, first.side) == (1, "left")
        assert (second.number, second.side) == (2, "right")
        assert first.volume_ml + second.volume_ml == pytest.approx(result.volume_ml)
        for lesion, side in ((first, "left"), (second, "right")):
            centre = SPL[:3, :3] @ BLOBS[side][0] + SPL[:3, 3]
            assert np.linalg.norm(np.subtract(lesion.centre, centre)) < 1.5
            assert result.labels()[lesion.index] == lesion.number
            assert TRUTH[side][lesion.index]

    def test_labels_are_the_mask_numbered(self) -> None:
        result = segment({"DWI": head()})
        assert result.labels().dtype == np.int32
        assert np.array_equal(result.labels() > 0, result.mask)
        for lesion in result.lesions():
            count = np.count_nonzero(result.labels() == lesion.number)
            assert count * 0.027 == pytest.approx(lesion.volume_ml)

    def test_no_lesion_is_a_fact(self) -> None:
        data = scan()
        data[LESION] /= 4
        result = segment({"DWI": volume_from_array(data, SPL)})
        assert not result.mask.any()
        assert result.lesions() == ()
        assert not result.labels().any()
        assert result.volume_ml == 0
        assert result.flags == ()

    def test_types_have_an_output_each(self) -> None:
        found = {kind: segment({"DWI": head()}, lesion_type=kind) for kind in LESION_TYPES}
        assert found["general"].mask.any()
        assert np.array_equal(found["general"].mask, found["ischemic"].mask)
        assert not found["hemorrhagic"].mask.any()
        assert found["hemorrhagic"].lesion_type == "hemorrhagic"

    def test_all_lesions_are_those_of_the_weights_for_infarcts_and_of_those_for_blood(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class OneSequence(RuleNetwork):
            """Marks what is bright in one sequence, as every type."""

            def __init__(self, modality: str) -> None:
                super().__init__()
                self.channel = MODALITIES.index(modality)

            def forward(self, inputs: torch.Tensor) -> torch.Tensor:
                bright = 8 * (inputs[:, self.channel] - 2.5)
                return torch.stack([bright] * 3, dim=1)

        special = (SpecialWeights("SWI", "skull_strip", "hemorrhagic"),)
        monkeypatch.setitem(TASKS, "lesion", replace(TASKS["lesion"], special_weights=special))
        monkeypatch.setattr(
            lesion_case,
            "_lesion_network",
            lambda weights, _: OneSequence("SWI" if weights == "skull_strip" else "DWI"),
        )
        volumes = {}
        for name, hidden in (("DWI", "right"), ("SWI", "left")):
            data = scan()
            data[TRUTH[hidden]] /= 4
            volumes[name] = volume_from_array(data, SPL)
        for kind, truth in (
            ("general", LESION), ("ischemic", TRUTH["left"]), ("hemorrhagic", TRUTH["right"])
        ):  # fmt: skip
            assert dice(segment(volumes, lesion_type=kind).mask, truth) > 0.85
        named = segment(volumes, weights="skull_strip")
        assert dice(named.mask, TRUTH["right"]) > 0.85
        named = segment(volumes, weights=TASKS["lesion"].default_weights)
        assert dice(named.mask, TRUTH["left"]) > 0.85, "those of no special sequence too"

    def test_another_threshold_later_is_as_good_as_at_once(self) -> None:
        result = segment({"DWI": head()})
        counts = []
        for threshold in (0.05, 0.5, 0.95):
            later = result.at(threshold)
            at_once = segment({"DWI": head()}, threshold=threshold)
            assert np.array_equal(later.mask, at_once.mask)
            assert later.volume_ml == at_once.volume_ml == pytest.approx(later.mask.sum() * 0.027)
            assert later.threshold == threshold
            assert later.lesions() == at_once.lesions()
            counts.append(later.mask.sum())
        assert counts[0] > counts[1] > counts[2] > 0
        assert np.array_equal(result.at(0.5).mask, result.mask)
        for threshold in (0, 1):
            with pytest.raises(ValueError, match="threshold must lie between 0 and 1"):
                result.at(threshold)

    def test_nothing_is_found_away_from_the_brain(self) -> None:
        data = scan()
        data[-3:, -3:, -3:] = 900
        brain = scan() > 0
        result = segment({"DWI": volume_from_array(data, SPL)}, brain=brain)
        assert not result.probability[-3:, -3:, -3:].any()
        assert np.array_equal(result.brain, brain)
        assert dice(result.mask, LESION) > 0.85

    def test_the_same_case_gives_the_same_bytes_and_stays_as_it_was(self) -> None:
        volume = head()
        before = volume.data.copy()
        first, again = (segment({"DWI": volume, "FLAIR": volume}) for _ in range(2))
        assert first.probability.tobytes() == again.probability.tobytes()
        assert first.mask.tobytes() == again.mask.tobytes()
        assert np.array_equal(volume.data, before)


class TestLesions:
    def result(self, mask: np.ndarray, brain: np.ndarray, affine: np.ndarray) -> LesionResult:
        image = np.random.default_rng(0).random(mask.shape)
        volume = volume_from_array(image, affine)
        return LesionResult(mask.astype(np.float32), mask, brain, volume, "general", (), "cpu", 0.0)

    @pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SAL"])
    @pytest.mark.parametrize("degrees", [-15, 0, 20])
    def test_sides_are_the_patients_in_a_head_that_leans(self, axes: str, degrees: float) -> None:
        angle = np.radians(degrees)
        lean = np.eye(4)
        lean[0, :3] = np.cos(angle), 0, -np.sin(angle)
        lean[2, :3] = np.sin(angle), 0, np.cos(angle)
        affine = lean @ np.diag([2.0, 2, 2, 1])
        brain = ((np.indices((60, 70, 60)).T - [30, 35, 30]) ** 2).sum(-1).T < 28**2
        mask = np.zeros(brain.shape, np.uint8)
        # Close to the midline, high up: a midline that did not lean would lose them.
        mask[24:28, 30:36, 50:54] = 1
        mask[33:37, 30:36, 50:54] = 1
        mask[28:33, 30:36, 10:13] = 1
        volume = turned(mask + 2.0 * brain + np.linspace(0, 0.5, 60), affine, axes)
        again = volume.data.astype(int)
        result = self.result(again % 2 == 1, again >= 2, volume.affine)
        assert len(result.lesions()) == 3
        found: dict[float, set[str]] = {}
        for lesion in result.lesions():
            found.setdefault(round(lesion.volume_ml, 3), set()).add(lesion.side)
        assert found == {0.768: {"left", "right"}, 0.72: {"both"}}

    def test_pieces_that_meet_at_a_corner_are_one(self) -> None:
        mask = np.zeros((8, 8, 8), bool)
        mask[1:3, 1:3, 1:3] = mask[3:5, 3:5, 3:5] = mask[6, 6, 6] = True
        result = self.result(mask, np.ones_like(mask), np.diag([4.0, 4, 4, 1]))
        assert [lesion.number for lesion in result.lesions()] == [1, 2]
        assert result.lesions()[0].volume_ml == pytest.approx(16 * 0.064)

    def test_the_voxel_to_jump_to_lies_in_a_lesion_that_is_hollow(self) -> None:
        distance = np.sqrt(((np.indices((21, 21, 21)) - 10) ** 2).sum(0))
        mask = (distance > 6) & (distance < 9)
        (lesion,) = self.result(mask, np.ones_like(mask), np.eye(4)).lesions()
        assert mask[lesion.index]
        assert np.allclose(lesion.centre, 10)

    def test_small_pieces_are_left_out_unless_they_are_meant(self) -> None:
        mask = np.zeros((20, 20, 20), bool)
        mask[2, 2, 2:12] = True
        mask[10, 10, 2:4] = mask[15, 15, 15] = True
        voxel_ml = SMALLEST_ML / 2
        kept = drop_small(mask, voxel_ml)
        assert kept.sum() == 12
        assert not kept[15, 15, 15]
        spared = drop_small(mask, voxel_ml, [(15, 15, 15), (0, 0, 0)])
        assert np.array_equal(spared, mask)
        assert not drop_small(np.zeros((3, 3, 3), bool), 1.0).any()

    def test_pieces_that_are_nowhere_sure_are_left_out_unless_they_are_clicked(self) -> None:
        probability = np.zeros((20, 20, 20), np.float32)
        probability[2:5, 2:5, 2:5] = probability[12:16, 12:16, 12:16] = 0.6
        probability[3, 3, 3] = 0.95
        mask = mask_of(probability, 0.5, 1.0)
        assert mask[2:5, 2:5, 2:5].all()
        assert mask.sum() == 27
        assert np.array_equal(mask_of(probability, 0.5, 1.0, [(12, 12, 12)]), probability > 0)
        # A lower threshold asks for less, and never marks less.
        assert np.array_equal(mask_of(probability, 0.1, 1.0), probability > 0)
        assert not mask_of(probability, 0.7, 1.0).any()
        # Weights may say that a piece need not be sure at all.
        assert np.array_equal(mask_of(probability, 0.5, 1.0, rule=PieceRule(1.0)), probability > 0)

    def test_large_faint_pieces_stay_down_to_faint_voxels_where_weights_say_so(self) -> None:
        probability = np.zeros((20, 20, 20), np.float32)
        probability[2:6, 2:6, 2:6] = 0.35  # 64 voxels, 22 expected
        probability[3, 3, 3] = 0.6
        probability[2:4, 2:4, 12:14] = 0.4  # 8 voxels, 3 expected
        probability[12:16, 12:16, 12:16] = 0.35
        probability[13, 13, 13] = 0.95
        faint, sure = probability[:10] > 0, probability == np.float32(0.95)
        rule = PieceRule(9.0, 20.0)
        mask = mask_of(probability, 0.5, 1.0, rule=rule)
        assert np.array_equal(mask[:10], faint & (np.arange(20) < 10))
        # A piece that is sure somewhere is cut at the threshold, however much lies around it.
        assert np.array_equal(mask[10:], sure[10:])
        assert np.array_equal(mask_of(probability, 0.5, 1.0), sure)
        # The threshold moves what is faint along.
        assert not mask_of(probability, 0.56, 1.0, rule=rule)[:10].any()
        lower = mask_of(probability, 0.35, 1.0, rule=rule)
        assert np.array_equal(lower, lower | mask)

    def test_of_several_weights_the_strictest_rule_holds(self) -> None:
        rules = PieceRule(9.0, 2.0), PieceRule(3.0, 4.0)
        assert PieceRule.strictest(rules) == PieceRule(9.0, 4.0)
        assert PieceRule.strictest((*rules, PieceRule(5.0))) == PieceRule(9.0)


@pytest.mark.usefixtures("rule")
class TestGrids:
    @pytest.mark.parametrize("axes", AXES)
    def test_storage_order_does_not_matter(self, axes: str) -> None:
        volume = turned(scan(), SPL, axes)
        assert volume.orientation == axes
        result = segment({"DWI": volume})
        expected = turned(LESION.astype(float) + np.linspace(0, 0.4, 40), SPL, axes).data >= 1
        assert result.mask.shape == volume.shape
        assert dice(result.mask, expected) > 0.85
        assert [lesion.side for lesion in result.lesions()] == ["left", "right"]
        reference = segment({"DWI": turned(scan(), SPL, "RAS")}).mask
        assert np.array_equal(turned_back(result.mask, volume), reference)

    @pytest.mark.parametrize(
        ("degrees", "spacing"),
        [(0, (2.0, 2.0, 2.5)), (0, (1.6, 1.6, 6.0)), (18, (2.0, 2.0, 4.0)), (-40, (2.0, 3.0, 2.0))],
    )
    @pytest.mark.parametrize("axes", ["RAS", "LPI", "PSR"])
    def test_sequences_on_grids_of_their_own(
        self, degrees: float, spacing: tuple[float, float, float], axes: str
    ) -> None:
        plain = scan()
        plain[LESION] /= 4
        # What is bright on one sequence alone must come out in its place on the other's grid.
        affine = tilted(degrees, spacing)
        flair = elsewhere(head(), (60, 60, 50), affine)
        flair = turned(flair.data, flair.affine, axes)
        dwi = volume_from_array(plain, SPL)
        result = segment({"DWI": dwi, "FLAIR": flair}, brain=plain > 0)
        assert result.mask.shape == dwi.shape
        assert dice(result.mask, LESION) > 0.75
        assert [lesion.side for lesion in result.lesions()] == ["left", "right"]
        assert not [flag for flag in result.flags if flag.code == "aligned"]

    @pytest.mark.parametrize(("voxel", "own"), [((2.0, 2.0, 2.0), SAME), ((1.65, 2.15, 2.0), NEAR)])
    def test_voxels_of_its_own_size_are_taken_as_they_are(
        self, voxel: tuple[float, float, float], own: tuple[float, float]
    ) -> None:
        data = np.random.default_rng(0).random((31, 30, 20), np.float32)
        affine = np.diag([-voxel[0], voxel[1], voxel[2], 1.0])
        brain = np.zeros(data.shape, bool)
        for last in (20, 21):
            brain[4:last, 5:24, 3:18] = True
            grid = BrainGrid.around(brain, affine, 2.0, 8, own=own)
            assert grid.step == (1, 1, 1)
            image = grid.image(data, affine)
            assert np.isin(data[brain], image).all()
            back = grid.native(image, grid.box)
            box = grid.native_box(grid.box)
            np.testing.assert_array_equal(back, data[box])

    def test_voxels_far_from_its_own_size_are_not(self) -> None:
        brain = np.ones((20, 20, 20), bool)
        for voxel in (1.5, 2.3, 5.0):
            affine = np.diag([2.0, voxel, 1.7, 1.0])
            grid = BrainGrid.around(brain, affine, 2.0, own=NEAR)
            assert grid.step == pytest.approx((1, 2 / voxel, 1))
            assert np.linalg.norm(grid.affine[:3, :3], axis=0) == pytest.approx((2, 2, 1.7))

    def test_the_first_volume_gives_the_grid(self) -> None:
        dwi, flair = head(), elsewhere(head(), (60, 60, 50), tilted(10, (2.5, 2.5, 4.0)))
        for first, order in ((dwi, ("DWI", "FLAIR")), (flair, ("FLAIR", "DWI"))):
            result = segment({name: {"DWI": dwi, "FLAIR": flair}[name] for name in order})
            assert result.mask.shape == first.shape
            assert np.array_equal(result.volume.affine, first.affine)
            assert result.volume_ml == pytest.approx(LESION.sum() * 0.027, rel=0.2)

    def test_a_person_who_moved_is_put_back(self) -> None:
        plain = scan()
        plain[LESION] /= 4
        # Something for the alignment to hold on to.
        ventricle = ball((18, 24, 20), 6)
        plain[ventricle] *= 0.3
        bright = plain.copy()
        bright[LESION] *= 4
        moved = SPL.copy()
        moved[:3, 3] += (0, 9, -7)
        dwi, flair = volume_from_array(plain, SPL), volume_from_array(bright, moved)
        result = segment({"DWI": dwi, "FLAIR": flair})
        assert [flag.code for flag in result.flags] == ["aligned"]
        assert result.flags[0].message.startswith("FLAIR: moved by 11.")
        assert result.flags[0].message.endswith("to lie on the DWI")
        assert dice(result.mask, LESION) > 0.75

    @pytest.mark.parametrize("modality", MODALITIES)
    def test_any_sequence_is_enough(self, modality: str) -> None:
        assert dice(segment({modality: head()}).mask, LESION) > 0.85

    def test_sequences_that_are_absent_are_zero(self) -> None:
        from strokedx_core.tasks import TASKS

        brain = scan() > 0
        case = place_on_grid(
            {"DWI": head(), "SWI": head()},
            brain,
            "general",
            TASKS["lesion"].default_weights,
            torch.device("cpu"),
        )
        given = [MODALITIES.index(name) for name in ("DWI", "SWI")]
        assert case.image[given].flatten(1).any(1).all()
        assert not case.image[[n for n in range(7) if n not in given]].any()
        inside = torch.from_numpy(case.grid.mask(brain))
        assert case.image[given[0]][inside].median() == pytest.approx(1, abs=0.02)
        assert all(size % 16 == 0 and size >= 64 for size in case.grid.shape)


class TestErrors:
    def test_bad_cases_are_refused(self, tmp_path: Path) -> None:
        volume = head()
        with pytest.raises(VolumeError, match="no sequence was given"):
            segment({})
        with pytest.raises(ValueError, match=r"modality must be one of T1W, .*, not 'CT'"):
            segment({"CT": volume})
        with pytest.raises(VolumeError, match=r"none\.nii"):
            segment({"DWI": tmp_path / "none.nii"})
        with pytest.raises(VolumeError, match="not an ADC map"):
            segment({"ADC": volume_from_array(-scan(), SPL)})
        far = SPL.copy()
        far[:3, 3] += 500
        with pytest.raises(VolumeError, match="does not lie where"):
            segment({"DWI": volume, "ADC": volume_from_array(scan(), far)})
        with pytest.raises(ValueError, match="lesion type must be"):
            segment({"DWI": volume}, lesion_type="tumour")
        with pytest.raises(ValueError, match="threshold must lie"):
            segment({"DWI": volume}, threshold=1)
        for name in ("brain", "previous"):
            with pytest.raises(VolumeError, match=r"is of shape \(3, 3, 3\)"):
                segment({"DWI": volume}, **{name: np.ones((3, 3, 3), bool)})

    @pytest.mark.parametrize("index", [(-1, 3, 3), (36, 3, 3), (3, 3, 40)])
    def test_clicks_outside_are_refused_before_any_work(self, index: Any) -> None:
        steps = segment_lesions_steps({"DWI": head()}, clicks=[Click(index)])
        with pytest.raises(ClickError, match="outside the image, whose voxels are 0,0,0 to 35,47"):
            next(steps)

    @pytest.mark.usefixtures("rule")
    def test_devices_and_weights(self) -> None:
        with pytest.raises(DeviceError, match="device must be"):
            segment({"DWI": head()}, device="abacus")
        with pytest.raises(WeightsError, match="no weights named"):
            segment({"DWI": head()}, weights="nonsense")

    def test_weights_of_another_task(self) -> None:
        with pytest.raises(WeightsError, match=r"not for lesions .*1 channels to 1, where 10 to 3"):
            segment({"DWI": head()}, weights="skull_strip")


@pytest.mark.usefixtures("rule")
class TestFlags:
    def codes(self, volumes: Mapping[str, Volume]) -> list[str]:
        return [flag.code for flag in segment(volumes).flags]

    def diffusion(self) -> tuple[np.ndarray, np.ndarray]:
        """A weighted image and its ADC map: brain, fluid in the middle and around it."""
        head = scan()
        head[LESION] /= 4
        fluid = ball((18, 24, 20), 8) | ((head > 0) & ~ball((18, 24, 20), 17))
        return np.where(fluid, head * 0.2, head), np.where(fluid, head * 3, head)

    def test_what_was_read_is_said_with_its_modality(self) -> None:
        data = scan()
        data[20, 20, 20] = np.nan
        volumes = {"DWI": head(), "FLAIR": volume_from_array(data, SPL)}
        flags = {flag.code: flag.message for flag in segment(volumes).flags}
        assert flags["non-finite"].startswith("FLAIR: 1 voxels")

    def test_an_adc_map_and_a_weighted_image_are_told_apart(self) -> None:
        weighted, coefficient = (volume_from_array(data, SPL) for data in self.diffusion())
        assert self.codes({"DWI": weighted, "ADC": coefficient}) == []
        assert self.codes({"DWI": coefficient, "ADC": weighted}) == ["modality", "modality"]
        assert self.codes({"DWI": weighted, "B0": coefficient}) == []

    def test_weighting_makes_nothing_brighter(self) -> None:
        weighted, coefficient = self.diffusion()
        volumes = {
            "DWI": volume_from_array(weighted * 3, SPL),
            "B0": volume_from_array(coefficient, SPL),
        }
        assert self.codes(volumes) == ["modality"]

    def test_one_image_under_two_names(self) -> None:
        flags = segment({"DWI": head(), "FLAIR": head()}).flags
        assert [flag.code for flag in flags] == ["same-image"]
        assert flags[0].message == "DWI and FLAIR are the same image"

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_without_memory_the_processor_takes_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        place = automatic.place_on_grid

        def failing(*given: Any) -> Any:
            if given[-1].type == "cuda":
                raise torch.OutOfMemoryError("CUDA out of memory")
            return place(*given)

        monkeypatch.setattr(automatic, "place_on_grid", failing)
        monkeypatch.setattr(prediction, "choose_device", lambda _: torch.device("cuda"))
        result = segment({"DWI": head()}, device="auto")
        assert result.device == "cpu"
        assert [flag.code for flag in result.flags] == ["cpu-fallback"]
        assert result.mask.any()


@pytest.mark.usefixtures("rule")
class TestBrain:
    """Which sequence the brain is looked for in; the skull stripping itself is played."""

    def strip(
        self, monkeypatch: pytest.MonkeyPatch, given: Mapping[str, Volume], ml: Mapping[str, float]
    ) -> tuple[list[str], LesionResult]:
        asked = []

        def steps(volume: Volume, *, device: str) -> Any:
            yield Progress(0, 1, "looking for the brain")
            (name,) = (n for n, other in given.items() if np.array_equal(other.data, volume.data))
            asked.append(name)
            mask = scan() > 0
            code = () if 700 < ml[name] < 2200 else (Flag("brain-volume", name),)
            return SkullStripResult(mask & (ml[name] > 0), volume, code, "cpu", ml[name])

        monkeypatch.setattr(automatic, "skull_strip_steps", steps)
        return asked, segment(given, skull_strip=True)

    def volumes(self) -> dict[str, Volume]:
        rng = np.random.default_rng(5)
        return {
            name: volume_from_array(scan() + 0.1 * rng.random(scan().shape), SPL)
            for name in ("SWI", "DWI", "FLAIR")
        }

    def test_the_best_on_the_first_grid(self, monkeypatch: pytest.MonkeyPatch) -> None:
        given = self.volumes()
        asked, result = self.strip(monkeypatch, given, dict.fromkeys(given, 1300))
        assert asked == ["FLAIR"]
        assert dice(result.mask, LESION) > 0.85
        given["FLAIR"] = elsewhere(given["FLAIR"], (60, 60, 50), tilted(0, (2.5, 2.5, 3.0)))
        asked, _ = self.strip(monkeypatch, given, dict.fromkeys(given, 1300))
        assert asked == ["DWI"]

    def test_another_where_that_shows_no_whole_brain(self, monkeypatch: pytest.MonkeyPatch) -> None:
        given = self.volumes()
        asked, result = self.strip(monkeypatch, given, {"FLAIR": 0, "DWI": 1300, "SWI": 1300})
        assert asked == ["FLAIR", "DWI"]
        assert result.flags == ()
        assert result.mask.any()

    def test_the_least_bad_where_none_does(self, monkeypatch: pytest.MonkeyPatch) -> None:
        given = self.volumes()
        asked, result = self.strip(monkeypatch, given, {"FLAIR": 2900, "DWI": 600, "SWI": 0})
        assert asked == ["FLAIR", "DWI", "SWI"]
        assert [flag.message for flag in result.flags] == ["DWI"]

    def test_nothing_is_found_where_there_is_no_brain(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, result = self.strip(monkeypatch, {"DWI": self.volumes()["DWI"]}, {"DWI": 0})
        assert not result.mask.any()
        assert [flag.code for flag in result.flags] == ["brain-volume"]


@pytest.mark.usefixtures("rule")
class TestSteps:
    def test_progress_goes_to_the_end(self) -> None:
        clicks = [Click((18, 20, 28)), Click((20, 24, 12), positive=False)]
        for given in ((), clicks):
            steps = segment_lesions_steps(
                {"DWI": head()}, device="cpu", skull_strip=False, clicks=given
            )
            seen = list(steps)
            shares = [progress.done / progress.total for progress in seen]
            assert shares == sorted(shares)
            assert shares[0] < 0.7
            assert shares[-1] > 0.98
            assert all(progress.message for progress in seen)

    def test_closing_cancels(self) -> None:
        steps = segment_lesions_steps({"DWI": head()}, device="cpu", skull_strip=False)
        next(steps)
        steps.close()
        with pytest.raises(StopIteration):
            next(steps)


@pytest.mark.slow
class TestRealNetwork:
    def test_the_brain_is_found_and_the_rest_left_alone(self, random_weights: Path) -> None:
        scans = {name: sample_case()[name][0] for name in ("DWI", "FLAIR")}
        result = segment_lesions(scans, device="cpu", weights=random_weights)
        assert result.brain.shape == result.mask.shape == read_volume(scans["DWI"]).shape
        truth = np.asarray(nib.load(sample_case()["DWI"][1]).dataobj) > 0
        assert dice(result.brain, truth) > 0.9
        # An untrained network answers about one half everywhere: cut off sharply by the brain.
        assert np.all(result.probability[truth & result.brain] > 0.05)
        assert result.probability[~result.brain].mean() < 0.2
        assert "brain" in result.seconds
        assert "network" in result.seconds

    def test_a_case_takes_seconds(self, random_weights: Path) -> None:
        """Twelve seconds of the processor are six on two cores."""
        rng = np.random.default_rng(0)
        data = np.pad(scan(), ((2, 2), (2, 2), (2, 2)))
        affine = np.diag([2.0, 2, 2, 1])
        grid = np.diag([3.0, 3, 3, 1])
        fine = onto_grid(data, grid, (60, 78, 66), affine) + rng.random((60, 78, 66), np.float32)
        volumes = {name: volume_from_array(fine, affine) for name in ("DWI", "ADC")}
        segment_lesions(volumes, device="cpu", weights=random_weights)
        start = process_time()
        segment_lesions(volumes, device="cpu", weights=random_weights)
        assert process_time() - start < 12


class TestAdc:
    def pair(self, b_value: float) -> tuple[Volume, Volume, np.ndarray]:
        adc = np.random.default_rng(1).uniform(400, 2500, scan().shape)
        b0 = np.where(scan() > 0, scan() * 10, 0)
        dwi = b0 * np.exp(-adc * 1e-6 * b_value)
        return volume_from_array(dwi, SPL), volume_from_array(b0, SPL), np.where(b0 > 0, adc, 0)

    @pytest.mark.parametrize("b_value", [800, 1000, 2500])
    def test_it_is_what_made_the_images(self, b_value: float) -> None:
        dwi, b0, adc = self.pair(b_value)
        found = adc_from(dwi, b0, b_value)
        np.testing.assert_allclose(found.data, adc, atol=0.1, rtol=1e-3)
        assert np.array_equal(found.affine, dwi.affine)

    def test_on_another_grid(self) -> None:
        dwi, b0, adc = self.pair(1000)
        wider = np.pad(b0.data, 3)
        affine = SPL.copy()
        affine[:3, 3] -= SPL[:3, :3] @ [3, 3, 3]
        found = adc_from(dwi, volume_from_array(wider, affine), 1000)
        np.testing.assert_allclose(found.data, adc, atol=0.1, rtol=1e-3)

    def test_images_in_the_wrong_order(self) -> None:
        dwi, b0, _ = self.pair(1000)
        with pytest.raises(VolumeError, match="are DWI and B0 in the right order"):
            adc_from(b0, dwi, 1000)
        for b_value in (0, -1000, float("nan")):
            with pytest.raises(ValueError, match="b-value must be positive"):
                adc_from(dwi, b0, b_value)

    @pytest.mark.usefixtures("rule")
    def test_it_can_be_used_at_once(self) -> None:
        dwi, b0, _ = self.pair(1000)
        assert segment({"DWI": dwi, "ADC": adc_from(dwi, b0, 1000)}).mask.shape == dwi.shape

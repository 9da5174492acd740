"""Clicks: what each changes, what it leaves alone, and how it is taken back."""

from __future__ import annotations

import itertools
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pytest
import torch
from lesion_rule import BLOBS, SPACING, ball, scan, use_rule
from orientations import turned, turned_array, turned_back

from strokedx_core.inference.clicks import ClickSession
from strokedx_core.inference.lesions import Click, ClickError, LesionResult
from strokedx_core.inference.segment import segment_lesions
from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.volume import Volume, VolumeError, volume_from_array
from strokedx_core.weights import write_weights

PLACE = np.diag([SPACING, SPACING, SPACING, 1.0])
LESIONS = {side: ball(*BLOBS[side]) for side in BLOBS}
INSIDE = (16, 36, 18)
"""A voxel of the brain where there is no lesion."""

Box = tuple[slice, slice, slice]


@pytest.fixture(autouse=True)
def rule(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The network marks what is bright, and follows clicks."""
    use_rule(monkeypatch, tmp_path)


def head() -> Volume:
    return volume_from_array(scan(), PLACE)


def session(volume: Volume | None = None, **options: Any) -> ClickSession:
    return ClickSession(
        {"DWI": volume or head()}, **{"device": "cpu", "skull_strip": False, **options}
    )


def segment(**options: Any) -> LesionResult:
    return segment_lesions({"DWI": head()}, device="cpu", skull_strip=False, **options)


def outside(box: Box, shape: tuple[int, ...]) -> np.ndarray:
    beyond = np.ones(shape, bool)
    beyond[box] = False
    return beyond


def large_head() -> Volume:
    """A head several patches wide, with a lesion on either side, far from each other."""
    shape = (90, 110, 90)
    middle = (np.array(shape) - 1) / 2
    radii = ((np.indices(shape).T - middle) / (middle * 0.95)).T
    data = np.random.default_rng(0).normal(100, 3, shape) * ((radii**2).sum(0) <= 1)
    data[20:28, 50:58, 40:48] = data[60:68, 50:58, 40:48] = 400
    return volume_from_array(data.astype(np.float32), np.diag([2.0, 2, 2, 1]))


class TestClick:
    def test_without_a_click_it_is_the_automatic_mask(self) -> None:
        made = session()
        assert made.clicks == ()
        assert np.array_equal(made.mask, segment().mask)

    def test_a_positive_click_adds_and_a_negative_one_takes_away(self) -> None:
        made = session()
        before = made.mask.copy()
        made.click(Click(INSIDE))
        assert made.mask[INSIDE]
        added = made.mask & ~before
        assert added.sum() > 5
        assert np.abs(np.argwhere(added) - INSIDE).max() < 5
        spot = BLOBS["right"][0]
        made.click(Click(spot, positive=False))
        assert not made.mask[spot]
        assert made.mask[INSIDE]
        assert made.mask[BLOBS["left"][0]]
        assert made.clicks == (Click(INSIDE), Click(spot, positive=False))

    def test_only_the_patch_around_it_changes(self) -> None:
        volume = large_head()
        made = session(volume)
        before = made.mask.copy()
        box = made.click(Click((70, 60, 50)))
        changed = made.mask != before
        assert changed[70, 60, 50]
        assert not changed[outside(box, volume.shape)].any()
        # A patch is about 10 cm wide, and its rim stays as it was.
        widths = [2 * (edge.stop - edge.start) for edge in box]
        assert max(widths) <= 64 * 1.6
        assert all(edge.start <= at < edge.stop for edge, at in zip(box, (70, 60, 50), strict=True))
        assert np.array_equal(made.mask[:28], before[:28])

    def test_clicks_everywhere_are_inside_what_changes(self) -> None:
        volume = large_head()
        made = session(volume)
        for index in itertools.product((6, 45, 83), (12, 55, 97), (10, 45, 80)):
            if volume.data[index] == 0:
                continue
            box = made.click(Click(index))
            assert made.mask[index]
            assert all(edge.start <= at < edge.stop for edge, at in zip(box, index, strict=True))

    @pytest.mark.parametrize("kind", ["hemorrhagic", "ischemic"])
    def test_the_clicked_voxel_is_what_was_said_of_it_whatever_the_network_says(
        self, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from lesion_rule import RuleNetwork

        def stubborn(_: Any, inputs: torch.Tensor) -> torch.Tensor:
            sign = 1.0 if kind == "ischemic" else -1.0
            return torch.full((len(inputs), 3, *inputs.shape[2:]), 9.0 * sign)

        monkeypatch.setattr(RuleNetwork, "forward", stubborn)
        made = session(lesion_type=kind)
        click = Click(INSIDE, positive=kind == "hemorrhagic")
        made.click(click)
        assert made.mask[INSIDE] == click.positive
        assert made.result().probability[INSIDE] == float(click.positive)

    @pytest.mark.parametrize("answer", [9.0, -9.0])
    def test_a_network_that_changes_its_mind_elsewhere_is_not_heard(
        self, answer: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Away from the click the mask stays, and a click never does the opposite of its sign."""
        from lesion_rule import RuleNetwork

        made = session()
        before = made.mask.copy()
        spots = [tuple(BLOBS[side][0]) for side in ("left", "right")]

        def forward(_: Any, inputs: torch.Tensor) -> torch.Tensor:
            at_click = 40 * inputs[:, 7:8] - 40 * inputs[:, 8:9]
            return (at_click + answer).expand(-1, 3, -1, -1, -1)

        monkeypatch.setattr(RuleNetwork, "forward", forward)
        made.click(Click(INSIDE, positive=answer < 0))
        assert all(made.mask[spot] for spot in spots)
        assert np.array_equal(made.mask & before, before)
        assert made.mask[INSIDE] == (answer < 0)

    def test_a_piece_too_small_to_be_found_stays_when_it_is_clicked(self) -> None:
        fine = volume_from_array(scan(), np.diag([1.0, 1, 1, 1]))
        index = tuple(BLOBS["left"][0])
        start = np.zeros(fine.shape, bool)
        made = session(fine, start=start, lesion_type="hemorrhagic")
        made.click(Click(index))
        assert made.mask[index]

    def test_the_rim_of_a_large_lesion_is_not_drawn_anew_but_what_is_missing_is(self) -> None:
        shape, middle = (60, 60, 60), np.array([30, 30, 30])
        offset = (np.indices(shape).T - middle).T
        distance = np.linalg.norm(offset, axis=0)
        lesion = distance <= 12
        data = np.random.default_rng(0).normal(100, 3, shape) * (distance < 28)
        data[lesion] = 400
        volume = volume_from_array(data.astype(np.float32), np.diag([2.0, 2, 2, 1]))
        start = (distance <= 11) & (offset[0] < 5)
        made = session(volume, start=start)
        made.click(Click((18, 30, 30)))
        added = made.mask & ~start
        assert added[18, 30, 30]
        assert np.linalg.norm(np.argwhere(added) - (18, 30, 30), axis=1).max() * 2 < 12
        made.click(Click((37, 30, 30)))
        cap = lesion & (offset[0] >= 6)
        assert (made.mask & cap).sum() > 0.9 * cap.sum()
        assert not made.mask[25, 19:21, 30].any()

    @pytest.mark.parametrize(("logit", "reach_mm"), [(-1.0, 8), (-2.0, 16), (-9.0, 72)])
    def test_the_farther_a_negative_click_reaches_the_surer_the_network_must_be(
        self, logit: float, reach_mm: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from lesion_rule import RuleNetwork

        def forward(_: Any, inputs: torch.Tensor) -> torch.Tensor:
            return torch.full((len(inputs), 3, *inputs.shape[2:]), logit)

        monkeypatch.setattr(RuleNetwork, "forward", forward)
        distance = np.linalg.norm(((np.indices((60, 60, 60)).T - 30).T), axis=0)
        data = np.random.default_rng(0).normal(100, 3, (60, 60, 60)) * (distance < 28)
        volume = volume_from_array(data.astype(np.float32), np.diag([2.0, 2, 2, 1]))
        start = distance <= 13
        made = session(volume, start=start)
        made.click(Click((30, 30, 30), positive=False))
        taken = start & ~made.mask
        assert taken.sum() > 0.8 * (start & (2 * distance < reach_mm)).sum()
        assert 2 * distance[taken].max() <= reach_mm

    def test_the_mask_is_a_view_that_follows_and_cannot_be_written(self) -> None:
        made = session()
        mask = made.mask
        assert not mask[INSIDE]
        made.click(Click(INSIDE))
        assert mask[INSIDE]
        with pytest.raises(ValueError, match="read-only"):
            mask[INSIDE] = False

    @pytest.mark.parametrize("index", [(-1, 3, 3), (36, 3, 3), (3, 48, 3), (3, 3, 40)])
    def test_a_click_outside_the_image_changes_nothing(self, index: Any) -> None:
        made = session()
        before = made.mask.copy()
        with pytest.raises(ClickError, match="lies outside the image"):
            made.click(Click(index))
        assert made.clicks == ()
        assert np.array_equal(made.mask, before)
        assert made.undo() is None

    def test_a_click_far_from_the_brain_changes_nothing(self) -> None:
        data = np.pad(scan(), 40)
        made = session(volume_from_array(data, PLACE))
        before = made.mask.copy()
        with pytest.raises(ClickError, match="click 1,2,3,- lies outside of the brain"):
            made.click(Click((1, 2, 3), positive=False))
        assert np.array_equal(made.mask, before)

    @pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SAL", "ILP"])
    def test_storage_order_does_not_matter(self, axes: str) -> None:
        volume = turned(scan(), PLACE, axes)
        made, reference = session(volume), session()
        for index, positive in ((INSIDE, True), (BLOBS["left"][0], False)):
            spot = np.zeros(scan().shape)
            spot[tuple(index)] = 1
            (there,) = np.argwhere(turned_array(spot, PLACE, axes)[0]).tolist()
            box = made.click(Click(tuple(there), positive))
            reference.click(Click(tuple(index), positive))
            assert all(e.start <= at < e.stop for e, at in zip(box, there, strict=True))
        assert np.array_equal(turned_back(made.mask, volume), reference.mask)

    def test_thick_slices(self) -> None:
        volume = volume_from_array(scan()[:, :, ::3], np.diag([3.0, 3, 9, 1]))
        made = session(volume)
        made.click(Click((16, 36, 6)))
        assert made.mask[16, 36, 6]


class TestUndo:
    CLICKS = (Click(INSIDE), Click((18, 20, 28), positive=False), Click((12, 24, 20)))

    def test_back_and_forth(self) -> None:
        made = session()
        states, boxes = [made.mask.copy()], []
        for click in self.CLICKS:
            boxes.append(made.click(click))
            states.append(made.mask.copy())
        assert all(not np.array_equal(a, b) for a, b in itertools.pairwise(states))
        assert made.redo() is None
        for count in (3, 2, 1):
            assert made.undo() == boxes[count - 1]
            assert np.array_equal(made.mask, states[count - 1])
            assert made.clicks == self.CLICKS[: count - 1]
        assert made.undo() is None
        for count in (1, 2, 3):
            assert made.redo() == boxes[count - 1]
            assert np.array_equal(made.mask, states[count])
            assert made.clicks == self.CLICKS[:count]
        assert made.redo() is None

    def test_a_click_after_undo_goes_on_from_there(self) -> None:
        made, straight = session(), session()
        made.click(self.CLICKS[0])
        made.click(self.CLICKS[1])
        made.undo()
        made.click(self.CLICKS[2])
        assert made.redo() is None
        for click in (self.CLICKS[0], self.CLICKS[2]):
            straight.click(click)
        assert made.clicks == straight.clicks
        assert np.array_equal(made.mask, straight.mask)
        assert np.array_equal(made.result().probability, straight.result().probability)


class TestStart:
    def test_clicks_go_on_from_any_mask(self) -> None:
        volume = large_head()
        start = np.zeros(volume.shape, np.uint8)
        start[22:26, 20:24, 40:44] = 7
        # Smaller than any lesion that is found, but somebody drew it.
        start[24, 80, 40] = 7
        made = session(volume, start=start)
        assert np.array_equal(made.mask, start != 0)
        box = made.click(Click((64, 54, 44)))
        beyond = outside(box, volume.shape)
        assert np.array_equal(made.mask[beyond], start[beyond] != 0)
        assert made.mask[24, 80, 40]
        assert made.mask[64, 54, 44]
        assert np.count_nonzero(start == 7) == 65

    def test_a_mask_of_another_shape(self) -> None:
        with pytest.raises(VolumeError, match=r"mask to start from is of shape \(2, 2, 2\)"):
            session(start=np.zeros((2, 2, 2)))

    def test_nothing_is_predicted_before_the_first_click(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from strokedx_core.inference.lesion_case import LesionCase

        monkeypatch.setattr(LesionCase, "predict", None)
        made = session(start=np.zeros(scan().shape))
        assert not made.mask.any()


class TestHeadless:
    CLICKS = (Click(INSIDE), Click((20, 24, 12), positive=False), Click((12, 30, 20)))

    @pytest.mark.parametrize("kind", ["general", "hemorrhagic"])
    @pytest.mark.parametrize("threshold", [0.3, 0.5])
    def test_it_is_what_the_session_gives(self, kind: str, threshold: float) -> None:
        options = {"lesion_type": kind, "threshold": threshold}
        made = session(**options)
        for click in self.CLICKS:
            made.click(click)
        result = segment(clicks=self.CLICKS, **options)
        assert np.array_equal(result.mask, made.mask)
        assert np.array_equal(result.probability, made.result().probability)
        assert result.clicks == self.CLICKS
        assert result.volume_ml == pytest.approx(made.mask.sum() * 0.027)
        assert np.array_equal(result.at(threshold).mask, result.mask)

    def test_from_a_mask_before(self) -> None:
        start = ball((10, 24, 28), 3)
        made = session(start=start)
        made.click(self.CLICKS[0])
        result = segment(clicks=self.CLICKS[:1], previous=start)
        assert np.array_equal(result.mask, made.mask)
        kept = segment(previous=start)
        assert np.array_equal(kept.mask, start)

    def test_the_result_does_not_follow_later_clicks(self) -> None:
        made = session()
        made.click(self.CLICKS[0])
        result = made.result()
        mask = result.mask.copy()
        made.click(self.CLICKS[1])
        assert np.array_equal(result.mask, mask)
        assert result.clicks == self.CLICKS[:1]


def test_what_the_network_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels: the sequences, the clicks of either kind, and the mask as it was."""
    from strokedx_core.inference import prediction

    run, given = prediction.run_network, []

    def seen(network: Any, inputs: torch.Tensor) -> torch.Tensor:
        given.append(inputs[0].clone())
        return run(network, inputs)

    monkeypatch.setattr(prediction, "run_network", seen)
    made = session(start=LESIONS["left"])
    made.click(Click(INSIDE))
    made.click(Click((20, 24, 12), positive=False))
    first, second = given
    assert first.shape == second.shape == (10, 64, 64, 48)
    assert first[7].max() > 0.8
    assert not first[8].any()
    assert second[7].max() > 0.8
    assert second[8].max() > 0.8
    for inputs in given:
        assert set(inputs[9].unique().tolist()) == {0.0, 1.0}
    ml = first[9].sum().item() * 1.6**3 / 1000
    # Its ends reach out of the patch.
    assert ml == pytest.approx(LESIONS["left"].sum() * 0.027, rel=0.2)
    assert second[9].any()


@pytest.mark.slow
def test_a_click_takes_half_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One second of the processor is half a second on two cores."""
    monkeypatch.undo()
    torch.manual_seed(0)
    network = UNet3D(10, 3)
    card = {"name": "random", "task": "lesion", "architecture": network.config}
    path = tmp_path / "random.safetensors"
    write_weights(network.state_dict(), {**card, "input": {"spacings_mm": [1.6]}}, path)
    volume = large_head()
    made = session(volume, weights=path, start=np.zeros(volume.shape))
    took = []
    for index in ((45, 55, 45), (30, 55, 45), (45, 70, 30)):
        start = process_time()
        made.click(Click(index))
        took.append(process_time() - start)
    assert min(took) < 1, took

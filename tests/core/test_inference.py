"""Inference: patches held to MONAI, masks that do not depend on how a scan is stored, flags."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from orientations import AXES, turned, turned_back
from phantom import BRAIN, label_map, t1w
from scipy import ndimage
from torch import Tensor, nn

from strokedx_core.evaluation.metrics import dice
from strokedx_core.inference import brain_mask, prediction
from strokedx_core.inference import skull_strip as inference
from strokedx_core.inference.devices import DeviceError, autocast_dtype, choose_device
from strokedx_core.inference.skull_strip import Progress, skull_strip, skull_strip_steps
from strokedx_core.inference.sliding_window import sliding_window
from strokedx_core.sample import sample_case
from strokedx_core.volume import (
    Volume,
    VolumeError,
    read_mask,
    read_volume,
    resample,
    volume_from_array,
)
from strokedx_core.weights import WeightsError, load_network, read_card, write_weights


def finish(steps: Generator[Any, None, Any]) -> tuple[list[Any], Any]:
    """What a generator yields, and what it returns."""
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as stop:
            return seen, stop.value


class TestSlidingWindow:
    @pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
    @pytest.mark.parametrize(
        ("shape", "patch"),
        [
            ((24, 20, 17), (8, 8, 8)),
            ((30, 16, 21), (16, 16, 12)),
            ((20, 20, 20), (24, 12, 20)),
            ((7, 9, 11), (16, 16, 16)),
        ],
    )
    def test_as_monai_does_it(
        self, shape: tuple[int, int, int], patch: tuple[int, int, int], overlap: float
    ) -> None:
        from monai.inferers import sliding_window_inference

        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv3d(2, 3, 5, padding=2), nn.ReLU(), nn.Conv3d(3, 2, 1))
        image = torch.randn(1, 2, *shape)
        with torch.no_grad():
            _, ours = finish(sliding_window(image, network, patch, overlap=overlap))
            monai = sliding_window_inference(
                image, patch, 1, network, overlap=overlap, mode="gaussian"
            )
        torch.testing.assert_close(ours, monai, rtol=1e-4, atol=1e-5)

    def test_progress_counts_the_patches(self) -> None:
        image = torch.zeros(1, 1, 20, 8, 14)
        seen, result = finish(sliding_window(image, lambda x: x, (8, 8, 8), overlap=0.5))
        assert seen == [(number, 12) for number in range(1, 13)]
        assert result.shape == image.shape

    def test_one_patch_is_the_prediction_itself(self) -> None:
        image = torch.randn(1, 1, 8, 9, 10)
        seen, result = finish(sliding_window(image, lambda x: x.sin(), (8, 9, 10)))
        assert seen == [(1, 1)]
        assert torch.equal(result, image.sin())

    def test_small_images_are_padded_with_zeros_and_cut_back(self) -> None:
        image = torch.randn(1, 1, 5, 6, 7)
        given = []

        def predict(patch: Tensor) -> Tensor:
            given.append(patch)
            return patch

        _, result = finish(sliding_window(image, predict, (8, 16, 8)))
        assert torch.equal(result, image)
        assert given[0].shape == (1, 1, 8, 16, 8)
        assert given[0].count_nonzero() == image.count_nonzero()

    def test_predictions_that_agree_stay_as_they_are(self) -> None:
        image = torch.rand(1, 1, 19, 23, 31)
        _, result = finish(sliding_window(image, lambda x: 3 * x, (8, 8, 8), overlap=0.3))
        torch.testing.assert_close(result, 3 * image)

    def test_closing_ends_the_work(self) -> None:
        calls = []

        def predict(patch: Tensor) -> Tensor:
            calls.append(1)
            return patch

        steps = sliding_window(torch.zeros(1, 1, 32, 32, 32), predict, (8, 8, 8))
        next(steps)
        next(steps)
        steps.close()
        assert len(calls) == 2
        with pytest.raises(StopIteration):
            next(steps)


@pytest.fixture(scope="module")
def weights(trained: Path) -> Path:
    """Weights of the small training run: they know made-up heads, and take no time."""
    return trained / "weights.safetensors"


@pytest.fixture(scope="module")
def phantom() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, affine, brain."""
    labels, affine = label_map()
    return t1w(labels), affine, np.isin(labels, BRAIN)


@pytest.fixture(scope="module")
def biased(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The small network made to call everything, or nothing, brain."""
    folder = tmp_path_factory.mktemp("biased")
    paths = {}
    for name, bias in (("nothing", -1e4), ("everything", 1e4)):
        network = load_network(weights)
        network.head.bias.fill_(bias)
        paths[name] = folder / f"{name}.safetensors"
        write_weights(network.state_dict(), read_card(weights).text, paths[name])
    return paths


Phantom = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.mark.slow
class TestSkullStrip:
    def test_finds_the_brain(self, phantom: Phantom, weights: Path) -> None:
        data, affine, brain = phantom
        result = skull_strip(volume_from_array(data, affine), device="cpu", weights=weights)
        assert result.mask.shape == data.shape
        assert result.mask.dtype == bool
        assert dice(result.mask, brain) > 0.75
        assert result.volume_ml == pytest.approx(result.mask.sum() / 1000)
        assert result.device == "cpu"
        assert set(result.seconds) == {"load", "resample", "network", "mask"}
        assert np.array_equal(result.brain(), np.where(result.mask, data, 0))

    @pytest.mark.parametrize("axes", AXES)
    def test_storage_order_does_not_matter(
        self, phantom: Phantom, weights: Path, axes: str, request: pytest.FixtureRequest
    ) -> None:
        data, affine, _ = phantom
        store = request.config.stash.setdefault(_EXPECTED, {})
        if "mask" not in store:
            store["mask"] = skull_strip(
                volume_from_array(data, affine), device="cpu", weights=weights
            ).mask
        volume = turned(data, affine, axes)
        assert volume.orientation == axes
        mask = skull_strip(volume, device="cpu", weights=weights).mask
        assert mask.shape == volume.shape
        assert np.array_equal(turned_back(mask, volume), store["mask"])

    @pytest.mark.parametrize("step", [(1, 1, 4), (4, 1, 1), (1, 3.5, 1), (2, 2, 2)])
    def test_any_voxel_size(
        self, phantom: Phantom, weights: Path, step: tuple[float, float, float]
    ) -> None:
        data, affine, brain = phantom
        shape = tuple(int(n / s) for n, s in zip(data.shape, step, strict=True))
        start = tuple((s - 1) / 2 for s in step)
        coarse, truth = (
            resample(array.astype(np.float32), shape, start, step) for array in (data, brain)
        )
        place = affine @ np.array([*np.c_[np.diag(step), start], (0, 0, 0, 1)])
        result = skull_strip(volume_from_array(coarse, place), device="cpu", weights=weights)
        assert result.mask.shape == shape
        assert dice(result.mask, truth >= 0.5) > 0.7
        assert result.volume_ml == pytest.approx(result.mask.sum() * np.prod(step) / 1000)

    def test_tilted_slices(self, phantom: Phantom, weights: Path) -> None:
        data, affine, brain = phantom
        c, s = np.cos(0.3), np.sin(0.3)
        tilt = np.array([[1, 0, 0, 5], [0, c, -s, 9], [0, s, c, -7], [0, 0, 0, 1]])
        result = skull_strip(volume_from_array(data, tilt @ affine), device="cpu", weights=weights)
        assert dice(result.mask, brain) > 0.75

    def test_one_piece_without_holes(self, phantom: Phantom, weights: Path) -> None:
        data, affine, _ = phantom
        spots = np.random.default_rng(0).random(data.shape) < 0.02
        volume = volume_from_array(np.where(spots, 0, data), affine)
        for threshold in (0.05, 0.5, 0.95):
            mask = skull_strip(volume, device="cpu", weights=weights, threshold=threshold).mask
            assert ndimage.label(mask)[1] == 1
            assert np.array_equal(ndimage.binary_fill_holes(mask), mask)

    def test_higher_thresholds_keep_less(self, phantom: Phantom, weights: Path) -> None:
        volume = volume_from_array(*phantom[:2])
        volumes = [
            skull_strip(volume, device="cpu", weights=weights, threshold=threshold).volume_ml
            for threshold in (0.1, 0.5, 0.9)
        ]
        assert volumes[0] > volumes[1] > volumes[2] > 0

    def test_the_scale_of_intensities_does_not_matter(
        self, phantom: Phantom, weights: Path
    ) -> None:
        data, affine, _ = phantom
        masks = [
            skull_strip(volume_from_array(values, affine), device="cpu", weights=weights).mask
            for values in (data, data * 1e-4, data * 30 + 500)
        ]
        assert dice(masks[0], masks[1]) > 0.99
        # Zeros are laid around the image to fill up a patch, and 500 is far from them.
        assert dice(masks[0], masks[2]) > 0.9

    def test_the_same_scan_gives_the_same_bytes(self, phantom: Phantom, weights: Path) -> None:
        volume = volume_from_array(*phantom[:2])
        before = volume.data.copy()
        first, again = (skull_strip(volume, device="cpu", weights=weights) for _ in range(2))
        assert first.mask.tobytes() == again.mask.tobytes()
        assert first.brain().tobytes() == again.brain().tobytes()
        assert np.array_equal(volume.data, before)

    def test_a_file_is_as_good_as_a_volume(
        self, phantom: Phantom, weights: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "scan.nii.gz"
        nib.Nifti1Image(*phantom[:2]).to_filename(path)
        from_path = skull_strip(path, device="cpu", weights=weights)
        from_volume = skull_strip(read_volume(path), device="cpu", weights=weights)
        assert np.array_equal(from_path.mask, from_volume.mask)
        with pytest.raises(VolumeError, match="nowhere"):
            skull_strip(tmp_path / "nowhere.nii.gz", weights=weights)

    @pytest.mark.parametrize("shape", [(3, 3, 3), (40, 2, 40), (10, 10, 10), (60, 60, 5)])
    def test_tiny_volumes_are_no_error(self, shape: tuple[int, int, int], weights: Path) -> None:
        data = np.random.default_rng(0).random(shape, np.float32)
        for name in (weights, None):
            result = skull_strip(volume_from_array(data, np.eye(4)), device="cpu", weights=name)
            assert result.mask.shape == shape
            assert result.flags

    def test_two_passes(self, phantom: Phantom, weights: Path, tmp_path: Path) -> None:
        """The second pass sees the surroundings of what the first one found."""
        data, affine, brain = phantom
        path = tmp_path / "two.safetensors"
        card = {**read_card(weights).text, "input": {"spacings_mm": [4.0, 2.8]}}
        write_weights(load_network(weights).state_dict(), card, path)
        volume = volume_from_array(np.pad(data, 12), affine)
        seen, result = finish(skull_strip_steps(volume, device="cpu", weights=path))
        assert dice(result.mask, np.pad(brain, 12)) > 0.75
        messages = list(dict.fromkeys(progress.message for progress in seen))
        assert messages[1:] == ["looking for the brain", "drawing its boundary"]

    def test_air_costs_nothing_and_moves_nothing(
        self, phantom: Phantom, weights: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Wide margins of air: the network sees less than the scan, the mask lies where it did."""
        data, affine, brain = phantom
        seen = []
        predict = inference.predict_grid
        monkeypatch.setattr(
            inference,
            "predict_grid",
            lambda *given: (seen.append(given[1].shape), predict(*given))[1],
        )
        wide = [(40, 70), (0, 60), (90, 3)]
        volume = volume_from_array(np.pad(data, wide), affine)
        result = skull_strip(volume, device="cpu", weights=weights)
        assert dice(result.mask, np.pad(brain, wide)) > 0.75
        divisor = load_network(weights).divisor
        whole = np.array(volume.shape) / read_card(weights).spacings_mm[0]
        assert all(size < full for size, full in zip(seen[0][1:], whole, strict=True))
        assert all(size % divisor == 0 for size in seen[0][1:])

    def test_what_is_trimmed_is_air(self) -> None:
        image = torch.zeros(100, 60, 40)
        image[70:88, 10:50, :] = torch.rand(18, 40, 40) + 0.5
        trimmed, start = inference.without_air(image, (1.0, 2.0, 3.0), (0.5, 2.0, 1.0), 32)
        assert trimmed.shape == (32, 60, 40)
        assert trimmed.sum() == pytest.approx(float(image.sum()))
        first = round((start[0] - 1.0) / 0.5)
        assert torch.equal(trimmed, image[first : first + 32])
        assert start[1:] == (2.0, 3.0)
        noise = torch.rand(100, 60, 40)
        assert inference.without_air(noise, (0.0,) * 3, (1.0,) * 3, 32)[0] is noise

    def test_progress_goes_to_the_end(
        self, phantom: Phantom, weights: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(prediction, "PATCH", (16, 16, 16))
        volume = volume_from_array(*phantom[:2])
        seen, result = finish(skull_strip_steps(volume, device="cpu", weights=weights))
        assert all(isinstance(progress, Progress) for progress in seen)
        shares = [progress.done / progress.total for progress in seen]
        assert shares == sorted(shares)
        assert shares[0] == 0
        assert shares[-1] == 1
        assert len(seen) > 10
        assert result.mask.any()

    def test_closing_cancels(
        self, phantom: Phantom, weights: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(prediction, "PATCH", (16, 16, 16))
        calls = []
        run = prediction.run_network
        monkeypatch.setattr(
            prediction, "run_network", lambda *given: (calls.append(1), run(*given))[1]
        )
        steps = skull_strip_steps(volume_from_array(*phantom[:2]), device="cpu", weights=weights)
        for _ in range(3):
            next(steps)
        steps.close()
        assert len(calls) == 2
        with pytest.raises(StopIteration):
            next(steps)

    def test_weights_that_were_replaced_are_loaded_again(
        self, phantom: Phantom, weights: Path, tmp_path: Path
    ) -> None:
        volume, path = volume_from_array(*phantom[:2]), tmp_path / "mine.safetensors"
        network, card = load_network(weights), read_card(weights).text
        write_weights(network.state_dict(), card, path)
        assert skull_strip(volume, device="cpu", weights=path).volume_ml > 0
        network.head.bias.fill_(-1e4)
        write_weights(network.state_dict(), card, path)
        os.utime(path, (1, 1))
        assert skull_strip(volume, device="cpu", weights=path).volume_ml == 0

    def test_wrong_arguments(self, phantom: Phantom, weights: Path) -> None:
        volume = volume_from_array(*phantom[:2])
        for threshold in (0.0, 1.0, -1, 2):
            with pytest.raises(ValueError, match="threshold must lie between 0 and 1"):
                skull_strip(volume, weights=weights, threshold=threshold)
        with pytest.raises(WeightsError, match="no weights named 'nonsense'"):
            skull_strip(volume, device="cpu", weights="nonsense")
        with pytest.raises(DeviceError, match="device must be"):
            skull_strip(volume, device="toaster", weights=weights)


_EXPECTED = pytest.StashKey[dict[str, np.ndarray]]()


class TestFlags:
    def flags_of(self, mask: np.ndarray, affine: np.ndarray) -> dict[str, str]:
        volume = volume_from_array(np.random.default_rng(0).random(mask.shape), affine)
        found = brain_mask.mask_flags(mask, volume, np.count_nonzero(mask) * volume.voxel_ml)
        return {flag.code: flag.message for flag in found}

    def ball(self, radius: float) -> np.ndarray:
        grid = np.indices((40, 40, 40)) - 19.5
        return (grid**2).sum(0) <= radius**2

    def test_a_whole_brain_has_none(self) -> None:
        assert self.flags_of(self.ball(16.5), np.diag([4.0, 4, 4, 1])) == {}

    @pytest.mark.parametrize(("radius", "code"), [(0, "empty-mask"), (12, "brain-volume")])
    def test_too_little(self, radius: float, code: str) -> None:
        assert list(self.flags_of(self.ball(radius), np.diag([4.0, 4, 4, 1]))) == [code]

    def test_too_much(self) -> None:
        flags = self.flags_of(self.ball(18), np.diag([5.0, 5, 5, 1]))
        assert list(flags) == ["brain-volume"]
        assert "is not the volume of a whole brain (700-2200 ml)" in flags["brain-volume"]

    @pytest.mark.parametrize(
        ("axes", "axis", "end", "side"),
        [
            ("RAS", 0, -1, "right"),
            ("RAS", 1, 0, "posterior"),
            ("RAS", 2, -1, "superior"),
            ("LPS", 0, -1, "left"),
            ("LPS", 1, -1, "posterior"),
            ("PIR", 1, -1, "inferior"),
            ("PIR", 0, 0, "anterior"),
        ],
    )
    def test_the_edge_where_a_brain_is_cut_off(
        self, axes: str, axis: int, end: int, side: str
    ) -> None:
        mask = self.ball(16.5)
        mask = mask[(*[slice(None)] * axis, slice(14, None) if end == 0 else slice(None, 26))]
        affine = np.eye(4)
        for column, letter in enumerate(axes):
            world = next(number for number, pair in enumerate(("LR", "PA", "IS")) if letter in pair)
            affine[:3, column] = 0
            affine[world, column] = 4 if letter in "RAS" else -4
        message = self.flags_of(mask, affine)["cut-off"]
        assert message.startswith(f"the brain reaches the {side} edge")

    def test_a_brainstem_may_leave_the_image(self) -> None:
        mask = self.ball(16.5)
        mask[19:21, 19:21, :10] = True
        assert self.flags_of(mask, np.diag([4.0, 4, 4, 1])) == {}

    @pytest.mark.slow
    def test_they_reach_the_result(self, phantom: Phantom, biased: dict[str, Path]) -> None:
        data = phantom[0].copy()
        data[3, 4, 5] = np.nan
        volume = volume_from_array(data, phantom[1])
        empty = skull_strip(volume, device="cpu", weights=biased["nothing"])
        assert [flag.code for flag in empty.flags] == ["non-finite", "empty-mask"]
        assert empty.volume_ml == 0
        assert not empty.brain().any()
        full = skull_strip(volume, device="cpu", weights=biased["everything"])
        assert full.mask.all()
        messages = {flag.code: flag.message for flag in full.flags}
        assert all(
            side in messages["cut-off"]
            for side in ("left", "right", "posterior", "anterior", "inferior", "superior")
        )

    @pytest.mark.slow
    def test_noise_is_not_taken_for_a_scan(self) -> None:
        noise = np.abs(np.random.default_rng(0).normal(0, 100, (64, 72, 64)))
        volume = volume_from_array(noise, np.diag([3.0, 3, 3, 1]))
        flags = {flag.code for flag in skull_strip(volume, device="cpu").flags}
        assert flags & {"empty-mask", "brain-volume", "cut-off"}


class TestDevices:
    def test_auto_takes_the_best_there_is(self) -> None:
        expected = "cpu"
        if torch.backends.mps.is_available():
            expected = "mps"
        if torch.cuda.is_available():
            expected = "cuda"
        assert choose_device().type == choose_device("auto").type == expected
        assert choose_device("cpu").type == "cpu"

    def test_what_is_not_there_is_refused(self) -> None:
        if not torch.cuda.is_available():
            with pytest.raises(DeviceError, match="no CUDA device"):
                choose_device("cuda")
        if not torch.backends.mps.is_available():
            with pytest.raises(DeviceError, match="no MPS device"):
                choose_device("mps")
        with pytest.raises(DeviceError, match="auto, cpu, cuda or mps"):
            choose_device("abacus")

    def test_half_precision_on_the_processor_where_it_has_it(self) -> None:
        assert autocast_dtype(torch.device("cpu")) in (None, torch.bfloat16)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("device", "error"),
        [
            ("cuda", torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")),
            ("mps", RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB)")),
        ],
    )
    def test_without_memory_the_processor_takes_over(
        self,
        phantom: Phantom,
        weights: Path,
        monkeypatch: pytest.MonkeyPatch,
        device: str,
        error: RuntimeError,
    ) -> None:
        volume = volume_from_array(*phantom[:2])
        expected = skull_strip(volume, device="cpu", weights=weights)
        self.fail_on(device, error, monkeypatch)
        result = skull_strip(volume, device="auto", weights=weights)
        assert result.device == "cpu"
        assert np.array_equal(result.mask, expected.mask)
        messages = {flag.code: flag.message for flag in result.flags}
        assert messages["cpu-fallback"].startswith(f"{device} ran out of memory")
        assert "cpu-fallback" not in {flag.code for flag in expected.flags}

    def test_other_errors_are_not_hidden(
        self, phantom: Phantom, weights: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        volume = volume_from_array(*phantom[:2])
        self.fail_on("cuda", RuntimeError("an illegal memory access"), monkeypatch)
        with pytest.raises(RuntimeError, match="illegal memory access"):
            skull_strip(volume, weights=weights)
        self.fail_on("cpu", RuntimeError("out of memory"), monkeypatch)
        with pytest.raises(RuntimeError, match="out of memory"):
            skull_strip(volume, weights=weights)

    def fail_on(self, device: str, error: RuntimeError, monkeypatch: pytest.MonkeyPatch) -> None:
        """Choose a device that runs out of memory at once; others work as they do."""
        predict = inference._predict

        def failing(volume: Volume, name: Any, place: torch.device, clock: Any) -> Any:
            if place.type == device:
                raise error
            return (yield from predict(volume, name, place, clock))

        monkeypatch.setattr(inference, "_predict", failing)
        monkeypatch.setattr(prediction, "choose_device", lambda _: torch.device(device))

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
    def test_a_gpu_finds_the_same_brain(self, phantom: Phantom, weights: Path) -> None:
        volume = volume_from_array(*phantom[:2])
        there = skull_strip(volume, device="cuda", weights=weights)
        here = skull_strip(volume, device="cpu", weights=weights)
        assert there.device == "cuda"
        assert dice(there.mask, here.mask) > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("modality", list(sample_case()))
def test_shipped_weights_on_the_shipped_case(modality: str) -> None:
    scan, truth = sample_case()[modality]
    result = skull_strip(scan, device="cpu")
    assert dice(result.mask, read_mask(truth).data > 0) > 0.9
    assert ndimage.label(result.mask)[1] == 1
    assert np.array_equal(ndimage.binary_fill_holes(result.mask), result.mask)


class TestAlreadyStripped:
    """A scan in which all but the brain is one value comes back as it came."""

    @pytest.fixture
    def ball(self) -> np.ndarray:
        i, j, k = np.ogrid[:40, :40, :40]
        return (i - 20) ** 2 + (j - 20) ** 2 + (k - 20) ** 2 < 14**2

    @staticmethod
    def volume(data: np.ndarray) -> Volume:
        return Volume(data.astype(np.float32), np.eye(4), None)

    @pytest.mark.parametrize("background", [0.0, -5.0])
    def test_what_was_left_is_given_back(self, ball: np.ndarray, background: float) -> None:
        data = np.where(ball, 100.0, background)
        data[20, 20, 20] = background  # a ventricle may be as dark as nothing
        data[2, 2, 2] = 7  # a crumb
        smaller = ndimage.binary_erosion(ball, border_value=0)
        smaller |= ball & (np.arange(40)[:, None, None] < 22)
        given = brain_mask.already_stripped(self.volume(data), smaller)
        assert given is not None
        assert np.array_equal(given, ball)

    def test_a_head_is_not(self, ball: np.ndarray) -> None:
        head = ndimage.binary_dilation(ball, iterations=3)
        assert brain_mask.already_stripped(self.volume(head * 100.0), ball) is None

    def test_noise_around_is_not(self, ball: np.ndarray) -> None:
        noisy = ball * 100.0 + np.random.default_rng(0).random(ball.shape)
        assert brain_mask.already_stripped(self.volume(noisy), ball) is None

    def test_an_empty_scan_is_not(self, ball: np.ndarray) -> None:
        assert brain_mask.already_stripped(self.volume(ball * 0.0), ball) is None

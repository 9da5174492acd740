"""The generator of training images, as properties: what must hold whatever is drawn."""

from __future__ import annotations

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from phantom import BRAIN, ball_head, label_map, write_label_map
from scipy import ndimage

from strokedx_core.intensity import normalise
from strokedx_core.synthesis import acquisition, artefacts
from strokedx_core.synthesis import head as generator
from strokedx_core.synthesis.contrasts import (
    BRAIN_CLASSES,
    CLASSES,
    CONTRASTS,
    NAMES,
    class_lookup,
    draw_contrast,
)
from strokedx_core.synthesis.head import HeadRecipe, Sample, generate, generate_batch
from strokedx_core.synthesis.labels import DISTANCE_STEP, Head, brain_of, load_head, signed_distance

SMALL = HeadRecipe(shape=(40, 40, 40), spacing=3.0, shift=4.0, warp=2.0, fine_warp=0.5)
PLAIN = HeadRecipe(
    shape=(40, 40, 40),
    spacing=3.0,
    **dict.fromkeys(
        (
            *("spacing_jitter", "rotation", "scaling", "shear", "shift", "warp", "fine_warp"),
            *(
                "lesions",
                "bias",
                "noise",
                "thick",
                "motion",
                "ghost",
                "stripped",
                "defaced",
                "crop",
                "dropout",
                "rim",
            ),
        ),
        0.0,
    ),
)
"""No deformation, no artefact: the head as it is, in the middle of the grid."""


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Head:
    return load_head(write_label_map(tmp_path_factory.mktemp("labels") / "head.nii.gz"))


@pytest.fixture(scope="module")
def picture(head: Head) -> torch.Tensor:
    """A clean image to spoil, 40³ at 3 mm."""
    return generate(head, 5, contrast="T1W", recipe=PLAIN).image


@pytest.fixture(scope="module")
def samples(head: Head) -> list[Sample]:
    return [generate(head, seed, recipe=SMALL) for seed in range(12)]


class TestGenerate:
    def test_a_seed_decides_every_byte(self, head: Head, samples: list[Sample]) -> None:
        for seed in (0, 7):
            again = generate(head, seed, recipe=SMALL)
            assert again.image.numpy().tobytes() == samples[seed].image.numpy().tobytes()
            assert again.target.numpy().tobytes() == samples[seed].target.numpy().tobytes()
            assert again.contrast == samples[seed].contrast

    def test_another_seed_makes_another_image(self, samples: list[Sample]) -> None:
        images = {sample.image.numpy().tobytes() for sample in samples}
        targets = {sample.target.numpy().tobytes() for sample in samples}
        assert len(images) == len(targets) == len(samples)

    def test_the_global_state_of_torch_is_neither_read_nor_moved(self, head: Head) -> None:
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = generate(head, 3, recipe=SMALL).image
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(2)
        assert torch.equal(generate(head, 3, recipe=SMALL).image, first)

    def test_ranges(self, samples: list[Sample]) -> None:
        for sample in samples:
            assert sample.image.shape == sample.target.shape == SMALL.shape
            assert sample.image.isfinite().all()
            assert sample.image.std() > 0
            assert sample.target.min() >= 0
            assert sample.target.max() == 1

    def test_the_middle_of_the_brain_is_in_the_image(self, samples: list[Sample]) -> None:
        for sample in samples:
            weight = sample.target.sum()
            for axis in range(3):
                place = torch.arange(40.0).view([-1 if a == axis else 1 for a in range(3)])
                middle = float((place * sample.target).sum() / weight)
                # The brain of this head is some 40 voxels long in a grid of 40.
                assert 8 < middle < 31

    @pytest.mark.parametrize("contrast", list(CONTRASTS))
    def test_every_contrast_shows_something_finite(self, head: Head, contrast: str) -> None:
        sample = generate(head, 11, contrast=contrast, recipe=SMALL)
        assert sample.contrast == contrast
        assert sample.image.isfinite().all()
        assert sample.image[sample.target == 1].std() > 0.01

    def test_an_unknown_contrast_is_refused(self, head: Head) -> None:
        with pytest.raises(ValueError, match="contrast must be one of T1W"):
            generate(head, 0, contrast="CT", recipe=SMALL)

    def test_modalities_come_as_often_as_the_recipe_says(self) -> None:
        recipe = dataclasses.replace(SMALL, modality_like=0.5, modalities={"T1W": 3.0, "ADC": 1.0})
        drawn = [generator._draw_modality(recipe, rng(seed)) for seed in range(600)]
        assert set(drawn) == {"T1W", "ADC", "random"}
        assert drawn.count("random") / 600 == pytest.approx(0.5, abs=0.07)
        assert drawn.count("T1W") / 600 == pytest.approx(0.375, abs=0.07)

    def test_left_and_right_of_a_tissue_look_alike(self, head: Head) -> None:
        for seed, contrast in ((0, "T1W"), (1, "random"), (2, "DWI")):
            image = generate(head, seed, contrast=contrast, recipe=PLAIN).image
            # The phantom is a mirror image of itself about the middle of its bounding box.
            halves = image[:20], image.flip(0)[:20]
            smooth = [torch.nn.functional.avg_pool3d(half[None], 5)[0] for half in halves]
            between = (smooth[0] - smooth[1]).square().mean().sqrt()
            assert between < 0.25 * smooth[0].std()

    def test_zero_outside_the_field_of_view(self, head: Head) -> None:
        recipe = dataclasses.replace(SMALL, crop=1.0, noise=0.0, stripped=0.0, defaced=0.0)
        whole = dataclasses.replace(recipe, crop=0.0)
        cut = 0
        for seed in range(8):
            sample = generate(head, seed, recipe=recipe)
            uncut = generate(head, seed, recipe=whole).target
            lost = (uncut > 0) & (sample.target == 0)
            assert torch.equal(torch.where(lost, 0.0, uncut), sample.target)
            assert (sample.image[lost].unique().numel() <= 1) or not lost.any()
            cut += bool(lost.any())
            assert sample.target.sum() > 0.3 * uncut.sum()
        assert cut >= 3

    def test_stripped_heads_have_nothing_outside(self, head: Head) -> None:
        recipe = dataclasses.replace(SMALL, stripped=1.0, crop=0.0, noise=0.2, warp=0.0)
        for seed in range(6):
            sample = generate(head, seed, recipe=recipe)
            distance = signed_distance((sample.target > 0.5).numpy()) * SMALL.spacing
            outside = sample.image[torch.from_numpy(distance) > 18]
            assert outside.numel() > 1000
            assert outside.unique().numel() == 1
            assert sample.image[sample.target == 1].std() > 0

    def test_defacing_leaves_the_brain(self, head: Head) -> None:
        sample = generate(head, 0, recipe=PLAIN)
        distance = torch.from_numpy(signed_distance((sample.target > 0.5).numpy())) * PLAIN.spacing
        brain, removed = distance < 0, 0
        for seed in range(40):
            face = acquisition.face_of(distance, rng(seed))
            assert (face & brain).sum() <= 0.02 * brain.sum()
            removed += bool(face.any())
        assert removed == 40

    def test_a_defaced_head_ends_at_a_plane(self, head: Head) -> None:
        recipe = dataclasses.replace(PLAIN, defaced=1.0, noise=0.5)
        faced = generate(head, 1, contrast="random", recipe=dataclasses.replace(recipe, defaced=0))
        defaced = generate(head, 1, contrast="random", recipe=recipe)
        assert (defaced.image == 0).sum() > (faced.image == 0).sum() + 500
        assert torch.equal(faced.target, defaced.target)

    def test_batches_hold_the_single_samples(self, head: Head) -> None:
        images, targets = generate_batch([head, head], [3, 4], SMALL)
        assert images.shape == targets.shape == (2, 1, *SMALL.shape)
        for row, seed in enumerate((3, 4)):
            alone = generate(head, seed, recipe=SMALL)
            assert torch.equal(images[row, 0], alone.image)
            assert torch.equal(targets[row, 0], alone.target)

    @pytest.mark.parametrize("radius", [24.0, 30.0])
    def test_the_target_holds_the_volume_of_the_brain(self, radius: float) -> None:
        """Partial volume counts: 3 mm voxels get the volume of a ball right to three per cent."""
        ball = ball_head(radius)
        volume = float(generate(ball, 0, recipe=PLAIN).target.sum()) * PLAIN.spacing**3
        assert volume == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.03)

    def test_the_target_grows_with_the_head(self) -> None:
        ball = ball_head(24.0)
        recipe = dataclasses.replace(PLAIN, scaling=0.15, rotation=20.0, shear=0.08)
        for seed in range(5):
            random = rng(seed)
            # As `generate` draws them: contrast, then grid spacing, then the pose.
            generator._draw_modality(recipe, random)
            artefacts.uniform(0, 1, random)
            _, matrix = generator.positions(ball, recipe, 3.0, False, random)
            sample = generate(ball, seed, contrast="T1W", recipe=recipe)
            volume = float(sample.target.sum()) * 27
            expected = 4 / 3 * math.pi * 24**3 / abs(float(torch.linalg.det(matrix)))
            assert volume == pytest.approx(expected, rel=0.05)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
    def test_on_a_gpu(self, head: Head, samples: list[Sample]) -> None:
        there = head.to("cuda")
        first, again = (generate(there, 0, recipe=SMALL) for _ in range(2))
        assert first.image.device.type == first.target.device.type == "cuda"
        assert torch.equal(first.image, again.image)
        # Places are computed in float32 on both, so a voxel on an edge may fall to either side.
        differ = (first.target.cpu() - samples[0].target).abs() > 0.05
        assert differ.float().mean() < 0.005


class TestArtefacts:
    def test_strength_zero_changes_nothing(self, picture: torch.Tensor) -> None:
        for axis in range(3):
            assert torch.equal(artefacts.blur(picture, 0.0, axis, 3.0), picture)
            assert torch.equal(artefacts.motion(picture, 0.0, axis, 3.0, rng()), picture)
            assert torch.equal(artefacts.ghosts(picture, 0.0, axis, rng()), picture)
        assert torch.equal(artefacts.bias_field(picture, 0.0, rng()), picture)
        assert torch.equal(artefacts.noise(picture, 0.0, rng()), picture)

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_strength_changes_something(self, picture: torch.Tensor, axis: int) -> None:
        spoiled = [
            artefacts.blur(picture, 4.0, axis, 3.0),
            artefacts.motion(picture, 8.0, axis, 3.0, rng()),
            artefacts.ghosts(picture, 0.1, axis, rng()),
            artefacts.bias_field(picture, 0.3, rng()),
            artefacts.noise(picture, 0.1, rng()),
            thick(picture, axis, 6.0, 6.0),
        ]
        for image in spoiled:
            assert image.shape == picture.shape
            assert image.isfinite().all()
            assert (image - picture).abs().mean() > 1e-4

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_slices_of_one_voxel_are_the_image(self, picture: torch.Tensor, axis: int) -> None:
        torch.testing.assert_close(thick(picture, axis, 3.0, 3.0), picture, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize(
        ("thickness", "distance"), [(3, 3), (5, 6.5), (7, 9.1), (2, 9), (40, 50)]
    )
    def test_thick_slices_keep_a_constant(self, thickness: float, distance: float) -> None:
        constant = torch.full((9, 20, 31), 0.7)
        for axis in range(3):
            for seed in range(4):
                image = thick(constant, axis, thickness, distance, seed)
                torch.testing.assert_close(image, constant)

    def test_thick_slices_blur_across_and_not_along(self) -> None:
        ramp = torch.arange(30.0).view(1, 30, 1).expand(30, 30, 30)
        torch.testing.assert_close(thick(ramp, 0, 6.0, 6.0), ramp)
        edge = (torch.arange(30) >= 15).float().view(30, 1, 1).expand(30, 30, 30)
        assert 0.05 < float(thick(edge, 0, 9.0, 9.0)[14, 0, 0]) < 0.95

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_blur_keeps_a_constant_and_the_mean(self, picture: torch.Tensor, axis: int) -> None:
        constant = torch.full((12, 13, 14), 0.3)
        torch.testing.assert_close(artefacts.blur(constant, 5.0, axis, 3.0), constant)
        # Nothing near the edges, so that what is blurred away from one voxel arrives in another.
        centred = torch.zeros_like(picture)
        centred[10:30, 10:30, 10:30] = picture[10:30, 10:30, 10:30]
        blurred = artefacts.blur(centred, 6.0, axis, 3.0)
        assert float(blurred.mean()) == pytest.approx(float(centred.mean()), rel=1e-3)
        assert blurred.std() < centred.std()

    def test_blur_has_the_width_it_is_given(self) -> None:
        point = torch.zeros(41, 1, 1)
        point[20] = 1
        line = artefacts.blur(point, 12.0, 0, 2.0)[:, 0, 0]
        place = torch.arange(41.0) - 20
        sigma = float((line * place**2).sum().sqrt()) * 2.0
        assert sigma * 2.355 == pytest.approx(12.0, rel=0.02)

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_motion_keeps_the_energy(self, picture: torch.Tensor, axis: int) -> None:
        for seed in range(4):
            moved = artefacts.motion(picture, 8.0, axis, 3.0, rng(seed))
            energy = float(moved.square().sum() / picture.square().sum())
            assert energy == pytest.approx(1.0, abs=1e-3)

    def test_motion_along_a_constant_axis_does_not_show(self) -> None:
        image = torch.rand(1, 16, 16, generator=rng()).expand(32, 16, 16)
        torch.testing.assert_close(
            artefacts.motion(image, 9.0, 0, 3.0, rng(1)), image, atol=1e-5, rtol=1e-5
        )

    def test_noise_is_rician(self) -> None:
        empty, bright = torch.zeros(40, 40, 40), torch.full((40, 40, 40), 5.0)
        assert float(artefacts.noise(empty, 0.1, rng()).mean()) == pytest.approx(
            0.1 * math.sqrt(math.pi / 2), rel=0.02
        )
        assert float(artefacts.noise(bright, 0.1, rng()).std()) == pytest.approx(0.1, rel=0.02)

    def test_bias_is_smooth_and_positive(self) -> None:
        field = artefacts.bias_field(torch.ones(40, 40, 40), 0.3, rng())
        assert field.min() > 0
        assert max(float(field.log().diff(dim=axis).abs().max()) for axis in range(3)) < 0.2


def thick(
    image: torch.Tensor, axis: int, thickness: float, distance: float, seed: int = 0
) -> torch.Tensor:
    return artefacts.thick_slices(
        image,
        axis,
        thickness=thickness,
        distance=distance,
        spacing=3.0,
        strength=0.0,
        rng=rng(seed),
    )


class TestContrasts:
    def test_left_and_right_are_one_class(self) -> None:
        table = class_lookup()
        pairs = [(2, 41), (3, 42), (4, 43), (5, 44), (7, 46), (8, 47), (10, 49), (11, 50), (12, 51)]
        pairs += [(13, 52), (17, 53), (18, 54), (25, 57), (26, 58), (28, 60), (30, 62)]
        for left, right in [*pairs, (136, 137), (163, 164)]:
            assert table[left] == table[right]

    def test_no_label_has_two_classes(self) -> None:
        labels = [label for numbers in CLASSES.values() for label in numbers]
        assert len(labels) == len(set(labels))

    def test_unknown_labels_are_outside_the_brain(self) -> None:
        assert NAMES[class_lookup()[999]] == "other"
        assert "other" not in BRAIN_CLASSES
        assert "csf" not in BRAIN_CLASSES

    @pytest.mark.parametrize("contrast", list(CONTRASTS))
    def test_every_class_gets_a_brightness(self, contrast: str) -> None:
        drawn = []
        for seed in range(20):
            means, deviations = draw_contrast(contrast, rng(seed))
            assert means.shape == deviations.shape == (len(NAMES),)
            assert (means >= 0).all()
            assert (deviations >= 0).all()
            drawn.append(means)
        spread = torch.stack(drawn).std(0)
        assert (spread[[NAMES.index("white"), NAMES.index("csf"), NAMES.index("skin")]] > 0).all()

    def test_contrasts_look_like_their_sequences(self) -> None:
        white, csf = NAMES.index("white"), NAMES.index("csf")
        for seed in range(30):
            means = {name: draw_contrast(name, rng(seed))[0] for name in CONTRASTS}
            for fluid_dark in ("T1W", "FLAIR", "DWI"):
                assert means[fluid_dark][csf] < means[fluid_dark][white]
            for fluid_bright in ("T2W", "B0", "ADC"):
                assert means[fluid_bright][csf] > means[fluid_bright][white]

    def test_fluid_and_iron_show_on_swi(self) -> None:
        names = ("cortex", "csf", "pallidum", "putamen", "caudate")
        drawn = torch.stack([draw_contrast("SWI", rng(seed))[0] for seed in range(40)])
        grey, fluid, *nuclei = (drawn[:, NAMES.index(name)] for name in names)
        assert ((fluid / grey - 1).abs() > 0.07).all()  # darker or brighter, never alike
        assert (fluid < grey).any()
        assert (fluid > grey).any()
        pallidum, putamen, caudate = (float((one / grey).mean()) for one in nuclei)
        assert pallidum < putamen < caudate < 1


class TestLabels:
    @pytest.mark.parametrize("radius", [3.0, 9.5, 14.0])
    def test_distance_to_a_ball(self, radius: float) -> None:
        grid = np.indices((41, 41, 41)) - 20
        r = np.sqrt((grid**2).sum(0))
        distance = signed_distance(r <= radius)
        assert distance.dtype == np.float32
        # The voxels of a ball are themselves up to half a voxel off its surface.
        wrong = np.abs(distance - (r - radius))
        assert wrong[r > 1].max() <= 1.0
        assert np.percentile(wrong, 95) <= 0.5
        assert ((distance < 0) == (r <= radius)).all()

    def test_distance_to_a_plane_is_exact(self) -> None:
        mask = np.zeros((20, 4, 4), bool)
        mask[:8] = True
        expected = np.arange(20) - 7.5
        assert np.array_equal(signed_distance(mask)[:, 2, 2], expected.astype(np.float32))

    @pytest.mark.parametrize(
        ("gap", "closed"), [(1, True), (4, True), (7, True), (10, False), (16, False)]
    )
    def test_narrow_sulci_are_closed_and_wide_ones_are_not(self, gap: int, closed: bool) -> None:
        """A groove of CSF in a block of cortex, open at the top."""
        classes = np.full((50, 44, 40), NAMES.index("csf"), np.uint8)
        classes[8:42, 8:36, 6:34] = NAMES.index("cortex")
        first = 25 - gap // 2
        groove = (slice(first, first + gap), slice(8, 36), slice(14, 34))
        classes[groove] = NAMES.index("csf")
        brain = brain_of(classes)
        inside = brain[groove][:, 8:-8, 4:-6]
        assert inside.all() if closed else not inside[gap // 2].any()
        tissue = classes == NAMES.index("cortex")
        assert brain[tissue].all()

    def test_skull_is_never_closed_in(self) -> None:
        classes = np.full((40, 40, 40), NAMES.index("bone"), np.uint8)
        classes[8:32, 8:32, 8:32] = NAMES.index("cortex")
        classes[19:21, 8:32, 20:32] = NAMES.index("bone")
        assert not brain_of(classes)[19:21, 8:32, 20:32].any()

    def test_specks_are_dropped_and_holes_filled(self) -> None:
        classes = np.full((40, 40, 40), NAMES.index("csf"), np.uint8)
        classes[8:32, 8:32, 8:32] = NAMES.index("cortex")
        classes[14:26, 14:26, 14:26] = NAMES.index("csf")
        classes[0:2, 0:2, 0:2] = NAMES.index("cortex")
        brain = brain_of(classes)
        check_brain(brain)
        assert brain[8:32, 8:32, 8:32].all()
        assert not brain[:2, :2, :2].any()

    def test_a_brain_at_the_edge_is_not_closed_against_it(self) -> None:
        classes = np.zeros((40, 40, 20), np.uint8)
        classes[8:32, 8:32, 0:12] = NAMES.index("cortex")
        assert np.array_equal(brain_of(classes), classes > 0)

    def test_the_phantom(self, head: Head) -> None:
        labels, _ = label_map()
        mask = (head.distance < 0).numpy()
        check_brain(mask)
        assert mask.sum() == pytest.approx(np.isin(labels, BRAIN).sum(), rel=0.01)
        assert head.classes.dtype == torch.uint8
        assert head.classes.is_contiguous()
        surface = DISTANCE_STEP * head.distance.float().abs()
        assert surface.min() == 0.5

    @pytest.mark.parametrize("axes", ["RAS", "PIL"])
    def test_storage_order_does_not_matter(self, head: Head, tmp_path: Path, axes: str) -> None:
        again = load_head(write_label_map(tmp_path / "head.nii", axes=axes))
        assert torch.equal(again.classes, head.classes)
        assert torch.equal(again.distance, head.distance)
        assert torch.equal(again.centre, head.centre)

    def test_the_cache_gives_back_the_same_head(self, tmp_path: Path) -> None:
        path = write_label_map(tmp_path / "a.nii.gz", scale=0.3)
        fresh = load_head(path, tmp_path / "cache")
        (stored,) = (tmp_path / "cache").iterdir()
        written = stored.stat().st_mtime_ns
        cached = load_head(path, tmp_path / "cache")
        assert stored.stat().st_mtime_ns == written
        assert torch.equal(cached.classes, fresh.classes)
        assert torch.equal(cached.distance, fresh.distance)
        write_label_map(path, scale=0.3, stretch=1.2)
        assert load_head(path, tmp_path / "cache").classes.shape != fresh.classes.shape

    def test_programs_that_fill_the_cache_at_the_same_time(self, tmp_path: Path) -> None:
        path, cache = write_label_map(tmp_path / "a.nii.gz", scale=0.3), tmp_path / "cache"
        with ThreadPoolExecutor(8) as pool:
            heads = list(pool.map(lambda _: load_head(path, cache), range(8)))
        assert all(torch.equal(one.classes, heads[0].classes) for one in heads)
        assert len(list(cache.iterdir())) == 1

    def test_files_that_are_no_label_maps(self, tmp_path: Path) -> None:
        import nibabel as nib

        labels, affine = label_map(0.3)
        path = tmp_path / "bad.nii.gz"
        bad = {
            "1 mm isotropic, this one is 2 x 2 x 2 mm": (labels, affine @ np.diag([2, 2, 2, 1])),
            "labels must be integers": (labels.astype(np.float32) + 0.5, affine),
            "from 0 to 1023": (labels + np.int16(2000), affine),
            "no white matter": (np.where(np.isin(labels, (2, 41)), 0, labels).astype("i2"), affine),
        }
        for words, (data, place) in bad.items():
            nib.Nifti1Image(data, place).to_filename(path)
            with pytest.raises(ValueError, match=words) as refused:
                load_head(path)
            assert str(path) in str(refused.value)
        path.write_bytes(b"not an image at all")
        with pytest.raises(ValueError, match="bad"):
            load_head(path)
        with pytest.raises(ValueError, match="nowhere"):
            load_head(tmp_path / "nowhere.nii.gz")

    @pytest.mark.data
    @pytest.mark.slow
    def test_a_real_head(self, data_dir: Path) -> None:
        path = data_dir / "head_labels" / "seg_19.nii.gz"
        if not path.exists():
            pytest.skip(f"{path} is not there")
        mask = (load_head(path).distance < 0).numpy()
        check_brain(mask)
        assert 900 < mask.sum() / 1000 < 1900


def check_brain(mask: np.ndarray) -> None:
    """One piece, no holes."""
    assert ndimage.label(mask)[1] == 1
    assert np.array_equal(ndimage.binary_fill_holes(mask), mask)


class TestNormalise:
    def test_scale_and_offset_do_not_matter(self, picture: torch.Tensor) -> None:
        base = normalise(picture)
        torch.testing.assert_close(normalise(picture * 700 - 90), base, atol=1e-4, rtol=1e-4)
        assert base.min() == 0
        assert base.max() <= 3

    def test_constant_volumes_become_zero(self) -> None:
        for value in (0.0, 7.0, -3.0):
            assert torch.equal(normalise(torch.full((8, 8, 8), value)), torch.zeros(8, 8, 8))

    def test_mostly_empty_volumes_keep_what_there_is(self) -> None:
        image = torch.zeros(64, 64, 64)
        image[30:34, 30:34, 30:34] = 5.0
        assert normalise(image).max() == 1

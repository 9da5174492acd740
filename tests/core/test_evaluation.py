"""Lesion masks against references: known values, and what must not change them."""

from __future__ import annotations

import itertools
from math import isnan, nan

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from strokedx_core.evaluation.lesions import MEASURES, compare_lesions, in_order_of
from strokedx_core.evaluation.summary import summarise, summarise_lesions
from strokedx_core.volume import Volume, VolumeError

SHAPE = (24, 20, 16)
EMPTY = np.zeros(SHAPE, bool)
ONE_MM = np.eye(4)
ORDERS = list(
    itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
)


def boxes(*corners):
    """A mask of boxes, each given by slices as ``(i0, i1, j0, j1, k0, k1)``."""
    mask = EMPTY.copy()
    for i0, i1, j0, j1, k0, k1 in corners:
        mask[i0:i1, j0:j1, k0:k1] = True
    return mask


def blobs(seed, shape=SHAPE, share=0.06):
    """Irregular pieces of many sizes."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.3)
    return noise > np.quantile(noise, 1 - share)


def grid(*spacing):
    return np.diag([*spacing, 1.0])


def numbers(scores):
    return {name: getattr(scores, name) for name in MEASURES} | {
        name: getattr(scores, name)
        for name in ("reference_lesions", "predicted_lesions", "found_lesions", "missed_lesions",
                     "false_lesions")
    }  # fmt: skip


CUBE = boxes((4, 10, 4, 10, 4, 10))


def test_a_mask_agrees_with_itself():
    scores = compare_lesions(CUBE, CUBE, grid(1, 2, 3))
    assert scores.dice == scores.lesion_f1 == scores.surface_dice == 1
    assert scores.hausdorff95_mm == 0
    assert scores.reference_ml == pytest.approx(216 * 6 / 1000)
    assert scores.volume_difference_ml == 0
    assert all(isinstance(value, int | float) for value in numbers(scores).values())


def test_two_empty_masks_agree():
    scores = compare_lesions(EMPTY, EMPTY, ONE_MM)
    for name in ("dice", "lesion_f1", "lesion_precision", "lesion_recall", "surface_dice"):
        assert getattr(scores, name) == 1
    assert scores.hausdorff95_mm == scores.reference_ml == scores.predicted_ml == 0


@pytest.mark.parametrize("swapped", [False, True])
def test_one_empty_mask_scores_nothing_and_has_no_distance(swapped):
    prediction, reference = (EMPTY, CUBE) if swapped else (CUBE, EMPTY)
    scores = compare_lesions(prediction, reference, ONE_MM)
    for name in ("dice", "lesion_f1", "lesion_precision", "lesion_recall", "surface_dice"):
        assert getattr(scores, name) == 0
    assert isnan(scores.hausdorff95_mm)
    assert scores.volume_difference_ml == pytest.approx(-0.216 if swapped else 0.216)
    assert scores.absolute_volume_difference_ml == pytest.approx(0.216)
    assert (scores.missed_lesions, scores.false_lesions) == ((1, 0) if swapped else (0, 1))


def test_lesions_found_missed_and_false():
    reference = boxes((1, 4, 1, 4, 1, 4), (10, 12, 10, 12, 10, 12), (20, 22, 2, 4, 2, 4))
    prediction = boxes((3, 6, 3, 6, 3, 6), (20, 21, 2, 3, 2, 3), (15, 17, 15, 17, 2, 4))
    scores = compare_lesions(prediction, reference, ONE_MM)
    assert (scores.reference_lesions, scores.predicted_lesions) == (3, 3)
    assert (scores.found_lesions, scores.missed_lesions, scores.false_lesions) == (2, 1, 1)
    assert scores.lesion_recall == pytest.approx(2 / 3)
    assert scores.lesion_precision == pytest.approx(2 / 3)
    assert scores.lesion_f1 == pytest.approx(2 / 3)
    assert scores.dice == pytest.approx(2 * (1 + 1) / (27 + 8 + 8 + 27 + 1 + 8))


def test_one_prediction_over_two_lesions_finds_both_and_two_over_one_find_one():
    two, bridge = boxes((2, 4, 2, 4, 2, 4), (8, 10, 2, 4, 2, 4)), boxes((2, 10, 2, 4, 2, 4))
    merged = compare_lesions(bridge, two, ONE_MM)
    assert (merged.found_lesions, merged.false_lesions, merged.lesion_f1) == (2, 0, 1)
    split = compare_lesions(two, bridge, ONE_MM)
    assert (split.found_lesions, split.false_lesions, split.lesion_f1) == (1, 0, 1)


def test_pieces_that_share_a_corner_are_one_lesion():
    touching = boxes((2, 4, 2, 4, 2, 4), (4, 6, 4, 6, 4, 6))
    apart = boxes((2, 4, 2, 4, 2, 4), (5, 7, 4, 6, 4, 6))
    assert compare_lesions(touching, touching, ONE_MM).reference_lesions == 1
    assert compare_lesions(apart, apart, ONE_MM).reference_lesions == 2


@pytest.mark.parametrize("seed", range(3))
def test_precision_recall_and_f1_belong_together(seed):
    scores = compare_lesions(blobs(seed), blobs(seed + 10), ONE_MM)
    precision, recall = scores.lesion_precision, scores.lesion_recall
    assert 0 < precision < 1
    assert scores.lesion_f1 == pytest.approx(2 * precision * recall / (precision + recall))


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.5, 2, 4)], ids=str)
def test_a_shift_of_a_lesion_is_its_hausdorff_distance(axis, spacing):
    moved = np.roll(CUBE, 3, axis)
    scores = compare_lesions(moved, CUBE, grid(*spacing))
    # Of a cube's border, far more than a twentieth lies on the face that moved away.
    assert scores.hausdorff95_mm == pytest.approx(3 * spacing[axis])
    assert scores.volume_difference_ml == 0


@pytest.mark.parametrize(
    ("spacing", "voxels", "expected"),
    [((1, 1, 1), 2, 1.0), ((2, 1, 1), 1, 1.0), ((0.5, 0.5, 0.5), 4, 1.0), ((3, 1, 1), 1, None)],
)
def test_surfaces_within_two_millimetres_agree(spacing, voxels, expected):
    score = compare_lesions(np.roll(CUBE, voxels, 0), CUBE, grid(*spacing)).surface_dice
    if expected is None:
        assert 0.3 < score < 0.9  # the four faces along the shift still agree, its two ends do not
    else:
        assert score == pytest.approx(expected)


def test_a_shift_of_exactly_the_tolerance_agrees_on_a_turned_grid_too():
    turn, affine = 0.3, np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine = affine.astype(np.float32).astype(float) @ grid(2 + 1e-7, 1, 1)
    assert compare_lesions(np.roll(CUBE, 1, 0), CUBE, affine).surface_dice == 1


@pytest.mark.parametrize("thickness", [1, 2, 4, 6])
def test_slice_thickness_does_not_change_surface_dice(thickness):
    """Border voxels counted one by one would: thick slices have few of them along their rims."""
    cube = np.zeros((36, 36, 36 // thickness), bool)
    cube[5:29, 6:30, 6 // thickness : 30 // thickness] = True
    score = compare_lesions(np.roll(cube, 3, 0), cube, grid(1, 1, thickness)).surface_dice
    # Too far off are, of six faces, the one outside the other cube, the one inside but for the 2 mm
    # along its rim, and 1 mm of the other four.
    wrong = 24 * 24 + 20 * 20 + 4 * 24
    assert score == pytest.approx(1 - wrong / (6 * 24 * 24), abs=0.04)


@pytest.mark.parametrize("seed", range(3))
def test_dice_surface_dice_and_hausdorff_are_symmetric(seed):
    a, b, affine = blobs(seed), blobs(seed + 10), grid(0.9, 1.1, 3)
    there, back = compare_lesions(a, b, affine), compare_lesions(b, a, affine)
    for name in ("dice", "surface_dice", "hausdorff95_mm", "absolute_volume_difference_ml"):
        assert getattr(there, name) == pytest.approx(getattr(back, name))
    assert there.volume_difference_ml == pytest.approx(-back.volume_difference_ml)
    assert there.missed_lesions == back.false_lesions


@pytest.mark.parametrize("corner", list(itertools.product((0, 1), repeat=3)), ids=str)
def test_place_in_the_image_does_not_matter_even_at_its_border(corner):
    a, b = blobs(3, (12, 10, 9)), blobs(4, (12, 10, 9))
    affine, room = grid(1, 1, 2.5), [(5 * c, 5 * (1 - c)) for c in corner]
    expected = compare_lesions(a, b, affine)
    padded = compare_lesions(np.pad(a, room), np.pad(b, room), affine)
    assert numbers(padded) == pytest.approx(numbers(expected))


def test_type_and_value_of_masks_do_not_matter():
    a, b = blobs(0), blobs(10)
    expected = compare_lesions(a, b, ONE_MM)
    assert compare_lesions(a * np.uint8(3), b.astype(np.float32) * -1, ONE_MM) == expected


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shape"):
        compare_lesions(EMPTY, EMPTY[1:], ONE_MM)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
def test_cropping_changes_nothing_that_monai_measures():
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    a, b, spacing = blobs(5, share=0.02), blobs(15, share=0.02), (0.8, 1.2, 2.5)
    scores = compare_lesions(a, b, grid(*spacing))
    pair = [torch.from_numpy(mask)[None, None].float() for mask in (a, b)]
    options = {"include_background": True, "spacing": spacing}
    share = compute_surface_dice(*pair, [2.0], use_subvoxels=True, **options)
    distance = compute_hausdorff_distance(*pair, percentile=95, **options)
    assert scores.surface_dice == pytest.approx(float(share))
    assert scores.hausdorff95_mm == pytest.approx(float(distance))


def test_hausdorff_is_that_of_distance_transforms():
    a, b, spacing = blobs(6), blobs(16), (0.8, 1.2, 2.5)
    borders = [mask & ~ndimage.binary_erosion(mask) for mask in (a, b)]
    ways = [
        ndimage.distance_transform_edt(~to, sampling=spacing)[start]
        for start, to in (borders, borders[::-1])
    ]
    expected = max(np.percentile(way, 95) for way in ways)
    assert compare_lesions(a, b, grid(*spacing)).hausdorff95_mm == pytest.approx(expected)


def stored(mask, affine, order, signs, name="a.nii"):
    """The same mask in the same place, its axes stored otherwise."""
    turn = np.column_stack([order, signs])
    data = nib.apply_orientation(mask, turn)
    return Volume(data, affine @ nib.orientations.inv_ornt_aff(turn, mask.shape), None, name)


@pytest.mark.parametrize(("order", "signs"), ORDERS, ids=str)
def test_storage_order_does_not_matter(order, signs):
    affine = grid(1, 1.5, 4) @ nib.affines.from_matvec(np.eye(3), [-20, 30, -7])
    turn = np.eye(4)
    turn[:2, :2] = [[0.96, -0.28], [0.28, 0.96]]
    affine = turn @ affine
    a, b = blobs(7), blobs(17)
    expected = numbers(compare_lesions(a, b, affine))
    reference = Volume(b, affine, None, "b.nii")
    turned = stored(a, affine, order, signs)
    assert np.array_equal(in_order_of(turned, reference), a)
    both = stored(b, affine, order, signs)
    assert numbers(compare_lesions(turned.data, both.data, both.affine)) == pytest.approx(expected)


def test_rounding_of_affines_is_no_difference():
    affine = grid(1.1, 1.1, 5)
    close = affine + np.random.default_rng(0).normal(0, 1e-4, (4, 4))
    close[3] = affine[3]
    volumes = Volume(CUBE, close, None, "a.nii"), Volume(CUBE, affine, None, "b.nii")
    assert np.array_equal(in_order_of(*volumes), CUBE)


@pytest.mark.parametrize(
    ("data", "affine", "message"),
    [
        (CUBE[1:], grid(1, 2, 3), r"a.nii: on another grid than b.nii \(23 × 20 × 16 voxels of"),
        (CUBE, grid(1, 2, 3.1), r"of 1 × 2 × 3.1 mm, not 24 × 20 × 16 voxels of 1 × 2 × 3 mm"),
        (CUBE, grid(1, 2, 3) + np.eye(4, k=3) * 0.5, r"voxels lie up to 0.5 mm from"),
    ],
    ids=["shape", "spacing", "place"],
)
def test_grids_must_match(data, affine, message):
    reference = Volume(CUBE, grid(1, 2, 3), None, "b.nii")
    with pytest.raises(VolumeError, match=message):
        in_order_of(Volume(data, affine, None, "a.nii"), reference)


def test_summary_of_known_numbers():
    estimate = summarise([1, 2, 3, 4, 10, nan])
    assert estimate.count == 5
    assert (estimate.mean.value, estimate.median.value) == (4, 3)
    for interval in (estimate.mean, estimate.median):
        assert 1 <= interval.low < interval.value < interval.high <= 10


def test_summary_of_equal_numbers_of_one_and_of_none():
    same = summarise([0.7] * 9)
    assert (same.mean.low, same.mean.high) == pytest.approx((0.7, 0.7))
    one = summarise([0.7])
    assert (one.count, one.mean.value, one.median.value) == (1, 0.7, 0.7)
    assert isnan(one.mean.low)
    assert isnan(one.median.high)
    none = summarise([nan, nan])
    assert none.count == 0
    assert isnan(none.mean.value)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_intervals_are_those_of_scipy(statistic):
    values = np.random.default_rng(3).beta(4, 2, 60)
    ours = getattr(summarise(values, resamples=20_000), statistic)
    theirs = stats.bootstrap(
        (values,), getattr(np, statistic), n_resamples=20_000, method="percentile"
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.006)


def test_the_interval_of_a_mean_holds_the_truth_as_often_as_it_says():
    random = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        interval = summarise(random.normal(5, 2, 40), resamples=500).mean
        held += interval.low <= 5 <= interval.high
    assert 0.88 <= held / 200 <= 0.99


def test_seeds_and_blocks(monkeypatch):
    values = np.random.default_rng(0).normal(size=30)
    assert summarise(values, seed=4) == summarise(values, seed=4)
    assert summarise(values, seed=4) != summarise(values, seed=5)
    whole = summarise(values)
    monkeypatch.setattr("strokedx_core.evaluation.summary._BLOCK", 1000)
    assert summarise(values) == whole


def test_summary_over_cases_counts_lesions_and_empty_references():
    scores = [
        compare_lesions(CUBE, CUBE, ONE_MM),
        compare_lesions(EMPTY, EMPTY, ONE_MM),
        compare_lesions(CUBE, EMPTY, ONE_MM),
        compare_lesions(EMPTY, boxes((1, 3, 1, 3, 1, 3), (6, 8, 6, 8, 6, 8)), ONE_MM),
    ]
    summary = summarise_lesions(scores)
    assert summary.cases == 4
    assert (summary.reference_lesions, summary.found_lesions, summary.false_lesions) == (3, 1, 1)
    assert (summary.empty_references, summary.left_empty) == (2, 1)
    assert list(summary.measures) == list(MEASURES)
    assert summary.measures["dice"].mean.value == 0.5
    assert summary.measures["hausdorff95_mm"].count == 2

"""Properties of resampling, and of the way to the working grid and back."""

from __future__ import annotations

import time
from itertools import permutations, product

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from strokedx_core.volume import (
    back_to_grid,
    onto_grid,
    resample,
    to_canonical,
    working_grid,
)

RNG = np.random.default_rng(0)
STEPS = [(0.4, 0.7, 1.0), (1.3, 2.0, 0.5), (2.13, 3.7, 5.2), (1.0001, 1.5, 1.99)]
LAYOUTS = list(product(permutations(range(3)), product((1, -1), repeat=3)))


def noise(shape: tuple[int, ...] = (14, 17, 20)) -> np.ndarray:
    return RNG.normal(0, 1, shape).astype(np.float32)


def ramp(shape: tuple[int, ...], start=(0, 0, 0), step=(1, 1, 1)) -> np.ndarray:
    x, y, z = (a + b * np.arange(n) for n, a, b in zip(shape, start, step, strict=True))
    return 2 * x[:, None, None] - 3 * y[:, None] + 0.5 * z + 7


def test_identity_changes_nothing() -> None:
    data = noise()
    np.testing.assert_array_equal(resample(data, data.shape, (0, 0, 0), (1, 1, 1)), data)


def test_whole_voxel_shifts_copy_values() -> None:
    data = noise()
    out = resample(data, (10, 10, 10), (2, 3, 4), (1, 1, 1))
    np.testing.assert_array_equal(out, data[2:12, 3:13, 4:14])


@pytest.mark.parametrize("step", STEPS)
def test_a_constant_stays(step: tuple[float, float, float]) -> None:
    data = np.full((14, 17, 20), 0.7, np.float32)
    out = resample(data, (9, 8, 12), (-0.5, 1.2, 0.3), step)
    np.testing.assert_allclose(out, 0.7, rtol=1e-6)
    assert out.dtype == np.float32


@pytest.mark.parametrize("step", STEPS)
def test_straight_lines_stay_straight(step: tuple[float, float, float]) -> None:
    shape, start, count = (40, 45, 50), (8.3, 7.7, 9.1), (9, 8, 7)
    out = resample(ramp(shape), count, start, step)
    np.testing.assert_allclose(out, ramp(count, start, step), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("step", [(0.4, 0.7, 1.0), (0.33, 0.9, 0.5)])
@pytest.mark.parametrize(("outside", "mode"), [("edge", "nearest"), ("zero", "constant")])
def test_steps_up_to_one_are_trilinear_interpolation(
    step: tuple[float, float, float], outside: str, mode: str
) -> None:
    data, count, start = noise(), (30, 25, 28), (-1.3, 2.2, -0.6)
    where = np.meshgrid(
        *(a + b * np.arange(n) for a, b, n in zip(start, step, count, strict=True)), indexing="ij"
    )
    # map_coordinates drops to zero at once beyond the outermost voxel; zeros around make it fade.
    padded = np.pad(data, 3) if outside == "zero" else data
    shift = 3 if outside == "zero" else 0
    expected = map_coordinates(padded, [axis + shift for axis in where], order=1, mode=mode)
    out = resample(data, count, start, step, outside=outside)
    np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_order_does_not_matter(layout: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    order, signs = layout
    data = noise((12, 9, 15))
    stored = np.ascontiguousarray(data.transpose(order)[tuple(slice(None, None, s) for s in signs)])
    same = stored[tuple(slice(None, None, s) for s in signs)].transpose(np.argsort(order))
    np.testing.assert_array_equal(same, data)
    expected = resample(data, (7, 14, 6), (0.2, -0.4, 1.0), (1.6, 0.6, 2.3))
    out = resample(same, (7, 14, 6), (0.2, -0.4, 1.0), (1.6, 0.6, 2.3))
    np.testing.assert_allclose(out, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float64, ">f4"])
def test_any_real_type(dtype: str) -> None:
    data = (noise() > 0).astype(dtype)
    out = resample(data, (7, 8, 9), (0.5, 0.5, 0.5), (2, 2, 2))
    expected = resample(data.astype(np.float32), (7, 8, 9), (0.5, 0.5, 0.5), (2, 2, 2))
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("step", [2.0, 2.5, 3.0, 4.7])
def test_detail_too_fine_for_the_output_is_averaged_away(step: float) -> None:
    checkerboard = np.indices((40, 40, 40)).sum(axis=0) % 2
    count = int(30 / step)
    out = resample(checkerboard, (count,) * 3, (5.0,) * 3, (step,) * 3)
    np.testing.assert_allclose(out, 0.5, atol=0.01)


@pytest.mark.parametrize("step", np.arange(1.0, 6.0, 0.17))
def test_nothing_overshoots(step: float) -> None:
    data = (noise((25, 25, 25)) > 0.5).astype(np.float32)
    for offset in (0.0, 0.25, 0.5, 0.93):
        out = resample(data, (20, 20, 20), (offset - 2,) * 3, (step,) * 3)
        assert out.min() >= -1e-6
        assert out.max() <= 1 + 1e-6


def test_beyond_the_image_lies_its_edge_or_zero() -> None:
    data = np.ones((6, 6, 6), np.float32)
    far = {"shape_out": (3, 3, 3), "start": (50, 50, 50), "step": (1, 2.5, 1)}
    np.testing.assert_allclose(resample(data, **far), 1, rtol=1e-6)
    np.testing.assert_array_equal(resample(data, **far, outside="zero"), 0)


@pytest.mark.parametrize(
    "wrong", [{"step": (1, 0, 1)}, {"step": (1, -1, 1)}, {"outside": "mirror"}]
)
def test_wrong_arguments(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"step|outside"):
        resample(noise(), **{"shape_out": (3, 3, 3), "start": (0, 0, 0), "step": (1, 1, 1)} | wrong)


def test_a_smooth_field_survives_going_down_and_up() -> None:
    x, y, z = np.meshgrid(*(np.linspace(0, 1, n) for n in (60, 66, 72)), indexing="ij")
    field = np.sin(4 * x) * np.cos(3 * y) + np.sin(5 * z)
    shape, start, step = working_grid(field.shape, np.eye(4), 2.0)
    back = back_to_grid(resample(field, shape, start, step), field.shape, start, step)
    assert np.abs(back - field).mean() < 0.01


GRIDS = [
    ((256, 256, 256), (1.0, 1.0, 1.0)),
    ((181, 217, 181), (1.0, 1.0, 1.0)),
    ((256, 256, 30), (0.94, 0.94, 5.0)),
    ((40, 230, 190), (4.4, 0.8, 0.9)),
    ((112, 112, 73), (2.0, 2.0, 2.0)),
]


@pytest.mark.parametrize("spacing_mm", [1.0, 1.6, 2.13, 3.0])
@pytest.mark.parametrize(("shape", "spacing"), GRIDS)
def test_working_grid_covers_the_field_of_view(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], spacing_mm: float
) -> None:
    count, start, step = working_grid(shape, np.diag([*spacing, 1]), spacing_mm)
    for n, size, m, a, b in zip(shape, spacing, count, start, step, strict=True):
        assert b * size == pytest.approx(spacing_mm)
        low, high = a - b / 2, a + b * (m - 1) + b / 2
        assert low + high == pytest.approx(n - 1)
        assert 0 <= high - low - n < b or high - low == pytest.approx(n, abs=0.01)


def test_fields_of_view_that_divide_evenly_have_the_same_edges() -> None:
    assert working_grid((60, 90, 30), np.diag([1, 2, 6, 1]), 3.0) == (
        (20, 60, 60),
        (1.0, 0.25, -0.25),
        (3.0, 1.5, 0.5),
    )


@pytest.mark.parametrize("spacing_mm", [1.6, 2.0])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.94, 0.94, 5.0), (4.0, 0.7, 0.7), (0.5, 3.5, 1)])
def test_a_mask_goes_there_and_back(spacing: tuple[float, float, float], spacing_mm: float) -> None:
    shape = tuple(int(200 / size) for size in spacing)
    middle = [(n - 1) / 2 for n in shape]
    mm = np.meshgrid(
        *((np.arange(n) - c) * s for n, c, s in zip(shape, middle, spacing, strict=True)),
        indexing="ij",
    )
    centre, radii = (5, -8, 3), (65, 80, 60)
    mask = sum(((axis - c) / r) ** 2 for axis, c, r in zip(mm, centre, radii, strict=True)) < 1
    grid = working_grid(shape, np.diag([*spacing, 1]), spacing_mm)
    there = resample(mask, *grid) > 0.5
    back = back_to_grid(there, shape, *grid[1:]) > 0.5
    dice = 2 * (mask & back).sum() / (mask.sum() + back.sum())
    assert dice > 0.98
    place = [np.average(axis, weights=back) for axis in mm]
    np.testing.assert_allclose(place, centre, atol=0.1)


def test_a_whole_head_is_resampled_in_a_moment() -> None:
    data = np.asfortranarray(noise((256, 256, 256)))
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        resample(data, (120, 120, 120), (0.5, 0.5, 0.5), (2.13, 2.13, 2.13))
        seconds.append(time.perf_counter() - begin)
    assert min(seconds) < 1.0


class TestOntoGrid:
    """Between grids that lie anywhere."""

    def place(self, degrees: float, spacing: tuple[float, ...], origin: tuple[float, ...]):
        angle = np.radians(degrees)
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        tip = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
        affine = np.eye(4)
        affine[:3, :3] = turn @ tip * spacing
        affine[:3, 3] = origin
        return affine

    @pytest.mark.parametrize("degrees", [0, 7, 30, 90, 135])
    @pytest.mark.parametrize("spacing", [(1, 1, 1), (0.6, 0.7, 4), (3, 2.5, 2)])
    def test_a_slope_stays_a_slope(self, degrees, spacing):
        slope = np.array([0.3, -0.2, 0.5])
        affine = self.place(degrees, spacing, (-30, 10, 5))
        shape = tuple(int(80 / size) for size in spacing)
        middle = affine @ [*((np.array(shape) - 1) / 2), 1]
        data = np.einsum("c,cijk->ijk", slope, at(affine, shape)) + 100
        onto = self.place(20, (1.6, 1.6, 1.6), (0, 0, 0))
        onto[:3, 3] = middle[:3] - onto[:3, :3] @ [9.5, 9.5, 9.5]
        expected = np.einsum("c,cijk->ijk", slope, at(onto, (20, 20, 20))) + 100
        found = onto_grid(data, affine, (20, 20, 20), onto)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=0.05)

    @pytest.mark.parametrize("degrees", [0, 25])
    def test_beyond_the_field_of_view_is_zero_and_its_edge_is_not(self, degrees):
        affine = self.place(degrees, (2, 2, 5), (0, 0, 0))
        shape, wide = (20, 20, 8), (60, 60, 60)
        onto = self.place(degrees / 2, (1.5, 1.5, 1.5), (-25, -20, -20))
        found = onto_grid(np.full(shape, 7.0), affine, wide, onto)
        voxels = np.einsum("ab,bijk->aijk", np.linalg.inv(affine)[:3, :3], at(onto, wide))
        limits = np.reshape(shape, (3, 1, 1, 1)) - 0.5
        surely_in = ((voxels > -0.49) & (voxels < limits - 0.01)).all(axis=0)
        surely_out = ((voxels < -0.51) | (voxels > limits + 0.01)).any(axis=0)
        assert surely_in.any()
        np.testing.assert_allclose(found[surely_in], 7, rtol=1e-5)
        assert not found[surely_out].any()

    def test_parallel_grids_in_any_order_of_axes_are_resampled_exactly(self):
        data = np.random.default_rng(0).random((12, 14, 10))
        affine = np.array([[0, 0, -2, 9], [2, 0, 0, -3], [0, -2, 0, 20], [0, 0, 0, 1.0]])
        canonical, affine_ras = to_canonical(data, affine)
        found = onto_grid(data, affine, canonical.shape, affine_ras)
        np.testing.assert_allclose(found, canonical, rtol=1e-6)

    @pytest.mark.parametrize("degrees", [0, 20])
    def test_detail_too_fine_for_the_grid_is_averaged_away(self, degrees):
        stripes = np.indices((90, 90, 90)).sum(0) % 2 * 100.0
        affine = self.place(degrees, (0.5, 0.5, 0.5), (0, 0, 0))
        onto = np.diag([1.6, 1.6, 1.6, 1.0])
        onto[:3, 3] = (affine @ [44.5, 44.5, 44.5, 1])[:3] - 1.6 * 4.5
        found = onto_grid(stripes, affine, (10, 10, 10), onto)
        np.testing.assert_allclose(found, 50, atol=5)


def at(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """RAS millimetres of each voxel, (3, i, j, k)."""
    return (
        np.einsum("ab,bijk->aijk", affine[:3, :3], np.indices(shape))
        + affine[:3, 3][:, None, None, None]
    )

"""Pieces of a mask."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from strokedx_core.components import components
from strokedx_core.inference.lesions import drop_small


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 1, 1), (1, 5, 1), (5, 1, 3), (5, 5, 5)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_isolated_voxels_are_pieces_in_boxes_of_any_shape(
    shape: tuple[int, int, int], order: str
) -> None:
    mask = np.zeros(shape, bool, order=order)  # type: ignore[call-overload]
    mask[::2, ::2, ::2] = True
    found = components(mask)
    assert found.shape == shape
    assert np.array_equal(found > 0, mask)
    assert found.max() == mask.sum()


def test_what_touches_by_a_corner_is_one_piece() -> None:
    mask = np.random.default_rng(0).random((9, 8, 7)) < 0.1
    expected, count = ndimage.label(mask, np.ones((3, 3, 3)))
    found = components(mask)
    pairs = set(zip(expected[mask].tolist(), found[mask].tolist(), strict=True))
    assert len(pairs) == count == found.max()


def test_two_voxels_in_a_line_are_left_out_or_kept() -> None:
    mask = np.zeros((9, 9, 9), bool)
    mask[4, 4, [3, 5]] = True
    assert not drop_small(mask, 0.001).any()
    assert np.array_equal(drop_small(mask, 1.0), mask)

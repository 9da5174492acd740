"""Agreement of masks."""

from __future__ import annotations

import numpy as np
import pytest

from strokedx_core.evaluation.metrics import dice, volume_ml

EMPTY = np.zeros((4, 5, 6), bool)
FULL = np.ones((4, 5, 6), bool)
HALF = np.arange(120).reshape(4, 5, 6) < 60


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (EMPTY, EMPTY, 1.0),
        (EMPTY, FULL, 0.0),
        (FULL, FULL, 1.0),
        (HALF, FULL, 2 * 60 / (60 + 120)),
        (HALF, ~HALF, 0.0),
        (HALF.astype(np.uint8) * 7, HALF.astype(np.float32), 1.0),
    ],
)
def test_dice(a, b, expected):
    assert dice(a, b) == pytest.approx(expected)
    assert dice(b, a) == pytest.approx(expected)


def test_dice_refuses_grids_that_differ():
    with pytest.raises(ValueError, match=r"\(4, 5, 6\).*\(6, 5, 4\)"):
        dice(FULL, FULL.transpose())


@pytest.mark.parametrize("turn", [0.0, 0.4])
def test_volume_of_a_turned_anisotropic_grid(turn):
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine[:3, :3] = affine[:3, :3] @ np.diag([-0.5, 2.0, 4.0])
    assert volume_ml(HALF, affine) == pytest.approx(60 * 4 / 1000)
    assert volume_ml(EMPTY, affine) == 0

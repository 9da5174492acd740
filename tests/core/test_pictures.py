"""Pictures of masks: to scale, the right way round, in any orientation."""

from __future__ import annotations

import itertools
from io import BytesIO

import matplotlib.image
import numpy as np
import pytest
from heads import ellipsoid_head

from strokedx_core.evaluation.pictures import _face, _slices, mask_overlay


def orange(path):
    """Where the outline of the mask is drawn, without the legend above the slices."""
    picture = matplotlib.image.imread(path)[80:, :, :3]
    red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
    return (red > 0.7) & (green > 0.3) & (green < 0.75) & (blue < 0.35)


def draw(tmp_path, head, **options):
    path = tmp_path / "overlay.png"
    mask_overlay(head.data, head.brain, head.affine, path, "T1W", **options)
    return path


def test_the_outline_is_drawn_once_for_each_slice(tmp_path):
    head = ellipsoid_head((32, 36, 30), (6, 6, 6))
    drawn = orange(draw(tmp_path, head, columns=3))
    assert drawn.any()
    assert all(part.any() for row in np.array_split(drawn, 3) for part in np.array_split(row, 3, 1))


def test_thick_slices_are_drawn_to_scale(tmp_path):
    thin = orange(draw(tmp_path, ellipsoid_head((64, 72, 60), (3, 3, 3)), columns=1))
    thick = orange(draw(tmp_path, ellipsoid_head((64, 72, 30), (3, 3, 6)), columns=1))
    for fine, coarse in zip(np.array_split(thin, 3), np.array_split(thick, 3), strict=True):
        assert np.ptp(np.nonzero(fine), axis=1) == pytest.approx(
            np.ptp(np.nonzero(coarse), axis=1), abs=12
        )


def test_right_is_drawn_on_the_left_and_the_front_on_the_left_of_sagittal_slices():
    right, front, top = np.indices((4, 5, 6), dtype=np.float32)
    assert (np.diff(_face(right, 2, 0), axis=1) < 0).all()
    assert (np.diff(_face(front, 2, 0), axis=0) > 0).all()
    assert (np.diff(_face(right, 1, 0), axis=1) < 0).all()
    assert (np.diff(_face(top, 1, 0), axis=0) > 0).all()
    assert (np.diff(_face(front, 0, 0), axis=1) < 0).all()
    assert (np.diff(_face(top, 0, 0), axis=0) > 0).all()


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
@pytest.mark.parametrize("flipped", [(), (0,), (1, 2)], ids=str)
def test_every_storage_order_gives_the_same_picture(tmp_path, order, flipped):
    head = ellipsoid_head((16, 18, 15), (12, 12, 12))
    head.brain[:8] = False  # one hemisphere only, so that a mirrored picture would show
    expected = draw(tmp_path, head, columns=2).read_bytes()
    affine = head.affine[:, [*order, 3]]
    data, brain = head.data.transpose(order), head.brain.transpose(order)
    for axis in flipped:
        affine = affine.copy()
        affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
        affine[:3, axis] *= -1
        data, brain = np.flip(data, axis), np.flip(brain, axis)
    stored = type(head)(data, affine, brain)
    assert draw(tmp_path, stored, columns=2).read_bytes() == expected


def test_slices_pass_over_gaps_and_show_what_is_asked_for(tmp_path):
    mask = np.zeros((40, 4, 4), bool)
    mask[[3, 4, 5, 30]] = True
    assert _slices(mask, 0, 2) == [4, 5]
    head = ellipsoid_head((16, 18, 15), (12, 12, 12))
    head.brain[:, :, 8:] = False
    whole = orange(draw(tmp_path, head, columns=2, through=np.ones_like(head.brain)))
    axial = whole[: whole.shape[0] // 3]
    assert axial[:, : axial.shape[1] // 2].any()
    assert not axial[:, axial.shape[1] // 2 :].any()


def test_a_picture_can_go_to_memory(tmp_path):
    head, stream = ellipsoid_head((16, 18, 15), (12, 12, 12)), BytesIO()
    mask_overlay(head.data, head.brain, head.affine, stream, "T1W", columns=2)
    assert stream.getvalue() == draw(tmp_path, head, columns=2).read_bytes()


def test_an_empty_mask_still_gives_a_picture(tmp_path):
    head = ellipsoid_head((16, 18, 15), (12, 12, 12))
    head.brain[:] = False
    path = draw(tmp_path, head, reference=head.brain, columns=2)
    assert matplotlib.image.imread(path).std() > 0
    assert not orange(path).any()


def test_shapes_must_agree(tmp_path):
    head = ellipsoid_head((16, 18, 15), (12, 12, 12))
    with pytest.raises(ValueError, match="mask has shape"):
        mask_overlay(head.data, head.brain[1:], head.affine, tmp_path / "a.png", "")
    with pytest.raises(ValueError, match="reference has shape"):
        mask_overlay(
            head.data, head.brain, head.affine, tmp_path / "a.png", "", reference=head.brain[1:]
        )
    with pytest.raises(ValueError, match="through has shape"):
        mask_overlay(
            head.data, head.brain, head.affine, tmp_path / "a.png", "", through=head.brain[1:]
        )
    assert not (tmp_path / "a.png").exists()

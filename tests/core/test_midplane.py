"""The plane between the hemispheres, from what both of them show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from strokedx_core.anatomy.midplane import midplane_distance

SHAPE, CENTRE = (64, 80, 64), np.array([33.0, 38.0, 30.0])


def brain_at(
    turn: Rotation, shift: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A symmetric brain with dark ventricles and brighter grey matter, turned and shifted: images,
    brain, places in the brain's own axes, and how far each voxel truly lies from its midplane."""
    voxels = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1) - CENTRE
    x, y, z = np.moveaxis((voxels - [shift, 0, 0]) @ turn.as_matrix(), -1, 0)
    radius = (x / 26) ** 2 + (y / 34) ** 2 + (z / 24) ** 2
    # Behind and below there is a cerebellum, darker, and between both a gap.
    brain = (radius < 1) & ((y + 22) ** 2 + (z + 13) ** 2 > 12) & ((z > -14) | (np.abs(y + 8) < 20))
    image = np.where(radius > 0.8, 1.2, 1.0)
    image[((np.abs(x) - 5) / 3) ** 2 + (y / 12) ** 2 + (z / 5) ** 2 < 1] = 0.3
    image[((np.abs(x) - 13) / 4) ** 2 + ((y - 6) / 8) ** 2 + (z / 6) ** 2 < 1] = 1.5
    image[(y < -4) & (z < -8)] = 0.7
    image = np.where(brain, image, 0) + np.random.default_rng(0).normal(0, 0.05, SHAPE) * brain
    places = torch.from_numpy(np.stack([x, y, z]))
    return torch.from_numpy(image).float()[None], torch.from_numpy(brain), places, places[0]


@pytest.mark.parametrize("infarct", [False, True])
@pytest.mark.parametrize(
    ("degrees", "shift"), [((0, 0), 0), ((0, 12), -3), ((-10, 0), 4), ((7, -9), 2)]
)
def test_the_plane_is_found_in_a_turned_head(
    degrees: tuple[float, float], shift: float, infarct: bool
) -> None:
    image, brain, places, truth = brain_at(Rotation.from_euler("yz", degrees, degrees=True), shift)
    if infarct:  # a third of one half, three times as bright
        image = torch.where(brain & (places[0] > 6) & (places[1] > -4), 3 * image, image)
    found = midplane_distance(image, brain)
    assert found.dtype == torch.float32
    assert float((found - truth)[brain].abs().max()) < (2.0 if infarct else 0.5)


def test_sequences_that_are_not_there_do_not_count() -> None:
    image, brain, _, _ = brain_at(Rotation.from_euler("y", 8, degrees=True), 2)
    more = torch.cat((torch.zeros_like(image), image, torch.zeros_like(image)))
    assert torch.equal(midplane_distance(more, brain), midplane_distance(image, brain))


def test_without_a_brain_there_is_no_plane() -> None:
    image, brain, _, _ = brain_at(Rotation.identity(), 0)
    assert not midplane_distance(image, torch.zeros_like(brain)).any()

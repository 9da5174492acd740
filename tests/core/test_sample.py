"""The case that ships: several modalities on grids of their own, each with its true mask."""

from __future__ import annotations

import numpy as np

from strokedx_core.sample import sample_case
from strokedx_core.tasks import MODALITIES
from strokedx_core.volume import read_mask, read_volume


def test_modalities_lie_on_different_grids_and_show_the_same_brain():
    case = sample_case()
    assert {"T1W", "FLAIR", "DWI"} <= set(case) <= set(MODALITIES)
    grids, volumes = set(), []
    for scan, mask in case.values():
        volume, truth = read_volume(scan), read_mask(mask)
        assert volume.shape == truth.shape
        assert np.array_equal(volume.affine, truth.affine)
        grids.add((volume.shape, *volume.affine.round(3).ravel()))
        volumes.append(np.count_nonzero(truth.data) * truth.voxel_ml)
    assert len(grids) == len(case)
    assert 900 < min(volumes) <= max(volumes) < 1.05 * min(volumes) < 2000


def test_it_is_a_few_megabytes():
    files = [path for pair in sample_case().values() for path in pair]
    assert sum(path.stat().st_size for path in files) < 8_000_000

"""The case that ships: several modalities on grids of their own, each with its true mask."""

from __future__ import annotations

import numpy as np

from strokedx_core.sample import sample_case, sample_stroke
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
    stroke = sample_stroke()
    files += [*stroke.scans.values(), stroke.brain, stroke.lesion]
    assert sum(path.stat().st_size for path in files) < 8_000_000


def test_the_infarct_is_bright_on_dwi_and_dark_on_adc():
    stroke = sample_stroke()
    brain, lesion = read_mask(stroke.brain).data, read_mask(stroke.lesion).data
    assert lesion.any()
    assert not (lesion & ~brain).any()
    dwi, adc = (read_volume(stroke.scans[name]).data for name in ("DWI", "ADC"))
    around = brain & ~lesion
    assert dwi[lesion].mean() > 1.4 * dwi[around].mean()
    assert adc[lesion].mean() < 0.8 * adc[around].mean()

"""What the shipped weights owe on real scans, where there are any to check on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from strokedx_core.evaluation.metrics import dice
from strokedx_core.inference.clicks import Click, ClickSession
from strokedx_core.inference.segment import segment_lesions
from strokedx_core.inference.skull_strip import skull_strip
from strokedx_core.synthesis.clicks import simulate_clicks
from strokedx_core.volume import read_mask, read_volume

# Dice of deepbet 1.0.2 against the same references.
DEEPBET = {
    "patient01_study1_FLAIR": 0.962,
    "patient01_study1_T1W": 0.964,
    "patient01_study1_T2W": 0.953,
    "patient01_study2_FLAIR": 0.959,
    "patient01_study2_T1W": 0.951,
    "patient01_study2_T2W": 0.951,
    "patient04_study1_FLAIR": 0.956,
    "patient04_study1_T1W": 0.946,
    "patient04_study1_T2W": 0.941,
}


@pytest.fixture(scope="module")
def scores(data_dir: Path) -> dict[str, float]:
    found = {}
    for name in DEEPBET:
        scan = data_dir / "scans_dev" / f"{name}.nii.gz"
        reference = read_mask(scan.with_name(f"{name}_brainmask.nii.gz"))
        found[name] = dice(skull_strip(scan).mask, reference.data)
    return found


@pytest.mark.parametrize("name", DEEPBET)
def test_each_scan_is_within_half_a_point_of_deepbet(name: str, scores: dict[str, float]) -> None:
    assert scores[name] >= DEEPBET[name] - 0.005


def test_mean_of_the_nine_scans(scores: dict[str, float]) -> None:
    assert np.mean(list(scores.values())) >= 0.955


def _is_solid(mask: np.ndarray) -> bool:
    """Whether a mask is in one piece and without holes."""
    holes = ndimage.label(np.pad(~mask, 1, constant_values=True))[1] - 1
    return bool(ndimage.label(mask)[1] == 1 and holes == 0)


@pytest.mark.parametrize("name", ["DWI", "b0"])
def test_diffusion_scan_with_skull(name: str, data_dir: Path) -> None:
    folder = data_dir / "stroke_dev" / "ads_subject01"
    reference = read_mask(folder / "brain_mask_ads.nii.gz").data
    mask = skull_strip(folder / f"Subject01_{name}.nii.gz").mask
    assert _is_solid(mask)
    assert mask.sum() == pytest.approx(reference.sum(), rel=0.10)


@pytest.mark.parametrize("name", ["adc", "dwi"])
def test_stripped_scan_comes_back_whole(name: str, data_dir: Path) -> None:
    folder = data_dir / "stroke_dev" / "isles2022_sub-strokecase0001"
    stem = "sub-strokecase0001_ses-0001"
    kept = read_volume(folder / f"{stem}_dwi.nii.gz").data != 0
    mask = skull_strip(folder / f"{stem}_{name}.nii.gz").mask
    assert _is_solid(mask)
    assert mask.sum() == pytest.approx(kept.sum(), rel=0.10)
    assert (mask & kept).sum() / kept.sum() > 0.97


def test_a_large_infarct_beneath_the_skull(data_dir: Path) -> None:
    folder = data_dir / "stroke_dev" / "ads_subject01"
    volumes = {name: folder / f"Subject01_{name}.nii.gz" for name in ("DWI", "b0")}
    volumes = {name.upper(): path for name, path in volumes.items()}
    reference = read_mask(folder / "lesion_mask_dagmnet_output.nii.gz")
    result = segment_lesions(volumes, lesion_type="ischemic")
    wanted = reference.data != 0
    assert dice(result.mask, wanted) >= 0.75
    assert np.count_nonzero(result.mask & ~wanted) * result.volume.voxel_ml < 5


def test_small_infarcts_and_clicks_on_them(data_dir: Path) -> None:
    folder = data_dir / "stroke_dev" / "isles2022_sub-strokecase0001"
    stem = "sub-strokecase0001_ses-0001"
    volumes = {name: folder / f"{stem}_{name.lower()}.nii.gz" for name in ("DWI", "ADC")}
    wanted = read_mask(folder / f"{stem}_msk.nii.gz").data != 0
    session = ClickSession(volumes, lesion_type="ischemic")
    pieces, count = ndimage.label(session.mask, np.ones((3, 3, 3)))
    false = count - len(set(np.unique(pieces[wanted])) - {0})
    assert count > 5
    assert false <= 1
    before = dice(session.mask, wanted)
    for _ in range(5):
        ((index, positive),) = simulate_clicks(session.mask, wanted, 1)
        session.click(Click(index, positive))
    assert dice(session.mask, wanted) > before

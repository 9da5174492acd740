"""Sequences laid over each other: displaced ones come back, the others stay where they are."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from nibabel.affines import apply_affine
from phantom import label_map
from scipy import ndimage
from scipy.spatial.transform import Rotation

from strokedx_core.inference.alignment import LEAST_MM, find_movement
from strokedx_core.sample import sample_case
from strokedx_core.volume import Volume, read_mask, read_volume, resample, volume_from_array

BRIGHTNESS = {
    "FLAIR": {2: 300, 41: 300, 3: 380, 42: 380, 4: 60, 43: 60, 24: 60, 7: 310, 8: 380, 16: 310},
    "DWI": {2: 200, 41: 200, 3: 260, 42: 260, 4: 40, 43: 40, 24: 40, 7: 220, 8: 270, 16: 210},
    "T1W": {2: 600, 41: 600, 3: 420, 42: 420, 4: 130, 43: 130, 24: 130, 7: 600, 8: 420, 16: 560},
}
SIDES = {46: 7, 47: 8}


@lru_cache
def phantom(modality: str, step: tuple[int, int, int] = (1, 1, 1)) -> tuple[Volume, np.ndarray]:
    """A head of that contrast, about as large as an adult's, and its brain."""
    labels, affine = label_map(0.7)
    table = np.zeros(1024, np.float32)
    for label, value in BRIGHTNESS[modality].items():
        table[label] = value
    for label, like in SIDES.items():
        table[label] = table[like]
    image = ndimage.gaussian_filter(table[labels], 0.8)
    image += np.random.default_rng(len(modality)).normal(0, 8, image.shape)
    shape = tuple(n // s for n, s in zip(image.shape, step, strict=True))
    start = tuple((s - 1) / 2 for s in step)
    coarse = [
        resample(array.astype(np.float32), shape, start, step)
        for array in (image * (labels > 0), (table[labels] > 0) & (labels != 24))
    ]
    place = affine @ np.array([*np.c_[np.diag(step), start], (0, 0, 0, 1)])
    return volume_from_array(coarse[0], place), coarse[1] >= 0.5


def movement(mm: float, degrees: float, centre: np.ndarray, seed: int) -> np.ndarray:
    """A rigid movement: a shift, and a turn about the centre."""
    rng = np.random.default_rng(seed)
    shift, axis = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, 3)))
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(axis * np.radians(degrees)).as_matrix()
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + mm * shift
    return matrix


def distance(matrix: np.ndarray, places: np.ndarray) -> float:
    """How far a movement moves places, on average."""
    return float(np.linalg.norm(apply_affine(matrix, places) - places, axis=1).mean())


def places_of(volume: Volume, brain: np.ndarray) -> np.ndarray:
    return apply_affine(volume.affine, np.argwhere(brain)[::50])


PAIRS = [
    ("DWI", (2, 2, 5), "FLAIR", (1, 1, 5)),
    ("DWI", (2, 2, 5), "T1W", (1, 1, 1)),
    ("T1W", (1, 1, 1), "FLAIR", (1, 1, 5)),
]


@pytest.mark.parametrize(("fixed", "step", "moving", "other_step"), PAIRS)
class TestPhantom:
    @pytest.mark.parametrize(("mm", "degrees"), [(4, 0), (0, 6), (5, 4), (12, 8)])
    def test_who_moved_is_put_back(
        self, fixed: str, step: tuple, moving: str, other_step: tuple, mm: float, degrees: float
    ) -> None:
        still, brain = phantom(fixed, step)
        other, _ = phantom(moving, other_step)
        places = places_of(still, brain)
        true = movement(mm, degrees, places.mean(axis=0), seed=int(mm + degrees))
        found = find_movement(still, replace(other, affine=true @ other.affine), brain)
        assert found is not None
        assert distance(found.matrix @ true, places) < 1.0
        assert found.displacement_mm == pytest.approx(distance(true, places), abs=1)
        assert found.degrees == pytest.approx(degrees, abs=1.5)
        assert found.gain > 0

    @pytest.mark.parametrize("seed", [0, 1])
    @pytest.mark.parametrize("mm", [0, 0.7])
    def test_who_lay_still_stays(
        self, fixed: str, step: tuple, moving: str, other_step: tuple, mm: float, seed: int
    ) -> None:
        still, brain = phantom(fixed, step)
        other, _ = phantom(moving, other_step)
        places = places_of(still, brain)
        true = movement(mm, mm / 2, places.mean(axis=0), seed)
        assert find_movement(still, replace(other, affine=true @ other.affine), brain) is None


class TestSample:
    def case(self, modality: str) -> tuple[Volume, np.ndarray]:
        scan, mask = sample_case()[modality]
        return read_volume(scan), read_mask(mask).data

    @pytest.mark.parametrize(("fixed", "moving"), [("DWI", "FLAIR"), ("FLAIR", "DWI")])
    def test_scans_of_one_visit(self, fixed: str, moving: str) -> None:
        still, brain = self.case(fixed)
        other, _ = self.case(moving)
        assert find_movement(still, other, brain) is None
        places = places_of(still, brain)
        for seed, (mm, degrees) in enumerate([(4, 0), (0, 5), (8, 6)]):
            true = movement(mm, degrees, places.mean(axis=0), seed)
            found = find_movement(still, replace(other, affine=true @ other.affine), brain)
            assert found is not None
            assert distance(found.matrix @ true, places) < 1.0

    def test_nothing_that_is_found_makes_it_worse(self) -> None:
        """Whatever the displacement, what is left is no more than there was, or small."""
        still, brain = self.case("DWI")
        other, _ = self.case("FLAIR")
        places = places_of(still, brain)
        for seed in range(8):
            true = movement(0.5 * seed, 0.4 * seed, places.mean(axis=0), seed)
            before = distance(true, places)
            found = find_movement(still, replace(other, affine=true @ other.affine), brain)
            if found is None:
                assert before < LEAST_MM + 0.7
            else:
                assert distance(found.matrix @ true, places) < before


@pytest.mark.data
@pytest.mark.parametrize("person", ["patient01_study2", "patient04_study1"])
@pytest.mark.parametrize(("fixed", "moving"), [("T1W", "FLAIR"), ("FLAIR", "T2W")])
def test_real_scans_of_one_visit(data_dir: Path, person: str, fixed: str, moving: str) -> None:
    folder = data_dir / "scans_dev"
    still, other = (read_volume(folder / f"{person}_{name}.nii.gz") for name in (fixed, moving))
    brain = read_mask(folder / f"{person}_{fixed}_brainmask.nii.gz").data
    assert find_movement(still, other, brain) is None
    places = places_of(still, brain)
    for seed, (mm, degrees) in enumerate([(3, 1), (0, 4), (10, 8)]):
        true = movement(mm, degrees, places.mean(axis=0), seed)
        found = find_movement(still, replace(other, affine=true @ other.affine), brain)
        assert found is not None
        # They lay a millimetre apart to begin with.
        assert distance(found.matrix @ true, places) < 1.5


class TestWhatCannotBeAligned:
    def noise(self, seed: int) -> Volume:
        data = np.random.default_rng(seed).random((40, 40, 40), np.float32)
        return volume_from_array(data, np.diag([4.0, 4, 4, 1]))

    def test_noise_stays(self) -> None:
        brain = np.zeros((40, 40, 40), bool)
        brain[8:32, 8:32, 8:32] = True
        assert find_movement(self.noise(0), self.noise(1), brain) is None

    def test_too_little_to_compare(self) -> None:
        brain = np.zeros((40, 40, 40), bool)
        assert find_movement(self.noise(0), self.noise(1), brain) is None
        brain[20:23, 20:23, 20:23] = True
        assert find_movement(self.noise(0), self.noise(1), brain) is None

    def test_a_slab_that_shows_half_of_the_brain(self) -> None:
        still, brain = phantom("FLAIR", (1, 1, 5))
        other, _ = phantom("T1W")
        slab = volume_from_array(other.data[:, :, 50:], other.affine @ _shift(50))
        found = find_movement(still, slab, brain)
        assert found is None or found.displacement_mm < 2


def _shift(slices: int) -> np.ndarray:
    matrix = np.eye(4)
    matrix[2, 3] = slices
    return matrix

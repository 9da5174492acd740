"""Where voxels lie: sides that never change places, coordinates, and what is counted on them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from nibabel.affines import apply_affine
from orientations import AXES, turned, turned_array
from scipy.spatial.transform import Rotation

from strokedx_core.anatomy.anatomy_map import AnatomyMap
from strokedx_core.anatomy.locate import _taken_over, locate
from strokedx_core.anatomy.regions import GROUPS, STRUCTURES, TERRITORIES, territory_number
from strokedx_core.anatomy.registration import affine_to_mni, landmarks
from strokedx_core.captions.findings import measure_findings
from strokedx_core.captions.scores import ASPECTS_REGIONS, aspects, midline_shift_mm, pc_aspects
from strokedx_core.captions.wording import LANGUAGES, Wording
from strokedx_core.inference.brain_grid import BrainGrid
from strokedx_core.volume import Volume, VolumeError, read_mask, read_volume, volume_from_array

Found = Mapping[tuple[str, bool], tuple[np.ndarray, float]]
DEEP = ("caudate", "lentiform nucleus", "thalamus", "insula")


def sample(name: str) -> Path:
    return Path(str(files("strokedx_core") / "sample" / name))


@pytest.fixture(scope="module")
def flair() -> Volume:
    return read_volume(sample("sample_FLAIR.nii.gz"))


@pytest.fixture(scope="module")
def brain() -> np.ndarray:
    return read_mask(sample("sample_FLAIR_brainmask.nii.gz")).data


@pytest.fixture(scope="module")
def anatomy(flair: Volume, brain: np.ndarray) -> AnatomyMap:
    return locate(flair, brain=brain)


def region(anatomy: AnatomyMap, name: str, right: bool) -> np.ndarray:
    there: np.ndarray = anatomy.structure == 1 + STRUCTURES.index(name)
    return there & (anatomy.right == right)


class TestRegions:
    def test_every_territory_belongs_to_one_artery(self) -> None:
        grouped = [short for group in GROUPS.values() for short in group]
        assert sorted(grouped) == sorted(TERRITORIES)

    def test_every_part_is_a_landmark(self) -> None:
        assert set(landmarks()) == {*STRUCTURES, *TERRITORIES}

    def test_numbers_are_the_atlas_s(self, data_dir: Path) -> None:
        table = (data_dir / "atlas/arterial_territories.tsv").read_text(encoding="utf-8")
        rows = [line.split("\t") for line in table.splitlines()[1:31]]
        for number, short, name, side, group in rows:
            part = short.rsplit("_", 1)[0]
            assert territory_number(part, side == "right") == int(number)
            assert TERRITORIES[part] == name
            assert part in GROUPS[group]


class TestRegistration:
    def placed(self, matrix: np.ndarray) -> dict[tuple[str, bool], tuple[np.ndarray, float]]:
        back = np.linalg.inv(matrix)
        return {
            (name, right): (
                apply_affine(back, np.array(mark.place) * ([1, 1, 1] if right else [-1, 1, 1])),
                mark.volume_ml,
            )
            for name, mark in landmarks().items()
            for right in (False, True)
        }

    @pytest.fixture
    def matrix(self) -> np.ndarray:
        matrix = np.eye(4)
        turn = Rotation.from_euler("xyz", [12, -8, 15], degrees=True).as_matrix()
        matrix[:3, :3] = turn @ np.diag([1.05, 0.95, 1.1])
        matrix[:3, 3] = [7, -20, 12]
        return matrix

    def error(self, found: Found, matrix: np.ndarray) -> float:
        places = np.array([mark.place for mark in landmarks().values()])
        fitted = apply_affine(affine_to_mni(found) @ np.linalg.inv(matrix), places)
        return float(np.linalg.norm(fitted - places, axis=1).max())

    def test_an_affine_is_found_again(self, matrix: np.ndarray) -> None:
        assert self.error(self.placed(matrix), matrix) < 1.5

    def test_two_parts_that_are_misplaced_hardly_matter(self, matrix: np.ndarray) -> None:
        found = self.placed(matrix)
        for key in (("thalamus", True), ("MCAF", False)):
            found[key] = found[key][0] + np.array([30.0, 20, -25]), found[key][1]
        assert self.error(found, matrix) < 3

    def test_parts_that_are_cut_off_do_not_count(self, matrix: np.ndarray) -> None:
        found = self.placed(matrix)
        for key, (place, volume) in list(found.items()):
            if place[2] < 0:
                found[key] = place + np.array([0.0, 0, 40]), 0.3 * volume
        assert self.error(found, matrix) < 3

    def test_with_few_parts_the_brain_is_only_shifted(self) -> None:
        found = {("thalamus", True): (np.array([40.0, 0, 0]), 6.0)}
        matrix = affine_to_mni(found)
        assert np.array_equal(matrix[:3, :3], np.eye(3))
        assert np.allclose(apply_affine(matrix, [40.0, 0, 0]), landmarks()["thalamus"].place)

    def test_without_parts_nothing_is_known(self) -> None:
        assert np.array_equal(affine_to_mni({}), np.eye(4))


class TestLocate:
    def test_parts_of_the_sample_have_plausible_volumes(
        self, anatomy: AnatomyMap, flair: Volume
    ) -> None:
        for name in ("caudate", "lentiform nucleus", "thalamus", "cerebellum", "frontal"):
            for right in (False, True):
                ml = region(anatomy, name, right).sum() * flair.voxel_ml
                usual = landmarks()[name].volume_ml
                assert 0.4 * usual < ml < 2.2 * usual, (name, right, ml)

    def test_halves_lie_on_their_sides(self, anatomy: AnatomyMap) -> None:
        for name in DEEP:
            for right in (False, True):
                voxels = np.argwhere(region(anatomy, name, right))
                x = apply_affine(anatomy.to_mni @ anatomy.affine, voxels.astype(float))[:, 0]
                assert (np.median(x) > 0) == right, name

    def test_coordinates_are_near_the_atlas_s(self, anatomy: AnatomyMap) -> None:
        away = []
        for name in STRUCTURES:
            for right in (False, True):
                voxels = np.argwhere(region(anatomy, name, right)).astype(float)
                place = apply_affine(anatomy.to_mni @ anatomy.affine, voxels.mean(axis=0))
                goal = np.array(landmarks()[name].place) * ([1, 1, 1] if right else [-1, 1, 1])
                away.append(float(np.linalg.norm(place - goal)))
        assert np.median(away) < 4
        assert max(away) < 12

    def test_nothing_lies_outside_of_the_brain(
        self, anatomy: AnatomyMap, brain: np.ndarray
    ) -> None:
        assert np.array_equal(anatomy.structure > 0, brain)
        assert not anatomy.territory[~brain].any()
        assert not anatomy.right[~brain].any()

    @pytest.mark.parametrize("axes", AXES)
    def test_left_and_right_stay_whatever_the_order_of_storage(
        self, axes: str, flair: Volume, brain: np.ndarray, anatomy: AnatomyMap
    ) -> None:
        volume = turned(flair.data, flair.affine, axes)
        inside, _ = turned_array(brain.astype(np.uint8), flair.affine, axes)
        found = locate(volume, brain=inside)
        for name in ("structure", "territory", "right"):
            meant, _ = turned_array(getattr(anatomy, name).astype(np.uint8), flair.affine, axes)
            differ = np.mean(getattr(found, name)[inside > 0] != meant[inside > 0])
            # Places half way between two voxels of the network's grid may go to either.
            assert differ < 0.01, name
        assert np.allclose(found.to_mni, anatomy.to_mni, atol=0.2)

    def test_a_mirrored_brain_is_told_apart_the_other_way_round(
        self, flair: Volume, brain: np.ndarray, anatomy: AnatomyMap
    ) -> None:
        mirror = np.diag([-1.0, 1, 1, 1]) @ flair.affine
        found = locate(volume_from_array(flair.data, mirror), brain=brain)
        assert np.mean(found.right[brain] != anatomy.right[brain]) > 0.97

    def test_onto_its_own_grid_nothing_changes(self, anatomy: AnatomyMap) -> None:
        again = anatomy.onto(anatomy.structure.shape, anatomy.affine)
        assert np.array_equal(again.territory, anatomy.territory)

    def test_without_a_brain_it_refuses(self, flair: Volume) -> None:
        with pytest.raises(VolumeError, match="no brain"):
            locate(flair, brain=np.zeros(flair.shape, bool))

    def test_a_brain_of_another_shape_is_refused(self, flair: Volume) -> None:
        with pytest.raises(VolumeError, match="shape"):
            locate(flair, brain=np.ones((4, 4, 4), bool))

    @pytest.mark.parametrize(
        "scan",
        ["scans_dev/patient01_study1_T2W.nii.gz", "stroke_dev/ads_subject01/Subject01_DWI.nii.gz"],
    )
    def test_real_scans_give_the_same_answer_in_any_order(self, data_dir: Path, scan: str) -> None:
        volume = read_volume(data_dir / scan)
        first = locate(volume)
        voxel = np.argwhere(region(first, "lentiform nucleus", True)).mean(axis=0)
        place = apply_affine(volume.affine, voxel)
        for axes in ("LPS", "SAR", "PIL", "IRA"):
            other = locate(turned(volume.data, volume.affine, axes))
            at = tuple(np.rint(apply_affine(np.linalg.inv(other.affine), place)).astype(int))
            here = tuple(np.rint(voxel).astype(int))
            assert other.right[at] == first.right[here] == True  # noqa: E712
            assert other.structure[at] == first.structure[here]
            assert other.territory[at] == first.territory[here]


def test_a_closer_look_takes_over_from_its_edge_inwards() -> None:
    brain, affine = np.ones((60, 70, 50), bool), np.diag([2.0, 2.0, 2.5, 1.0])
    grid = BrainGrid.around(brain, affine, 3.0, 8)
    part = BrainGrid.around(brain, affine, 2.0, shape=(24, 16, 32))
    assert part.shape == (24, 16, 32)
    middles = [g.affine @ [*((np.array(g.shape) - 1) / 2), 1] for g in (grid, part)]
    assert np.allclose(*middles)
    first = torch.arange(grid.shape[0]).float()[:, None, None].expand(1, *grid.shape)
    same = _taken_over(torch.zeros(1, *part.shape), part, first, grid)
    # Where the first look's answer stands alone, it lies where it did.
    assert float(same[0, 0, 8, 16]) > 0.8 * (grid.shape[0] / 2 - 8)
    assert torch.equal(same[0, 8:16, 8, 8:24], torch.zeros(8, 16))
    assert (same.diff(dim=1)[0, :5, 8, 16] < 0).all()


class TestScores:
    def test_nothing_affected_is_ten(self, anatomy: AnatomyMap) -> None:
        none = np.zeros(anatomy.structure.shape, bool)
        found = aspects(none, anatomy)
        assert {side: found[side]["score"] for side in found} == {"left": 10, "right": 10}
        assert pc_aspects(none, anatomy) == {"score": 10, "affected": []}

    @pytest.mark.parametrize(("name", "letter"), [(DEEP[0], "C"), (DEEP[1], "L")])
    def test_a_structure_takes_its_own_point(
        self, name: str, letter: str, anatomy: AnatomyMap
    ) -> None:
        found = aspects(region(anatomy, name, True), anatomy)
        assert found["right"] == {"score": 9, "affected": [letter]}
        assert found["left"]["score"] == 10

    def test_a_whole_territory_leaves_nothing(self, anatomy: AnatomyMap) -> None:
        numbers = [territory_number(t, False) for t in GROUPS["MCA"]]
        lesion = np.isin(anatomy.territory, numbers)
        for name in DEEP:
            lesion |= region(anatomy, name, False)
        lesion |= region(anatomy, "internal capsule or corona radiata", False)
        found = aspects(lesion, anatomy)
        assert found["left"] == {"score": 0, "affected": list(ASPECTS_REGIONS)}
        assert found["right"]["score"] == 10

    def test_posterior_parts(self, anatomy: AnatomyMap) -> None:
        lesion = region(anatomy, "thalamus", True) | region(anatomy, "cerebellum", False)
        found = pc_aspects(lesion, anatomy)
        assert found == {"score": 8, "affected": ["left cerebellum", "right thalamus"]}
        lesion = region(anatomy, "brainstem", True) | region(anatomy, "brainstem", False)
        assert set(pc_aspects(lesion, anatomy)["affected"]) == {"midbrain", "pons"}

    @pytest.mark.parametrize("shift", [-9.0, 0.0, 6.0])
    def test_midline_shift_is_how_far_the_border_was_moved(self, shift: float) -> None:
        shape, affine = (60, 70, 50), np.diag([3.0, 3, 3, 1])
        affine[:3, 3] = [-88.5, -120, -60]
        x, *_ = np.moveaxis(
            apply_affine(affine, np.stack(np.indices(shape), -1).astype(float)), -1, 0
        )
        structure = np.ones(shape, np.uint8)
        pushed = AnatomyMap(structure, structure, x > shift, affine, np.eye(4), ())
        measured = midline_shift_mm(pushed, np.array([1.0, 0, 0, 0]))
        assert measured == pytest.approx(shift, abs=1.51)

    def test_no_septum_no_shift(self) -> None:
        structure = np.ones((10, 10, 4), np.uint8)
        affine = np.diag([3.0, 3, 3, 1])
        affine[2, 3] = 60
        beyond = AnatomyMap(structure, structure, structure > 0, affine, np.eye(4), ())
        assert midline_shift_mm(beyond, np.array([1.0, 0, 0, 0])) is None


class TestFindings:
    @pytest.fixture
    def mask(self, flair: Volume, anatomy: AnatomyMap) -> Volume:
        lesion = region(anatomy, "lentiform nucleus", True)
        return Volume(lesion, flair.affine, flair.header, Path("lesion.nii.gz"))

    def test_a_lesion_lies_where_it_was_put(
        self, mask: Volume, flair: Volume, anatomy: AnatomyMap
    ) -> None:
        found = measure_findings(mask, {"FLAIR": flair}, anatomy=anatomy)
        case = found.findings
        assert case["side"].value == "right"
        (only,) = case["lobes"].value
        assert (only["part"], only["side"], only["of_lesion"], only["of_part"]) == (
            "lentiform nucleus", "right", 1.0, 1.0,
        )  # fmt: skip
        assert case["arteries"].value[0]["side"] == "right"
        assert case["aspects"].value["right"]["affected"] == ["L"]
        assert found.lesions[0].findings["centroid_mni"].value[0] > 10

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_words_name_the_structure_and_the_score(
        self, language: str, mask: Volume, flair: Volume, anatomy: AnatomyMap
    ) -> None:
        found = measure_findings(mask, {"FLAIR": flair}, anatomy=anatomy)
        caption = Wording(language, "ischemic").case(found)
        assert "entiform" in caption.text
        assert "ASPECTS" in caption.text
        assert any("case.aspects.right" in s.rests_on for s in caption.statements)
        # ASPECTS is of infarcts.
        assert "ASPECTS" not in Wording(language, "hemorrhagic").case(found).text

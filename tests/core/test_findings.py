"""Findings: known bodies, known atlases, known signals, and what must not change them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import atlases
import jsonschema
import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff
from scipy.spatial.transform import Rotation

from strokedx_core.anatomy.anatomy_map import AnatomyMap
from strokedx_core.anatomy.atlas import Atlas, AtlasError, read_atlas
from strokedx_core.anatomy.midplane import midplane_of, side_of
from strokedx_core.captions import schema
from strokedx_core.captions.facts import CaseFindings
from strokedx_core.captions.findings import measure_findings
from strokedx_core.captions.measures import longest_diameter_mm
from strokedx_core.captions.pattern import border_zone, pattern_of
from strokedx_core.captions.signals import in_micrometres
from strokedx_core.inference.lesions import number_pieces
from strokedx_core.volume import Volume, VolumeError, read_mask, volume_from_array

ORDERS = list(
    itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
)
LEFT, RIGHT = (-40.0, 8.0, 24.0), (40.0, 8.0, 24.0)


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    return read_atlas(*atlases.write(tmp_path_factory.mktemp("atlas")))


def mask_of(mask: np.ndarray, affine: np.ndarray = atlases.AFFINE) -> Volume:
    return Volume(mask, affine, nib.Nifti1Header(), Path("mask.nii.gz"))


def image_of(data: np.ndarray, affine: np.ndarray = atlases.AFFINE) -> Volume:
    return volume_from_array(data.astype(np.float32), affine, name="image")


def value(found: CaseFindings, name: str) -> object:
    assert found.findings[name].known, found.findings[name].reason
    return found.findings[name].value


class TestDiameter:
    def test_one_voxel_has_none(self) -> None:
        assert longest_diameter_mm(np.array([[3, 4, 5]]), np.eye(4)) == 0

    @pytest.mark.parametrize("spacing", [(1, 1, 1), (0.5, 0.9, 5)])
    @pytest.mark.parametrize("size", [(1, 1, 7), (1, 6, 4), (5, 4, 3), (2, 2, 2), (1, 1, 2)])
    def test_of_boxes(
        self, size: tuple[int, int, int], spacing: tuple[float, float, float]
    ) -> None:
        voxels = np.argwhere(np.ones(size))
        expected = np.linalg.norm((np.array(size) - 1) * spacing)
        assert longest_diameter_mm(voxels, np.diag([*spacing, 1])) == pytest.approx(expected)

    def test_is_the_farthest_pair(self) -> None:
        random = np.random.default_rng(5)
        affine = np.eye(4)
        affine[:3, :3] = Rotation.random(rng=1).as_matrix() * (0.8, 1.2, 4)
        for _ in range(10):
            voxels = np.unique(random.integers(0, 9, (40, 3)), axis=0)
            places = voxels @ affine[:3, :3].T
            between = np.linalg.norm(places[:, None] - places, axis=-1)
            assert longest_diameter_mm(voxels, affine) == pytest.approx(between.max())


class TestPieces:
    def test_largest_first_and_corners_join(self) -> None:
        mask = np.zeros((9, 9, 9), bool)
        mask[0, 0, 0] = mask[4, 4, 4] = mask[5, 5, 5] = True
        labels = number_pieces(mask)
        assert labels.max() == 2
        assert labels[4, 4, 4] == labels[5, 5, 5] == 1
        assert labels[0, 0, 0] == 2

    def test_nothing(self) -> None:
        assert not number_pieces(np.zeros((3, 3, 3), bool)).any()


class TestAtlas:
    def test_counts_its_own_voxels(self, atlas: Atlas) -> None:
        counts = np.bincount(atlases.labels().ravel())
        assert {i: r.voxels for i, r in atlas.regions.items()} == {
            row[0]: counts[row[0]] for row in atlases.ROWS
        }

    def test_own_grid_is_exact_and_another_nearest(self, atlas: Atlas) -> None:
        assert atlas.on_grid(atlases.SHAPE, atlases.AFFINE) is atlas.labels
        flipped = atlases.AFFINE @ np.array([[-1, 0, 0, 39], [0, 1, 0, 0], [0, 0, 1, 0],
                                             [0, 0, 0, 1.0]])  # fmt: skip
        assert np.array_equal(atlas.on_grid(atlases.SHAPE, flipped), atlas.labels[::-1])
        far = atlases.AFFINE.copy()
        far[:3, 3] += 900
        assert not atlas.on_grid((5, 6, 7), far).any()

    @pytest.mark.parametrize(
        ("table", "words"),
        [
            ("index\tshort\n1\tA\n", "no column name, side, territory"),
            ("index\tshort\tname\tside\tterritory\nx\tA\ta\tleft\tACA\n", "not a whole number"),
            ("index\tshort\tname\tside\tterritory\n1\tA\ta\tup\tACA\n", "side 'up'"),
            ("index\tshort\tname\tside\tterritory\n" + "1\tA\ta\tleft\tACA\n" * 2, "twice"),
            ("index\tshort\tname\tside\tterritory\n1\tA\ta\tleft\tACA\n", "are not in"),
        ],
    )
    def test_unusable_tables(self, tmp_path: Path, table: str, words: str) -> None:
        image, path = atlases.write(tmp_path)
        path.write_text(table)
        with pytest.raises(AtlasError, match=words):
            read_atlas(image, path)

    def test_unusable_images(self, tmp_path: Path) -> None:
        image, table = atlases.write(tmp_path)
        nib.Nifti1Image(atlases.labels() + np.float32(0.5), atlases.AFFINE).to_filename(image)
        with pytest.raises(AtlasError, match="whole numbers"):
            read_atlas(image, table)
        with pytest.raises(AtlasError, match="missing"):
            read_atlas(tmp_path / "missing.nii.gz", table)


class TestPlaces:
    def test_shares_are_counts(self, atlas: Atlas) -> None:
        mask = atlases.ball((-30, -40, 20), 24)
        found = measure_findings(mask_of(mask), in_mni=True, atlas=atlas)
        counts = np.bincount(atlas.labels[mask], minlength=33)
        assert value(found, "outside_atlas") == pytest.approx(counts[0] / mask.sum())
        shares = {share["part"]: share for share in value(found, "territories")}
        for region in atlas.regions.values():
            count = counts[region.index]
            if region.group == "ventricle" or not count:
                assert region.short not in shares
                continue
            share = shares[region.short]
            assert share["voxels"] == count
            assert share["of_lesion"] == pytest.approx(count / mask.sum())
            assert share["of_part"] == pytest.approx(count / region.voxels)
        middle = next(s for s in value(found, "arteries") if s["part"] == "MCA")
        assert middle["voxels"] == counts[[5, 7]].sum()
        assert middle["of_part"] == pytest.approx(
            middle["voxels"] / sum(atlas.regions[n].voxels for n in (5, 7))
        )

    def test_anterior_artery_behind_the_central_sulcus_is_parietal(self, atlas: Atlas) -> None:
        for y, lobe in ((-45, "parietal"), (20, "frontal")):
            mask = atlases.ball((-10, y, 50), 7)
            assert (atlas.labels[mask] == 1).all()
            found = measure_findings(mask_of(mask), in_mni=True, atlas=atlas)
            assert [share["part"] for share in value(found, "lobes")] == [lobe]

    @pytest.mark.parametrize("order", ORDERS)
    def test_storage_order_changes_nothing(self, atlas: Atlas, order: tuple) -> None:  # type: ignore[type-arg]
        axes, signs = order
        turn = np.column_stack([axes, signs])
        lesion = atlases.ball(LEFT, 14) | atlases.ball((30, -40, 30), 8)
        random = np.random.default_rng(0)
        dwi = np.where(lesion, 300, 100) + random.normal(0, 5, lesion.shape)
        expected = measure_findings(
            mask_of(lesion), {"DWI": image_of(dwi)}, in_mni=True, atlas=atlas
        )
        affine = atlases.AFFINE @ inv_ornt_aff(turn, lesion.shape)
        turned = measure_findings(
            mask_of(apply_orientation(lesion, turn), affine),
            {"DWI": image_of(apply_orientation(dwi, turn), affine)},
            in_mni=True,
            atlas=atlas,
        )
        for one, other in zip(expected.lesions, turned.lesions, strict=True):
            for name in ("volume", "diameter", "side", "centroid", "peak_mni", "territories",
                         "lobes", "dwi_ratio"):  # fmt: skip
                mine, theirs = one.findings[name].value, other.findings[name].value
                if isinstance(mine, float) or name in ("centroid", "peak_mni"):
                    assert theirs == pytest.approx(mine, rel=1e-5, abs=1e-3)
                else:
                    assert theirs == mine
        assert [lesion.findings["side"].value for lesion in turned.lesions] == ["left", "right"]

    def test_slices_run_from_inferior_to_superior(self) -> None:
        mask = np.zeros(atlases.SHAPE, bool)
        mask[10, 12:15, 7:9] = True
        found = measure_findings(mask_of(mask))
        assert value(found, "slices") == [7, 8]
        assert [one.index for one in found.slices] == [7, 8]
        assert found.slices[0].findings["area"].value == pytest.approx(3 * 16)
        assert found.slices[0].findings["diameter"].value == pytest.approx(8)
        swapped = measure_findings(
            mask_of(mask.transpose(2, 0, 1), atlases.AFFINE[:, [2, 0, 1, 3]])
        )
        assert value(swapped, "slices") == [7, 8]
        assert swapped.findings["slices"].unit == "index on axis i"


class TestSides:
    def test_a_tenth_across_is_both(self) -> None:
        assert side_of(np.repeat([-1.0, 1.0], [91, 9])) == "left"
        assert side_of(np.repeat([-1.0, 1.0], [10, 90])) == "both"
        assert side_of(np.ones(5)) == "right"

    @pytest.mark.parametrize("degrees", [-25, 0, 15])
    def test_plane_follows_a_turned_head(self, degrees: float) -> None:
        turn = np.eye(4)
        turn[:3, :3] = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
        affine = turn @ atlases.AFFINE
        plane = midplane_of(atlases.labels() > 0, affine)
        assert np.linalg.norm(plane[:3]) == pytest.approx(1)
        far = turn[:3, :3] @ np.array([50.0, -18, 15])
        assert plane[:3] @ far + plane[3] == pytest.approx(50, abs=3)

    def test_native_side_needs_a_plane(self) -> None:
        mask = mask_of(atlases.ball(RIGHT, 10))
        assert "hemispheres" in measure_findings(mask).findings["side"].reason
        plane = midplane_of(atlases.labels() > 0, atlases.AFFINE)
        assert value(measure_findings(mask, midplane=plane), "side") == "right"


class TestSignals:
    def test_ratio_to_the_other_side(self) -> None:
        lesion = atlases.ball(LEFT, 12)
        brain = atlases.labels() > 0
        tissue = np.where(brain, 100 + atlases.places()[..., 1] / 4, 0)
        images = {
            "DWI": image_of(np.where(lesion, 2 * tissue, tissue)),
            "FLAIR": image_of(np.where(lesion, 1.02 * tissue, tissue)),
            "ADC": image_of(np.where(lesion, 0.5e-3, np.where(brain, 0.8e-3, 0))),
        }
        found = measure_findings(mask_of(lesion), images, in_mni=True)
        assert value(found, "dwi_ratio") == pytest.approx(2, rel=0.01)
        assert value(found, "adc_ratio") == pytest.approx(0.625, rel=0.01)
        assert value(found, "low_adc") == 1
        assert value(found, "dwi_flair_mismatch") is True
        images["FLAIR"] = images["DWI"]
        found = measure_findings(mask_of(lesion), images, in_mni=True)
        assert value(found, "dwi_flair_mismatch") is False

    def test_lesions_on_both_sides_have_nothing_to_compare_with(self) -> None:
        both = atlases.ball(LEFT, 12) | atlases.ball(RIGHT, 12)
        image = image_of(np.random.default_rng(1).uniform(50, 100, both.shape))
        found = measure_findings(mask_of(both), {"DWI": image}, in_mni=True)
        assert "mirror image" in found.findings["dwi_ratio"].reason

    @pytest.mark.parametrize("factor", [1.0, 1e-3, 1e-6])
    def test_units_of_the_coefficient(self, factor: float) -> None:
        adc = np.full((4, 4, 4), 800.0) * factor
        assert in_micrometres(adc).mean() == pytest.approx(800, rel=1e-5)
        # Noise in the air around a head says nothing of the unit.
        brain = np.zeros((40, 40, 40), bool)
        brain[15:20, 15:20, 15:20] = True
        noisy = np.where(brain, adc.flat[0], adc.flat[0] / 50)
        assert in_micrometres(noisy, brain)[brain].mean() == pytest.approx(800, rel=1e-5)

    def test_no_unit_of_the_coefficient(self) -> None:
        lesion = atlases.ball(LEFT, 12)
        image = image_of(np.random.default_rng(1).uniform(3e4, 4e4, lesion.shape))
        with pytest.raises(VolumeError, match="no unit of a brain"):
            measure_findings(mask_of(lesion), {"ADC": image})

    def test_blood(self, atlas: Atlas) -> None:
        lesion = atlases.ball((-10.0, -10, 14), 20)
        blood = lesion & (atlases.places()[..., 1] < -10)
        found = measure_findings(
            mask_of(lesion), in_mni=True, atlas=atlas, hemorrhagic=mask_of(blood)
        )
        assert value(found, "hemorrhagic") == pytest.approx(blood.sum() / lesion.sum())
        assert value(found, "hemorrhagic_volume") == pytest.approx(blood.sum() * 0.064)
        assert value(found, "ventricular_extension") is True
        dry = mask_of(blood & ~np.isin(atlas.labels, (31, 32)))
        found = measure_findings(mask_of(lesion), in_mni=True, atlas=atlas, hemorrhagic=dry)
        assert value(found, "ventricular_extension") is False
        with pytest.raises(VolumeError, match="not on the grid"):
            measure_findings(mask_of(lesion), hemorrhagic=mask_of(blood[1:]))


class TestPattern:
    @pytest.mark.parametrize(
        ("lesions", "arteries", "deep", "border", "expected"),
        [
            ([(1, 15)], [("MCA", "left", 1.0)], 0.9, 0.0, "lacunar"),
            ([(1, 25)], [("MCA", "left", 1.0)], 0.9, 0.0, "single territory"),
            ([(1, 15)], [("MCA", "left", 1.0)], 0.1, 0.0, "single territory"),
            ([(1, 15)] * 2, [("MCA", "left", 1.0)], 0.9, 0.0, "single territory"),
            ([(9, 60)], [("MCA", "left", 0.6), ("ACA", "left", 0.4)], 0, 0.8, "watershed"),
            ([(9, 60)], [("MCA", "left", 0.6), ("ACA", "left", 0.4)], 0, 0.6, "multi-territory"),
            ([(9, 60)], [("MCA", "left", 0.95), ("ACA", "left", 0.05)], 0, 0, "single territory"),
            ([(1, 9)] * 3, [("MCA", "left", 0.95), ("PCA", "left", 0.05)], 0, 0, "embolic"),
            ([(1, 9)] * 3, [("MCA", "left", 1.0)], 0, 0, "single territory"),
            ([(98, 80), (1, 9), (1, 9)], [("MCA", "left", 0.99), ("PCA", "right", 0.01)], 0, 0,
             "single territory"),
        ],
    )  # fmt: skip
    def test_rules(
        self,
        lesions: list[tuple[float, float]],
        arteries: list[tuple[str, str, float]],
        deep: float,
        border: float,
        expected: str,
    ) -> None:
        assert pattern_of(lesions, arteries, deep, border) == expected

    def test_border_zone_lies_along_the_border(self, atlas: Atlas) -> None:
        zone = border_zone(atlas)
        x, y, z = np.moveaxis(atlases.places(), -1, 0)
        ahead = zone & (y > -40) & (z > 28)
        assert ahead.any()
        assert np.abs(np.abs(x[ahead]) - 22).max() <= 8
        assert not (zone & (atlas.labels == 0)).any()


class TestJson:
    def check(self, found: CaseFindings) -> dict:  # type: ignore[type-arg]
        content = json.loads(json.dumps(schema.findings_json(found), allow_nan=False))
        jsonschema.validate(content, schema.json_schema())
        return content

    def test_keeps_to_its_schema(self, atlas: Atlas) -> None:
        lesion = atlases.ball(LEFT, 14) | atlases.ball((30, -40, 30), 8)
        dwi = image_of(np.where(lesion, 300, 100) + atlases.places()[..., 0] % 7)
        brain = (atlases.labels() > 0).astype(np.uint8)
        right = atlases.places()[..., 0] > 0
        anatomy = AnatomyMap(brain, brain, right, atlases.AFFINE, np.eye(4), ())
        whole = measure_findings(
            mask_of(lesion), {"DWI": dwi, "ADC": image_of(dwi.data + 500), "FLAIR": dwi},
            in_mni=True, atlas=atlas, anatomy=anatomy,
            hemorrhagic=mask_of(lesion & atlases.ball(LEFT, 7)),
        )  # fmt: skip
        content = self.check(whole)
        assert not [n for n, e in content["case"].items() if "not_assessable" in e]
        assert len(content["lesions"]) == 2
        self.check(measure_findings(mask_of(lesion)))
        self.check(measure_findings(mask_of(np.zeros_like(lesion)), in_mni=True, atlas=atlas))

    def test_published_schema_is_this_one(self) -> None:
        published = Path(schema.__file__).with_name("findings.schema.json")
        assert json.loads(published.read_text(encoding="utf-8")) == schema.json_schema()

    def test_every_finding_says_how(self, atlas: Atlas) -> None:
        found = measure_findings(mask_of(atlases.ball(LEFT, 14)), in_mni=True, atlas=atlas)
        assert set(found.findings) == set(schema.CASE)
        assert set(found.lesions[0].findings) == set(schema.LESION)
        assert set(found.slices[0].findings) == set(schema.SLICE)


@pytest.mark.data
def test_real_lesions_are_counted_exactly(data_dir: Path) -> None:
    image = data_dir / "atlas" / "arterial_territories.nii.gz"
    atlas = read_atlas(image, image.with_name("arterial_territories.tsv"))
    paths = sorted((data_dir / "lesion_masks").glob("*.nii.gz"))[::29]
    assert len(paths) > 40
    labels = np.asarray(nib.load(image).dataobj).astype(int)
    whole = np.bincount(labels.ravel())
    for path in paths:
        found = measure_findings(read_mask(path), in_mni=True, atlas=atlas)
        counts = np.bincount(labels[np.asarray(nib.load(path).dataobj) > 0], minlength=33)
        shares = {s["part"]: s for s in found.findings["territories"].value}
        assert {s: share["voxels"] for s, share in shares.items()} == {
            r.short: counts[r.index]
            for r in atlas.regions.values()
            if counts[r.index] and r.group != "ventricle"
        }
        for region in atlas.regions.values():
            if region.short in shares:
                expected = counts[region.index] / whole[region.index]
                assert shares[region.short]["of_part"] == pytest.approx(expected)
        assert sum(one.findings["volume"].value for one in found.lesions) == pytest.approx(
            counts.sum() / 1000
        )

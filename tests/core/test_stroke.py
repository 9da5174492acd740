"""Simulated strokes: where they lie, what they look like, what is marked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from phantom import write_label_map
from shapes import write_shapes

from strokedx_core.synthesis.clicks import draw_clicks, simulate_clicks
from strokedx_core.synthesis.labels import Head, load_head
from strokedx_core.synthesis.lesion_shapes import LesionShape, load_shapes
from strokedx_core.synthesis.mni import head_to_mni
from strokedx_core.synthesis.stroke import (
    KINDS,
    StrokeCase,
    StrokeRecipe,
    _generous,
    another_view,
    generate_case,
)
from strokedx_core.synthesis.stroke_patches import blood, old_infarct
from strokedx_core.synthesis.stroke_places import (
    Anatomy,
    _blob,
    beside_air,
    bleed,
    infarct,
    wide_ventricles,
)
from strokedx_core.synthesis.stroke_signals import BLOOD, INFARCT, LOOKALIKES, draw_signals
from strokedx_core.tasks import LESION_TYPES, MODALITIES

RECIPE = StrokeRecipe(shape=(64, 64, 64), spacing=3.0, shift=4.0)
CLEAN = replace(
    RECIPE, spacing_jitter=0.0, rotation=0.0, scaling=0.0, shear=0.0, shift=0.0, warp=0.0,
    fine_warp=0.0, bias=0.0, noise=0.0, thick=0.0, motion=0.0, ghost=0.0, stripped=0.0,
    dropout=0.0, crop=0.0, displaced=0.0, random_contrast=0.0,
)  # fmt: skip
"""The scanner and the archive do nothing."""


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Head:
    folder = tmp_path_factory.mktemp("labels")
    return load_head(write_label_map(folder / "head.nii.gz", scale=0.9))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> list[LesionShape]:
    return load_shapes(write_shapes(tmp_path_factory.mktemp("shapes")))


@pytest.fixture(scope="module")
def anatomy(head: Head) -> Anatomy:
    """Every third voxel of the head."""
    matrix = head_to_mni(head)
    size = head.classes.shape
    axes = torch.meshgrid(*(torch.arange(0.0, n, 3) for n in size), indexing="ij")
    place = torch.stack(axes)
    mni = torch.einsum("ij,jxyz->ixyz", matrix[:, :3], place) + matrix[:, 3].view(3, 1, 1, 1)
    thin = (slice(None, None, 3),) * 3
    return Anatomy(head.classes[thin].int(), head.distance[thin] * 0.25, mni, 3.0)


class TestShapes:
    def test_a_ball_keeps_volume_and_place(self, shapes: list[LesionShape]) -> None:
        for number, shape in enumerate(shapes):
            radius = 8 + 3 * number
            assert shape.volume_ml == pytest.approx(4.19 * radius**3 / 1000, rel=0.02)
            middle = shape.start + (torch.tensor(shape.mask.shape) - 1) / 2
            side = -30 if number % 2 == 0 else 30
            assert middle.tolist() == [side, -10 + 6 * number, 25]

    def test_the_cache_gives_the_same(self, tmp_path: Path) -> None:
        folder = write_shapes(tmp_path / "masks", 2)
        first, second = load_shapes(folder, tmp_path), load_shapes(folder, tmp_path)
        assert list(tmp_path.glob("lesions-*.pt"))
        for one, other in zip(first, second, strict=True):
            assert torch.equal(one.mask, other.mask)
            assert torch.equal(one.start, other.start)

    def test_an_empty_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="no lesion masks"):
            load_shapes(tmp_path)

    def test_other_grids_are_refused(self, tmp_path: Path) -> None:
        image = nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.diag([2.0, 2, 2, 1]))
        nib.save(image, tmp_path / "a.nii.gz")
        with pytest.raises(ValueError, match="1 mm"):
            load_shapes(tmp_path)


class TestMni:
    def test_the_brain_fills_the_space(self, head: Head) -> None:
        matrix = head_to_mni(head).numpy()
        brain = np.argwhere(head.distance.numpy() < 0)
        placed = brain @ matrix[:, :3].T + matrix[:, 3]
        upper = placed[placed[:, 2] > 0]
        assert np.abs(upper.min(0)[:2] - (-71, -107)).max() < 8
        assert np.abs(upper.max(0) - (72, 73, 78)).max() < 8

    def test_right_stays_right(self, head: Head) -> None:
        assert float(head_to_mni(head)[0, 0]) > 0.5


class TestPlaces:
    @pytest.mark.parametrize("kind", ["drawn", "several", "large", "shower", "lacune", "watershed"])
    def test_infarcts_lie_in_tissue(
        self, anatomy: Anatomy, shapes: list[LesionShape], kind: str
    ) -> None:
        masks = [infarct(anatomy, shapes, rng(seed), kind) for seed in range(6)]
        assert sum(bool(mask.any()) for mask in masks) >= 4
        for mask in masks:
            assert not (mask & ~anatomy.parenchyma).any()

    def test_part_of_a_brain_has_its_lesions(self, head: Head, shapes: list[LesionShape]) -> None:
        """Shapes lie on one side each, and are drawn again until they lie in a small grid."""
        recipe = replace(CLEAN, shape=(32, 32, 32), shift=30.0, wide_ventricles=0.0)
        matrix = head_to_mni(head)
        hits = 0
        for seed in range(12):
            case = generate_case(
                head, matrix, shapes, seed, sequences=("DWI",), kind="infarct", recipe=recipe
            )
            hits += bool(case.target[0].any())
        assert hits >= 9

    def test_wide_ventricles_take_from_the_tissue_around_them(self, anatomy: Anatomy) -> None:
        ventricle = anatomy.of("ventricle")
        shape = ventricle.shape
        places = torch.stack(
            torch.meshgrid(*(torch.arange(float(n)) for n in shape), indexing="ij")
        )
        last = torch.tensor(shape).view(3, 1, 1, 1) - 1
        larger = []
        for seed in range(6):
            field = wide_ventricles(anatomy, rng(seed))
            length = float(field.square().sum(0).sqrt().max())
            assert 1 <= length <= 7
            source = (places + field / anatomy.spacing).round().long().clamp_min(0).minimum(last)
            larger.append((length, int(ventricle[tuple(source)].sum()) / int(ventricle.sum())))
        shares = [share for _, share in sorted(larger)]
        assert min(shares) >= 1
        assert shares[-1] > 1.2

    def test_signal_piles_up_at_the_base_of_the_brain(self, anatomy: Anatomy) -> None:
        spots = [beside_air(anatomy, rng(seed)) for seed in range(12)]
        both = 0
        for spot in spots:
            assert 0 <= float(spot.min()) <= float(spot.max()) <= 1
            x, _, z = anatomy.mni[:, spot > 0.5]
            assert len(x) > 0
            assert float(z.mean()) < 5
            both += bool((x > 2).any() and (x < -2).any())
        assert both >= 6

    def test_large_is_larger_than_lacune(self, anatomy: Anatomy, shapes: list[LesionShape]) -> None:
        sizes = {
            kind: sum(int(infarct(anatomy, shapes, rng(s), kind).sum()) for s in range(6))
            for kind in ("large", "lacune")
        }
        assert sizes["large"] > 3 * sizes["lacune"]

    def test_a_part_of_a_bleed_may_lie_outside_of_the_grid(self, anatomy: Anatomy) -> None:
        far = torch.tensor([500, 8, 8])
        assert (_blob(anatomy, far, (3.0, 4.0, 5.0), rng(1)) == 99).all()

    @pytest.mark.parametrize("kind", ["lobar", "cerebellar", "brainstem", "micro"])
    def test_bleeds_start_where_they_are_named_for(self, anatomy: Anatomy, kind: str) -> None:
        found = bleed(anatomy, rng(1), kind)
        assert found.blood.any()
        assert not (found.blood & (anatomy.distance >= 0)).any()
        # The deepest point lies in the tissue the bleed is named for.
        names = {
            "lobar": ("white",),
            "cerebellar": ("cerebellar white", "cerebellar grey"),
            "brainstem": ("brainstem",),
            "micro": ("white", "cortex"),
        }
        if kind in ("brainstem", "micro"):
            near = (found.depth < 1) & anatomy.of(*names[kind])
            assert near.any()


class TestSignals:
    @pytest.mark.parametrize("table", [INFARCT, BLOOD, LOOKALIKES])
    def test_every_stage_names_every_sequence(
        self, table: dict[str, dict[str, tuple[float, float]]]
    ) -> None:
        for stage, ranges in table.items():
            assert set(ranges) == set(MODALITIES), stage
            for seed in range(5):
                for name, signal in draw_signals(ranges, rng(seed)).items():
                    low, high = ranges[name]
                    assert low - 1e-9 <= signal.times <= high + 1e-9

    def test_hyperacute_infarcts_show_on_diffusion_alone(self) -> None:
        for seed in range(20):
            signals = draw_signals(INFARCT["hyperacute"], rng(seed))
            assert signals["DWI"].visible
            assert signals["ADC"].visible
            assert not signals["FLAIR"].visible


class TestCases:
    def test_same_seed_same_case(self, head: Head, shapes: list[LesionShape]) -> None:
        matrix = head_to_mni(head)
        one, two = (generate_case(head, matrix, shapes, 5, recipe=RECIPE) for _ in range(2))
        assert torch.equal(one.image, two.image)
        assert torch.equal(one.target, two.target)
        other = generate_case(head, matrix, shapes, 6, recipe=RECIPE)
        assert not torch.equal(one.image, other.image)

    @pytest.mark.parametrize("kind", KINDS)
    def test_what_is_marked(self, head: Head, shapes: list[LesionShape], kind: str) -> None:
        matrix = head_to_mni(head)
        marked = torch.zeros(3)
        for seed in range(4):
            case = generate_case(
                head, matrix, shapes, seed, sequences=("DWI", "SWI", "FLAIR"), kind=kind,
                recipe=RECIPE,
            )  # fmt: skip
            general, ischemic, hemorrhagic = case.target
            assert torch.equal(general, torch.maximum(ischemic, hemorrhagic))
            assert set(case.target.unique().tolist()) <= {0.0, 1.0}
            marked += case.target.sum((1, 2, 3))
            present = case.image.abs().sum((1, 2, 3)) > 0
            names = {m for m, there in zip(MODALITIES, present.tolist(), strict=True) if there}
            assert names == {"DWI", "SWI", "FLAIR"}
            assert bool(case.image.isfinite().all())
        expected = {
            "none": (False, False),
            "infarct": (True, False),
            "old infarct": (True, False),
            "haemorrhage": (False, True),
            "transformation": (True, True),
        }[kind]
        assert tuple(bool(value > 0) for value in marked[1:]) == expected

    def test_fresh_infarcts_are_bright_on_dwi_and_dark_on_adc(
        self, head: Head, shapes: list[LesionShape]
    ) -> None:
        matrix = head_to_mni(head)
        brighter, darker, counted = 0, 0, 0
        for seed in range(12):
            case = generate_case(
                head, matrix, shapes, seed, sequences=("DWI", "ADC"), kind="infarct", recipe=CLEAN
            )
            lesion = case.target[LESION_TYPES.index("ischemic")] > 0.5
            if int(lesion.sum()) < 30:
                continue
            counted += 1
            dwi, adc = (case.image[MODALITIES.index(name)] for name in ("DWI", "ADC"))
            rest = case.brain & ~lesion & (dwi > 0)
            brighter += int(dwi[lesion].median() > dwi[rest].median())
            darker += int(adc[lesion].median() < adc[rest].median())
        assert counted >= 6
        # Subacute ones may be as bright as their surroundings on ADC.
        assert brighter >= 0.9 * counted
        assert darker >= 0.5 * counted

    def test_infarcts_are_marked_to_where_diffusion_shows_them(
        self, head: Head, shapes: list[LesionShape], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def cases(sequence: str) -> list[StrokeCase]:
            return [
                generate_case(
                    head, head_to_mni(head), shapes, seed, sequences=(sequence,), kind="infarct",
                    stage="subacute", recipe=replace(CLEAN, thick=1.0),
                )
                for seed in range(6)
            ]  # fmt: skip

        generous, flair = cases("DWI"), cases("FLAIR")
        # As little as elsewhere.
        monkeypatch.setattr("strokedx_core.synthesis.stroke._DRAWN_IF_SMALL", (0.3, 0.3))
        larger = 0
        for one, other in zip(generous, cases("DWI"), strict=True):
            assert torch.equal(one.image, other.image)
            if one.target.any():  # Otherwise it does not stand out so far.
                assert not (other.target.bool() & ~one.target.bool()).any()
            larger += int(one.target.sum()) > 1.05 * int(other.target.sum()) > 0
        assert larger >= 3
        for one, other in zip(flair, cases("FLAIR"), strict=True):
            assert torch.equal(one.target, other.target)

    def test_large_infarcts_are_marked_more_tightly_than_small_ones(self) -> None:
        mask = torch.zeros((64, 48, 48), dtype=torch.bool)
        mask[4:6, 20:22, 20:22] = True  # 0.06 ml
        mask[30:54, 12:36, 12:36] = True  # 110 ml
        share = _generous(mask, 2.0, 0.1)
        assert float(share[5, 21, 21]) == pytest.approx(0.1, abs=0.01)
        assert float(share[42, 24, 24]) == pytest.approx(0.45)
        assert 0.4 < float(share[30, 24, 24]) < 0.45
        assert 0.2 < float(share[30, 12, 12]) < 0.3

    def test_blood_in_an_infarct_is_marked_where_it_looks_other_than_the_rest(
        self, head: Head, shapes: list[LesionShape]
    ) -> None:
        unlike = 0
        for seed in range(12):
            case = generate_case(
                head,
                head_to_mni(head),
                shapes,
                seed,
                sequences=("DWI",),
                kind="transformation",
                recipe=CLEAN,
            )
            _, ischemic, hemorrhagic = case.target.bool()
            rest = ischemic & ~hemorrhagic
            if not hemorrhagic.any() or int(rest.sum()) < 30:
                continue
            dwi = case.image[MODALITIES.index("DWI")]
            near = rest & (F.max_pool3d(hemorrhagic[None].float(), 7, 1, 3)[0] > 0)
            difference = float(dwi[hemorrhagic].mean() - dwi[near].mean())
            assert abs(difference) > 0.3 * float(dwi[near].std())
            unlike += 1
        assert unlike >= 3

    def test_fresh_blood_has_a_dark_rim(self) -> None:
        axis = torch.arange(-15.0, 16)
        depth = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0) - 9
        rimmed = 0
        for seed in range(20):
            painted = torch.ones(31, 31, 31)
            for patch in blood(depth < 0, depth, "hyperacute", 1.0, rng(seed)):
                if "B0" in patch.signals:
                    painted *= 1 + patch.weight * (patch.signals["B0"].times - 1)
            middle, rim = painted[15, 15, 15], painted[15, 15, 20:].min()
            rimmed += bool(rim < 0.8 < middle)
        assert 12 <= rimmed < 20

    @pytest.mark.parametrize("radius", [3.0, 10.0], ids=["lacune", "large"])
    def test_old_infarcts_of_any_size_have_a_cavity_within_a_scar(self, radius: float) -> None:
        axis = torch.arange(-15.0, 16)
        mask = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0) < radius
        for seed in range(20):
            scar, cavity = old_infarct(mask, 1.0, rng(seed))
            fluid = cavity.weight > 0.3
            assert cavity.signals["T1W"].fluid == 1
            assert fluid[15, 15, 15]
            assert 0.1 < int((fluid & mask).sum()) / int(mask.sum()) <= 1
            assert scar.signals["FLAIR"].times > 1.1
            assert bool((scar.weight[mask] > 0.2).all())

    def test_another_view_keeps_the_lesion_where_it_is(
        self, head: Head, shapes: list[LesionShape]
    ) -> None:
        case = generate_case(
            head, head_to_mni(head), shapes, 4, sequences=("DWI",), kind="infarct", recipe=CLEAN
        )
        dwi, mirrored = MODALITIES.index("DWI"), 0
        for seed in range(8):
            view = another_view(case, rng(seed))
            image, target = view.image, view.target
            flipped = not torch.equal(target, case.target)
            mirrored += flipped
            image, target = (x.flip(1) if flipped else x for x in (image, target))
            assert torch.equal(target, case.target)
            assert torch.equal(image > 0, case.image > 0), "what was not acquired stays so"
            order = case.image[dwi].flatten().argsort()
            assert (image[dwi].flatten()[order].diff() >= -1e-6).all()
        assert 0 < mirrored < 8

    def test_scans_without_diffusion_look_for_blood_or_old_strokes(
        self, head: Head, shapes: list[LesionShape]
    ) -> None:
        for sequence, kind in (("SWI", "haemorrhage"), ("T1W", "old infarct")):
            recipe = replace(RECIPE, kinds={"infarct": 1.0, kind: 1.0})
            kinds = [
                generate_case(
                    head, head_to_mni(head), shapes, seed, sequences=(sequence,), recipe=recipe
                ).kind
                for seed in range(24)
            ]
            assert kinds.count(kind) > 12

    def test_a_quarter_has_no_stroke(self) -> None:
        kinds = StrokeRecipe().kinds
        assert kinds["none"] / sum(kinds.values()) == pytest.approx(0.25)

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"sequences": ("PD",)}, "sequences must be"),
            ({"kind": "tumour"}, "kind must be"),
            ({"kind": "infarct", "stage": "chronic"}, "stage must be"),
        ],
    )
    def test_unknown_words_are_refused(
        self, head: Head, shapes: list[LesionShape], values: dict[str, object], words: str
    ) -> None:
        with pytest.raises(ValueError, match=words):
            generate_case(head, head_to_mni(head), shapes, 1, recipe=RECIPE, **values)  # type: ignore[arg-type]


class TestClicks:
    def test_a_click_is_a_peak(self) -> None:
        drawn = draw_clicks((20, 24, 28), [(5, 6, 7), (15, 20, 25)])
        assert drawn[5, 6, 7] == 1
        assert drawn[15, 20, 25] == 1
        assert float(drawn[5, 6, 9]) == pytest.approx(np.exp(-0.5), rel=1e-5)
        assert drawn[12, 12, 12] == 0

    def test_beyond_the_edge(self) -> None:
        assert not draw_clicks((8, 8, 8), [(40, 4, 4)]).any()
        assert not draw_clicks((8, 8, 8), []).any()
        assert draw_clicks((8, 8, 8), [(-1, 4, 4)])[0, 4, 4] > 0

    def test_simulated_clicks_go_to_the_largest_errors(self) -> None:
        truth = np.zeros((20, 20, 20), bool)
        found = np.zeros_like(truth)
        truth[2:9, 2:9, 2:9] = True
        found[12:17, 12:17, 12:17] = True
        truth[18, 18, 18] = True
        assert simulate_clicks(found, truth, 2) == [((5, 5, 5), True), ((14, 14, 14), False)]
        assert len(simulate_clicks(found, truth, 9)) == 3
        assert simulate_clicks(truth, truth, 5) == []
        ((place, positive),) = simulate_clicks(found, truth, 1, np.random.default_rng(0))
        assert positive
        assert truth[place]

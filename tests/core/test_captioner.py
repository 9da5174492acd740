"""The captioner: phrases read back, statements checked, and a network that looks at the image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from strokedx_core.anatomy.anatomy_map import AnatomyMap
from strokedx_core.anatomy.regions import GROUPS, STRUCTURES, territory_number
from strokedx_core.captions.claims import FIELDS, borne_out, claims_of
from strokedx_core.captions.facts import Finding
from strokedx_core.captions.neural import (
    LoadedCaptioner,
    check_text,
    load_captioner,
    write_caption,
    write_checked,
)
from strokedx_core.captions.on_grid import pieces_on_grid
from strokedx_core.captions.parts import PARTS, mirrored_parts, parts_on
from strokedx_core.captions.phrasing import read, say, write
from strokedx_core.captions.tokens import Tokenizer
from strokedx_core.inference.brain_grid import BrainGrid
from strokedx_core.nets.captioner import (
    BEGIN_CASE,
    BEGIN_SLICE,
    END,
    Captioner,
    pieces_of,
)
from strokedx_core.tasks import MODALITIES
from strokedx_core.training.caption_cases import (
    CaptionCase,
    described_cases,
    generated_cases,
)
from strokedx_core.training.caption_config import CaptionConfig, read_caption_config
from strokedx_core.training.caption_examples import examples_of, mirrored
from strokedx_core.training.captioning import field_accuracy, train_captioner
from strokedx_core.training.checkpoint import load_checkpoint, save_checkpoint
from strokedx_core.training.tables import ConfigError
from strokedx_core.volume import volume_from_array

ENCODER = {
    "in_channels": 10, "out_channels": 3, "widths": [4, 8, 8, 8], "convs": 1, "stem_stride": 1,
    "plain": 1, "conditional": True,
}  # fmt: skip


def share(part: str, side: str, of_lesion: float) -> dict[str, object]:
    return {"part": part, "side": side, "of_lesion": of_lesion}


FOUND = {
    "count": Finding(2),
    "volume": Finding(12.0, "ml"),
    "side": Finding("left"),
    "bilateral": Finding(False),
    "arteries": Finding([share("MCA", "left", 0.6), share("ACA", "left", 0.3),
                         share("PCA", "left", 0.1)]),
    "lobes": Finding([share("frontal", "left", 0.8), share("insula", "left", 0.2)]),
    "hemorrhagic": Finding(reason="no mask of blood was given"),
}  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
def test_every_claim_is_read_back_in_every_phrasing(field: str) -> None:
    for value in FIELDS[field]:
        texts = {write({field: value}, np.random.default_rng(seed)) for seed in range(30)}
        assert len(texts) > 1
        for text in texts:
            (said,) = read(text)
            assert said.claim == (field, value)


def test_a_whole_text_is_read_back() -> None:
    claims = {"type": "both", "side": "right", "territory": "VB", "lobe": "cerebellum",
              "size": "large", "number": "few"}  # fmt: skip
    for seed in range(20):
        text = write(claims, np.random.default_rng(seed))
        assert text.endswith(".")
        assert dict(said.claim for said in read(text) if said.claim) == claims
    assert len({write(claims, np.random.default_rng(seed)) for seed in range(20)}) == 20


def test_what_is_true_of_findings() -> None:
    assert claims_of(FOUND) == {
        "side": "left", "territory": "MCA", "lobe": "frontal", "size": "medium", "number": "few"
    }  # fmt: skip
    assert claims_of({"count": Finding(0)}) == {"presence": "none"}
    blood = {**FOUND, "hemorrhagic": Finding(0.3, "share"), "side": Finding("both")}
    assert (claims_of(blood)["type"], claims_of(blood)["side"]) == ("both", "both")
    # Nearly all of it lies on the left, and a little on the right.
    sides = {**FOUND, "bilateral": Finding(True)}
    assert claims_of(sides)["side"] == "left"
    assert borne_out(("side", "left"), sides)
    assert borne_out(("side", "both"), sides)


@pytest.mark.parametrize(
    ("claim", "true"),
    [
        (("side", "left"), True),
        (("side", "right"), False),
        (("territory", "MCA"), True),
        (("territory", "ACA"), True),  # a quarter of the lesions lie there
        (("territory", "PCA"), False),
        (("lobe", "insula"), False),
        (("size", "medium"), True),
        (("number", "one"), False),
        (("type", "ischemic"), None),
        (("presence", "none"), False),
    ],
)
def test_what_findings_bear_out(claim: tuple[str, str], true: bool | None) -> None:
    assert borne_out(claim, FOUND) is true


def test_a_lesion_that_no_artery_supplies_is_in_no_territory() -> None:
    in_ventricle = {**FOUND, "arteries": Finding([])}
    assert "territory" not in claims_of(in_ventricle)
    assert borne_out(("territory", "MCA"), in_ventricle) is False
    unknown = {**FOUND, "arteries": Finding(reason="there is no image")}
    assert borne_out(("territory", "MCA"), unknown) is None


def test_what_is_not_borne_out_is_struck() -> None:
    text = "Infarction, on the right, in the territory of the middle cerebral artery. ACA "
    text += "territory, the weather is fine, of medium size, of medium size."
    caption = check_text(text, FOUND)
    verdicts = {part.text: part.verdict for part in caption.statements}
    assert verdicts == {
        "Infarction": "not assessable",
        "on the right": "struck",
        "in the territory of the middle cerebral artery": "borne out",
        "ACA territory": "borne out",
        "the weather is fine": "struck",
        "of medium size": "struck",  # the second time
    }
    assert caption.checked == (
        "Possibly infarction, in the territory of the middle cerebral artery, ACA territory, "
        "of medium size."
    )
    for said in read(caption.checked.replace("Possibly infarction, ", "")):
        assert said.claim is not None
        assert borne_out(said.claim, FOUND)
    assert check_text("On the right.", FOUND).checked == ""
    assert say(["a", "b", "c"], [False, True]) == "A, b. C."


def test_what_would_be_struck_is_written_again() -> None:
    first = "Infarction, MCA territory, on the right"
    drawn = [first, "Infarction, on the left", "Infarction, MCA territory, on the left"]
    drawn += ["Hemorrhage, MCA territory, on the left"]
    tokenizer = Tokenizer.train([*drawn] * 30, 300)

    class Network:
        def caption(self, seen: torch.Tensor, begin: int, rng: object = None) -> list[list[int]]:
            assert begin == BEGIN_CASE
            texts = [first] if rng is None else (drawn * len(seen))[: len(seen)]
            return [tokenizer.encode(text) for text in texts]

    loaded = LoadedCaptioner(Network(), tokenizer)  # type: ignore[arg-type]
    caption = write_checked(loaded, torch.zeros(1, 2, 4), BEGIN_CASE, FOUND)
    assert caption.first == first
    assert caption.text == "Infarction, MCA territory, on the left."
    assert caption.checked == "Possibly infarction, MCA territory, on the left."
    first = drawn[1]
    assert write_checked(loaded, torch.zeros(1, 2, 4), BEGIN_CASE, FOUND).text == first
    # It may be said of ACA too, but more of the lesions lies in the territory of MCA.
    first = "Infarction. ACA territory, on the left"
    assert check_text(first, FOUND).checked.endswith("ACA territory, on the left.")
    again = write_checked(loaded, torch.zeros(1, 2, 4), BEGIN_CASE, FOUND).text
    assert again == "Infarction. MCA territory, on the left."
    # Nothing that is drawn tells the size better.
    first = "On the left, small"
    caption = write_checked(loaded, torch.zeros(1, 2, 4), BEGIN_CASE, FOUND)
    assert (caption.text, caption.checked) == ("On the left, small.", "On the left.")


def test_the_tokenizer_spells_what_it_never_saw() -> None:
    tokenizer = Tokenizer.train(["infarction, on the left"] * 30, 300)
    for text in ("infarction, on the left", "Größe: 12 ml", "left infarction"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("infarction, on the left")) < 12
    again = Tokenizer(tokenizer.model)
    assert again.encode("on the left") == tokenizer.encode("on the left")
    assert min(tokenizer.encode("slice case</s><s>")) > BEGIN_SLICE


def test_the_caption_follows_from_image_and_mask() -> None:
    torch.manual_seed(0)
    network = Captioner(ENCODER, 300, (2, 3), (3, 4), width=32, heads=4, layers=1, length=12).eval()
    image = torch.rand(2, 7, 16, 16, 16)
    parts = torch.randint(6, (2, 1, 16, 16, 16))
    lesion = torch.zeros(2, 1, 16, 16, 16)
    lesion[0, :, :4, :4, :4] = 1
    lesion[1, :, 8:, 8:, 8:] = 1
    seen, answers, blood = network.look(image, lesion, parts)
    assert seen.shape == (2, 1 + 12 + 8 + 2, 32)  # whole, pieces, cells, questions
    assert [answer.shape for answer in answers] == [(2, 3), (2, 4)]
    assert [voxels.shape for voxels in blood] == [(64,), (512,)]
    text = torch.tensor([[BEGIN_CASE, 9, 10, END]])
    logits = network(seen[:1], text)
    assert logits.shape == (1, 4, 300)
    # A token is told from those before it alone.
    changed = network(seen[:1], torch.tensor([[BEGIN_CASE, 9, 11, END]]))
    assert torch.allclose(logits[:, :2], changed[:, :2], atol=1e-5)
    assert not torch.allclose(logits[:, 2], changed[:, 2])
    network.look(image, lesion, parts)[0].sum().backward()
    moved = [p.grad is not None for p in network.encoder.encoder.parameters()]
    assert moved
    assert all(moved)
    for other in (
        network.look(image.flip(0), lesion, parts),
        network.look(image, lesion.flip(0), parts),
        network.look(image, lesion, parts.flip(0)),
    ):
        assert not torch.allclose(answers[0], other[1][0], atol=1e-4)
    for tokens in network.caption(seen):
        assert len(tokens) < 12
    draws = [network.caption(seen, rng=torch.Generator().manual_seed(n)) for n in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_a_lesion_falls_to_pieces() -> None:
    lesion = torch.zeros(16, 16, 16)
    lesion[2:4, 2:4, 2:4] = 1
    lesion[4, 4, 4] = 1  # touches the first by a corner
    lesion[8:12, 8:12, 8:12] = 1
    pieces = pieces_of(lesion)
    assert [int((pieces == n).sum()) for n in (1, 2, 3)] == [64, 9, 0]
    lesion[:] = 0
    lesion[::2, ::2, ::2] = 1
    assert torch.bincount(pieces_of(lesion).flatten()).tolist()[1:] == 512 * [1]
    assert not pieces_of(0 * lesion).any()


def test_a_lesion_is_described_by_what_lies_in_it() -> None:
    torch.manual_seed(0)
    network = Captioner(ENCODER, 300, (2, 3), (3, 4), width=32, heads=4, layers=1, length=12)
    image, lesion = torch.rand(7, 16, 16, 16), torch.zeros(16, 16, 16)
    lesion[2:4, 2:4, 2:4] = lesion[8:12, 8:12, 8:12] = 1
    parts = torch.randint(6, (16, 16, 16))
    features = [torch.rand(c, n, n, n) for c, n in ((4, 16), (8, 8), (8, 4), (8, 2))]
    numbers = pieces_of(lesion)
    whole, pieces, bled, there, cells, blood = network._describe(
        features, image, lesion, parts, numbers, 3.0
    )
    second = numbers[lesion > 0] == 2
    assert bled.shape == (13, 8)
    assert torch.allclose(bled[0, 0], blood.sigmoid().mean())
    assert torch.allclose(bled[2, 0], blood[second].sigmoid().mean())
    assert torch.allclose(bled[1, 1], (blood[~second] > 0).float().mean())
    # The second piece is a cube of two voxels' side: around each of its voxels lies all of it.
    middle = blood[second].mean()
    assert torch.allclose(bled[2, 4:6], middle / 4, atol=1e-6)
    assert torch.allclose(bled[2, 6:8], middle.sigmoid(), atol=1e-6)
    assert bled[0, 6] == bled[1:3, 6].max()
    assert bled[0, 7] == bled[1:3, 7].min()
    assert there.tolist() == [True, True] + 10 * [False]
    in_first = (slice(8, 12),) * 3
    assert torch.allclose(pieces[0, 4:11], image[(slice(None), *in_first)].mean((1, 2, 3)))
    assert torch.allclose(pieces[1, :4], features[0][:, 2:4, 2:4, 2:4].mean((1, 2, 3)))
    assert torch.allclose(whole[4:11], image[:, lesion > 0].mean(1))
    right = (parts[in_first] % 2).float().mean()
    assert torch.allclose(pieces[0, 22:24], torch.stack((1 - right, right)))
    assert torch.allclose(pieces[0, -8:], features[3][:, 1, 1, 1])
    assert cells.shape == (8, 8 + 11 + 2)
    assert torch.allclose(cells[0, 12:19], image[:, 2:4, 2:4, 2:4].mean((1, 2, 3)))
    assert float(cells[7, 19]) == pytest.approx(64 / 512)
    for part in network._describe(features, image, 0 * lesion, parts, 0 * numbers, 3.0):
        assert part.isfinite().all()
    # Those beyond the twelve largest count in the whole alone.
    numbers[numbers == 2] = 13
    again = network._describe(features, image, lesion, parts, numbers, 3.0)
    assert torch.allclose(again[0], whole)
    assert again[3].tolist() == [True] + 11 * [False]


def test_lesions_that_are_small_or_close_stay_lesions_on_a_coarser_grid() -> None:
    labels = np.zeros((60, 60, 60), np.int32)
    labels[10:20, 10:20, 10:20] = 1
    labels[22:32, 10:20, 10:20] = 2  # 2 mm from the first
    labels[40, 40, 40] = 3  # a 27th of a voxel
    affine = np.diag([1.0, 1, 1, 1])
    grid = BrainGrid.around(np.ones(labels.shape, bool), affine, 3.0, 16)
    lesion = (grid.image((labels > 0).astype(np.float32), affine) >= 0.5).astype(np.float32)
    before = lesion.copy()
    pieces = pieces_on_grid(labels, lesion, grid)
    assert set(np.unique(pieces)) == {0, 1, 2, 3}
    assert np.array_equal(pieces > 0, lesion > 0)
    assert (lesion != before).sum() == (pieces == 3).sum() == 1
    x, y, z = np.argwhere(pieces == 3)[0]
    assert np.allclose((grid.affine @ [x, y, z, 1])[:3], 40, atol=1.6)
    for number, middle in ((1, 14.5), (2, 26.5)):
        here = np.argwhere(pieces == number) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
        assert np.allclose(here.mean(0), [middle, 14.5, 14.5], atol=0.8)


def test_parts_are_mirrored() -> None:
    parts = torch.arange(2 * len(STRUCTURES) * len(GROUPS), dtype=torch.uint8)
    assert (2, len(STRUCTURES), len(GROUPS)) == PARTS
    other = mirrored_parts(parts)
    assert torch.equal(other % 2, 1 - parts % 2)
    assert torch.equal(other // 2, parts // 2)


def test_parts_that_were_told_are_taken_over_on_another_grid() -> None:
    shape = (8, 8, 8)
    structure, territory, right = (np.zeros(shape, kind) for kind in (np.uint8, np.uint8, bool))
    structure[:, 1:7, 1:7] = 1 + STRUCTURES.index("insula")
    structure[:, 3:5, 1:7] = 1 + STRUCTURES.index("ventricle")
    right[4:] = structure[4:] > 0
    for half, at in ((False, slice(0, 4)), (True, slice(4, 8))):
        territory[at, 1:3, 1:7] = territory_number("MCAI", half)
        territory[at, 5:7, 1:7] = territory_number("BA", half)
    affine = np.diag([-2.0, 2, 2, 1])  # the first voxel is the rightmost one
    anatomy = AnatomyMap(structure, territory, right, affine, np.eye(4), ())
    finer = np.diag([1.0, 1, 1, 1])
    finer[:3, 3] = -14.5, -0.5, -0.5
    parts = parts_on(anatomy, (16, 16, 16), finer)

    def code(group: str, name: str, side: int) -> int:
        return (list(GROUPS).index(group) * len(STRUCTURES) + STRUCTURES.index(name)) * 2 + side

    assert parts.dtype == torch.uint8
    assert parts[15, 3, 8] == code("MCA", "insula", 0)
    assert parts[0, 12, 8] == code("VB", "insula", 1)
    assert parts[0, 7, 8] == code("MCA", "ventricle", 1)  # of the nearest territory
    assert parts[0, 8, 8] == code("VB", "ventricle", 1)
    assert parts[0, 0, 0] == parts[0, 3, 3]  # outside of the brain
    assert set(parts[8:].flatten().tolist()) == {
        code("MCA", "insula", 0), code("VB", "insula", 0),
        code("MCA", "ventricle", 0), code("VB", "ventricle", 0),
    }  # fmt: skip


def made_up(number: int) -> CaptionCase:
    """A bright block, infarct or blood, on the left or the right of a grey brain."""
    rng = np.random.default_rng(number)
    image = torch.full((1, 16, 16, 16), 0.5) + 0.05 * torch.from_numpy(rng.random((1, 16, 16, 16)))
    lesion = torch.zeros(16, 16, 16, dtype=torch.bool)
    right, blood = bool(rng.integers(2)), bool(rng.integers(2))
    x = int(rng.integers(9, 11)) if right else int(rng.integers(1, 3))
    y, z = rng.integers(1, 11, size=2)
    lesion[x : x + 4, y : y + 4, z : z + 4] = True
    image[0, lesion] = 0.1 if blood else 1.5
    claims = {"type": "hemorrhagic" if blood else "ischemic", "side": "right" if right else "left"}
    slices = {int(z) + 1: claims}
    parts = torch.zeros(16, 16, 16, dtype=torch.uint8)
    parts[8:] = 1  # the right half
    bled = lesion & torch.tensor(blood)
    return CaptionCase((3,), image.half(), lesion, parts, bled, lesion.byte(), claims, slices)


@pytest.fixture(scope="module")
def config() -> CaptionConfig:
    return CaptionConfig(
        steps=160, steps_per_epoch=80, checkpoint_every=40, batch=8, phrasings=2, encoder=ENCODER,
        width=32, layers=1, heads=4, length=24, vocabulary=330, learning_rate=2e-3, warmup=10,
        ema=0.9, encoder_rate=1.0, resampled=0.3,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(config: CaptionConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on made-up cases that was stopped once, 100 steps in."""
    with pytest.MonkeyPatch.context() as patch:
        use_made_up_cases(patch)
        out = tmp_path_factory.mktemp("run")
        stop_at(patch, 100)
        with pytest.raises(KeyboardInterrupt):
            train_captioner(config, {}, out, quiet=True)
        patch.undo()
        use_made_up_cases(patch)
        train_captioner(config, {}, out, quiet=True)
    return out


def use_made_up_cases(patch: pytest.MonkeyPatch) -> None:
    def cases(*_: object, held_out: bool, multiple: int, quiet: bool) -> list[CaptionCase]:
        return [made_up(n) for n in (range(1000, 1040) if held_out else range(80))]

    patch.setattr("strokedx_core.training.captioning.generated_cases", cases)


def stop_at(patch: pytest.MonkeyPatch, step: int) -> None:
    from strokedx_core.training import captioning

    made = captioning.examples_of

    def examples(*given: object) -> object:
        if given[-1] == step:
            raise KeyboardInterrupt
        return made(*given)  # type: ignore[arg-type]

    patch.setattr(captioning, "examples_of", examples)


@pytest.mark.slow
def test_a_short_training_learns_to_look(run: Path) -> None:
    loaded = load_captioner(run / "weights.safetensors")
    cases = [made_up(n) for n in range(2000, 2060)]
    images, lesions, parts = (
        torch.stack(part) for part in zip(*(case.seen() for case in cases), strict=True)
    )

    def accuracy(images: torch.Tensor, lesions: torch.Tensor) -> dict[str, float]:
        with torch.inference_mode():
            seen, *_ = loaded.network.look(images, lesions, parts)
            tokens = loaded.network.caption(seen)
        written = [loaded.tokenizer.decode(row) for row in tokens]
        return field_accuracy(written, [case.claims for case in cases])

    right = accuracy(images, lesions)
    assert right["side"] > 0.9
    assert right["type"] > 0.9
    # Of another case, neither is better than chance.
    shuffled = accuracy(images.roll(1, 0), lesions.roll(1, 0))
    assert shuffled["side"] < 0.75
    assert shuffled["type"] < 0.75
    with torch.inference_mode():
        _, _, blood = loaded.network.look(images, lesions, parts)
    told = [bool((voxels > 0).float().mean() > 0.5) for voxels in blood]
    bleeds = [case.claims["type"] == "hemorrhagic" for case in cases]
    assert np.mean(np.equal(told, bleeds)) > 0.9
    # The type is in the image alone.
    assert accuracy(images.roll(1, 0), lesions)["type"] < 0.8


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    run: Path, config: CaptionConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_made_up_cases(monkeypatch)
    train_captioner(config, {}, tmp_path / "whole", quiet=True)
    one, other = (load_checkpoint(path / "last.pt") for path in (run, tmp_path / "whole"))
    for name, value in one["model"].items():
        assert torch.equal(value, other["model"][name]), name
    rows = [(path / "metrics.csv").read_text().splitlines() for path in (run, tmp_path / "whole")]
    assert len(rows[0]) == 3
    assert (run / "captions" / "step_000160.txt").read_text().count("written:") == 40
    assert (run / "curves.png").stat().st_size > 1000
    with pytest.raises(ConfigError, match="another configuration"):
        train_captioner(config.model_copy(update={"steps": 161}), {}, run, quiet=True)


def test_a_case_is_learnt_as_from_a_grid_beside() -> None:
    lesion = torch.zeros(16, 16, 16, dtype=torch.bool)
    lesion[2:6, 4:8, 4:8] = lesion[7:11, 4:8, 4:8] = lesion[13, 13, 13] = True
    image = lesion.half()[None]
    parts = torch.arange(16**3, dtype=torch.int32).reshape(16, 16, 16).to(torch.uint8)
    pieces = pieces_of(lesion).byte()
    case = CaptionCase((3,), image, lesion, parts, lesion, pieces, {"number": "few"})
    config = CaptionConfig(resampled=1.0, batch=40)
    touched = 0
    for example in examples_of(config, [case], 0):
        marked, pieces = example.lesion[0] > 0, example.pieces[0]
        assert set(pieces.unique().tolist()) == {0, 1, 2, 3}
        assert torch.equal(pieces > 0, marked)
        assert abs(int(marked.sum()) - 129) < 140
        assert example.blood is not None
        assert not (example.blood[0] & ~marked).any()
        # The mask moves as the image does.
        seen = example.image[3]
        assert seen[marked & (pieces < 3)].mean() > 0.5 > 0.1 > seen[~marked].mean()
        touched += len(pieces_of(marked).unique()) < 4
    assert touched > 0
    as_it_is = examples_of(config.model_copy(update={"resampled": 0.0}), [case], 0)
    assert all(int(example.lesion.sum()) == 129 for example in as_it_is)


def test_a_generated_scan_is_learnt_as_it_is_seen_in_use(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, names in (("head_labels", "seg_19"), ("lesion_masks", "sub-10?0_")):
        (tmp_path / kind).mkdir()
        for path in (data_dir / kind).glob(f"{names}*"):
            (tmp_path / kind / path.name).symlink_to(path)
    folders = {
        "head-labels": tmp_path / "head_labels", "lesion-masks": tmp_path / "lesion_masks",
        "atlas": next((data_dir / "atlas").glob("*.nii.gz")),
    }  # fmt: skip
    config = CaptionConfig(
        validation_cases=3, scan_spacing=1.5, generator={"kinds": {"infarct": 1.0}}
    )
    cache = tmp_path / "cache"
    learnt = generated_cases(config, folders, cache, held_out=True, multiple=16)
    make = described_cases(config, folders, cache, held_out=True)
    look, seen = Captioner.look, []

    def looked(self: Captioner, *given: torch.Tensor, spacing_mm: float) -> object:
        seen.append(given)
        return look(self, *given, spacing_mm=spacing_mm)

    monkeypatch.setattr(Captioner, "look", looked)
    marked = 0
    for number, one in enumerate(learnt):
        case, said = make(number)
        assert case.spacing == pytest.approx(1.5, rel=0.11)
        assert one.claims == said.claims
        affine = np.diag([case.spacing] * 3 + [1])
        images = {
            name: volume_from_array(case.image[MODALITIES.index(name)].numpy(), affine)
            for name in case.sequences
        }
        mask = replace(next(iter(images.values())), data=said.lesion.numpy())
        write_caption(mask, images, case.brain.numpy(), said.found)
        image, lesion, _, pieces = (part[0].cpu() for part in seen[-1])
        assert torch.equal(one.whole(), image.half().float())
        assert torch.equal(one.lesion, lesion[0] > 0)
        assert torch.equal(one.pieces, pieces[0].byte())
        assert not (one.blood & ~one.lesion).any()
        for layer in one.slices:
            assert one.lesion[:, :, layer].any()
        marked += int(one.lesion.sum())
    assert marked > 0


def test_the_mirror_image_has_the_other_side() -> None:
    assert mirrored({"side": "left", "lobe": "insula"}) == {"side": "right", "lobe": "insula"}
    assert mirrored({"side": "both"}) == {"side": "both"}


def test_what_is_left_unsaid_is_wrong() -> None:
    meant = [{"side": "left", "size": "small"}, {"side": "right", "size": "large"}]
    found = field_accuracy(["Left, small.", "On the left."], meant)
    assert found == {"side": 0.5, "size": 0.5}


def test_the_recipe_is_checked(tmp_path: Path) -> None:
    assert read_caption_config().start == "caption"
    path = tmp_path / "c.toml"
    for text, told in (
        ("speed = 1", "speed"),
        ("width = 30", "multiple of heads"),
        ("[generator]\nspacing = 2.0", "unknown keys"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=told):
            read_caption_config(path)


def test_other_weights_are_no_captioner(tmp_path: Path) -> None:
    from strokedx_core.weights import WeightsError

    with pytest.raises(WeightsError, match="no tokenizer"):
        load_captioner("lesion_flair")
    save_checkpoint({"a": 1}, tmp_path / "last.pt")
    config = CaptionConfig(start="skull_strip", steps=1)
    with pytest.raises(ConfigError, match="need --head-labels and --lesion-masks and --atlas"):
        train_captioner(config, {}, tmp_path, quiet=True)

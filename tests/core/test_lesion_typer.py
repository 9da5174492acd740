"""What type of stroke a lesion is: the cut-out, the network, its training, and what follows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from strokedx_core.captions.claims import FIELDS
from strokedx_core.captions.lesion_type import close_view, load_typer, type_odds
from strokedx_core.captions.neural import LoadedCaptioner, write_checked
from strokedx_core.captions.tokens import Tokenizer
from strokedx_core.nets.captioner import BEGIN_CASE
from strokedx_core.nets.lesion_typer import TYPES, LesionTyper
from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.training import lesion_typer
from strokedx_core.training.checkpoint import load_checkpoint
from strokedx_core.training.lesion_typer import (
    TyperCase,
    _part,
    begin_from,
    train_lesion_typer,
    typer_cases,
)
from strokedx_core.training.tables import ConfigError, NetworkConfig
from strokedx_core.training.typer_config import TyperConfig, read_typer_config
from strokedx_core.volume import Volume, volume_from_array
from strokedx_core.weights import WeightsError, load_network

NETWORK = NetworkConfig(
    in_channels=10, out_channels=1, widths=(4, 8), convs=1, stem_stride=1, upsampling="transposed",
    plain=1, conditional=True,
)  # fmt: skip


def made_up(number: int) -> TyperCase:
    """A lesion that is bright, or dark as blood, or bright with a dark part, by turns."""
    rng = np.random.default_rng(number)
    kind = number % 3
    image = torch.full((1, 16, 12, 12), 0.5) + 0.1 * torch.from_numpy(rng.random((1, 16, 12, 12)))
    lesion = torch.zeros(16, 12, 12, dtype=torch.bool)
    x, y, z = rng.integers(2, 6), *rng.integers(2, 4, size=2)
    lesion[x : x + 6, y : y + 6, z : z + 6] = True
    blood = torch.zeros_like(lesion)
    if kind:
        blood[x : x + (6 if kind == 1 else 2), y : y + 6, z : z + 6] = True
    image[0, lesion] += 0.8
    image[0, blood] -= 1.1
    return TyperCase((3,), image.clamp_min(0).half(), lesion, blood, kind)


def use_made_up_cases(patch: pytest.MonkeyPatch) -> None:
    def cases(*_: object, held_out: bool, quiet: bool) -> list[TyperCase]:
        return [made_up(n) for n in (range(1000, 1030) if held_out else range(90))]

    patch.setattr(lesion_typer, "typer_cases", cases)


@pytest.fixture(scope="module")
def config() -> TyperConfig:
    return TyperConfig(
        steps=120, steps_per_epoch=60, checkpoint_every=20, batch=4, learning_rate=1e-2, warmup=10,
        ema=0.9, network=NETWORK, hidden=16, longest=16,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(config: TyperConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on made-up cases that was stopped once, 50 steps in."""
    out, learn = tmp_path_factory.mktemp("run"), lesion_typer._learn
    with pytest.MonkeyPatch.context() as patch:
        use_made_up_cases(patch)

        def stop(*given: object) -> float:
            if given[3] == 50:
                raise KeyboardInterrupt
            return learn(*given)  # type: ignore[arg-type]

        patch.setattr(lesion_typer, "_learn", stop)
        with pytest.raises(KeyboardInterrupt):
            train_lesion_typer(config, {}, out, quiet=True)
        patch.setattr(lesion_typer, "_learn", learn)
        train_lesion_typer(config, {}, out, quiet=True)
    return out


def test_a_short_training_learns_to_look(run: Path) -> None:
    rows = (run / "metrics.csv").read_text().splitlines()
    losses = [float(row.split(",")[1]) for row in rows[1:]]
    assert losses[1] < losses[0]
    typer = load_typer(run / "weights.safetensors")
    cases = [made_up(n) for n in range(2000, 2060)]

    def accuracy(pairs: list[tuple[TyperCase, TyperCase]]) -> float:
        told = []
        for seen, meant in pairs:
            view = replace(meant.view(), image=seen.view().image)
            told.append(int(type_odds(typer, view, 2.0).argmax()) == meant.type)
        return float(np.mean(told))

    assert accuracy([(case, case) for case in cases]) > 0.9
    # Of another case's image it is not told.
    assert accuracy(list(zip(cases, cases[1:] + cases[:1], strict=True))) < 0.6
    with torch.no_grad():
        _, blood = typer(cases[2].whole(), cases[2].lesion)
    truth = cases[2].blood[cases[2].lesion]
    assert ((blood > 0) == truth).float().mean() > 0.9


def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    run: Path, config: TyperConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_made_up_cases(monkeypatch)
    train_lesion_typer(config, {}, tmp_path / "whole", quiet=True)
    one, other = (load_checkpoint(path / "last.pt") for path in (run, tmp_path / "whole"))
    for name, value in one["model"].items():
        assert torch.equal(value, other["model"][name]), name
    with pytest.raises(ConfigError, match="another configuration"):
        train_lesion_typer(config.model_copy(update={"steps": 121}), {}, run, quiet=True)
    with pytest.raises(WeightsError, match="does not fit"):
        load_network(run / "weights.safetensors")


def test_a_run_goes_on_from_weights_of_its_own(
    run: Path, config: TyperConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_made_up_cases(monkeypatch)
    start = {"start": str(run / "weights.safetensors"), "steps": 1, "learning_rate": 1e-9}
    again = train_lesion_typer(config.model_copy(update=start), {}, tmp_path, quiet=True)
    before, after = (load_typer(path).state_dict() for path in (Path(start["start"]), again))
    assert all(torch.allclose(before[name], after[name], atol=1e-3) for name in before)
    other = config.model_copy(update={**start, "hidden": 8})
    with pytest.raises(ConfigError, match="start"):
        train_lesion_typer(other, {}, tmp_path / "other", quiet=True)


def test_it_begins_as_a_lesion_network_that_marks_blood() -> None:
    typer, lesion = LesionTyper(read_typer_config().network.model_dump()), load_network(
        "lesion_diffusion"
    )  # fmt: skip
    begin_from(typer, lesion)
    rng = torch.Generator().manual_seed(0)
    image = torch.rand((1, 10, 32, 32, 32), generator=rng)
    with torch.no_grad():
        own, theirs = typer.network.eval().encode(image), lesion.encode(image)
    assert all(torch.equal(a, b) for a, b in zip(own, theirs, strict=False))
    assert torch.equal(typer.network.head.weight[0], lesion.head.weight[2])
    assert torch.equal(typer.network.conditions[2].weight, lesion.conditions[6].weight)
    with pytest.raises(ConfigError, match="start"):
        begin_from(typer, UNet3D(10, 3, (12, 24, 48), stem_stride=1))
    with pytest.raises(ConfigError, match="start"):
        begin_from(typer, load_network("skull_strip"))


def scan(orientation: np.ndarray) -> tuple[Volume, np.ndarray, np.ndarray, np.ndarray]:
    """A brain of ones with a bright lesion at the front on the right, half of it blood."""
    data = 1 + 0.1 * np.random.default_rng(0).random((40, 50, 40), np.float32)
    lesion = np.zeros(data.shape, bool)
    lesion[26:32, 34:40, 10:16] = True
    blood = lesion.copy()
    blood[29:] = False
    data[lesion] = 3.0
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    turned = affine @ np.linalg.inv(orientation)
    axes = np.abs(orientation[:3, :3]).argmax(1)

    def turn(values: np.ndarray) -> np.ndarray:
        out = values.transpose(axes)
        for axis in range(3):
            if orientation[axis, axes[axis]] < 0:
                out = np.flip(out, axis)
        return np.ascontiguousarray(out)

    return volume_from_array(turn(data), turned), *map(turn, (lesion, blood, data > 0))


def test_the_cut_out_holds_the_lesion_whichever_way_it_is_stored() -> None:
    views = []
    flipped = np.array([[0, -1, 0, 49], [0, 0, 1, 0], [-1, 0, 0, 39], [0, 0, 0, 1]], float)
    for orientation in (np.eye(4), flipped):
        volume, lesion, blood, brain = scan(orientation)
        view = close_view(lesion, {"DWI": volume}, brain, volume.affine, 2.0, 4, blood=blood)
        assert all(size % 4 == 0 for size in view.lesion.shape)
        assert view.lesion.sum() == lesion.sum()
        assert view.blood.sum() == blood.sum()
        assert view.lesion.shape < brain.shape
        assert view.image[3][view.lesion].min() > 1.5 > view.image[3][~view.lesion].max()
        assert view.image.sum(0).astype(bool).sum() == view.image[3].astype(bool).sum()
        # The bleeding half is the left one: x runs to the right.
        x = [np.argwhere(part)[:, 0].mean() for part in (view.blood, view.lesion & ~view.blood)]
        assert x[0] < x[1]
        views.append(view)
    assert np.array_equal(views[0].lesion, views[1].lesion)
    assert np.allclose(views[0].image, views[1].image, atol=1e-5)
    # Beside the brain there is nothing to cut out, and nothing fails.
    nowhere = np.zeros_like(lesion)
    assert not close_view(nowhere, {"DWI": volume}, brain, volume.affine, 2.0, 4).lesion.any()


def test_cases_are_made_once(data_dir: Path, tmp_path: Path) -> None:
    for kind, names in (("head_labels", "seg_19"), ("lesion_masks", "sub-10?0_")):
        (tmp_path / kind).mkdir()
        for path in (data_dir / kind).glob(f"{names}*"):
            (tmp_path / kind / path.name).symlink_to(path)
    folders = {"head-labels": tmp_path / "head_labels", "lesion-masks": tmp_path / "lesion_masks"}
    config = TyperConfig(
        validation_cases=2,
        generator={"shape": [64, 80, 64], "spacing": 2.5, "kinds": {"transformation": 1.0}},
    )
    cache = tmp_path / "cache"
    made = typer_cases(config, folders, cache, 4, held_out=True)
    again = typer_cases(config, folders, cache, 4, held_out=True)
    for one, other in zip(made, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[1:4], other[1:4], strict=True))
        assert one.there == other.there
        assert one.lesion.any()
        assert not (one.blood & ~one.lesion).any()
        assert TYPES[one.type] in ("both", "ischemic", "hemorrhagic")
        assert one.whole().flatten(1).any(1).nonzero()[:, 0].tolist() == sorted(one.there)
    with pytest.raises(ConfigError, match="no label map to train on"):
        typer_cases(config, folders, cache, 4, held_out=False)
    with pytest.raises(ConfigError, match="--lesion-masks"):
        typer_cases(config, {"head-labels": cache}, cache, 4, held_out=True)


def test_the_recipe_is_checked() -> None:
    assert read_typer_config().share <= 1
    for wrong in ({"longest": 10}, {"generator": {"kind": 1}}, {"generator": {"spacing": "a"}}):
        with pytest.raises(ValueError, match=r"longest|generator"):
            TyperConfig(**wrong)
    with pytest.raises(ValueError, match="channels"):
        TyperConfig(network=NetworkConfig(in_channels=9))


def test_what_is_told_is_written() -> None:
    assert FIELDS["type"] == TYPES
    first, drawn = "Infarction, on the left", "Haemorrhage, on the left"
    tokenizer = Tokenizer.train([first, drawn] * 60, 300)

    class Network:
        def caption(self, seen: torch.Tensor, begin: int, rng: object = None) -> list[list[int]]:
            texts = [first] if rng is None else ([first, drawn] * len(seen))[: len(seen)]
            return [tokenizer.encode(text) for text in texts]

    loaded = LoadedCaptioner(Network(), tokenizer)  # type: ignore[arg-type]
    seen = torch.zeros(1, 2, 4)
    caption = write_checked(loaded, seen, BEGIN_CASE, {}, {"type": "hemorrhagic"})
    assert (caption.first, caption.text) == (first, "Haemorrhage, on the left.")
    assert caption.checked == "Possibly haemorrhage, possibly on the left."
    assert write_checked(loaded, seen, BEGIN_CASE, {}, {"type": "ischemic"}).text == first
    # What was measured counts for more.
    from strokedx_core.captions.facts import Finding

    found = {"count": Finding(1), "hemorrhagic": Finding(0.0)}
    told = write_checked(loaded, seen, BEGIN_CASE, found, {"type": "hemorrhagic"})
    assert told.text == first


def test_a_view_is_turned_as_a_whole() -> None:
    case = made_up(2)
    turned = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        image, lesion, blood = _part((case.whole(), case.lesion, case.blood), 16, rng)
        assert image.shape[1:] == lesion.shape == blood.shape
        assert (lesion.sum(), blood.sum()) == (case.lesion.sum(), case.blood.sum())
        # Blood is dark in what is bright, wherever both have come to lie.
        assert image[3][blood].max() < image[3][lesion & ~blood].min()
        middle = blood.nonzero().float().mean(0) - lesion.nonzero().float().mean(0)
        turned.add((int(middle.abs().argmax()), bool(middle.sum() > 0)))
    assert len(turned) == 6  # Blood lies at any of the lesion's six sides.

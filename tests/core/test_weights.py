"""Weights and cards: what is written comes back, and what is wrong is refused by name."""

from __future__ import annotations

import hashlib
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import strokedx_core
from strokedx_core.captions.lesion_type import load_typer
from strokedx_core.captions.neural import load_captioner
from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.tasks import LESION_TYPES, TASKS, SpecialWeights
from strokedx_core.weights import (
    WeightsError,
    available,
    find_weights,
    load_network,
    read_card,
    shipped,
    write_weights,
)

SHIPPED = Path(strokedx_core.__file__).parent / "weights"


def small(seed: int = 0, **options: object) -> UNet3D:
    torch.manual_seed(seed)
    return UNet3D(**{"widths": (4, 8), "norm": "batch", **options}).eval()  # type: ignore[arg-type]


def card_of(network: UNet3D) -> dict[str, object]:
    return {
        "name": "mine",
        "task": "skull-strip",
        "input": {"spacings_mm": [4.0, 2.0]},
        "architecture": network.config,
        "use": {"limits": 'none "known"'},
        "data": [{"name": "äöü", "licence": "BSD-3-Clause"}],
    }


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.safetensors"
    network = small()
    write_weights(network.state_dict(), card_of(network), path)
    return path


def edit_card(path: Path, old: str, new: str) -> None:
    card = path.with_suffix(".toml")
    text = card.read_text(encoding="utf-8")
    assert old in text
    card.write_text(text.replace(old, new), encoding="utf-8")


def test_what_is_written_comes_back(mine: Path) -> None:
    card = read_card(mine)
    network = small()
    assert (card.name, card.task, card.spacings_mm) == ("mine", "skull-strip", (4.0, 2.0))
    assert card.architecture == network.config
    assert card.text["data"] == [{"name": "äöü", "licence": "BSD-3-Clause"}]
    assert card.text["parameters"] == network.parameter_count
    assert card.sha256 == hashlib.sha256(mine.read_bytes()).hexdigest()

    loaded = load_network(mine)
    assert not loaded.training
    for name, value in network.state_dict().items():
        kept = loaded.state_dict()[name]
        assert kept.dtype == value.dtype
        # Half precision keeps eleven bits.
        torch.testing.assert_close(kept, value, rtol=2**-10, atol=1e-6)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    image = torch.rand(1, 1, 8, 8, 8)
    torch.testing.assert_close(loaded(image), network(image), rtol=0.02, atol=0.01)


def test_the_same_weights_make_the_same_file(mine: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    network = small()
    write_weights(network.state_dict(), card_of(network), again)
    assert again.read_bytes() == mine.read_bytes()
    assert again.with_suffix(".toml").read_bytes() == mine.with_suffix(".toml").read_bytes()


def test_a_file_that_was_replaced_is_read_again(mine: Path) -> None:
    first = load_network(mine)
    other = small(seed=1)
    write_weights(other.state_dict(), card_of(other), mine)
    second = load_network(mine)
    assert not torch.equal(first.head.weight, second.head.weight)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def no_safetensors(path: Path) -> None:
    path.write_bytes(b"no tensors here")
    text = path.with_suffix(".toml").read_text(encoding="utf-8")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".toml").write_text(
        text.replace(tomllib.loads(text)["sha256"], found), encoding="utf-8"
    )


def other_architecture(path: Path) -> None:
    edit_card(path, 'norm = "batch"', 'norm = "instance"')


def impossible_architecture(path: Path) -> None:
    edit_card(path, "stem_stride = 2", "stem_stride = 3")


def unknown_argument(path: Path) -> None:
    edit_card(path, "stem_stride = 2", "strides = 2")


def no_card(path: Path) -> None:
    path.with_suffix(".toml").unlink()


def torn_card(path: Path) -> None:
    path.with_suffix(".toml").write_text('name = "mi', encoding="utf-8")


def binary_card(path: Path) -> None:
    path.with_suffix(".toml").write_bytes(b"\xff\xfe\x00\x80")


def card_without_hash(path: Path) -> None:
    edit_card(path, "sha256", "sha512")


def card_of_numbers(path: Path) -> None:
    path.with_suffix(".toml").write_text(
        'name = "x"\ntask = "y"\nsha256 = "z"\narchitecture = 1\ninput = 2\n', encoding="utf-8"
    )


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (truncate, "damaged"),
        (flip, "damaged"),
        (no_safetensors, "not a safetensors file"),
        (other_architecture, "does not fit its card's architecture"),
        (impossible_architecture, "does not fit its card's architecture"),
        (unknown_argument, "does not fit its card's architecture"),
        (no_card, "card is missing"),
        (torn_card, "not TOML"),
        (binary_card, "not TOML"),
        (card_without_hash, "no entry 'sha256'"),
        (card_of_numbers, "not as it should be"),
        (Path.unlink, "no such weights file"),
    ],
)
def test_what_is_wrong_is_refused(mine: Path, spoil: object, words: str) -> None:
    spoil(mine)  # type: ignore[operator]
    with pytest.raises(WeightsError, match=words) as refused:
        load_network(mine)
    assert str(mine.with_suffix("")) in str(refused.value)


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(WeightsError, match="no weights named 'nonsense'; there are") as refused:
        find_weights("nonsense")
    assert all(name in str(refused.value) for name in available())


def test_each_task_has_its_default_weights() -> None:
    for task in TASKS.values():
        assert task.default_weights in available(task.name)
        for special in task.special_weights:
            assert special.modality in task.modalities
            assert special.name in available(task.name)
            assert special.lesion_type in (None, *LESION_TYPES)
    assert available("no such task") == []


def test_special_weights_are_taken_where_their_sequence_is_there() -> None:
    special = (
        SpecialWeights("SWI", "of blood alone", "hemorrhagic"),
        SpecialWeights("DWI", "of diffusion"),
        SpecialWeights("SWI", "of blood"),
    )
    task = replace(TASKS["lesion"], special_weights=special)
    assert task.weights_for(["FLAIR"]) == task.default_weights
    assert task.weights_for(["SWI", "T1W"]) == "of blood"
    assert task.weights_for(["SWI", "DWI"]) == "of diffusion"
    assert task.weights_for(["SWI", "DWI"], "ischemic") == "of diffusion"
    assert task.weights_for(["SWI", "DWI"], "hemorrhagic") == "of blood alone"
    assert task.weights_for(["DWI"], "hemorrhagic") == "of diffusion"
    # All lesions are those of either.
    both = (("general", "of diffusion"), ("hemorrhagic", "of blood alone"))
    assert task.all_weights_for(["SWI", "DWI"]) == both
    assert task.all_weights_for(["SWI", "DWI"], "ischemic") == (("ischemic", "of diffusion"),)
    assert task.all_weights_for(["DWI"]) == (("general", "of diffusion"),)


def test_what_ships_is_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.glob("*.safetensors")) < 30e6


@pytest.mark.parametrize("name", shipped())
def test_shipped_weights_and_their_cards(name: str) -> None:
    card = read_card(name)
    path = find_weights(name)
    assert card.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert card.name == name
    assert card.task in {*TASKS, "caption-type"}
    loaders = {"caption": lambda name: load_captioner(name).network, "caption-type": load_typer}
    network = loaders.get(card.task, load_network)(name)
    assert network.config == card.architecture
    assert network.parameter_count == card.text["parameters"] < 3_000_000
    assert card.text["data"]
    for entry in card.text["data"]:
        assert entry["name"]
        assert entry["licence"] not in ("", "not stated")
        assert entry["name"] != name
    assert card.text["results"]
    assert "Research use only" in card.text["use"]["intended"]
    assert card.text["use"]["limits"]
    text = path.with_suffix(".toml").read_text(encoding="utf-8")
    assert "/home/" not in text
    assert str(Path.home()) not in text
    assert list(card.spacings_mm) == sorted(card.spacings_mm, reverse=True)


def test_a_copy_elsewhere_is_as_good(tmp_path: Path) -> None:
    name = available()[0]
    for suffix in (".safetensors", ".toml"):
        shutil.copy(find_weights(name).with_suffix(suffix), tmp_path)
    copied = load_network(tmp_path / f"{name}.safetensors")
    for one, other in zip(copied.parameters(), load_network(name).parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["lesion_diffusion", "lesion_flair", "lesion_swi", "lesion_t1w"])
def test_shipped_weights_are_used_as_their_recipe_says(name: str) -> None:
    from strokedx_core.inference.lesions import PieceRule
    from strokedx_core.training.config import RECIPE_FOLDER, LesionConfig, read_config

    recipe = read_config(RECIPE_FOLDER / f"{name}.toml", "lesion")
    assert isinstance(recipe, LesionConfig)
    told = read_card(name).text["input"]
    assert PieceRule.of_card(told) == PieceRule(recipe.sure_odds, recipe.faint_ml)
    assert told.get("near_voxels", False) == recipe.near_voxels

"""The lesion network's training, small: made-up heads, balls for lesions, seconds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from shapes import write_shapes
from training_run import write_heads

from strokedx_core.evaluation.metrics import dice
from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.synthesis.stroke import StrokeRecipe, generate_case
from strokedx_core.tasks import LESION_TYPES, MODALITIES
from strokedx_core.training.checkpoint import load_checkpoint
from strokedx_core.training.config import RECIPES, ConfigError, LesionConfig, read_config
from strokedx_core.training.losses import lesion_loss
from strokedx_core.training.network import begin
from strokedx_core.training.problems import LesionProblem
from strokedx_core.training.segmentation import train
from strokedx_core.weights import load_network, read_card, write_weights

CONFIG: dict[str, Any] = {
    "seed": 3,
    "steps": 40,
    "steps_per_epoch": 20,
    "batch": 2,
    "learning_rate": 1e-2,
    "final_learning_rate": 1e-3,
    "warmup": 4,
    "ema": 0.9,
    "precision": "float32",
    "validation": ["head_c"],
    "validation_images": 1,
    "validation_sets": [["DWI", "ADC"]],
    "network": {"in_channels": 10, "out_channels": 3, "widths": [8, 16, 16]},
    "grids": [{"shape": [32, 32, 32], "spacing": 3.5, "shift": 4.0}],
    "generator": {"random_contrast": 0.0, "rotation": 5.0},
}


def changed(**values: Any) -> LesionConfig:
    return LesionConfig(**CONFIG | values)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        "head-labels": write_heads(tmp_path_factory.mktemp("heads")),
        "lesion-masks": write_shapes(tmp_path_factory.mktemp("masks"), 11),
    }


@pytest.fixture
def problem(folders: dict[str, Path], tmp_path: Path) -> LesionProblem:
    return LesionProblem(changed(clicks=1.0), folders, tmp_path, torch.device("cpu"))


def test_shipped_recipe() -> None:
    config = read_config(RECIPES["lesion"], "lesion")
    assert isinstance(config, LesionConfig)
    assert {entry.licence.split(",")[0] for entry in config.data} == {"Apache-2.0", "CC0"}


@pytest.mark.parametrize(
    "values",
    [
        {"validation_sets": [["PD"]]},
        {"generator": {"kinds": {"tumour": 1.0}}},
        {"generator": {"sets": {"DWI+PD": 1.0}}},
        {"network": {"in_channels": 1, "out_channels": 1}},
        {"clicks": 1.5},
    ],
)
def test_what_is_wrong_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        changed(**values)


def test_shapes_held_out_are_not_trained_on(problem: LesionProblem) -> None:
    assert [shape.name for shape in problem.shapes_held_out] == ["ball-0_lesion", "ball-10_lesion"]
    assert len(problem.shapes) == 9


def test_masks_are_needed_on_both_sides(folders: dict[str, Path], tmp_path: Path) -> None:
    config = changed(validation_shapes="nothing")
    with pytest.raises(ConfigError, match="one side of the split"):
        LesionProblem(config, folders, tmp_path, torch.device("cpu"))


def test_images_have_room_for_clicks(problem: LesionProblem) -> None:
    grid = problem.config.grids[0]
    image, target = problem.training(7, grid)
    assert image.shape == (len(MODALITIES) + 3, *grid.shape)
    assert target.shape == (len(LESION_TYPES), *grid.shape)
    assert not image[len(MODALITIES) :].any()
    assert torch.equal(image, problem.training(7, grid)[0])


def test_a_case_is_seen_as_often_as_asked(folders: dict[str, Path], tmp_path: Path) -> None:
    config = changed(views=3, generator={"kinds": {"infarct": 1.0}, "sets": {"DWI": 1.0}})
    grid = config.grids[0]
    problem = LesionProblem(config, folders, tmp_path, torch.device("cpu"))
    pool = [problem.training(number, grid) for number in range(96)]
    marked = [int(target.sum()) for _, target in pool if target.any()]
    assert {marked.count(volume) % 3 for volume in marked} == {0}
    assert 1 < len(set(marked)) <= 32
    seed = config.model_copy(update={"seed": config.seed + 1})
    other = LesionProblem(seed, folders, tmp_path, torch.device("cpu"))
    assert not any(torch.equal(other.training(0, grid)[0], image) for image, _ in pool)
    again = LesionProblem(config, folders, tmp_path, torch.device("cpu"))
    for number in (95, 40, 200, 3):  # in any order, and from another pool between
        image, target = again.training(number, grid)
        if number < 96:
            assert torch.equal(image, pool[number][0])
            assert torch.equal(target, pool[number][1])


def test_clicks_go_where_the_network_is_wrong(problem: LesionProblem) -> None:
    grid = problem.config.grids[0]
    pairs = [problem.training(number, grid) for number in range(8)]
    image, target = (torch.stack(parts) for parts in zip(*pairs, strict=True))
    network = UNet3D(**problem.config.network.model_dump())
    torch.nn.init.constant_(network.head.bias, -99.0)  # it finds nothing, anywhere
    prompted = problem.prompt(network, image, target, range(8))
    first = len(MODALITIES)
    assert torch.equal(prompted[:, :first], image[:, :first])
    assert not prompted[:, first + 1 :].any(), "nothing was marked that a click could take away"
    clicked = 0
    for n in range(8):
        points = (prompted[n, first] == 1).nonzero()
        clicked += len(points)
        for point in points:
            assert target[n][(slice(None), *point)].any()
    assert clicked > 0
    again = problem.prompt(network, image[4:], target[4:], range(4, 8))
    assert torch.equal(again, prompted[4:]), "an image's clicks depend on its number alone"


def test_missing_more_costs_more(problem: LesionProblem) -> None:
    target = torch.zeros(1, 3, 16, 16, 16)
    target[:, 0, 4:9, 4:9, 4:9] = 1
    right = (target * 2 - 1) * 5
    wrong = torch.full_like(right, -5.0)
    half = torch.where(torch.arange(16)[:, None, None] < 6, right, wrong)
    losses = [float(problem.loss(logits, target)) for logits in (right, half, wrong)]
    assert losses == sorted(losses)
    nothing = torch.zeros_like(target)
    losses = [float(problem.loss(logits, nothing)) for logits in (wrong, half, right)]
    assert losses == sorted(losses)


def test_every_halving_of_what_is_marked_falsely_is_worth_as_much(problem: LesionProblem) -> None:
    nothing = torch.zeros(1, 3, 32, 32, 32)

    def false_cost(side: int) -> float:
        logits = torch.full_like(nothing, -30.0)
        logits[:, :, :side, :side, :side] = 30.0
        entropy = 30 * side**3 / problem.config.entropy_volume
        return float(problem.loss(logits, nothing)) - entropy

    costs = [false_cost(side) for side in (8, 16, 32)]
    once, twice = costs[1] - costs[0], costs[2] - costs[1]
    assert once == pytest.approx(problem.config.absent_weight * math.log(8), rel=0.05)
    assert twice == pytest.approx(once, rel=0.05)


def test_what_is_missed_pulls_however_surely_and_however_small(problem: LesionProblem) -> None:
    target = torch.zeros(1, 3, 32, 32, 32)
    target[:, 0, 4:20, 4:20, 4:20] = 1
    target[:, 0, 26:28, 26:28, 26:28] = 1

    def pulls(weight: float) -> tuple[float, float]:
        config = problem.config.model_copy(update={"missed_weight": weight})
        logits = torch.full_like(target, -12.0).requires_grad_()
        lesion_loss(logits, target, config).backward()
        assert logits.grad is not None
        large, small = -logits.grad[0, 0, :24], -logits.grad[0, 0, 24:]
        return float(large[large > 0].sum()), float(small[small > 0].sum())

    without, (large, small) = pulls(0.0), pulls(0.3)
    added = large - without[0], small - without[1]
    assert sum(added) == pytest.approx(0.3, rel=0.01)
    # A five-hundredth of the volume, seen from a piece's width away.
    assert added[1] > 0.1 * added[0]


def loss_of(network: UNet3D, problem: LesionProblem, count: int = 24) -> float:
    """Mean over the first images trained on."""
    pairs = [problem.training(number, problem.config.grids[0]) for number in range(count)]
    image, target = (torch.stack(parts) for parts in zip(*pairs, strict=True))
    with torch.no_grad():
        return float(problem.loss(network(image), target))


def test_a_run_lowers_its_loss_and_ends_in_weights(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    config = changed(learning_rate=5e-3, lesion_weight=20.0, generator={"kinds": {"infarct": 1.0}})
    run = tmp_path / "run"
    weights = train(config, folders, run, quiet=True)
    problem = LesionProblem(config, folders, tmp_path, torch.device("cpu"))
    torch.manual_seed(config.seed)
    fresh = UNet3D(**config.network.model_dump())
    torch.nn.init.constant_(fresh.output.bias, np.log(problem.share / (1 - problem.share)))
    last = load_checkpoint(run / "last.pt")["model"]
    trained = UNet3D(**config.network.model_dump())
    trained.load_state_dict(last)
    assert loss_of(trained, problem) < 0.9 * loss_of(fresh, problem)
    assert read_card(weights).task == "lesion"
    network = load_network(weights)
    assert (network.config["in_channels"], network.config["out_channels"]) == (10, 3)
    assert np.isfinite(float(network(torch.zeros(1, 10, 32, 32, 32)).sum()))


def test_a_network_of_one_channel_sees_every_sequence_alike(tmp_path: Path) -> None:
    shape = {"widths": [8, 16, 16], "stem_stride": 1}
    config = changed(
        start=str(tmp_path / "one.safetensors"),
        network={"in_channels": 10, "out_channels": 3, "conditional": True, **shape},
    )
    one = UNet3D(**config.network.model_dump() | {"in_channels": 1, "conditional": False})
    card = {"name": "one", "task": "anatomy", "architecture": one.config}
    card["input"] = {"spacings_mm": [3.0]}
    write_weights(one.state_dict(), card, tmp_path / "one.safetensors")
    network = UNet3D(**config.network.model_dump())
    begin(network, config, 0.01)
    one = load_network(tmp_path / "one.safetensors")
    image = torch.rand(1, 1, 16, 16, 16)
    for number in range(len(MODALITIES)):
        channels = torch.zeros(1, 10, 16, 16, 16)
        channels[:, number] = image[:, 0]
        for alike, expected in zip(network.encode(channels), one.encode(image), strict=True):
            torch.testing.assert_close(alike, expected, rtol=1e-4, atol=1e-5)


def test_the_coarsest_resolution_of_a_start_may_be_left_out(tmp_path: Path) -> None:
    deep = UNet3D(10, 3, (8, 12, 16, 20), stem_stride=1)
    flat = UNet3D(10, 3, (8, 12, 16), stem_stride=1)
    card = {"name": "deep", "task": "lesion", "architecture": deep.config}
    card["input"] = {"spacings_mm": [3.0]}
    write_weights(deep.state_dict(), card, tmp_path / "deep.safetensors")
    new = {name: value.clone() for name, value in flat.state_dict().items()}
    begin(flat, changed(start=str(tmp_path / "deep.safetensors")), 0.01)
    deep = load_network(tmp_path / "deep.safetensors")
    image = torch.rand(1, 10, 16, 16, 16)
    for mine, theirs in zip(flat.encode(image), deep.encode(image), strict=False):
        torch.testing.assert_close(mine, theirs)
    for number, block in enumerate(flat.decoder):
        torch.testing.assert_close(block.state_dict(), deep.decoder[number + 1].state_dict())
    assert all(
        not torch.equal(value, new[name])
        for name, value in flat.up.state_dict(prefix="up.").items()
    )


@pytest.mark.parametrize("stem_stride", [1, 2])
@pytest.mark.parametrize("upsampling", ["transposed", "trilinear"])
def test_a_wider_network_answers_as_its_start_until_it_learns(
    tmp_path: Path, upsampling: str, stem_stride: int
) -> None:
    options = {"stem_stride": stem_stride, "upsampling": upsampling, "conditional": True}
    narrow = UNet3D(10, 3, (4, 6, 8), **options)
    torch.manual_seed(0)
    for weight in narrow.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    card = {"name": "narrow", "task": "lesion", "architecture": narrow.config}
    card["input"] = {"spacings_mm": [3.0]}
    write_weights(narrow.state_dict(), card, tmp_path / "narrow.safetensors")
    wide = UNet3D(10, 3, (6, 9, 8), **options)
    network = {"in_channels": 10, "out_channels": 3, "widths": [6, 9, 8], **options}
    config = changed(start=str(tmp_path / "narrow.safetensors"), network=network)
    begin(wide, config, 0.01)
    image = torch.rand(1, 10, 16, 16, 24)
    image[:, 2] = 0
    logits = wide(image)
    expected = load_network(tmp_path / "narrow.safetensors")(image)
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)
    (logits * torch.rand_like(logits)).sum().backward()
    assert wide.output.weight.grad[(0, slice(4, None)) if stem_stride == 1 else 4].abs().max() > 0
    narrower = UNet3D(10, 3, (4, 6, 6), **options)
    with pytest.raises(ConfigError, match="built differently"):
        begin(narrower, config, 0.01)


def test_a_midplane_is_told_to_networks_that_ask_and_begins_without_effect(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    plain = UNet3D(10, 3, (8, 16, 16))
    card = {"name": "plain", "task": "lesion", "architecture": plain.config}
    card["input"] = {"spacings_mm": [3.5]}
    write_weights(plain.state_dict(), card, tmp_path / "plain.safetensors")
    config = changed(
        start=str(tmp_path / "plain.safetensors"), network=CONFIG["network"] | {"midplane": True}
    )
    problem = LesionProblem(config, folders, tmp_path, torch.device("cpu"))
    grid = config.grids[0]
    image, _ = problem.training(7, grid)
    assert image.shape == (len(MODALITIES) + 4, *grid.shape)
    step = image[-1].diff(dim=0)
    assert 0.9 < float(step.min()) <= float(step.max()) <= 1.001, "voxels to the right of the plane"
    inside = image[: len(MODALITIES)].any(0)
    assert float(image[-1][inside].mean().abs()) < 3
    network = UNet3D(**config.network.model_dump())
    begin(network, config, 0.01)
    expected = load_network(tmp_path / "plain.safetensors")(image[None, :-1])
    torch.testing.assert_close(network(image[None]), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_shipped_weights_learn_other_heads(folders: dict[str, Path], tmp_path: Path) -> None:
    """From the weights that ship, on heads and lesions unlike any they have seen, and coarser."""
    start = "lesion_diffusion"
    config = changed(
        steps=72,
        steps_per_epoch=72,
        learning_rate=1.5e-3,
        final_learning_rate=0.0,
        entropy_volume=50_000,
        absent_weight=0.0,
        clicks=0.0,
        start=start,
        network=read_card(start).architecture,
        grids=[{"shape": [32, 64, 32], "spacing": 4.4, "shift": 4.0}],
        generator={"rotation": 5.0, "sets": {"DWI+ADC": 1.0}, "kinds": {"infarct": 1.0}},
    )
    problem = LesionProblem(config, folders, tmp_path, torch.device("cpu"))
    (head, to_mni), recipe = problem.held_out[0], config.recipe(config.grids[0])
    assert isinstance(recipe, StrokeRecipe)
    trials = [
        generate_case(
            head, to_mni, problem.shapes_held_out, seed, sequences=("DWI", "ADC"), kind="infarct",
            stage="acute", recipe=recipe,
        )
        for seed in range(24)
    ]  # fmt: skip
    large = [case for case in trials if float(case.target[1].sum()) * 4.4**3 > 10_000]
    assert len(large) >= 6

    def reached(weights: str | Path) -> float:
        network, scores = load_network(weights), []
        for case in large:
            image = torch.cat((case.image, torch.zeros(3, *case.image.shape[1:])))
            with torch.no_grad():
                found = network(image[None])[0, 1] > 0
            scores.append(dice(found.numpy(), case.target[1].numpy()))
        return float(np.mean(scores))

    weights = train(config, folders, tmp_path / "run", quiet=True)
    assert loss_of(load_network(weights), problem) < loss_of(load_network(start), problem)
    assert reached(weights) > 0.6

"""The network: sizes it promises, shapes it keeps, arguments it refuses."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from strokedx_core.nets.unet3d import UNet3D

SHAPES = [
    {"widths": (4, 8)},
    {"widths": (2, 4, 6, 8), "stem_stride": 1},
    {"widths": (4, 6, 8), "stem_stride": 4, "convs": 1},
    {"widths": (4, 8, 8), "in_channels": 2, "out_channels": 3, "convs": 3, "slope": 0.0},
    {"widths": (4, 8), "in_channels": 2, "out_channels": 3, "fine": 5},
    {"widths": (4, 8, 8), "in_channels": 3, "convs": (1, 2, 1), "conditional": True},
]


def parameters_by_hand(widths: tuple[int, ...], inside: int, outside: int) -> int:
    """Of two bias-free convolutions with normalization a level, and transposed upsampling."""

    def block(before: int, width: int) -> int:
        return 27 * (before * width + width * width) + 4 * width

    down = sum(
        block(before, width) for before, width in zip((inside, *widths), widths, strict=False)
    )
    up = sum(
        8 * below * width + width + block(2 * width, width)
        for width, below in itertools.pairwise(widths)
    )
    return down + up + widths[0] * outside + outside


def test_seed_protocol_has_its_parameters() -> None:
    with torch.device("meta"):
        network = UNet3D.seed_protocol()
    assert network.parameter_count == 90_298_561
    assert network.parameter_count == parameters_by_hand((64, 128, 256, 512, 1024), 1, 1)


def test_default_is_small() -> None:
    with torch.device("meta"):
        assert UNet3D().parameter_count < 3_000_000


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("upsampling", ["transposed", "trilinear"])
@pytest.mark.parametrize("options", SHAPES, ids=str)
def test_logits_lie_on_the_grid_of_the_image(options: dict, upsampling: str, norm: str) -> None:
    network = UNet3D(**options, norm=norm, upsampling=upsampling).eval()
    d = network.divisor
    image = torch.rand(2, options.get("in_channels", 1), d, 2 * d, 3 * d)
    assert network(image).shape == (2, options.get("out_channels", 1), d, 2 * d, 3 * d)


def test_fine_layers_see_single_voxels() -> None:
    """A strided stem mixes the voxels under it; the fine layers tell them apart again."""
    torch.manual_seed(0)
    image = torch.rand(1, 1, 8, 8, 8)
    changed = image.clone()
    changed[0, 0, 4, 4, 4] += 1
    for fine in (0, 4):
        network = UNet3D(widths=(2, 2), fine=fine).eval()
        torch.nn.init.zeros_(network.head.weight)
        difference = (network(changed) - network(image)).abs()[0, 0]
        assert bool(difference[4, 4, 4] > 0) == bool(fine)
        difference[4, 4, 4] = 0
        assert not difference.any()


def test_divisor_is_the_coarsest_voxel() -> None:
    assert UNet3D(widths=(2, 2, 2), stem_stride=1).divisor == 4
    assert UNet3D(widths=(2, 2, 2, 2), stem_stride=2).divisor == 16


@pytest.mark.parametrize("shape", [(9, 8, 8), (8, 8, 12), (4, 8, 8)])
def test_sizes_that_do_not_divide_are_refused(shape: tuple[int, int, int]) -> None:
    network = UNet3D(widths=(2, 2, 2), stem_stride=2)
    with pytest.raises(ValueError, match="multiples of 8, got") as refused:
        network(torch.zeros(1, 1, *shape))
    assert str(shape) in str(refused.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"widths": (8,)}, "two resolutions"),
        ({"widths": (8, 0)}, "widths"),
        ({"convs": 0}, "convs"),
        ({"widths": (4, 8), "convs": (1, 2, 2)}, "convs must be one number or 2"),
        ({"in_channels": 0}, "in_channels"),
        ({"norm": "layer"}, "norm must be"),
        ({"stem_stride": 3}, "stem_stride"),
        ({"stem_stride": 0}, "stem_stride"),
        ({"stem_stride": -2}, "stem_stride"),
        ({"upsampling": "nearest"}, "upsampling must be"),
    ],
)
def test_bad_arguments_are_refused(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        UNet3D(**options)


@pytest.mark.parametrize("options", SHAPES, ids=str)
def test_gradients_reach_every_parameter(options: dict) -> None:
    torch.manual_seed(0)
    network = UNet3D(**options)
    size = 2 * network.divisor
    logits = network(torch.rand(2, options.get("in_channels", 1), size, size, size))
    (logits * torch.rand_like(logits)).sum().backward()
    without = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().max() > 0
    ]
    assert without == []


def test_half_precision_keeps_gradients_where_the_grid_is_coarsest() -> None:
    # Two voxels along a side are less than a kernel: PyTorch's own gradients in bfloat16 are left
    # to chance there, on processors that have it.
    torch.manual_seed(0)
    network = UNet3D(widths=(8, 64, 96), stem_stride=2)
    image = torch.randn(2, 1, 16, 16, 24)
    found = []
    for enabled in (False, True):
        left_over = [torch.full((2**power,), math.nan) for power in range(8, 22)]
        del left_over
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            logits = network(image.contiguous(memory_format=torch.channels_last_3d))
        logits.float().square().mean().backward()
        found.append(network.bottleneck[0].weight.grad.clone())
    exact, half = found
    assert (half - exact).abs().max() < exact.abs().max()


def test_instance_norm_keeps_the_images_of_a_batch_apart() -> None:
    torch.manual_seed(0)
    network = UNet3D(widths=(4, 8, 8))
    images = torch.rand(3, 1, 16, 16, 24) * torch.tensor([1.0, 5.0, 0.1]).view(3, 1, 1, 1, 1)
    alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(network(images), alone, rtol=1e-4, atol=1e-5)


def test_instance_norm_is_instance_norm() -> None:
    """As PyTorch has it; the network's own is another layer that is faster."""
    torch.manual_seed(0)
    features = torch.rand(2, 4, 6, 8, 8) * torch.tensor([1.0, 9.0]).view(2, 1, 1, 1, 1)
    expected = torch.nn.functional.instance_norm(features)
    torch.testing.assert_close(UNet3D(widths=(4, 8)).encoder[0][1](features), expected)


def test_conditions_tell_which_channels_are_there() -> None:
    torch.manual_seed(0)
    network = UNet3D(in_channels=3, widths=(4, 8, 8), conditional=True).eval()
    assert network.conditions is not None
    image = torch.rand(2, 3, 16, 16, 16)
    image[0, 1] = 0
    before = network(image)
    with torch.no_grad():
        for layer in network.conditions:
            layer.weight[:, 1] = torch.randn(len(layer.weight))
    after = network(image)
    assert torch.equal(after[0], before[0]), "a channel that is not there changes nothing"
    assert not torch.allclose(after[1], before[1])


def mirrored_at(channel: torch.Tensor, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """What a network adds at half the resolution, told that this is the distance from the plane;
    and to what."""
    network = UNet3D(in_channels=1, widths=(4, 8), stem_stride=1, midplane=True).eval()
    assert network.other_half is not None
    image = torch.cat((features, channel[None, None].expand(len(features), 1, -1, -1, -1)), dim=1)
    with torch.no_grad():
        before = network.encode(image)[1]
        network.other_half[0].weight[:, :, 0, 0, 0] = torch.eye(8)
        return network.encode(image)[1] - before, before


@pytest.mark.parametrize("unit", [1.0, 0.01])
def test_the_other_half_of_the_brain_is_seen_beside_this_one(unit: float) -> None:
    torch.manual_seed(0)
    image = torch.rand(2, 1, 16, 16, 16)
    x, y, _ = torch.meshgrid(*[torch.arange(16.0)] * 3, indexing="ij")
    for distance, turned in (
        (x - 7.5, lambda features: features.flip(2)),
        (7.5 - y, lambda features: features.flip(3)),
        (x - y, lambda features: features.transpose(2, 3)),
    ):
        added, features = mirrored_at(unit * distance, image)
        torch.testing.assert_close(added, turned(features), rtol=1e-3, atol=1e-3)
    # Two voxels beside the middle: what has its mirror image outside has none.
    added, features = mirrored_at(unit * (x - 9.5), image)
    torch.testing.assert_close(added[:, :, 2:], features.flip(2)[:, :, :-2], rtol=1e-3, atol=1e-3)
    assert not added[:, :, :1].any()
    added, _ = mirrored_at(0 * x, image)
    assert not added.any(), "without a plane there is no other half"


def test_a_new_midplane_changes_nothing_until_it_learns() -> None:
    torch.manual_seed(0)
    options = {"in_channels": 2, "widths": (4, 8, 8), "conditional": True}
    plain, network = UNet3D(**options), UNet3D(**options, midplane=True)
    missing, _ = network.load_state_dict(plain.state_dict(), strict=False)
    assert missing == ["other_half.0.weight", "other_half.1.weight"]
    image = torch.rand(1, 2, 32, 32, 32)
    distance = (torch.arange(32.0) - 15).view(1, 1, 32, 1, 1).expand(1, 1, 32, 32, 32)
    logits = network(torch.cat((image, distance), dim=1))
    assert torch.equal(logits, plain(image))
    (logits * torch.rand_like(logits)).sum().backward()
    assert network.other_half is not None
    assert all(layer.weight.grad.abs().max() > 0 for layer in network.other_half)
    assert UNet3D(**network.config).config == network.config
    assert "midplane" not in plain.config


def test_the_other_half_is_found_in_half_precision_too() -> None:
    torch.manual_seed(0)
    network = UNet3D(in_channels=1, widths=(4, 8), stem_stride=1, midplane=True).eval()
    assert network.other_half is not None
    x = torch.arange(32.0).view(1, 1, 32, 1, 1).expand(1, 1, 32, 16, 16)
    image = torch.cat((torch.rand(1, 1, 32, 16, 16), x - 12.5), dim=1)
    with torch.no_grad():
        network.other_half[0].weight[:, :, 0, 0, 0] = torch.eye(8)
        exact = network.encode(image)[1]
        with torch.autocast("cpu", torch.bfloat16):
            near = network.encode(image)[1]
    # Rounded numbers, and not numbers of other places.
    torch.testing.assert_close(near.float(), exact, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("shape", [(8, 12, 10), (7, 9, 8), (7, 9, 5), (40, 40, 8)], ids=str)
def test_a_small_image_is_convolved_as_any_other(shape: tuple[int, int, int]) -> None:
    """In halves side by side, which is faster."""
    torch.manual_seed(0)
    layer = UNet3D(in_channels=3, widths=(5, 8), stem_stride=1, plain=1).encoder[0][0]
    plain = torch.nn.Conv3d(3, 5, 3, padding=1)
    plain.load_state_dict(layer.state_dict())
    image = torch.randn(1, 3, *shape)
    answers = []
    for each in (layer, plain):
        seen = image.clone().requires_grad_()
        found = each(seen)
        (found * torch.linspace(-1, 1, found.numel()).view(found.shape)).sum().backward()
        answers.append((found, seen.grad, each.weight.grad, each.bias.grad))
    for mine, theirs in zip(*answers, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-3)


def test_one_image_is_normalized_as_each_of_two() -> None:
    torch.manual_seed(0)
    layer = UNet3D(in_channels=3, widths=(5, 8), stem_stride=1).encoder[0][1]
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    images = 3 + 2 * torch.randn(2, 5, 6, 4, 7)
    together = layer(images)
    for image, expected in zip(images, together, strict=True):
        alone = layer(image[None])
        torch.testing.assert_close(alone[0], expected, rtol=1e-4, atol=1e-5)
        spread, middle = torch.std_mean(alone[0], (1, 2, 3), correction=0)
        torch.testing.assert_close(middle, layer.bias, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(spread, layer.weight.abs(), rtol=1e-3, atol=1e-3)


def test_config_builds_the_same_network_again() -> None:
    torch.manual_seed(0)
    network = UNet3D(widths=(4, 6, 8), norm="batch", upsampling="transposed", slope=0.2).eval()
    again = UNet3D(**network.config).eval()
    again.load_state_dict(network.state_dict())
    image = torch.rand(1, 1, 16, 16, 16)
    assert torch.equal(again(image), network(image))

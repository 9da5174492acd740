"""The network that is trained: where it runs, in which precision, and what it starts from."""

from __future__ import annotations

import math

import torch

from strokedx_core.inference.devices import autocast_dtype
from strokedx_core.nets.unet3d import UNet3D
from strokedx_core.tasks import MODALITIES
from strokedx_core.training.config import ConfigError, TrainingConfig
from strokedx_core.weights import WeightsError, load_network

__all__ = ["autocast", "begin", "device_of", "make_network"]


def device_of(rank: int) -> torch.device:
    """Where process number `rank` of a machine computes."""
    if torch.cuda.is_available():
        return torch.device("cuda", rank % torch.cuda.device_count())
    return torch.device("cpu")


def autocast(config: TrainingConfig, device: torch.device) -> torch.autocast:
    """The precision that a configuration asks for."""
    enabled = config.precision == "bf16"
    if config.precision == "auto":
        enabled = autocast_dtype(device) == torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def make_network(config: TrainingConfig, device: torch.device) -> UNet3D:
    """A new network of random weights."""
    network = UNet3D(**config.network.model_dump()).to(device)
    network.checkpointing = config.gradient_checkpointing
    # A second call, because the overloads of `to` do not name both.
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network


def begin(model: UNet3D, config: TrainingConfig, share: float) -> None:
    """Make a new network ready for its first step.

    Parameters
    ----------
    model : UNet3D
    config : TrainingConfig
        Whose `start` names weights to take over.
    share : float
        About how many voxels are marked. A new network begins with how often that is, and need not
        learn it first (Lin et al., "Focal loss for dense object detection", ICCV 2017).

    Raises
    ------
    ConfigError
        If the weights to start from cannot be used.
    """
    odds = math.log(share / (1 - share))
    torch.nn.init.constant_(model.output.bias, odds)  # type: ignore[arg-type]
    if config.start is None:
        return
    try:
        _start_from(model, load_network(config.start))
    except (WeightsError, RuntimeError) as error:
        raise ConfigError(f"start: {error}") from error


def _start_from(model: UNet3D, other: UNet3D) -> None:
    """Take over other weights; layers that are not alike in both stay new.

    What a network of one channel makes of it, as for anatomy, is at first made of every sequence.
    Of a deeper network, the coarsest resolutions are left out. In a wider one, the channels that
    are more have no effect at first.
    """
    free = dict.fromkeys(
        ("in_channels", "out_channels", "fine", "plain", "conditional", "midplane"), 0
    )
    depth = len(model.config["widths"])
    theirs = {**other.config, "widths": other.config["widths"][:depth]}
    if isinstance(theirs["convs"], list):
        theirs["convs"] = theirs["convs"][:depth]
    pairs = zip(model.config["widths"], theirs["widths"], strict=False)
    wider = [mine - other for mine, other in pairs]
    if min(wider) >= 0:
        theirs["widths"] = model.config["widths"]
    if model.config | free != theirs | free:
        raise ConfigError("start: the network is built differently")
    mine = model.state_dict()
    for name, value in _without_coarsest(other, len(other.config["widths"]) - depth).items():
        if name not in mine:
            continue
        if value.shape == mine[name].shape:
            mine[name] = value
        elif value.ndim == 5 and value.shape[1] == 1 and name.startswith("encoder.0."):
            _widen(model, name, mine[name], value.expand(-1, len(MODALITIES), -1, -1, -1))
        elif any(wider) and not name.startswith("fine."):
            _widen(model, name, mine[name], value)
    model.load_state_dict(mine)


def _widen(model: UNet3D, name: str, mine: torch.Tensor, value: torch.Tensor) -> None:
    """Put weights called `name` into those of a layer of more channels. What the new ones take in
    stays as it is; nothing takes in what they give but they themselves."""
    layer = model.get_submodule(name.rpartition(".")[0])
    transposed = value.ndim > 1 and isinstance(layer, torch.nn.ConvTranspose3d)
    if layer is model.output and mine.shape[int(transposed)] != value.shape[int(transposed)]:
        return
    # Two kinds of channels lie one after the other: scales and shifts; a skip connection and what
    # comes from below.
    part, *numbers, _ = name.split(".")
    halved = [part == "conditions", part == "decoder" and numbers[1:] == ["0"]]
    kept = []
    for few, many, half in zip(value.shape[:2], mine.shape[:2], halved, strict=False):
        parts = 2 if half else 1
        start = torch.arange(parts) * (many // parts)
        kept.append((start[:, None] + torch.arange(few // parts)).flatten())
    if value.ndim == 1:
        mine[kept[0]] = value
        return
    mine.index_fill_(int(transposed), kept[int(transposed)], 0)
    mine[kept[0][:, None], kept[1]] = value


def _without_coarsest(network: UNet3D, count: int) -> dict[str, torch.Tensor]:
    """Weights of a network, named as if it had so many resolutions less: the coarsest that are left
    are the bottleneck. What scales features by the channels that are there is left out."""
    if not count:
        return network.state_dict()
    bottleneck = str(len(network.encoder) - count)
    found = {}
    for name, value in network.state_dict().items():
        part, number, rest = (*name.split(".", 2), "")[:3]
        if part == "encoder" and number == bottleneck:
            found[f"bottleneck.{rest}"] = value
        elif part in ("up", "decoder") and int(number) >= count:
            found[f"{part}.{int(number) - count}.{rest}"] = value
        elif part not in ("bottleneck", "up", "decoder", "conditions"):
            found[name] = value
    return found

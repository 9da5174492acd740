"""A 3-D U-Net, whole in this file.

One class covers the published network (Çiçek et al., "3D U-Net: learning dense volumetric
segmentation from sparse annotation", MICCAI 2016), the 90-million-parameter variant of the project
this one grew from (`UNet3D.seed_protocol`) and the small network whose weights ship.

Tensors are (batch, channel, x, y, z) throughout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

__all__ = ["UNet3D"]

_KERNEL = 3

_FEW = 20_480
"""Channels times voxels of a face up to which one image goes PyTorch's slow way."""


def _norm(kind: str, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm3d(channels)
    if kind == "instance":
        return _InstanceNorm(channels, channels)
    raise ValueError(f"norm must be 'batch' or 'instance', not {kind!r}")


class _InstanceNorm(nn.GroupNorm):
    """Instance normalization: as many groups as channels.

    `InstanceNorm3d` copies every image to another memory layout and back. Of one image, batch
    normalization is the same, and its way back takes a fourteenth of the time in bfloat16.
    """

    def forward(self, image: Tensor) -> Tensor:
        if image.device.type != "cpu" or len(image) > 1:
            return super().forward(image)
        return F.batch_norm(image, None, None, self.weight, self.bias, True, eps=self.eps)


class _Conv3d(nn.Conv3d):
    """A 3³ convolution that sees both halves of a small image side by side, as a batch of two.

    On a processor PyTorch gives one small float32 image to a method of its own that takes two to
    eight times as long as oneDNN (`use_mkldnn` in its Convolution.cpp); two images never.
    """

    def forward(self, image: Tensor) -> Tensor:
        halved = next((axis for axis in (2, 3, 4) if image.shape[axis] % 2 == 0), None)
        slow = (
            image.device.type == "cpu"
            and image.dtype == self.weight.dtype == torch.float32
            and len(image) == 1
            and image.shape[1:4].numel() <= _FEW
            and not torch.is_autocast_enabled("cpu")
        )
        if not slow or halved is None:
            return super().forward(image)
        padded, size = F.pad(image, (1,) * 6), image.shape[halved] // 2
        halves = [padded.narrow(halved, start, size + 2) for start in (0, size)]
        found = F.conv3d(torch.cat(halves), self.weight, self.bias)
        return torch.cat(found.split(1), dim=halved)


class _Convs(nn.Sequential):
    """`count` times: 3³ convolution, normalization where `norm` is not "none", rectifier."""

    def __init__(self, inside: int, outside: int, count: int, norm: str, slope: float) -> None:
        layers: list[nn.Module] = []
        for index in range(count):
            before, plain = inside if index == 0 else outside, norm == "none"
            layers += [
                _Conv3d(before, outside, _KERNEL, padding=1, bias=plain),
                *([] if plain else [_norm(norm, outside)]),
                nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


def _there(image: Tensor) -> Tensor:
    """1 for each channel of an image that is not 0 everywhere, else 0; shape (batch, channel)."""
    # On a processor a sum over channels that lie last takes a quarter of the time of a maximum.
    return (image.detach().abs().sum((2, 3, 4)) > 0).to(image.dtype)


def _conditioned(features: Tensor, there: Tensor, layers: Iterator[nn.Module]) -> Tensor:
    """Scale and shift features by what the next of the layers makes of the channels that are there;
    where no layer is left, nothing is done."""
    layer = next(layers, None)
    if layer is None:
        return features
    scale, shift = layer(there)[:, :, None, None, None].chunk(2, dim=1)
    return torch.addcmul(shift, features, 1 + scale)


def _reflection(distance: Tensor) -> Tensor:
    """Where each voxel's mirror image lies, as `torch.nn.functional.affine_grid` takes it.

    Parameters
    ----------
    distance : Tensor, shape (batch, x, y, z)
        From the plane that is mirrored at, in any unit; 0 all over where there is none: mirror
        images then lie outside of the image.

    Returns
    -------
    Tensor, shape (batch, 3, 4), float32
    """
    distance = distance.detach().float()
    sizes = distance.new_tensor(distance.shape[1:])
    middle = [size // 2 for size in distance.shape[1:]]
    x, y, z = middle
    here = distance[:, x, y, z]
    # The plane's normal, of the length of a voxel's step.
    slope = torch.stack(
        (
            here - distance[:, x - 1, y, z],
            here - distance[:, x, y - 1, z],
            here - distance[:, x, y, z - 1],
        ),
        dim=1,
    )
    length = slope.norm(dim=1).clamp_min(1e-9)
    normal = slope / length[:, None]
    turn = torch.eye(3, device=distance.device) - 2 * normal[:, :, None] * normal[:, None, :]
    # A voxel p goes to turn p + shift.
    offset = (normal * normal.new_tensor(middle)).sum(1) - here / length
    shift = 2 * normal * offset[:, None]
    # From voxels to places between -1 and 1, at the outer faces of the image.
    scaled = turn * sizes[None, None] / sizes[None, :, None]
    moved = ((turn * (sizes - 1)).sum(2) + 2 * shift + 1) / sizes - 1
    moved = torch.where((slope == 0).all(1)[:, None], torch.full_like(moved, 9.0), moved)
    # Its axes come last to first.
    return torch.cat((scaled.flip(1, 2), moved.flip(1)[:, :, None]), dim=2)


def _mirrored(features: Tensor, reflection: Tensor) -> Tensor:
    """What lies at each voxel's mirror image; 0 where that is outside of the image."""
    with torch.autocast(features.device.type, enabled=False):
        places = F.affine_grid(reflection, list(features.shape), align_corners=False)
        found: Tensor = F.grid_sample(features.float(), places, align_corners=False)
    return found.to(features.dtype)


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Running statistics of batch norm stay as they are: the same image is seen a second time."""
    norms = [layer for layer in block.modules() if isinstance(layer, nn.BatchNorm3d)]
    before = [(layer.momentum, layer.num_batches_tracked) for layer in norms]
    for layer in norms:
        # Without statistics at all PyTorch would miss what it kept the first time.
        layer.momentum = 0.0
        layer.num_batches_tracked = None
    try:
        yield
    finally:
        for layer, (momentum, count) in zip(norms, before, strict=True):
            layer.momentum, layer.num_batches_tracked = momentum, count


class UNet3D(nn.Module):
    """Encoder and decoder with skip connections, of any depth and widths.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the image and of the logits.
    widths : sequence of int
        Channels at each resolution, finest first; the last is the bottleneck. Each step halves the
        grid, so the depth is ``len(widths)``.
    convs : int, or sequence of int
        Convolutions at each resolution, in the encoder and in the decoder; a sequence names them
        for each of `widths`.
    norm : {"instance", "batch"}
        Normalization after each convolution.
    stem_stride : int
        1, or an even factor by which a first strided convolution coarsens the grid before the
        encoder; the last layer brings the logits back to the full grid. A stride of 2 makes every
        other layer eight times cheaper.
    upsampling : {"transposed", "trilinear"}
        How the decoder doubles the grid.
    slope : float
        Negative slope of the rectifiers; 0 is a plain ReLU.
    fine : int
        0, or the channels of two pointwise layers at full resolution that see the image beside the
        decoder's answer. Behind a strided stem they bring back edges that lie between its voxels,
        at a hundredth of what a 3³ convolution would cost there.
    plain : int
        How many resolutions, from the finest, are not normalized. Instance normalization takes away
        how bright an image is altogether: something bright that fills a fifth of it looks no
        brighter than noise. Layers before it can tell by the image's own brightness.
    conditional : bool
        Whether every block but those of the finest resolution is scaled and shifted by which of the
        image's channels are there at all, that is not 0 everywhere: one network then works
        differently on different sets of channels (conditional normalization, Dumoulin et al., "A
        learned representation for artistic style", ICLR 2017).
    midplane : bool
        Whether the image has one channel more, the last, that tells how far each voxel lies from
        the plane between the halves of the brain. At every resolution but the finest, the encoder
        then adds to the features of each voxel what it makes of those at its mirror image: what
        both halves have alike is seldom a lesion. At first nothing is added.

    Attributes
    ----------
    checkpointing : bool
        Whether training computes the blocks' features again on the way back rather than keep them:
        the same gradients in less memory (Chen et al., "Training deep nets with sublinear memory
        cost", 2016).

    Notes
    -----
    Every spatial size must be a multiple of `divisor`, and with instance norm one of them a larger
    one: a single voxel at the bottleneck has no spread to normalize by.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        widths: Sequence[int] = (16, 32, 64, 96, 128),
        *,
        convs: int | Sequence[int] = 2,
        norm: Literal["instance", "batch"] = "instance",
        stem_stride: int = 2,
        upsampling: Literal["transposed", "trilinear"] = "trilinear",
        slope: float = 0.01,
        fine: int = 0,
        plain: int = 0,
        conditional: bool = False,
        midplane: bool = False,
    ) -> None:
        super().__init__()
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(
                f"widths must name the channels of two resolutions or more, not {list(widths)}"
            )
        counts = [convs] * len(widths) if isinstance(convs, int) else list(convs)
        if len(counts) != len(widths):
            raise ValueError(f"convs must be one number or {len(widths)}, not {counts}")
        if min(in_channels, out_channels, *counts) < 1:
            raise ValueError(
                "in_channels, out_channels and convs must be 1 or more, "
                f"not {in_channels}, {out_channels} and {convs}"
            )
        if stem_stride < 1 or (stem_stride != 1 and stem_stride % 2):
            raise ValueError(f"stem_stride must be 1 or even, not {stem_stride}")
        if upsampling not in ("transposed", "trilinear"):
            raise ValueError(f"upsampling must be 'transposed' or 'trilinear', not {upsampling!r}")
        if fine < 0:
            raise ValueError(f"fine must be 0 or more, not {fine}")
        if not 0 <= plain < len(widths):
            raise ValueError(f"plain must lie between 0 and {len(widths) - 1}, not {plain}")
        self.config: dict[str, Any] = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "widths": list(widths),
            "convs": convs if isinstance(convs, int) else counts,
            "norm": norm,
            "stem_stride": stem_stride,
            "upsampling": upsampling,
            "slope": slope,
        }
        # Named only where set, so that weights from before they existed keep their description.
        later = {"fine": fine, "plain": plain, "conditional": conditional, "midplane": midplane}
        self.config |= {name: value for name, value in later.items() if value}
        self.divisor = stem_stride * 2 ** (len(widths) - 1)
        self.checkpointing = False

        norms = ["none" if level < plain else norm for level in range(len(widths))]
        first = in_channels
        self.stem: nn.Module = nn.Identity()
        if stem_stride > 1:
            # Kernel = stride: no voxel is read twice, which is what makes the stem cheap.
            self.stem = nn.Conv3d(in_channels, widths[0], stem_stride, stride=stem_stride)
            first = widths[0]
        self.encoder = nn.ModuleList(
            _Convs(first if not n else widths[n - 1], width, counts[n], norms[n], slope)
            for n, width in enumerate(widths[:-1])
        )
        self.pool = nn.MaxPool3d(2)
        self.bottleneck = _Convs(widths[-2], widths[-1], counts[-1], norm, slope)
        self.up = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for level in reversed(range(len(widths) - 1)):
            below, width = widths[level + 1], widths[level]
            if upsampling == "transposed":
                self.up.append(nn.ConvTranspose3d(below, width, 2, stride=2))
            else:
                self.up.append(
                    nn.Sequential(
                        nn.Conv3d(below, width, 1),
                        nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False),
                    )
                )
            self.decoder.append(_Convs(2 * width, width, counts[level], norms[level], slope))
        self.conditions: nn.ModuleList | None = None
        if conditional:
            conditioned = [*widths[1:], *reversed(widths[1:-1])]
            self.conditions = nn.ModuleList(nn.Linear(in_channels, 2 * w) for w in conditioned)
            for layer in self.conditions:
                nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.other_half: nn.ModuleList | None = None
        if midplane:
            self.other_half = nn.ModuleList(nn.Conv3d(w, w, 1, bias=False) for w in widths[1:])
            for layer in self.other_half:
                nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
        last = fine or out_channels
        self.head: nn.Module = nn.Conv3d(widths[0], last, 1)
        if stem_stride > 1:
            self.head = nn.ConvTranspose3d(widths[0], last, stem_stride, stride=stem_stride)
        self.fine: nn.Sequential | None = None
        if fine:
            self.fine = nn.Sequential(
                nn.Conv3d(in_channels + fine, fine, 1),
                nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True),
                nn.Conv3d(fine, out_channels, 1),
            )

    def forward(self, image: Tensor) -> Tensor:
        """Logits of the same spatial shape as `image`.

        Parameters
        ----------
        image : Tensor, shape (batch, in_channels, x, y, z)
            One channel more where the network has a `midplane`.

        Returns
        -------
        Tensor, shape (batch, out_channels, x, y, z)

        Raises
        ------
        ValueError
            If a spatial size is not a multiple of `divisor`.
        """
        features, _ = self.describe(image)
        logits: Tensor = self.head(features)
        if self.fine is not None:
            logits = self.fine(torch.cat((self._seen(image), logits), dim=1))
        return logits

    def describe(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Features from which the last layer makes its logits, and those of the bottleneck.

        Parameters and errors are those of `forward`.
        """
        if any(size % self.divisor for size in image.shape[2:]):
            raise ValueError(
                f"spatial sizes must be multiples of {self.divisor}, got {tuple(image.shape[2:])}"
            )
        there = _there(self._seen(image))
        *skips, deepest = self.encode(image)
        conditions = iter((self.conditions or ())[len(skips) :])
        features = deepest
        for up, block, skip in zip(self.up, self.decoder, reversed(skips), strict=True):
            features = self._through(block, torch.cat((skip, up(features)), dim=1))
            if skip is not skips[0]:
                features = _conditioned(features, there, conditions)
        return features, deepest

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features at every resolution, finest first; the last are the bottleneck's.

        Parameters
        ----------
        image : Tensor, shape (batch, in_channels, x, y, z)
            Spatial sizes are multiples of `divisor`.
        """
        reflection = None if self.other_half is None else _reflection(image[:, -1])
        image = self._seen(image)
        there = _there(image)
        conditions = iter(self.conditions or ())
        features = self.stem(image)
        found = []
        for level, block in enumerate([*self.encoder, self.bottleneck]):
            features = self._through(block, self.pool(features) if level else features)
            if level:
                features = _conditioned(features, there, conditions)
            if level and self.other_half is not None and reflection is not None:
                other = self.other_half[level - 1](_mirrored(features, reflection))
                features = features + other
            found.append(features)
        return found

    def _seen(self, image: Tensor) -> Tensor:
        """The channels that filters see."""
        return image if self.other_half is None else image[:, :-1]

    def leave_encoder(self) -> None:
        """Drop all layers that `encode` does not need, and the midplane: it is given no channel."""
        levels = len(self.encoder)
        self.other_half = None
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        self.head, self.fine = nn.Identity(), None
        if self.conditions is not None:
            self.conditions = self.conditions[:levels]

    def _through(self, block: nn.Module, features: Tensor) -> Tensor:
        """What a block makes of features."""
        tiny = features.device.type == "cpu" and min(features.shape[2:]) < _KERNEL
        if tiny and torch.is_autocast_enabled("cpu"):
            # There, PyTorch 2.13 leaves gradients of bfloat16 weights to chance.
            with torch.autocast("cpu", enabled=False):
                return self._through(block, features.float())
        if not (self.checkpointing and self.training and torch.is_grad_enabled()):
            result: Tensor = block(features)
            return result

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), _statistics_kept(block)

        result = checkpoint(block, features, use_reentrant=False, context_fn=contexts)
        return result  # noqa: RET504  # its type is Any otherwise

    @property
    def output(self) -> nn.Module:
        """The layer whose output are the logits."""
        return self.head if self.fine is None else self.fine[-1]

    @property
    def parameter_count(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    @classmethod
    def seed_protocol(cls, in_channels: int = 1, out_channels: int = 1) -> UNet3D:
        """The network of the original project: 64-128-256-512, bottleneck 1024, batch norm.

        With one channel in and out it has 90,298,561 parameters.
        """
        return cls(
            in_channels,
            out_channels,
            (64, 128, 256, 512, 1024),
            norm="batch",
            stem_stride=1,
            upsampling="transposed",
            slope=0.0,
        )

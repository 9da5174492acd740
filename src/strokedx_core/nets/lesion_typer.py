"""A network that tells blood from the rest of a lesion, and by it what type of stroke that is.

A small U-Net looks at a cut-out around the lesion and says of each of its voxels whether it is
blood. What it says there, and the features that it says it by, are summed up over the lesion; from
the sums two layers tell an infarct, a haemorrhage, and an infarct with blood in it apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from strokedx_core.nets.unet3d import UNet3D

__all__ = ["TYPES", "LesionTyper"]

TYPES = ("ischemic", "hemorrhagic", "both")
"""What is told apart; "both" is an infarct with blood in it."""

_SHARES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
"""Parts of a lesion, the least bloody voxels of it first; how bloody they are at most is told."""

_SCALE = 5.0
"""Logits are divided by it where they are summed up."""


class LesionTyper(nn.Module):
    """Tells the type of a stroke from the image of its lesion.

    Parameters
    ----------
    network : mapping
        Arguments of `UNet3D`: its input channels are the image's, then two that stay empty and the
        lesion, as a lesion network takes them; its one output is blood.
    hidden : int
        Channels between the two layers that tell the type.
    dropout : float
        Share of those that training leaves out at random.
    """

    def __init__(
        self, network: Mapping[str, Any], *, hidden: int = 64, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "network": dict(network), "hidden": hidden, "dropout": dropout,
        }  # fmt: skip
        self.network = UNet3D(**network)
        self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        widths, channels = self.network.config["widths"], self.network.config["in_channels"] - 3
        seen = 3 * widths[0] + widths[-1] + len(_SHARES) + 6 + channels
        self.judge = nn.Sequential(
            nn.LayerNorm(seen), nn.Linear(seen, hidden), nn.GELU(), nn.Dropout(dropout),
            nn.Linear(hidden, len(TYPES)),
        )  # fmt: skip

    @property
    def parameter_count(self) -> int:
        """Number of learned scalars, as the card gives it."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def divisor(self) -> int:
        """Of the sizes of an image."""
        return self.network.divisor

    def forward(
        self, image: Tensor, lesion: Tensor, spacing_mm: float = 2.0
    ) -> tuple[Tensor, Tensor]:
        """What the lesion of one case is.

        Parameters
        ----------
        image : Tensor, shape (channels - 3, x, y, z)
            Normalised sequences around the lesion, 0 where there is none. Sizes are multiples of
            the divisor.
        lesion : Tensor of bool, shape (x, y, z)
            One voxel at least.
        spacing_mm : float
            Voxel size.

        Returns
        -------
        types : Tensor, shape (3,)
            Logits of `TYPES`.
        blood : Tensor, shape (voxels of the lesion,)
            Logits, in the order of `nonzero`, whether a voxel of the lesion is blood.
        """
        marked = lesion.to(image)[None]
        empty = torch.zeros_like(marked)
        channels = torch.cat((image, empty, empty, marked))[None]
        fine, deep = self.network.describe(
            channels.contiguous(memory_format=torch.channels_last_3d)
        )
        at = lesion.nonzero()
        x, y, z = at.unbind(1)
        bleeding = self.network.head(fine)[0, 0]
        blood = bleeding[x, y, z]
        own = fine[0, :, x, y, z].T
        x, y, z = (at // (lesion.shape[0] // deep.shape[2])).unbind(1)
        around = deep[0, :, x, y, z].T
        there = (image.flatten(1).abs().amax(1) > 0).to(image)
        told = self._sums(blood, bleeding, marked, at, spacing_mm)
        spread = own.std(0, unbiased=False)
        seen = torch.cat((own.mean(0), spread, own.amax(0), around.mean(0), told, there))
        return self.judge(seen), blood

    @staticmethod
    def _sums(
        blood: Tensor, bleeding: Tensor, marked: Tensor, at: Tensor, spacing_mm: float
    ) -> Tensor:
        """How bloody a lesion is: its parts, all of it, where it is most and least, how large."""
        count = len(blood)
        ranked = blood.sort().values
        parts = torch.stack([ranked[min(count - 1, int(count * share))] for share in _SHARES])
        near = F.avg_pool3d(bleeding[None] * marked, 3, 1, 1)
        near = (near / F.avg_pool3d(marked, 3, 1, 1).clamp_min(1e-6))[0]
        x, y, z = at.unbind(1)
        smooth = near[x, y, z]
        share, sure = blood.sigmoid().mean(), (blood > 0).to(blood).mean()
        millilitres = blood.new_tensor(count * spacing_mm**3 / 1000)
        sums = (
            share, (share + 0.01).log(), (sure + 0.005).log(), smooth.max() / _SCALE,
            smooth.min() / _SCALE, millilitres.log(),
        )  # fmt: skip
        return torch.cat((parts / _SCALE, torch.stack(sums)))

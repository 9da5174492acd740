"""A captioner, whole in this file: image encoder, and a transformer that writes.

The encoder is that of a U-Net for lesions; what it makes of the image, cell by cell, and of the
lesion within each cell, is what the transformer looks at while it writes (Vaswani et al.,
"Attention is all you need", NeurIPS 2017; Xu et al., "Show, attend and tell", ICML 2015).

Tensors are (batch, channel, x, y, z); texts are (batch, length) token numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from strokedx_core.nets.unet3d import UNet3D

__all__ = ["BEGIN_CASE", "BEGIN_SLICE", "END", "PAD", "Captioner"]

PAD, UNKNOWN, BEGIN_CASE, END, BEGIN_SLICE = range(5)
"""Tokens that are no text."""

_LEVEL = 3
"""Resolution of the encoder whose voxels are the cells: eight times coarser than the image."""

_WAVES_MM = (400.0, 200.0, 100.0, 50.0, 25.0)
"""Lengths of the sine waves that tell where a cell lies."""


class Captioner(nn.Module):
    """Writes what a lesion is, from the image and the lesion's mask.

    Parameters
    ----------
    encoder : mapping
        Arguments of `UNet3D`, of four resolutions or more: its channels are the image's, then
        those of clicks, the last of which is the mask before.
    vocabulary : int
        How many tokens there are.
    width : int
        Of the transformer.
    layers : int
        Of the decoder; over the cells, there are two.
    heads : int
    length : int
        Tokens of a text, at most.
    """

    def __init__(
        self,
        encoder: Mapping[str, Any],
        vocabulary: int,
        *,
        width: int = 128,
        layers: int = 3,
        heads: int = 4,
        length: int = 80,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "encoder": dict(encoder), "vocabulary": vocabulary, "width": width,
            "layers": layers, "heads": heads, "length": length,
        }  # fmt: skip
        self.encoder = UNet3D(**encoder)
        self.encoder.leave_encoder()
        self.encoder.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        widths = self.encoder.config["widths"]
        self.channels = self.encoder.config["in_channels"]
        if len(widths) <= _LEVEL:
            raise ValueError(f"encoder: {_LEVEL + 1} resolutions are needed, not {len(widths)}")
        self.length = length
        within = widths[0] + self.channels - 3
        self.cell = nn.Linear(widths[_LEVEL] + within + 2, width)
        waves = 6 * len(_WAVES_MM)
        self.whole = nn.Linear(within + 3 + waves, width)
        self.place = nn.Linear(waves, width)
        block: dict[str, Any] = {
            "d_model": width, "nhead": heads, "dim_feedforward": 2 * width, "dropout": 0.0,
            "batch_first": True, "norm_first": True,
        }  # fmt: skip
        self.mix = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**block), 2, enable_nested_tensor=False
        )
        self.token = nn.Embedding(vocabulary, width, padding_idx=PAD)
        self.order = nn.Parameter(0.3 * torch.randn(length, width))
        self.write = nn.TransformerDecoder(nn.TransformerDecoderLayer(**block), layers)
        self.norm = nn.LayerNorm(width)
        self.answer = nn.Linear(width, vocabulary)
        nn.init.normal_(self.token.weight, std=0.5)

    @property
    def parameter_count(self) -> int:
        """Number of learned scalars, as the card gives it."""
        return sum(parameter.numel() for parameter in self.parameters())

    def look(self, image: Tensor, lesion: Tensor, spacing_mm: float = 3.0) -> Tensor:
        """What there is to write about.

        Parameters
        ----------
        image : Tensor, shape (batch, channels - 3, x, y, z)
            Normalised sequences, 0 where there is none; x to the right, y anterior, z superior.
            Sizes are multiples of the encoder's divisor.
        lesion : Tensor, shape (batch, 1, x, y, z)
            1 in the lesion, or in the part of it on one slice.
        spacing_mm : float
            Voxel size.

        Returns
        -------
        Tensor, shape (batch, 1 + cells, width)
        """
        nothing = torch.zeros_like(lesion)
        channels = torch.cat((image, nothing, nothing, lesion), dim=1)
        features = self.encoder.encode(channels.contiguous(memory_format=torch.channels_last_3d))
        coarse = features[_LEVEL]
        factor = image.shape[2] // coarse.shape[2]
        own = torch.cat((features[0], image), dim=1)
        share = F.avg_pool3d(lesion, factor)
        inside = F.avg_pool3d(own * lesion, factor) / share.clamp_min(1e-3)
        cells = torch.cat((coarse, inside, share, (share + 1e-3).log()), dim=1)
        waves = _waves(coarse.shape[2:], factor * spacing_mm).to(image)
        tokens = self.cell(cells.flatten(2).mT) + self.place(waves)
        count = lesion.sum((1, 2, 3, 4)).clamp_min(1)
        mean = (own * lesion).sum((2, 3, 4)) / count[:, None]
        ml = count * spacing_mm**3 / 1000
        sizes = torch.stack((count.log(), ml.clamp_max(5) / 5, ml.clamp_max(50) / 50), dim=1)
        weight = share.flatten(1)
        middle = weight @ waves / weight.sum(1, keepdim=True).clamp_min(1e-6)
        whole = self.whole(torch.cat((mean, sizes, middle), dim=1))
        mixed: Tensor = self.mix(torch.cat((whole[:, None], tokens), dim=1))
        return mixed

    def forward(self, seen: Tensor, text: Tensor) -> Tensor:
        """Logits of the token that follows each token.

        Parameters
        ----------
        seen : Tensor, shape (batch, n, width)
            Of `look`.
        text : Tensor of int, shape (batch, length)

        Returns
        -------
        Tensor, shape (batch, length, vocabulary)
        """
        count = text.shape[1]
        tokens = self.token(text) + self.order[:count]
        later = torch.ones(count, count, dtype=torch.bool, device=text.device).triu(1)
        written = self.norm(self.write(tokens, seen, tgt_mask=later, tgt_is_causal=True))
        logits: Tensor = self.answer(written)
        return logits

    @torch.no_grad()
    def caption(self, seen: Tensor, begin: int = BEGIN_CASE) -> list[list[int]]:
        """The likeliest token after each token, until the text ends.

        Parameters
        ----------
        seen : Tensor, shape (batch, n, width)
        begin : int
            `BEGIN_CASE` or `BEGIN_SLICE`.

        Returns
        -------
        list of list of int
            Tokens of each text, without begin and end.
        """
        text = torch.full((len(seen), 1), begin, device=seen.device)
        ended = torch.zeros(len(seen), dtype=torch.bool, device=seen.device)
        while text.shape[1] < self.length and not ended.all():
            following = self(seen, text)[:, -1].argmax(1)
            following = torch.where(ended, PAD, following)
            text = torch.cat((text, following[:, None]), dim=1)
            ended |= following == END
        return [[int(n) for n in row[1:] if n not in (END, PAD)] for row in text]


def _waves(shape: torch.Size, step_mm: float) -> Tensor:
    """Sines and cosines of where the cells lie from the middle of the grid: (cells, waves)."""
    axes = [(torch.arange(n) - (n - 1) / 2) * step_mm for n in shape]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 2)
    angles = 2 * torch.pi * places[..., None] / torch.tensor(_WAVES_MM)
    return torch.cat((angles.sin(), angles.cos()), dim=-1).flatten(1)

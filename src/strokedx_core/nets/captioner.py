"""A captioner, whole in this file: image encoder, and a transformer that writes.

The encoder is that of a U-Net for lesions. What it makes of the image within the lesion as a whole
and within each of its pieces, in which parts of the brain these lie, and what it makes of the image
cell by cell, is what the transformer looks at while it writes (Vaswani et al., "Attention is all
you need", NeurIPS 2017; Xu et al., "Show, attend and tell", ICML 2015). Beside the text it answers
a list of questions, and of every voxel of the lesion whether it is blood; these answers are looked
at too.

Tensors are (batch, channel, x, y, z); texts are (batch, length) token numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Generator, Tensor, nn

from strokedx_core.nets.unet3d import UNet3D

__all__ = ["BEGIN_CASE", "BEGIN_SLICE", "END", "PAD", "Captioner", "pieces_of"]

PAD, UNKNOWN, BEGIN_CASE, END, BEGIN_SLICE = range(5)
"""Tokens that are no text."""

_LEVEL = 3
"""Resolution of the encoder whose voxels are the cells: eight times coarser than the image."""

_PIECES = 12
"""Pieces of a lesion that are looked at one by one, the largest."""

_RING = 5
"""Voxels across the neighbourhood that counts as around the lesion."""

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
    parts : sequence of int
        How many parts there are of each kind that a voxel of the brain belongs to one of.
    questions : sequence of int
        How many answers each question has.
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
        parts: Sequence[int],
        questions: Sequence[int],
        *,
        width: int = 128,
        layers: int = 3,
        heads: int = 4,
        length: int = 80,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "encoder": dict(encoder), "vocabulary": vocabulary, "parts": list(parts),
            "questions": list(questions), "width": width, "layers": layers, "heads": heads,
            "length": length,
        }  # fmt: skip
        self.encoder = UNet3D(**encoder)
        self.encoder.leave_encoder()
        self.encoder.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        widths = self.encoder.config["widths"]
        self.channels = self.encoder.config["in_channels"]
        if len(widths) <= _LEVEL:
            raise ValueError(f"encoder: {_LEVEL + 1} resolutions are needed, not {len(widths)}")
        self.length = length
        own, waves = widths[0] + self.channels - 3, 6 * len(_WAVES_MM)
        self.cell = nn.Linear(widths[_LEVEL] + own + 2, width)
        self.place = nn.Linear(waves, width)
        seen = 2 * own + sum(widths[1 : _LEVEL + 1]) + 2 * sum(parts) + 3 + waves
        self.piece = nn.Sequential(
            nn.Linear(seen, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.whole = nn.Sequential(
            nn.Linear(seen + 3 * own, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        voxel = 3 * own + sum(widths[1 : _LEVEL + 1])
        self.blood = nn.Sequential(
            nn.Linear(voxel, width // 2), nn.GELU(),
            nn.Linear(width // 2, width // 2), nn.GELU(), nn.Linear(width // 2, 1),
        )  # fmt: skip
        self.bled = nn.Linear(8, width)
        block: dict[str, Any] = {
            "d_model": width, "nhead": heads, "dim_feedforward": 2 * width, "dropout": 0.0,
            "batch_first": True, "norm_first": True,
        }  # fmt: skip
        self.mix = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**block), 2, enable_nested_tensor=False
        )
        self.judge = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, sum(questions)))
        self.judged = nn.Linear(sum(questions), len(questions) * width)
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

    def look(
        self,
        image: Tensor,
        lesion: Tensor,
        parts: Tensor,
        pieces: Tensor | None = None,
        *,
        spacing_mm: float = 3.0,
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """What there is to write about.

        Parameters
        ----------
        image : Tensor, shape (batch, channels - 3, x, y, z)
            Normalised sequences, 0 where there is none; x to the right, y anterior, z superior.
            Sizes are multiples of the encoder's divisor.
        lesion : Tensor, shape (batch, 1, x, y, z)
            1 in the lesion, or in the part of it on one slice.
        parts : Tensor of int, shape (batch, 1, x, y, z)
            In which part of each kind a voxel lies, as one number: that of the first kind, then of
            the second times how many there are of the first, and so on.
        pieces : Tensor of int, shape (batch, 1, x, y, z), optional
            Number of the piece of the lesion that a voxel is of, from 1 for the largest; 0
            elsewhere. Lesions that are apart on a finer grid may touch on this one. Without it,
            what hangs together is one piece.
        spacing_mm : float
            Voxel size.

        Returns
        -------
        seen : Tensor, shape (batch, 1 + pieces + cells + questions, width)
        answers : list of Tensor, each of shape (batch, answers)
            Logits, by question.
        blood : list of Tensor, each of shape (voxels of a lesion,)
            Logits, in the order of `nonzero`, whether a voxel of the lesion is blood.
        """
        nothing = torch.zeros_like(lesion)
        channels = torch.cat((image, nothing, nothing, lesion), dim=1)
        features = self.encoder.encode(channels.contiguous(memory_format=torch.channels_last_3d))
        factor = image.shape[2] // features[_LEVEL].shape[2]
        each = [
            self._describe([level[n] for level in features], image[n], lesion[n, 0], parts[n, 0],
                           pieces_of(lesion[n, 0]) if pieces is None else pieces[n, 0], spacing_mm)
            for n in range(len(image))
        ]  # fmt: skip
        *stacked, blood = zip(*each, strict=True)
        whole, pieces, bled, there, cells = (torch.stack(part) for part in stacked)
        places = _places(features[_LEVEL].shape[2:], factor * spacing_mm).to(image)
        tokens = self.cell(cells) + self.place(_waves(places.flatten(0, 2)))
        lesions = torch.cat((self.whole(whole)[:, None], self.piece(pieces)), dim=1)
        tokens = torch.cat((lesions + self.bled(bled), tokens), dim=1)
        absent = F.pad(~there, (1, tokens.shape[1] - _PIECES - 1))
        mixed = self.mix(tokens, src_key_padding_mask=absent)
        mixed = mixed.masked_fill(absent[..., None], 0)
        answers = list(self.judge(mixed[:, 0]).split(self.config["questions"], dim=1))
        sure = torch.cat([answer.softmax(1) for answer in answers], dim=1)
        told = self.judged(sure).unflatten(1, (len(answers), -1))
        return torch.cat((mixed, told), dim=1), answers, list(blood)

    def _describe(
        self,
        features: list[Tensor],
        image: Tensor,
        lesion: Tensor,
        parts: Tensor,
        pieces: Tensor,
        spacing_mm: float,
    ) -> tuple[Tensor, ...]:
        """What there is of one lesion: as a whole, of each piece, how much of all and of each is
        blood and how likely where it is likeliest, whether the piece is there; of each cell; and
        of each voxel whether it is blood."""
        at = lesion.nonzero()

        def inside(values: Tensor, where: Tensor = at) -> Tensor:
            x, y, z = (where // (lesion.shape[0] // values.shape[1])).unbind(1)
            return values[:, x, y, z].T

        own = torch.cat((inside(features[0]), inside(image)), dim=1)
        number = inside(parts[None].long())[:, 0]
        kinds = []
        for count in self.config["parts"]:
            kinds.append(F.one_hot(number % count, count).to(own))
            number = number // count
        x, y, z = at.unbind(1)
        waves = _waves(_places(lesion.shape, spacing_mm).to(image)[x, y, z])
        levels = [inside(level) for level in features[1 : _LEVEL + 1]]
        rows = pieces[x, y, z].long()
        rows = torch.where(rows > _PIECES, 0, rows)
        values = torch.cat([own, own.square(), *kinds, waves, *levels], dim=1)
        mean, count = _all_and_each(values, rows)
        width, kinds_width = own.shape[1], sum(self.config["parts"])
        middle, square, where, rest = mean.split(
            [width, width, kinds_width, mean.shape[1] - 2 * width - kinds_width], dim=1
        )
        spread = (square - middle.square()).clamp_min(1e-6).sqrt()
        ml = count * spacing_mm**3 / 1000
        sizes = torch.stack((ml.clamp_min(1e-3).log(), ml.clamp_max(5) / 5, ml.clamp_max(50) / 50))
        told = torch.cat((middle, spread, where, (where + 1e-3).log(), sizes.T, rest), dim=1)

        around = (_grown(lesion) - lesion).nonzero()
        ring = torch.cat((inside(features[0], around), inside(image, around)), dim=1)
        beside = _means(ring, torch.zeros_like(around[:, 0]), 1)[0][0]
        voxels = torch.cat((own, own - beside, own - middle[0], *levels), dim=1)
        blood = self.blood(voxels)[:, 0]
        sure = torch.stack((blood.sigmoid(), (blood > 0).to(blood)), dim=1)
        bled, _ = _all_and_each(sure, rows)
        around_it = _smoothed(blood, lesion, at)
        bled = torch.cat((bled, (bled + 1e-2).log(), _extremes(around_it, rows)), dim=1)
        extremes = [own.amax(0), own.amin(0)] if len(own) else [own.new_zeros(width)] * 2
        whole = torch.cat((told[0], beside, *extremes))

        coarse = features[_LEVEL]
        factor = lesion.shape[0] // coarse.shape[1]
        _, height, depth = coarse.shape[1:]
        x, y, z = (at // factor).unbind(1)
        held, share = _means(own, (x * height + y) * depth + z, coarse[0].numel())
        share = share[:, None] / factor**3
        cells = torch.cat((coarse.flatten(1).T, held, share, (share + 1e-3).log()), dim=1)
        return whole, told[1:], bled, count[1:] > 0, cells, blood

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
    def caption(
        self, seen: Tensor, begin: int = BEGIN_CASE, rng: Generator | None = None
    ) -> list[list[int]]:
        """The likeliest token after each token, or one drawn, until the text ends.

        Parameters
        ----------
        seen : Tensor, shape (batch, n, width)
        begin : int
            `BEGIN_CASE` or `BEGIN_SLICE`.
        rng : torch.Generator, optional
            Draw each token as likely as it is, with this; on the device of `seen`.

        Returns
        -------
        list of list of int
            Tokens of each text, without begin and end.
        """
        text = torch.full((len(seen), 1), begin, device=seen.device)
        ended = torch.zeros(len(seen), dtype=torch.bool, device=seen.device)
        while text.shape[1] < self.length and not ended.all():
            logits = self(seen, text)[:, -1]
            if rng is None:
                following = logits.argmax(1)
            else:
                following = torch.multinomial(logits.softmax(1), 1, generator=rng)[:, 0]
            following = torch.where(ended, PAD, following)
            text = torch.cat((text, following[:, None]), dim=1)
            ended |= following == END
        return [[int(n) for n in row[1:] if n not in (END, PAD)] for row in text]


def pieces_of(lesion: Tensor) -> Tensor:
    """The pieces of a lesion, (x, y, z): 1 for the largest, and so on; 0 elsewhere."""
    labels, _ = ndimage.label(lesion.cpu().numpy() > 0, np.ones((3, 3, 3)))
    counts = np.bincount(labels.ravel())[1:]
    numbers = np.zeros(1 + len(counts), np.int64)
    order = np.argsort(-counts, kind="stable")
    numbers[1 + order] = np.arange(1, 1 + len(order))
    return torch.from_numpy(numbers[labels]).to(lesion.device)


def _means(values: Tensor, rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean of the values, (n, width), that belong to each of so many rows, 0 where none does; and
    how many do."""
    sums = values.new_zeros(count, values.shape[1]).index_add(0, rows, values)
    counts = torch.bincount(rows, minlength=count).to(values)
    return sums / counts[:, None].clamp_min(1), counts


def _all_and_each(values: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the values, (n, width), of all, then of those of each piece; and how many they are.
    Row 0 are those beyond the last piece."""
    mean, count = _means(values, rows, 1 + _PIECES)
    total = count.sum()
    overall = (mean * count[:, None]).sum(0, keepdim=True) / total.clamp_min(1)
    return torch.cat((overall, mean[1:])), torch.cat((total[None], count[1:]))


def _extremes(values: Tensor, rows: Tensor) -> Tensor:
    """Largest and smallest of all values, (n,), then of those of each piece, as logits and as
    probabilities: (1 + pieces, 4); 0 where there are none."""
    found = []
    for sign in (1, -1):
        each = values.new_full((1 + _PIECES,), -torch.inf)
        each = each.scatter_reduce(0, rows, sign * values, "amax")
        largest = torch.cat((each.amax(0, keepdim=True), each[1:]))
        found.append(sign * torch.where(largest.isinf(), 0, largest))
    logits = torch.stack(found, dim=1)
    return torch.cat((logits / 4, logits.sigmoid()), dim=1)


def _smoothed(values: Tensor, lesion: Tensor, at: Tensor) -> Tensor:
    """Values of the voxels of a lesion, (n,), each the mean of those of the lesion around it."""
    x, y, z = at.unbind(1)
    spread = torch.stack((torch.zeros_like(lesion), lesion))
    spread[0].index_put_((x, y, z), values)
    total, count = F.avg_pool3d(spread[None], 3, 1, 1)[0]
    mean: Tensor = (total / count.clamp_min(1e-6))[x, y, z]
    return mean


def _grown(lesion: Tensor) -> Tensor:
    """A lesion and what is around it, (x, y, z)."""
    grown = lesion[None, None]
    for axis in range(3):
        size, pad = [1, 1, 1], [0, 0, 0]
        size[axis], pad[axis] = _RING, _RING // 2
        grown = F.max_pool3d(grown, size, 1, pad)
    return grown[0, 0]


def _places(shape: Sequence[int], step_mm: float) -> Tensor:
    """Millimetres from the middle of a grid: (x, y, z, 3)."""
    axes = [(torch.arange(n) - (n - 1) / 2) * step_mm for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def _waves(places: Tensor) -> Tensor:
    """Sines and cosines of places, (n, 3): (n, waves)."""
    angles = 2 * torch.pi * places[..., None] / torch.tensor(_WAVES_MM).to(places)
    return torch.cat((angles.sin(), angles.cos()), dim=-1).flatten(1)

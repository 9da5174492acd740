"""In which parts of the brain the captioner sees a lesion: side, structure, artery of each voxel.

They are told by the anatomy network, in training as in use, so that the captioner learns how far
they can be trusted.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from strokedx_core.anatomy.locate import probabilities
from strokedx_core.anatomy.regions import GROUPS, STRUCTURES, TERRITORIES

__all__ = ["PARTS", "mirrored_parts", "parts_of"]

PARTS = (2, len(STRUCTURES), len(GROUPS))
"""How many halves, structures and arteries there are."""

_GROUP_OF = torch.tensor(
    [next(n for n, shorts in enumerate(GROUPS.values()) if name in shorts) for name in TERRITORIES]
)


def parts_of(
    image: Tensor, *, weights: str | Path | None = None, device: torch.device | str = "cpu"
) -> Tensor:
    """Tell the parts of a brain, each voxel in one number.

    Parameters
    ----------
    image : Tensor, shape (x, y, z)
        Any sequence of a brain alone as `synthesis.stroke.StrokeCase` has it, at the anatomy
        network's voxel size.
    weights : str or path, optional
        Of the anatomy network.
    device : torch.device

    Returns
    -------
    Tensor of uint8, shape (x, y, z)
        1 in the right half, 2 for each structure before, and 2 for each of them for each artery
        before: as `nets.captioner.Captioner.look` takes it, with `PARTS`.
    """
    answer = probabilities(image.float(), weights, device)
    middle = 1 + len(STRUCTURES)
    right = answer[0] > 0.5
    structure = answer[1:middle].argmax(0)
    group = torch.stack([answer[middle:][n == _GROUP_OF].sum(0) for n in range(len(GROUPS))])
    code = (group.argmax(0) * len(STRUCTURES) + structure) * 2 + right
    return code.to("cpu", torch.uint8)


def mirrored_parts(parts: Tensor) -> Tensor:
    """Parts whose right is left; the grid stays."""
    return parts ^ 1

"""In which parts of the brain the captioner sees a lesion: side, structure, artery of each voxel.

They are told by the anatomy network, in training as in use, so that the captioner learns how far
they can be trusted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from strokedx_core.anatomy.anatomy_map import AnatomyMap
from strokedx_core.anatomy.locate import probabilities
from strokedx_core.anatomy.regions import GROUPS, STRUCTURES, TERRITORIES

__all__ = ["PARTS", "mirrored_parts", "parts_of", "parts_on"]

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


def parts_on(anatomy: AnatomyMap, shape: tuple[int, int, int], affine: np.ndarray) -> Tensor:
    """Parts of a brain that were told already, on another grid.

    Parameters
    ----------
    anatomy : AnatomyMap
    shape : three int
    affine : ndarray, (4, 4)
        Voxel index of that grid to RAS millimetres.

    Returns
    -------
    Tensor of uint8, shape `shape`
        As `parts_of` gives it; outside of the brain, of the nearest voxel of it.
    """
    placed = anatomy.onto(shape, affine)
    inside, supplied = placed.structure > 0, placed.territory > 0
    territory = (_filled(placed.territory, supplied).astype(np.int64) - 1) // 2
    code = _GROUP_OF.numpy()[territory] * len(STRUCTURES) + _filled(placed.structure, inside) - 1
    code = code * 2 + _filled(placed.right, inside)
    return torch.from_numpy(code.astype(np.uint8))


def _filled(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Values, those not known as the nearest that are."""
    if known.all():
        return values
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    found: np.ndarray = values[tuple(nearest)]
    return found


def mirrored_parts(parts: Tensor) -> Tensor:
    """Parts whose right is left; the grid stays."""
    return parts ^ 1

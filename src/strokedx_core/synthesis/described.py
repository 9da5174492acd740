"""Generated strokes with their findings: what the captioner learns from.

The findings are measured as in use, on the true parts of the generated brain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from strokedx_core.anatomy.anatomy_map import AnatomyMap
from strokedx_core.captions.claims import claims_of
from strokedx_core.captions.facts import CaseFindings
from strokedx_core.captions.findings import measure_findings
from strokedx_core.synthesis.anatomy import HeadAnatomy
from strokedx_core.synthesis.head import nearest_index
from strokedx_core.synthesis.stroke import StrokeCase
from strokedx_core.tasks import LESION_TYPES
from strokedx_core.volume import volume_from_array

__all__ = ["Described", "anatomy_of", "describe"]


@dataclass(frozen=True, eq=False)
class Described:
    """A generated case with what is true of it.

    Attributes
    ----------
    image : Tensor, shape (7, x, y, z)
        As in `stroke.StrokeCase`.
    lesion : Tensor of bool, shape (x, y, z)
        All stroke lesions.
    claims : dict of str to str
        Of the whole case, as `claims.claims_of` gives them.
    slices : dict of int to dict
        Slice along z → claims of what lies on it.
    blood : ndarray of bool, shape (x, y, z)
        The part of the lesions that is blood.
    found : CaseFindings
        Measured on the true parts of the brain.
    """

    image: Tensor
    lesion: Tensor
    claims: dict[str, str]
    slices: dict[int, dict[str, str]]
    blood: np.ndarray
    found: CaseFindings


def anatomy_of(case: StrokeCase, head: HeadAnatomy, to_mni: Tensor) -> AnatomyMap:
    """The true parts of a generated brain, on its own grid, whose x runs to the right.

    Parameters
    ----------
    case : StrokeCase
    head : HeadAnatomy
        Of the label map it was made from.
    to_mni : Tensor, shape (3, 4)
        Voxel of the label map to MNI millimetres.
    """
    shape = case.brain.shape
    index = nearest_index(case.place, torch.zeros(3), head.structure.shape)
    structure, territory, right = (
        values.reshape(-1)[index].view(shape).numpy()
        for values in (head.structure, head.territory, head.right)
    )
    right = right ^ case.mirrored
    numbers = np.where(territory > 0, 2 * territory.astype(int) - 1 + right, 0).astype(np.uint8)
    affine = np.diag([case.spacing] * 3 + [1.0])
    return AnatomyMap(structure, numbers, right, affine, _affine(case, to_mni), ())


def _affine(case: StrokeCase, to_mni: Tensor) -> np.ndarray:
    """Millimetres of the generated image to MNI millimetres, the best affine."""
    inside = case.brain.nonzero()[::23]
    places = case.place[:, inside[:, 0], inside[:, 1], inside[:, 2]]
    meant = (to_mni[:, :3] @ places + to_mni[:, 3:]).T.numpy()
    meant = meant * ([-1, 1, 1] if case.mirrored else [1, 1, 1])
    here = inside.numpy() * case.spacing
    matrix = np.eye(4)
    fitted = np.linalg.lstsq(np.column_stack([here, np.ones(len(here))]), meant, rcond=None)[0]
    matrix[:3] = fitted.T
    return matrix


def describe(case: StrokeCase, head: HeadAnatomy, to_mni: Tensor) -> Described:
    """Measure what is true of a generated case."""
    anatomy = anatomy_of(case, head, to_mni)
    grid = volume_from_array(case.image.amax(0).numpy(), anatomy.affine)
    mask, blood = (
        replace(grid, data=case.target[LESION_TYPES.index(name)].numpy() > 0.5)
        for name in ("general", "hemorrhagic")
    )
    found = measure_findings(mask, anatomy=anatomy, hemorrhagic=blood)
    slices = {}
    for one in found.slices:
        here = mask.data[:, :, one.index]
        share = float(blood.data[:, :, one.index][here].mean())
        bleeds = replace(found.findings["hemorrhagic"], value=share)
        slices[one.index] = claims_of({**one.findings, "hemorrhagic": bleeds})
    lesion = torch.from_numpy(mask.data)
    return Described(case.image, lesion, claims_of(found.findings), slices, blood.data, found)

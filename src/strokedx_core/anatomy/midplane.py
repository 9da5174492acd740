"""Left and right: the plane between the hemispheres, and on which side of it something lies."""

from __future__ import annotations

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from scipy import optimize
from torch import Tensor

from strokedx_core.volume import to_canonical

__all__ = ["BOTH_SIDES", "midplane_distance", "midplane_of", "side_of"]

BOTH_SIDES = 0.1
"""Share of a lesion across the midline from which it lies on both sides."""

_TILTS = -0.4, -0.2, 0.0, 0.2, 0.4
_SHIFTS = -4.0, 0.0, 4.0
"""Slopes of the plane, and voxels beside the brain's middle, that the search begins at."""

_BRIGHTEST = 2.5
"""Medians of the brain from which brightness counts no more: blood and infarcts have no mirror
image."""


def midplane_of(brain: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Plane between the hemispheres, from the outline of the brain.

    Fitted by least squares to the middles of the brain's rows from left to right, so that a head
    tilted in the scanner keeps its sides.

    Parameters
    ----------
    brain : ndarray of bool, (i, j, k)
    affine : ndarray, (4, 4)
        Voxel index to RAS millimetres.

    Returns
    -------
    ndarray, (4,)
        (a, b, c, d), (a, b, c) of length 1: a x + b y + c z + d is how many millimetres a place
        lies to the right of the plane. x = 0 where there is hardly any brain.
    """
    canonical, affine_ras = to_canonical(brain, affine)
    rows = canonical.any(axis=0)
    if np.count_nonzero(rows) < 100:
        return np.array([1.0, 0.0, 0.0, 0.0])
    first = canonical.argmax(axis=0)[rows]
    last = canonical.shape[0] - 1 - canonical[::-1].argmax(axis=0)[rows]
    voxels = np.column_stack([(first + last) / 2, *np.nonzero(rows)])
    width = (last - first + 1).astype(float)
    places = voxels @ affine_ras[:3, :3].T + affine_ras[:3, 3]
    design = np.column_stack([places[:, 1:], np.ones(len(places))])
    # Rows through the middle of the brain say more than those that graze its surface.
    slopes, *_ = np.linalg.lstsq(design * width[:, None], places[:, 0] * width, rcond=None)
    return np.array([1.0, *-slopes]) / np.linalg.norm([1.0, *-slopes[:2]])


def midplane_distance(image: Tensor, brain: Tensor) -> Tensor:
    """How far to the right of the plane between the hemispheres each voxel lies, from what both
    halves show.

    The plane is the one at which the image is most like its mirror image: least squares, from the
    best of 75 planes on.

    Parameters
    ----------
    image : Tensor, shape (sequences, x, y, z)
        Normalised by the brain's median, voxels as large along all axes, the first of which runs
        from left to right within 20 degrees or so.
    brain : Tensor of bool, shape (x, y, z)

    Returns
    -------
    Tensor, shape (x, y, z), float32
        In voxels; 0 all over where there is hardly any brain.
    """
    shape, place = brain.shape, image.device
    image, brain = image.detach().float().cpu(), brain.cpu()
    if int(brain.sum()) < 1000:
        return torch.zeros(shape, device=place)
    there = image.flatten(1).any(1)
    shown = torch.cat((image[there].clamp(0, _BRIGHTEST) * brain, brain[None].float()))[None]
    centre = brain.nonzero().float().mean(0)
    planes = [torch.tensor(each) for each in itertools.product(_TILTS, _TILTS, _SHIFTS)]
    for coarse in (4, 2):
        unlike = _Unlikeness(F.avg_pool3d(shown, coarse), coarse, centre)
        with torch.no_grad():
            plane = min(planes, key=lambda each: float(unlike(each)))
        planes = [unlike.least(plane)]
    normal, offset = _normal_of(planes[0])
    axes = [torch.arange(n).float() - c for n, c in zip(shape, centre, strict=True)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    distance = normal[0] * x + normal[1] * y + normal[2] * z - offset
    return distance.to(place)


def _normal_of(plane: Tensor) -> tuple[Tensor, Tensor]:
    """Normal of length 1 and offset along it, of two slopes and a shift."""
    normal = torch.cat((plane.new_ones(1), plane[:2]))
    return normal / normal.norm(), plane[2]


class _Unlikeness:
    """How much a coarse image differs from its mirror image at a plane through near its centre."""

    def __init__(self, image: Tensor, coarse: int, centre: Tensor) -> None:
        self._image = image
        shape = torch.tensor(image.shape[2:])
        axes = [torch.arange(int(n)) for n in shape]
        voxels = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).float()
        self._full, self._centre = shape * coarse, centre
        self._places = (voxels + 0.5) * coarse - 0.5 - centre

    def __call__(self, plane: Tensor) -> Tensor:
        """Mean squared difference; `plane` is of shape (3,): two slopes, and voxels."""
        normal, offset = _normal_of(plane)
        places = self._places - 2 * (self._places @ normal - offset)[..., None] * normal
        scaled = (2 * (places + self._centre) + 1) / self._full - 1
        found = F.grid_sample(self._image, scaled.flip(-1)[None], align_corners=False)
        return (self._image - found).square().mean()

    def least(self, plane: Tensor) -> Tensor:
        """The plane near another one at which it is least."""
        # A slope of 0.05 moves the brain's surface by as much as a shift of a voxel does.
        unit = torch.tensor([0.05, 0.05, 1.0])

        def told(values: np.ndarray) -> tuple[float, np.ndarray]:
            scaled = torch.from_numpy(values).float().requires_grad_()
            loss = self(scaled * unit)
            (slope,) = torch.autograd.grad(loss, scaled)
            return loss.item(), slope.double().numpy()

        start = (plane / unit).double().numpy()
        first, _ = told(start)
        found = optimize.minimize(
            lambda values: tuple(each / max(first, 1e-9) for each in told(values)),
            start, jac=True, method="BFGS", options={"gtol": 2e-3, "maxiter": 12},
        )  # fmt: skip
        return torch.from_numpy(found.x).float() * unit


def side_of(x_mm: np.ndarray) -> str:
    """On which side of the midline voxels lie.

    Parameters
    ----------
    x_mm : ndarray, (n,)
        How far to the patient's right of the midline each voxel lies.

    Returns
    -------
    {"left", "right", "both"}
        "both" from a share of `BOTH_SIDES` across the midline.
    """
    right = float(np.mean(x_mm > 0))
    if right > 1 - BOTH_SIDES:
        return "right"
    return "left" if right < BOTH_SIDES else "both"

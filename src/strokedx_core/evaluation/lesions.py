"""How well a lesion mask agrees with a reference: by voxel, by lesion, by surface, by volume.

Lesions are pieces of a mask that hang together over faces, edges or corners of voxels (26
neighbours). A lesion of the reference counts as found if the prediction marks any voxel of it; a
lesion of the prediction that touches no voxel of the reference is a false one. This is the rule of
the ISLES challenge [1]_.

An empty prediction of an empty reference is right: every score is 1 and every distance 0. Where
only one of the two is empty, every score is 0, and there is no Hausdorff distance (NaN).

Surfaces are measured by MONAI. Surface Dice [2]_ weighs each piece of surface by its area, as thick
slices need; the Hausdorff distance is the larger of the two directions' 95th percentiles, each over
the voxels at a mask's border.

References
----------
.. [1] Hernandez Petzsche MR et al. ISLES 2022: A multi-center magnetic resonance imaging stroke
   lesion segmentation dataset. Sci Data 2022;9:762.
.. [2] Nikolov S et al. Clinically applicable segmentation of head and neck anatomy for
   radiotherapy. J Med Internet Res 2021;23:e26151.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from math import nan

import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from strokedx_core.components import components
from strokedx_core.evaluation.metrics import dice, volume_ml
from strokedx_core.volume import Volume, VolumeError, from_canonical, to_canonical

__all__ = ["MEASURES", "TOLERANCE_MM", "LesionScores", "compare_lesions", "in_order_of"]

TOLERANCE_MM = 2.0
"""How far apart two surfaces may lie and still agree."""

MEASURES = {
    "dice": "Dice",
    "lesion_f1": "lesion F1",
    "lesion_precision": "lesion precision",
    "lesion_recall": "lesion recall",
    "surface_dice": f"surface Dice at {TOLERANCE_MM:g} mm",
    "hausdorff95_mm": "Hausdorff 95 % (mm)",
    "reference_ml": "reference (ml)",
    "predicted_ml": "predicted (ml)",
    "volume_difference_ml": "difference (ml)",
    "absolute_volume_difference_ml": "absolute difference (ml)",
}
"""Numbers of `LesionScores` that are summed up over cases, and what people call them."""

_SLACK_MM = 1e-3  # what rounding in an affine adds to a distance of exactly the tolerance


@dataclass(frozen=True)
class LesionScores:
    """Agreement of one prediction with its reference.

    Attributes
    ----------
    dice : float
        Over voxels, 0 to 1.
    surface_dice : float
        Share of both surfaces that lies within `TOLERANCE_MM` of the other, 0 to 1.
    hausdorff95_mm : float
        NaN where one of the masks is empty and the other is not.
    reference_ml, predicted_ml : float
        Volumes.
    reference_lesions, predicted_lesions : int
        Pieces of either mask.
    found_lesions : int
        Lesions of the reference that the prediction touches.
    false_lesions : int
        Lesions of the prediction that touch nothing of the reference.
    """

    dice: float
    surface_dice: float
    hausdorff95_mm: float
    reference_ml: float
    predicted_ml: float
    reference_lesions: int
    predicted_lesions: int
    found_lesions: int
    false_lesions: int

    @property
    def missed_lesions(self) -> int:
        """Lesions of the reference that the prediction does not touch."""
        return self.reference_lesions - self.found_lesions

    @property
    def lesion_recall(self) -> float:
        """Share of the reference's lesions that were found."""
        return self._share(self.reference_lesions)

    @property
    def lesion_precision(self) -> float:
        """Found lesions, of those and the false ones together."""
        return self._share(self.found_lesions + self.false_lesions)

    @property
    def lesion_f1(self) -> float:
        """Harmonic mean of precision and recall over lesions."""
        wrong = self.missed_lesions + self.false_lesions
        return self._share(self.found_lesions + wrong / 2)

    @property
    def volume_difference_ml(self) -> float:
        """Predicted less reference volume: positive where too much was marked."""
        return self.predicted_ml - self.reference_ml

    @property
    def absolute_volume_difference_ml(self) -> float:
        """Difference of the volumes whatever its sign."""
        return abs(self.volume_difference_ml)

    def _share(self, whole: float) -> float:
        if whole:
            return self.found_lesions / whole
        return float(self.reference_lesions == self.predicted_lesions == 0)


def compare_lesions(
    prediction: NDArray[np.generic],
    reference: NDArray[np.generic],
    affine: NDArray[np.floating],
) -> LesionScores:
    """Measure the agreement of a lesion mask with a reference.

    Parameters
    ----------
    prediction, reference : ndarray, shape (i, j, k)
        Zero is outside, anything else lesion. In any orientation, but both in the same.
    affine : ndarray, shape (4, 4)
        Voxel index to RAS mm. Surfaces take the axes to be at right angles, as scanners have them.

    Returns
    -------
    LesionScores

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    overlap = dice(prediction, reference)
    predicted, true = _both_cropped(prediction != 0, reference != 0)
    predicted_pieces, predicted_count = _pieces(predicted)
    true_pieces, true_count = _pieces(true)
    shared = predicted & true
    surface, distance = _surfaces(predicted, true, affine)
    return LesionScores(
        dice=overlap,
        surface_dice=surface,
        hausdorff95_mm=distance,
        reference_ml=volume_ml(true, affine),
        predicted_ml=volume_ml(predicted, affine),
        reference_lesions=true_count,
        predicted_lesions=predicted_count,
        found_lesions=np.unique(true_pieces[shared]).size,
        false_lesions=predicted_count - np.unique(predicted_pieces[shared]).size,
    )


def in_order_of(prediction: Volume, reference: Volume) -> NDArray[np.generic]:
    """Return a prediction's voxels in the order in which the reference's are stored.

    Parameters
    ----------
    prediction, reference : Volume
        On the same grid, whose axes may be stored in another order or direction.

    Raises
    ------
    VolumeError
        If the grids differ: in shape, or by more than a tenth of a voxel in place anywhere.
    """
    if _apart(prediction.shape, prediction.affine, reference.shape, reference.affine) == 0:
        return prediction.data
    data, affine = to_canonical(prediction.data, prediction.affine)
    target, target_affine = to_canonical(reference.data, reference.affine)
    apart = _apart(data.shape, affine, target.shape, target_affine)
    if apart < 0.1 * min(reference.spacing):
        return from_canonical(data, reference.affine)
    where = f"{prediction.path}: on another grid than {reference.path}"
    if np.isinf(apart) or not np.allclose(voxel_sizes(affine), voxel_sizes(target_affine), 1e-2):
        grids = (_grid(data.shape, affine), _grid(target.shape, target_affine))
        raise VolumeError(f"{where} ({grids[0]}, not {grids[1]})")
    raise VolumeError(f"{where} (voxels lie up to {apart:.3g} mm from the reference's)")


def _apart(
    shape: tuple[int, ...], affine: np.ndarray, shape_b: tuple[int, ...], affine_b: np.ndarray
) -> float:
    """Largest distance of voxels of equal index on two grids, mm; infinite if shapes differ."""
    if shape != shape_b:
        return np.inf
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)
    moved = corners @ (affine - affine_b)[:3, :3].T + (affine - affine_b)[:3, 3]
    return float(np.sqrt((moved**2).sum(axis=1)).max())


def _grid(shape: tuple[int, ...], affine: np.ndarray) -> str:
    sizes = " × ".join(f"{size:.3g}" for size in voxel_sizes(affine))
    return f"{' × '.join(map(str, shape))} voxels of {sizes} mm"


def _both_cropped(
    a: NDArray[np.bool_], b: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Both masks without the empty margin they share; nothing measured here depends on it."""
    either = a | b
    box = []
    for axis in range(3):
        held = np.flatnonzero(either.any(axis=tuple(i for i in range(3) if i != axis)))
        box.append(slice(held[0], held[-1] + 1) if held.size else slice(0, 1))
    return a[tuple(box)], b[tuple(box)]


def _pieces(mask: NDArray[np.bool_]) -> tuple[NDArray[np.integer], int]:
    labels = components(np.asfortranarray(mask))
    return labels, int(labels.max(initial=0))


def _surfaces(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], affine: NDArray[np.floating]
) -> tuple[float, float]:
    """Surface Dice and 95th percentile Hausdorff distance (mm)."""
    if not (prediction.any() and reference.any()):
        both = prediction.any() == reference.any()
        return (1.0, 0.0) if both else (0.0, nan)
    with warnings.catch_warnings():
        # MONAI warns of an argument of its own that it passes itself.
        warnings.simplefilter("ignore", FutureWarning)
        import torch
        from monai.metrics.hausdorff_distance import compute_hausdorff_distance
        from monai.metrics.surface_dice import compute_surface_dice

        a, b = (
            torch.from_numpy(np.ascontiguousarray(mask))[None, None].float()
            for mask in (prediction, reference)
        )
        spacing = [float(size) for size in voxel_sizes(affine)]
        share = compute_surface_dice(
            a, b, [TOLERANCE_MM + _SLACK_MM], include_background=True, spacing=spacing,
            use_subvoxels=True,
        )  # fmt: skip
        distance = compute_hausdorff_distance(
            a, b, include_background=True, percentile=95, spacing=spacing
        )
    return float(share), float(distance)

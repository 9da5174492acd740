"""Findings: what can be measured of the lesions of a case, and what cannot, with the reason.

from strokedx_core.captions.findings import measure_findings
findings = measure_findings(read_mask("lesion.nii.gz"), in_mni=True, atlas=atlas)
findings.lesions[0].diameter.value
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from nibabel.affines import apply_affine

from strokedx_core.anatomy.atlas import Atlas
from strokedx_core.anatomy.midplane import side_of
from strokedx_core.captions.measures import (
    longest_diameter_mm,
    slice_axis,
    slices_of,
)
from strokedx_core.captions.pattern import pattern_of
from strokedx_core.captions.signals import CORE_ADC, Signals
from strokedx_core.captions.territories import Territories
from strokedx_core.inference.lesions import number_pieces
from strokedx_core.volume import Volume, VolumeError, check_same_space, same_grid

__all__ = ["CaseFindings", "Finding", "LesionFindings", "SliceFindings", "measure_findings"]

MISMATCH_FLAIR = 1.15
"""FLAIR ratio to the mirrored side under which a lesion that DWI shows is not counted as seen on
FLAIR. Studies of DWI-FLAIR mismatch (Thomalla et al., Lancet Neurol 2011) judge by eye; the number
is this program's own."""

BLEED_ML = 0.1
"""Blood in the ventricles from which their extension is said."""

NO_PLANE = "the plane between the hemispheres is not known: give the brain mask, or MNI space"
NO_SPACE = "the mask does not lie in MNI space"
NO_ATLAS = "no atlas was given"
NOTHING = "there is no lesion"


@dataclass(frozen=True)
class Finding:
    """One measured fact, or why it could not be measured.

    Attributes
    ----------
    value : object
        A number, word, list or truth value; None where it is not assessable.
    unit : str
    reason : str
        Why it is not assessable; "" where it is.
    """

    value: Any = None
    unit: str = ""
    reason: str = ""

    @property
    def known(self) -> bool:
        """Whether it was measured."""
        return not self.reason


@dataclass(frozen=True)
class LesionFindings:
    """Findings of one lesion.

    Attributes
    ----------
    number : int
        Its label, from 1 for the largest.
    findings : dict of str to Finding
        By the names that `captions.schema` explains.
    """

    number: int
    findings: dict[str, Finding]


@dataclass(frozen=True)
class SliceFindings:
    """Findings of all lesions on one slice.

    Attributes
    ----------
    index : int
        Of the slice, counted from 0, along the axis that the finding `slices` names.
    findings : dict of str to Finding
        By the names that `captions.schema` explains.
    """

    index: int
    findings: dict[str, Finding]


@dataclass(frozen=True, eq=False)
class CaseFindings:
    """Findings of a case.

    Attributes
    ----------
    findings : dict of str to Finding
        Of all lesions together, by the names that `captions.schema` explains.
    lesions : tuple of LesionFindings
        Largest first.
    slices : tuple of SliceFindings
        Of the slices that hold a lesion.
    labels : ndarray of int32
        On the mask's grid, the number of the lesion at each voxel.
    """

    findings: dict[str, Finding]
    lesions: tuple[LesionFindings, ...]
    slices: tuple[SliceFindings, ...]
    labels: np.ndarray


def measure_findings(
    mask: Volume,
    images: Mapping[str, Volume] | None = None,
    *,
    in_mni: bool = False,
    atlas: Atlas | None = None,
    midplane: np.ndarray | None = None,
    hemorrhagic: Volume | None = None,
) -> CaseFindings:
    """Measure the lesions of a case.

    Parameters
    ----------
    mask : Volume
        As `volume.read_mask` gives it.
    images : mapping of str to Volume, optional
        Sequences of the same examination by modality, on any grid.
    in_mni : bool
        Whether the mask's millimetres are those of MNI152 space.
    atlas : Atlas, optional
        Of territories; it takes `in_mni` to be used.
    midplane : ndarray, (4,), optional
        Plane between the hemispheres, as `signals.Signals` has it; of MNI space it is known.
    hemorrhagic : Volume, optional
        Which part of the lesions is blood: a mask on the same grid.

    Returns
    -------
    CaseFindings
        Whatever lacks an input is there with the reason.

    Raises
    ------
    VolumeError
        If the images do not show the same place, the mask of blood lies on another grid, or the
        values of the ADC map are in no unit of the diffusion coefficient.
    """
    images = dict(images or {})
    check_same_space((mask, *images.values()))
    if hemorrhagic is not None and not same_grid(hemorrhagic, mask):
        raise VolumeError(f"{hemorrhagic.path}: not on the grid of {mask.path}")
    if in_mni:
        midplane = np.array([1.0, 0.0, 0.0, 0.0])
    try:
        signals = Signals.of(images, mask, midplane)
    except ValueError as error:
        raise VolumeError(f"{images['ADC'].path}: {error}") from error
    places = Territories(atlas, mask) if in_mni and atlas is not None else None
    no_place = "" if places else NO_ATLAS if in_mni else NO_SPACE
    blood = None if hemorrhagic is None else hemorrhagic.data
    measure = _Measure(mask, signals, places, no_place, in_mni, blood)

    labels = number_pieces(mask.data)
    count = int(labels.max(initial=0))
    voxels = np.argwhere(labels)
    numbers = labels[tuple(voxels.T)]
    order = np.argsort(numbers, kind="stable")
    starts = np.searchsorted(numbers[order], np.arange(1, count + 2))
    voxels = voxels[order]
    lesions = tuple(
        LesionFindings(n + 1, measure.of_lesion(voxels[starts[n] : starts[n + 1]]))
        for n in range(count)
    )
    at = voxels[:, slice_axis(mask.affine)]
    slices = tuple(
        SliceFindings(int(index), measure.of_slice(voxels[at == index], labels))
        for index in np.unique(at)
    )
    return CaseFindings(measure.of_case(voxels, lesions), lesions, slices, labels)


@dataclass(frozen=True, eq=False)
class _Measure:
    """What is known of a case, and the findings of any voxels of it."""

    mask: Volume
    signals: Signals
    places: Territories | None
    no_place: str
    in_mni: bool
    blood: np.ndarray | None

    def of_lesion(self, voxels: np.ndarray) -> dict[str, Finding]:
        centre = apply_affine(self.mask.affine, voxels.mean(axis=0))
        found = {
            "volume": self._volume(voxels),
            "diameter": Finding(longest_diameter_mm(voxels, self.mask.affine), "mm"),
            "centroid": Finding(_place(centre), "mm, RAS"),
            "centroid_mni": self._mni(centre),
            "peak_mni": self._peak(voxels),
        }
        return found | self._anywhere(voxels)

    def of_slice(self, voxels: np.ndarray, labels: np.ndarray) -> dict[str, Finding]:
        linear = np.delete(self.mask.affine[:3, :3], slice_axis(self.mask.affine), axis=1)
        pixel = float(np.linalg.norm(np.cross(linear[:, 0], linear[:, 1])))
        numbers = labels[tuple(voxels.T)]
        there = np.unique(numbers)
        largest = max(
            longest_diameter_mm(voxels[numbers == number], self.mask.affine) for number in there
        )
        return {
            "lesions": Finding([int(number) for number in there]),
            "area": Finding(len(voxels) * pixel, "mm²"),
            "diameter": Finding(largest, "mm"),
            "side": self._side(voxels),
            **self._where(voxels),
        }

    def of_case(
        self, voxels: np.ndarray, lesions: tuple[LesionFindings, ...]
    ) -> dict[str, Finding]:
        sides = {lesion.findings["side"].value for lesion in lesions}
        if not len(voxels) or self.signals.midplane is None:
            bilateral = Finding(reason=NOTHING if not len(voxels) else NO_PLANE)
        else:
            bilateral = Finding("both" in sides or len(sides) > 1)
        found = {"count": Finding(len(lesions)), "volume": self._volume(voxels)}
        found |= self._anywhere(voxels)
        found["bilateral"] = bilateral
        found["pattern"] = self._pattern(voxels, lesions)
        found["dwi_flair_mismatch"] = self._mismatch(found)
        found["hemorrhagic_volume"] = self._hemorrhagic_volume(voxels)
        found["ventricular_extension"] = self._extension()
        return found

    def _anywhere(self, voxels: np.ndarray) -> dict[str, Finding]:
        """Findings that a lesion has, and all of them together."""
        if not len(voxels):
            names = ("side", "slices", "territories", "arteries", "lobes", "outside_atlas",
                     "dwi_ratio", "adc_ratio", "flair_ratio", "low_adc", "hemorrhagic")  # fmt: skip
            return {name: Finding(reason=NOTHING) for name in names}
        axis = slice_axis(self.mask.affine)
        return {
            "side": self._side(voxels),
            "slices": Finding(list(slices_of(voxels, axis)), f"index on axis {'ijk'[axis]}"),
            **self._where(voxels),
            "dwi_ratio": self._ratio("DWI", voxels),
            "adc_ratio": self._ratio("ADC", voxels),
            "flair_ratio": self._ratio("FLAIR", voxels),
            "low_adc": self._low_adc(voxels),
            "hemorrhagic": self._hemorrhagic(voxels),
        }

    def _volume(self, voxels: np.ndarray) -> Finding:
        return Finding(len(voxels) * self.mask.voxel_ml, "ml")

    def _side(self, voxels: np.ndarray) -> Finding:
        plane = self.signals.midplane
        if plane is None:
            return Finding(reason=NO_PLANE)
        places = apply_affine(self.mask.affine, voxels.astype(float))
        return Finding(side_of(places @ plane[:3] + plane[3]))

    def _mni(self, centre: np.ndarray) -> Finding:
        return Finding(_place(centre), "mm, MNI") if self.in_mni else Finding(reason=NO_SPACE)

    def _peak(self, voxels: np.ndarray) -> Finding:
        if "DWI" not in self.signals.images:
            return _without("DWI")
        values = self.signals.images["DWI"][tuple(voxels.T)]
        return self._mni(apply_affine(self.mask.affine, voxels[int(values.argmax())]))

    def _where(self, voxels: np.ndarray) -> dict[str, Finding]:
        if self.places is None:
            names = ("territories", "arteries", "lobes", "outside_atlas")
            return {name: Finding(reason=self.no_place) for name in names}
        where = self.places.of(voxels)
        return {
            "territories": Finding([asdict(share) for share in where.territories]),
            "arteries": Finding([asdict(share) for share in where.arteries]),
            "lobes": Finding([asdict(share) for share in where.lobes]),
            "outside_atlas": Finding(where.outside, "share"),
        }

    def _ratio(self, modality: str, voxels: np.ndarray) -> Finding:
        if modality not in self.signals.images:
            return _without(modality)
        if self.signals.midplane is None:
            return Finding(reason=NO_PLANE)
        ratio = self.signals.ratio(modality, voxels)
        if ratio is None:
            return Finding(reason="less than half of the mirror image is tissue without a lesion")
        return Finding(ratio, "ratio")

    def _low_adc(self, voxels: np.ndarray) -> Finding:
        if "ADC" not in self.signals.images:
            return _without("ADC")
        return Finding(self.signals.share_under("ADC", CORE_ADC, voxels), "share")

    def _hemorrhagic(self, voxels: np.ndarray) -> Finding:
        if self.blood is None:
            return Finding(reason="no mask of blood was given")
        return Finding(float(self.blood[tuple(voxels.T)].mean()), "share")

    def _hemorrhagic_volume(self, voxels: np.ndarray) -> Finding:
        if self.blood is None:
            return Finding(reason="no mask of blood was given")
        return Finding(int(self.blood[tuple(voxels.T)].sum()) * self.mask.voxel_ml, "ml")

    def _extension(self) -> Finding:
        if self.blood is None:
            return Finding(reason="no mask of blood was given")
        if self.places is None:
            return Finding(reason=self.no_place)
        inside = int((self.blood & self.places.ventricles).sum())
        return Finding(inside * self.mask.voxel_ml >= BLEED_ML)

    def _pattern(self, voxels: np.ndarray, lesions: tuple[LesionFindings, ...]) -> Finding:
        if not len(voxels):
            return Finding(reason=NOTHING)
        if self.places is None:
            return Finding(reason=self.no_place)
        where = self.places.of(voxels)
        arteries = [(share.part, share.side, share.of_lesion) for share in where.arteries]
        if not arteries:
            return Finding(reason="the lesions lie outside of all territories")
        sizes = [
            (lesion.findings["volume"].value, lesion.findings["diameter"].value)
            for lesion in lesions
        ]
        return Finding(pattern_of(sizes, arteries, where.deep, where.border_zone))

    def _mismatch(self, found: Mapping[str, Finding]) -> Finding:
        for needed in ("dwi_ratio", "flair_ratio"):
            if not found[needed].known:
                return Finding(reason=found[needed].reason)
        seen = found["dwi_ratio"].value >= MISMATCH_FLAIR
        return Finding(bool(seen and found["flair_ratio"].value < MISMATCH_FLAIR))


def _without(modality: str) -> Finding:
    return Finding(reason=f"no {modality} was given")


def _place(at: np.ndarray) -> list[float]:
    return [float(coordinate) for coordinate in at]

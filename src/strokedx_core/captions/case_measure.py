"""What can be measured of the voxels of lesions, given all that is known of a case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from nibabel.affines import apply_affine

from strokedx_core.anatomy.midplane import side_of
from strokedx_core.captions.facts import Finding, LesionFindings
from strokedx_core.captions.measures import longest_diameter_mm, slice_axis, slices_of
from strokedx_core.captions.pattern import pattern_of
from strokedx_core.captions.scores import aspects, midline_shift_mm, pc_aspects
from strokedx_core.captions.signals import CORE_ADC, Signals
from strokedx_core.captions.territories import Territories
from strokedx_core.volume import Volume

if TYPE_CHECKING:
    from strokedx_core.anatomy.anatomy_map import AnatomyMap

__all__ = ["BLEED_ML", "MISMATCH_FLAIR", "NO_ATLAS", "NO_SPACE", "CaseMeasure"]

MISMATCH_FLAIR = 1.15
"""FLAIR ratio to the mirrored side under which a lesion that DWI shows is not counted as seen on
FLAIR. Studies of DWI-FLAIR mismatch (Thomalla et al., Lancet Neurol 2011) judge by eye; the number
is this program's own."""

BLEED_ML = 0.1
"""Blood in the ventricles from which their extension is said."""

NO_PLANE = "the plane between the hemispheres is not known: give the brain mask, or MNI space"
NO_SPACE = "where in the brain the mask lies is not known: give an image, or MNI space"
NO_ANATOMY = "the parts of the brain are told apart on an image only: give one"
NO_ATLAS = "no atlas was given"
NOTHING = "there is no lesion"


@dataclass(frozen=True, eq=False)
class CaseMeasure:
    """What is known of a case, and the findings of any voxels of it.

    Attributes
    ----------
    mask : Volume
        The lesions.
    signals : Signals
    places : Territories or None
    no_place : str
        Why there are none.
    to_mni : ndarray, (4, 4), or None
        The mask's RAS millimetres to MNI152 millimetres.
    anatomy : AnatomyMap or None
        On the mask's grid.
    blood : ndarray of bool or None
        On the mask's grid.
    """

    mask: Volume
    signals: Signals
    places: Territories | None
    no_place: str
    to_mni: np.ndarray | None
    anatomy: AnatomyMap | None
    blood: np.ndarray | None

    def of_lesion(self, voxels: np.ndarray) -> dict[str, Finding]:
        """Findings of one lesion, whose voxels are given as indices, (n, 3)."""
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
        """Findings of the voxels of one slice; `labels` numbers the lesions."""
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
        """Findings of all lesions together."""
        sides = {lesion.findings["side"] for lesion in lesions}
        unknown = [side.reason for side in sides if not side.known]
        if not sides or unknown:
            bilateral = Finding(reason=unknown[0] if unknown else NOTHING)
        else:
            bilateral = Finding(len(sides) > 1 or sides == {Finding("both")})
        found = {"count": Finding(len(lesions)), "volume": self._volume(voxels)}
        found |= self._anywhere(voxels)
        found["bilateral"] = bilateral
        found["pattern"] = self._pattern(voxels, lesions)
        found["dwi_flair_mismatch"] = self._mismatch(found)
        found["hemorrhagic_volume"] = self._hemorrhagic_volume(voxels)
        found["ventricular_extension"] = self._extension()
        return found | self._scores(len(voxels) > 0)

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
        if self.anatomy is not None:
            at = tuple(voxels.T)
            inside = self.anatomy.structure[at] > 0
            if inside.mean() > 0.5:
                return Finding(side_of(self.anatomy.right[at][inside] - 0.5))
        plane = self.signals.midplane
        if plane is None:
            return Finding(reason=NO_PLANE)
        places = apply_affine(self.mask.affine, voxels.astype(float))
        return Finding(side_of(places @ plane[:3] + plane[3]))

    def _mni(self, centre: np.ndarray) -> Finding:
        if self.to_mni is None:
            return Finding(reason=NO_SPACE)
        return Finding(_place(apply_affine(self.to_mni, centre)), "mm, MNI")

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

    def _scores(self, any_lesion: bool) -> dict[str, Finding]:
        names = ("aspects", "pc_aspects", "midline_shift")
        if self.anatomy is None:
            return {name: Finding(reason=NO_ANATOMY) for name in names}
        found = {name: Finding(reason=NOTHING) for name in names[:2]}
        if any_lesion:
            found["aspects"] = Finding(aspects(self.mask.data, self.anatomy), "points")
            found["pc_aspects"] = Finding(pc_aspects(self.mask.data, self.anatomy), "points")
        plane, shift = self.signals.midplane, None
        if plane is not None:
            shift = midline_shift_mm(self.anatomy, plane)
        found["midline_shift"] = (
            Finding(reason=NO_PLANE if plane is None else "the image does not show the septum")
            if shift is None
            else Finding(shift, "mm towards the right")
        )
        return found

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

"""Findings: what can be measured of the lesions of a case, and what cannot, with the reason.

from strokedx_core.captions.findings import measure_findings
findings = measure_findings(read_mask("lesion.nii.gz"), in_mni=True, atlas=atlas)
findings.lesions[0].diameter.value
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from strokedx_core.anatomy.atlas import Atlas
from strokedx_core.captions.case_measure import NO_ATLAS, NO_SPACE, CaseMeasure
from strokedx_core.captions.facts import CaseFindings, LesionFindings, SliceFindings
from strokedx_core.captions.measures import slice_axis
from strokedx_core.captions.signals import Signals
from strokedx_core.captions.territories import Territories
from strokedx_core.inference.lesions import number_pieces
from strokedx_core.volume import Volume, VolumeError, check_same_space, same_grid

if TYPE_CHECKING:
    from strokedx_core.anatomy.anatomy_map import AnatomyMap

__all__ = ["measure_findings"]


def measure_findings(
    mask: Volume,
    images: Mapping[str, Volume] | None = None,
    *,
    in_mni: bool = False,
    atlas: Atlas | None = None,
    anatomy: AnatomyMap | None = None,
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
        Of territories, in MNI space; it takes `in_mni` or `anatomy` to be used.
    anatomy : AnatomyMap, optional
        Where the parts of this brain lie, on any grid of the mask's space; its territories are used
        where there is no atlas.
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
    if anatomy is not None:
        anatomy = anatomy.onto(mask.shape, mask.affine)
    try:
        brain = None if anatomy is None else anatomy.structure > 0
        signals = Signals.of(images, mask, midplane, brain)
    except ValueError as error:
        raise VolumeError(f"{images['ADC'].path}: {error}") from error
    places = _places(mask, atlas, anatomy, in_mni)
    no_place = "" if places else NO_ATLAS if in_mni else NO_SPACE
    blood = None if hemorrhagic is None else hemorrhagic.data
    to_mni = anatomy.to_mni if anatomy is not None else np.eye(4) if in_mni else None
    measure = CaseMeasure(mask, signals, places, no_place, to_mni, anatomy, blood)

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
    return CaseFindings(measure.of_case(voxels, lesions), lesions, slices, labels, anatomy)


def _places(
    mask: Volume, atlas: Atlas | None, anatomy: AnatomyMap | None, in_mni: bool
) -> Territories | None:
    if anatomy is not None:
        own = anatomy.territories
        if atlas is not None:
            own = atlas.in_space(mask.shape, mask.affine, anatomy.to_mni)
        return Territories(own, mask, anatomy.structures)
    return Territories(atlas, mask) if in_mni and atlas is not None else None

"""From a lesion mask and the images it lies on to findings: brain, its parts, and what is there."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from strokedx_core.anatomy.midplane import midplane_of
from strokedx_core.captions.findings import measure_findings
from strokedx_core.volume import Flag, Volume, same_grid

if TYPE_CHECKING:
    from strokedx_core.anatomy.anatomy_map import AnatomyMap
    from strokedx_core.anatomy.atlas import Atlas
    from strokedx_core.captions.facts import CaseFindings
    from strokedx_core.inference.prediction import Progress

__all__ = ["describe_steps"]

_STEPS = 100  # of the progress
_STRIPPED = 50


def describe_steps(
    mask: Volume,
    images: Mapping[str, Volume],
    *,
    brain: np.ndarray | None = None,
    in_mni: bool = False,
    atlas: Atlas | None = None,
    hemorrhagic: Volume | None = None,
    device: str = "auto",
) -> Generator[Progress, None, tuple[CaseFindings, tuple[Flag, ...]]]:
    """Find the brain and its parts where there is an image, and measure the lesions.

    Parameters
    ----------
    mask : Volume
        As `volume.read_mask` gives it.
    images : mapping of str to Volume
        Sequences of the same examination by modality, on any grid; there may be none. The brain is
        looked for in those on the mask's grid, or else in the first.
    brain : ndarray of bool, shape of the mask, optional
        Where the brain is; found where not given.
    in_mni : bool
        Whether the mask's millimetres are those of MNI152 space: then no image is looked at for the
        anatomy.
    atlas : Atlas, optional
        Of territories, in MNI152 space, in place of the network's own.
    hemorrhagic : Volume, optional
        Which part of the lesions is blood: a mask on the same grid.
    device : {"auto", "cpu", "cuda", "mps"}

    Returns
    -------
    findings : CaseFindings
    flags : tuple of Flag
        What was noticed while the brain was looked for.

    Raises
    ------
    VolumeError
        As `findings.measure_findings`.
    """
    anatomy: AnatomyMap | None = None
    flags: tuple[Flag, ...] = ()
    if images and not in_mni:
        on_grid = [volume for volume in images.values() if same_grid(volume, mask)]
        looked_at = on_grid or list(images.values())[:1]
        brain, anatomy, flags = yield from _look_at(looked_at, brain, bool(on_grid), device)
    midplane = None
    if brain is not None:
        midplane = midplane_of(brain, mask.affine)
    elif anatomy is not None:
        midplane = anatomy.midplane
    found = measure_findings(
        mask,
        images,
        in_mni=in_mni,
        atlas=atlas,
        anatomy=anatomy,
        midplane=midplane,
        hemorrhagic=hemorrhagic,
    )
    return found, flags


def _look_at(
    images: list[Volume], brain: np.ndarray | None, here: bool, device: str
) -> Generator[Progress, None, tuple[np.ndarray | None, AnatomyMap | None, tuple[Flag, ...]]]:
    """The brain on the mask's grid, and its parts, as images of one grid show them; None for what
    they do not show. `here` is whether that grid is the mask's."""
    from strokedx_core.anatomy.locate import locate_steps
    from strokedx_core.inference.prediction import within
    from strokedx_core.inference.skull_strip import skull_strip_steps

    inside = brain if here else None
    flags: tuple[Flag, ...] = ()
    if inside is None:
        stripping = skull_strip_steps(images[0], device=device)
        result = yield from within(stripping, 0, _STRIPPED, _STEPS)
        inside, flags = result.mask, result.flags
    if not inside.any():
        return brain, None, flags
    telling = locate_steps(images, brain=inside, device=device)
    anatomy = yield from within(telling, _STRIPPED, _STEPS, _STEPS)
    return (inside if here else brain), anatomy, (*flags, *anatomy.flags)

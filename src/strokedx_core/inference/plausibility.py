"""Sequences that do not look like what they were named, as far as that can be told for sure.

Fluid settles it for diffusion: it is the brightest thing of an ADC map, and dark on the weighted
image. What is said here are flags; nothing is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from strokedx_core.inference.lesion_case import LesionCase
from strokedx_core.tasks import MODALITIES
from strokedx_core.volume import Flag, Volume

__all__ = ["modality_flags"]

BRIGHT, DARK = 1.5, 0.5
"""Multiples of the brain's median from which, and up to which, a voxel stands out. On real scans
16 to 33 % of the brain are bright and 2 % dark on ADC maps, 4 to 13 % bright and 12 % dark on DWI,
large infarct included, and up to 22 % bright and 8 % dark on b = 0."""


def modality_flags(sequences: Mapping[str, Volume], case: LesionCase) -> tuple[Flag, ...]:
    """What about the sequences does not fit their names.

    Parameters
    ----------
    sequences : mapping of str to Volume
    case : LesionCase
        The same sequences on the working grid.

    Returns
    -------
    tuple of Flag
        ``modality`` where an ADC map, or a diffusion-weighted image, looks like the other, or the
        weighted image is brighter than the one at b = 0; ``same-image`` where two are one.
    """
    said = []
    inside = case.grid.mask(case.brain)
    image = case.image.cpu().numpy()
    shares = {}
    for name in ("DWI", "ADC"):
        values = image[MODALITIES.index(name)][inside]
        values = values[values != 0]
        if values.size:
            shares[name] = float(np.mean(values > BRIGHT)), float(np.mean(values < DARK))
    if "ADC" in shares and shares["ADC"][0] < 0.05:
        said.append("ADC: does not look like an ADC map, on which fluid is the brightest")
    if "DWI" in shares and shares["DWI"][0] > 0.12 and shares["DWI"][1] < 0.04:
        said.append("DWI: looks like an ADC map; on diffusion-weighted images fluid is dark")
    if {"DWI", "B0"} <= set(sequences):
        levels = [case.levels[name] for name in ("DWI", "B0")]
        if levels[0] > 1.05 * levels[1] > 0:
            said.append("DWI: brighter than B0, which diffusion weighting cannot be")
    flags = [Flag("modality", message) for message in said]
    for (name, one), (other, two) in combinations(sequences.items(), 2):
        if one.shape == two.shape and np.array_equal(one.data, two.data):
            flags.append(Flag("same-image", f"{name} and {other} are the same image"))
    return tuple(flags)

"""Tissue classes and how bright each is: like a named MR sequence, or at random.

The label maps carry FreeSurfer numbers (a few more outside the brain). `CLASSES` merges left and
right and structures of one kind of tissue, so that both sides of a tissue share an intensity
distribution, as they do in a scan.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Generator, Tensor

__all__ = ["BRAIN_CLASSES", "CLASSES", "CONTRASTS", "class_lookup", "draw_contrast"]

CLASSES: dict[str, tuple[int, ...]] = {
    "air": (0,),
    "white": (2, 41),
    "cortex": (3, 42),
    "ventricle": (4, 5, 14, 15, 43, 44, 72),
    "csf": (24,),
    "cerebellar white": (7, 46),
    "cerebellar grey": (8, 47),
    "thalamus": (10, 49),
    "caudate": (11, 50, 26, 58),
    "putamen": (12, 51),
    "pallidum": (13, 52),
    "brainstem": (16, 28, 60),
    "hippocampus": (17, 18, 53, 54),
    "white lesion": (25, 57),
    "vessel": (30, 62),
    "other brain": (85, 136, 137, 163, 164),
    "skin": (511,),
    "scalp fat": (),
    "muscle": (507,),
    "fat": (),
    "bone": (515,),
    "diploe": (),
    "marrow": (516,),
    "dura": (514,),
    "eye": (506,),
    "orbit": (508,),
    "mucosa": (509,),
    "cord": (512,),
    "other": (502, 530),
}
"""Tissue class → labels. Empty ones are split from the class before them by a random field."""

NAMES = tuple(CLASSES)
BRAIN_CLASSES = tuple(name for name in NAMES[1 : NAMES.index("skin")] if name != "csf")
"""Classes that belong to the brain."""

SPLIT = {"skin": "scalp fat", "muscle": "fat", "bone": "diploe"}
"""Classes of which a random part becomes the class named here."""


def class_lookup() -> np.ndarray:
    """Table from label number to class index; unknown labels become "other".

    Returns
    -------
    ndarray of uint8, shape (1024,)
    """
    table = np.full(1024, NAMES.index("other"), np.uint8)
    for index, labels in enumerate(CLASSES.values()):
        table[list(labels)] = index
    return table


Draw = Callable[[float, float], float]


def _deep_grey(means: dict[str, float], draw: Draw) -> None:
    """Fill in the classes that follow from white and grey matter."""
    white, grey = means["white"], means["cortex"]

    def between(low: float, high: float) -> float:
        return grey + draw(low, high) * (white - grey)

    means.setdefault("cerebellar white", white * draw(0.9, 1.1))
    means.setdefault("cerebellar grey", grey * draw(0.85, 1.15))
    means.setdefault("thalamus", between(0.0, 0.7))
    means.setdefault("caudate", between(-0.2, 0.3))
    means.setdefault("putamen", between(-0.1, 0.5))
    means.setdefault("pallidum", between(0.2, 1.2))
    means.setdefault("brainstem", between(0.4, 1.1))
    means.setdefault("hippocampus", between(-0.3, 0.3))
    means.setdefault("white lesion", between(-0.5, 1.0))
    means.setdefault("vessel", draw(0.0, 1.2))
    means.setdefault("other brain", between(0.0, 1.0))
    means.setdefault("cord", between(0.4, 1.1))


def _t1w(d: Draw) -> dict[str, float]:
    white = d(0.6, 0.8)
    fat = white * d(0.8, 4.0)
    return {
        "white": white,
        "cortex": white * d(0.55, 0.92),
        "csf": white * d(0.1, 0.45),
        "skin": fat * d(0.3, 1.0),
        "scalp fat": fat,
        "muscle": white * d(0.3, 0.8),
        "fat": fat * d(0.6, 1.1),
        "bone": white * d(0.02, 0.25),
        "diploe": fat * d(0.1, 0.8),
        "marrow": fat * d(0.2, 0.8),
        "dura": white * d(0.2, 1.3),
        "eye": white * d(0.15, 0.5),
        "orbit": fat * d(0.5, 1.0),
        "mucosa": white * d(0.3, 1.2),
        "other": white * d(0.1, 1.0),
    }


def _t2w(d: Draw) -> dict[str, float]:
    csf = d(0.8, 1.0)
    fat = csf * d(0.1, 1.3)
    grey = csf * d(0.4, 0.7)
    return {
        "white": grey * d(0.6, 0.95),
        "cortex": grey,
        "csf": csf,
        "ventricle": csf * d(0.9, 1.05),
        "skin": fat * d(0.4, 1.0),
        "scalp fat": fat,
        "muscle": csf * d(0.05, 0.35),
        "fat": fat * d(0.6, 1.1),
        "bone": csf * d(0.01, 0.12),
        "diploe": fat * d(0.1, 0.9),
        "marrow": fat * d(0.2, 0.8),
        "dura": csf * d(0.03, 0.6),
        "eye": csf * d(0.6, 1.1),
        "orbit": fat * d(0.5, 1.0),
        "mucosa": csf * d(0.3, 1.1),
        "other": csf * d(0.05, 0.8),
        "vessel": csf * d(0.0, 1.0),
        "white lesion": grey * d(0.9, 1.6),
    }


def _flair(d: Draw) -> dict[str, float]:
    grey = d(0.55, 0.85)
    fat = grey * d(0.1, 1.6)
    csf = grey * d(0.02, 0.4)
    return {
        "white": grey * d(0.65, 1.05),
        "cortex": grey,
        "csf": csf,
        "ventricle": csf * d(0.7, 1.2),
        "skin": fat * d(0.4, 1.0),
        "scalp fat": fat,
        "muscle": grey * d(0.15, 0.6),
        "fat": fat * d(0.6, 1.1),
        "bone": grey * d(0.01, 0.15),
        "diploe": fat * d(0.1, 0.8),
        "marrow": fat * d(0.2, 0.8),
        "dura": grey * d(0.1, 0.9),
        "eye": grey * d(0.05, 0.5),
        "orbit": fat * d(0.5, 1.0),
        "mucosa": grey * d(0.4, 1.5),
        "other": grey * d(0.1, 1.0),
        "white lesion": grey * d(1.0, 1.8),
    }


def _dwi(d: Draw) -> dict[str, float]:
    grey = d(0.5, 0.8)
    fat = grey * d(0.01, 0.4)
    csf = grey * d(0.03, 0.4)
    return {
        "white": grey * d(0.75, 1.25),
        "cortex": grey,
        "csf": csf,
        "ventricle": csf * d(0.8, 1.2),
        "skin": fat,
        "scalp fat": fat * d(0.5, 1.5),
        "muscle": grey * d(0.03, 0.4),
        "fat": fat * d(0.5, 1.5),
        "bone": grey * d(0.0, 0.12),
        "diploe": fat * d(0.2, 1.0),
        "marrow": fat * d(0.3, 1.0),
        "dura": grey * d(0.03, 0.4),
        "eye": grey * d(0.05, 0.6),
        "orbit": fat,
        "mucosa": grey * d(0.1, 0.7),
        "other": grey * d(0.03, 0.4),
        "vessel": grey * d(0.0, 0.6),
    }


def _b0(d: Draw) -> dict[str, float]:
    means = _dwi(d)
    csf = means["cortex"] * d(1.3, 3.0)
    means |= {"csf": csf, "ventricle": csf * d(0.9, 1.1), "eye": csf * d(0.5, 1.1)}
    means["white"] = means["cortex"] * d(0.65, 0.95)
    return means


def _adc(d: Draw) -> dict[str, float]:
    csf = d(0.8, 1.0)
    means = {name: csf * d(0.0, 0.6) for name in NAMES[NAMES.index("skin") :]}
    grey = csf * d(0.25, 0.4)
    return means | {
        "white": grey * d(0.8, 1.0),
        "cortex": grey,
        "csf": csf,
        "ventricle": csf * d(0.95, 1.1),
        "eye": csf * d(0.6, 1.0),
        "cerebellar white": grey * d(0.75, 0.95),
    }


def _swi(d: Draw) -> dict[str, float]:
    grey = d(0.5, 0.8)
    fat = grey * d(0.3, 1.5)
    # Fluid is darker than tissue at the short repetition time of a 3-D SWI, brighter on a 2-D T2*W.
    fluid = d(0.6, 0.92) if d(0, 1) < 0.4 else d(1.1, 1.8)
    # Iron gathers in the nuclei with age, in the pallidum first.
    iron = d(0, 1)
    return {
        "white": grey * d(0.8, 1.1),
        "cortex": grey,
        "csf": grey * fluid,
        "caudate": grey * (1.02 - 0.3 * iron * d(0.4, 1)),
        "putamen": grey * (1.02 - 0.45 * iron * d(0.4, 1)),
        "pallidum": grey * (0.9 - 0.5 * iron * d(0.4, 1)),
        "vessel": grey * d(0.05, 0.6),
        "dura": grey * d(0.05, 0.8),
        "skin": fat * d(0.4, 1.0),
        "scalp fat": fat,
        "muscle": grey * d(0.4, 1.0),
        "fat": fat * d(0.6, 1.1),
        "bone": grey * d(0.02, 0.2),
        "diploe": fat * d(0.1, 0.6),
        "marrow": fat * d(0.1, 0.5),
        "eye": grey * d(0.6, 1.4),
        "orbit": fat * d(0.5, 1.0),
        "mucosa": grey * d(0.1, 0.9),
        "other": grey * d(0.05, 0.9),
    }


def _random(d: Draw) -> dict[str, float]:
    means = {name: d(0.02, 1.0) for name in NAMES}
    fat = d(0.02, 2.5)
    means |= {name: fat * d(0.7, 1.2) for name in ("skin", "scalp fat", "fat", "orbit")}
    if d(0, 1) < 0.5:
        means["bone"] = d(0.0, 0.15)
    if d(0, 1) < 0.7:
        means["ventricle"] = means["csf"] * d(0.85, 1.15)
    return means


CONTRASTS: dict[str, Callable[[Draw], dict[str, float]]] = {
    "T1W": _t1w,
    "T2W": _t2w,
    "FLAIR": _flair,
    "DWI": _dwi,
    "B0": _b0,
    "ADC": _adc,
    "SWI": _swi,
    "random": _random,
}
"""Contrast → function that draws a mean for each class, on a scale where brain is about 0.3–1."""


def draw_contrast(name: str, rng: Generator) -> tuple[Tensor, Tensor]:
    """Draw mean and standard deviation of every tissue class.

    Parameters
    ----------
    name : str
        A key of `CONTRASTS`.
    rng : torch.Generator
        On the CPU.

    Returns
    -------
    means, deviations : Tensor, shape (number of classes,)
    """

    def draw(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=rng).item()

    means = CONTRASTS[name](draw)
    if name != "random":
        means.setdefault("ventricle", means["csf"] * draw(0.9, 1.1))
        _deep_grey(means, draw)
    air = draw(0.0, 0.03) if draw(0, 1) < 0.9 else draw(0.0, 0.3)
    means["air"] = air
    scale = draw(0.01, 0.08)
    deviations = {
        "fat": 0.15,
        "muscle": 0.15,
        "scalp fat": 0.12,
        "skin": 0.12,
        "mucosa": 0.25,
        "marrow": 0.2,
        "diploe": 0.15,
        "other": 0.2,
        "dura": 0.15,
        "vessel": 0.15,
        "air": 0.0,
    }
    spread = [
        deviations.get(name, 0.0) * means[name] * draw(0.3, 1.5) + scale * means[name]
        for name in NAMES
    ]
    return torch.tensor([means[name] for name in NAMES]), torch.tensor(spread)

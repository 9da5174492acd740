"""MNI coordinates from where the parts of a brain were found: no image is registered."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["Landmark", "affine_to_mni", "landmarks"]

FAR_MM = 6.0
"""Distance from where the others put it at which a landmark begins to count less."""

WHOLE = 0.5
"""Share of its usual volume under which a part is taken to be cut off, and says nothing."""

_FEW = 6  # landmarks under which the brain is only shifted
_HOLD_MM = 15.0
"""How strongly an affine is held to be no more than a shift: as by a landmark this far away."""


class Landmark(NamedTuple):
    """A part of the right half of the brain.

    Attributes
    ----------
    place : three float
        Its centroid in MNI152 space, mm; x is mirrored for the left half.
    volume_ml : float
        Of the half, on the average.
    """

    place: tuple[float, float, float]
    volume_ml: float


@lru_cache
def landmarks() -> Mapping[str, Landmark]:
    """Structures and territories, by name."""
    path = Path(__file__).with_name("landmarks.toml")
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["landmarks"]
    return {
        name: Landmark(tuple(entry["place"]), entry["volume_ml"]) for name, entry in entries.items()
    }


def affine_to_mni(
    found: Mapping[tuple[str, bool], tuple[np.ndarray, float]],
) -> np.ndarray:
    """Affine that brings parts of a brain to where they lie in MNI152 space.

    Least squares, those reweighted that lie far from where the others put them (Huber, "Robust
    estimation of a location parameter", 1964).

    Parameters
    ----------
    found : mapping of (str, bool) to (ndarray of shape (3,), float)
        By the name of a landmark and whether it is of the right half: centroid in RAS mm, and
        volume in ml.

    Returns
    -------
    ndarray, (4, 4)
        From the image's RAS millimetres to MNI152 millimetres; the identity where nothing is known.
    """
    here, there = [], []
    for (name, right), (place, volume_ml) in found.items():
        landmark = landmarks().get(name)
        if landmark is not None and volume_ml >= WHOLE * landmark.volume_ml:
            here.append(place)
            there.append(np.array(landmark.place) * ([1, 1, 1] if right else [-1, 1, 1]))
    matrix = np.eye(4)
    if not here:
        return matrix
    source, goal = np.array(here), np.array(there)
    matrix[:3, 3] = (goal - source).mean(axis=0)
    if len(source) < _FEW:
        return matrix
    middle = source.mean(axis=0)
    design = np.column_stack([source - middle, np.ones(len(source))])
    hold = np.diag([_HOLD_MM, _HOLD_MM, _HOLD_MM, 0.0])
    prior = np.vstack([np.eye(3), goal.mean(axis=0)])
    weight = np.ones(len(source))
    for _ in range(20):
        rows = np.vstack([design * weight[:, None], hold])
        values = np.vstack([goal * weight[:, None], hold @ prior])
        fitted = np.linalg.lstsq(rows, values, rcond=None)[0]
        away = np.linalg.norm(design @ fitted - goal, axis=1)
        weight = np.sqrt(np.minimum(1, FAR_MM / np.maximum(away, 1e-6)))
    matrix[:3, :3] = fitted[:3].T
    matrix[:3, 3] = fitted[3] - fitted[:3].T @ middle
    return matrix

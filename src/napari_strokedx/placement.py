"""Where the last three axes of a napari layer lie in its world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["has_voxel_size", "spatial_keywords", "world_matrix"]


def spatial_keywords(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Where the last three axes of a layer lie, as keywords for a layer that overlays it.

    Parameters
    ----------
    meta : mapping
        As the second item of `Layer.as_layer_data_tuple`.
    """
    last = slice(-3, None)
    rotate, affine = np.asarray(meta["rotate"]), np.asarray(meta["affine"])
    square = np.eye(4)
    square[:3, :3], square[:3, 3] = affine[:-1, :-1][last, last], affine[:-1, -1][last]
    keywords = {
        "scale": tuple(meta["scale"][last]),
        "translate": tuple(meta["translate"][last]),
        "rotate": rotate[last, last],
        "shear": _shear_matrix(meta["shear"], len(meta["scale"]))[last, last],
        "affine": square,
    }
    for key in ("axis_labels", "units"):
        if key in meta:
            keywords[key] = tuple(meta[key][last])
    return keywords


def _shear_matrix(shear: ArrayLike, ndim: int) -> np.ndarray:
    shear = np.asarray(shear, np.float64)
    if shear.ndim == 2:
        return shear
    matrix = np.eye(ndim)
    matrix[np.triu_indices(ndim, 1)] = shear
    return matrix


def world_matrix(place: Mapping[str, Any]) -> np.ndarray:
    """Layer index to layer world in mm, (4, 4), of three spatial axes."""
    inner = np.eye(4)
    inner[:3, :3] = place["rotate"] @ place["shear"] @ np.diag(place["scale"])
    inner[:3, 3] = place["translate"]
    return np.diag([*_millimetres(place.get("units", ())), 1.0]) @ place["affine"] @ inner


def _millimetres(units: Sequence[Any]) -> tuple[float, ...]:
    """Length of one step along each axis; pixels and unknown units count as millimetres."""
    if not units:
        return (1.0,) * 3
    import pint

    registry = pint.get_application_registry()
    known = [registry.Unit(str(unit)) for unit in units]
    return tuple(
        float((1 * unit).to("mm").magnitude) if unit.is_compatible_with("mm") else 1.0
        for unit in known
    )


def has_voxel_size(place: Mapping[str, Any]) -> bool:
    return any(str(unit) != "pixel" for unit in place.get("units", ("pixel",)))

"""Result layers: added once, brought up to date afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from napari_strokedx.grids import METADATA_KEY
from strokedx_core.volume import Flag

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_strokedx.layers import Source

__all__ = ["find_result", "is_result", "kept_flag", "renew", "show_result"]

_PLACE = ("scale", "translate", "rotate", "shear", "affine")


def is_result(layer: Layer) -> bool:
    """Whether a layer was made by `show_result`."""
    return "output" in _noted(layer)


def show_result(
    viewer: ViewerModel,
    source: Source,
    data: np.ndarray,
    *,
    kind: str,
    output: str,
    look: dict[str, Any] | None = None,
) -> tuple[Layer, Layer | None]:
    """Show a result exactly where its source lies.

    The layer of an earlier run on the same source is updated, unless somebody has changed its
    voxels since: work by hand is kept, and the result gets a layer of its own.

    Parameters
    ----------
    viewer : ViewerModel
    source : Source
        What the result was computed from.
    data : ndarray
        In the axes of the source.
    kind : str
        labels or image.
    output : str
        What it is, such as "brain mask"; part of the layer's name.
    look : dict, optional
        Further keywords of a new layer.

    Returns
    -------
    layer : Layer
    kept : Layer or None
        The layer of an earlier run that was left alone.
    """
    mark = {"source": source.unique_id, "output": output, "checksum": _checksum(data)}
    metadata = {METADATA_KEY: {**_grid_note(source), **mark}}
    layer, kept = find_result(viewer, source, kind=kind, output=output)
    if layer is not None:
        layer.data = data
        for name in _PLACE:
            setattr(layer, name, source.keywords[name])
        layer.metadata = metadata
        return layer, None
    add = viewer.add_labels if kind == "labels" else viewer.add_image
    keywords = {**source.keywords, **(look or {})}
    return add(data, name=f"{source.name} {output}", metadata=metadata, **keywords), kept


def find_result(
    viewer: ViewerModel, source: Source, *, kind: str, output: str
) -> tuple[Layer | None, Layer | None]:
    """Find the layer of an earlier run on the same source.

    Returns
    -------
    layer : Layer or None
        The one whose voxels are still what that run put there.
    kept : Layer or None
        One that somebody has changed since.
    """
    kept = None
    for layer in reversed(viewer.layers):
        noted = _noted(layer)
        if (noted.get("source"), noted.get("output")) != (source.unique_id, output):
            continue
        if layer.as_layer_data_tuple()[2] == kind and noted["checksum"] == _checksum(layer.data):
            return layer, None
        kept = kept or layer
    return None, kept


def renew(layer: Layer, data: np.ndarray) -> None:
    """Give a result layer the voxels that another setting leads to."""
    layer.data = data
    noted = {**_noted(layer), "checksum": _checksum(data)}
    layer.metadata = {**layer.metadata, METADATA_KEY: noted}


def kept_flag(kept: Layer | None) -> tuple[Flag, ...]:
    """What to say of a layer that `show_result` left alone."""
    if kept is None:
        return ()
    message = f"“{kept.name}” was changed by hand and kept; the new one is beside it."
    return (Flag("edited-kept", message),)


def _noted(layer: Layer) -> dict[str, Any]:
    noted = layer.metadata.get(METADATA_KEY)
    return noted if isinstance(noted, dict) else {}


def _checksum(data: Any) -> int:
    return crc32(np.ascontiguousarray(data).data)


def _grid_note(source: Source) -> dict[str, Any]:
    """What saving the result needs to know of its source's geometry."""
    grid = source.grid
    if not grid.ours:
        return {"orientation": grid.orientation}
    return {
        "affine": grid.affine,
        "header": grid.header,
        "shape": grid.to_native(np.broadcast_to(np.uint8(0), source.array.shape)).shape,
        "path": None if grid.path is None else str(grid.path),
        "flags": [],
    }

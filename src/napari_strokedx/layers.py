"""Image layers to volumes, taken down so that a run in another thread needs no layer any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_strokedx.grids import Grid, grid_of
from napari_strokedx.placement import spatial_keywords, world_matrix
from strokedx_core.volume import Volume, VolumeError, volume_from_array

if TYPE_CHECKING:
    from napari.layers import Image, Labels

__all__ = ["Source", "check_layer", "index_between", "labels_source", "layer_source"]


@dataclass(frozen=True, eq=False)
class Source:
    """What a run needs of a layer, taken down so that the layer may go away meanwhile.

    Attributes
    ----------
    name, unique_id : str
        Of the layer.
    array : array-like, three axes
        In layer axes; may be lazy (dask, zarr) and is only read by `volume`.
    grid : Grid
    keywords : dict
        Place of a layer that overlays this one.
    look : dict
        Colormap and contrast limits.
    """

    name: str
    unique_id: str
    array: Any
    grid: Grid
    keywords: dict[str, Any]
    look: dict[str, Any] = field(default_factory=dict)

    def volume(self) -> Volume:
        """Read the voxels onto the native grid; may take long, so call it off the main thread.

        Raises
        ------
        VolumeError
            See `strokedx_core.volume.volume_from_array`.
        """
        native = self.grid.to_native(np.asarray(self.array))
        made = volume_from_array(native, self.grid.affine, name=self.name)
        return replace(
            made,
            header=self.grid.header,
            path=self.grid.path,
            flags=self.grid.flags + made.flags,
        )


def check_layer(layer: Image) -> None:
    """Raise a `VolumeError` if a layer is no image with at least three spatial axes."""
    kind = layer.as_layer_data_tuple()[2]
    if kind != "image":
        raise VolumeError(f"{layer.name}: a {kind} layer, where an image layer is needed")
    if layer.rgb:
        raise VolumeError(f"{layer.name}: a colour image, where one value a voxel is needed")
    if layer.ndim < 3:
        raise VolumeError(f"{layer.name}: a {layer.ndim}-D image, where a volume (3-D) is needed")


def layer_source(
    layer: Image, *, point: Sequence[float] | None = None, orientation: str | None = None
) -> Source:
    """Take down what a run needs of an image layer; call it on the main thread.

    Parameters
    ----------
    layer : napari.layers.Image
        Of three or more axes. Of a multiscale image the finest level counts.
    point : sequence of float, optional
        World coordinates (`viewer.dims.point`) that choose the frame of a layer with more than
        three axes; its first frame by default.
    orientation : str, optional
        See `grid_of`.

    Raises
    ------
    VolumeError
        As `check_layer` and `grid_of`.
    """
    check_layer(layer)
    look = {"colormap": layer.colormap, "contrast_limits": tuple(layer.contrast_limits)}
    return _source(layer, point, orientation, look)


def labels_source(layer: Labels, *, point: Sequence[float] | None = None) -> Source:
    """Take down a Labels layer; parameters and errors are those of `layer_source`."""
    if layer.ndim < 3:
        raise VolumeError(f"{layer.name}: {layer.ndim}-D labels, where a volume (3-D) is needed")
    return _source(layer, point, None, {})


def _source(
    layer: Image | Labels,
    point: Sequence[float] | None,
    orientation: str | None,
    look: dict[str, Any],
) -> Source:
    _, meta, _ = layer.as_layer_data_tuple()
    array = layer.data[0] if layer.multiscale else layer.data
    keywords = spatial_keywords(meta)
    if leading := layer.ndim - 3:
        where = np.zeros(leading) if point is None else layer.world_to_data(point)[:leading]
        last = np.asarray(array.shape[:leading]) - 1
        frame = np.clip(np.rint(where), 0, last).astype(int)
        array = array[tuple(int(index) for index in frame)]
    return Source(
        name=layer.name,
        unique_id=str(layer.unique_id),
        array=array,
        grid=grid_of(meta, array.shape, orientation=orientation),
        keywords=keywords,
        look=look,
    )


def index_between(source: Source, target: Source) -> np.ndarray:
    """Layer index of one to layer index of the other, (4, 4), of what lies in the same place.

    Layers with their true geometry are brought together by that; for others it counts how they lie
    over each other in the viewer.
    """
    ways = []
    for one in (source, target):
        if source.grid.ours and target.grid.ours:
            ways.append(one.grid.affine @ one.grid.native_index(one.array.shape))
        else:
            ways.append(world_matrix(one.keywords))
    matrix: np.ndarray = np.linalg.inv(ways[1]) @ ways[0]
    return matrix

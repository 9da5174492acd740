"""Native grids and layers: which way a layer's axes point, and where its voxels lie.

Two conventions hold here, and nowhere else in the plugin.

**Our own layers** (readers, sample data) have their axes along inferior, posterior and left, in
that order, and lie at minus the RAS coordinates in millimetres. napari draws its last two axes down
and to the right, so all three 2-D views come out as a radiologist reads them (axial and coronal
with the patient's right on the left of the picture, sagittal facing left, heads up), and the 3-D
view is no mirror image. Data are brought there by permuting and flipping axes alone. What rotation
is left on an oblique grid is not shown, since napari cannot slice across it: such a volume is drawn
straight, about its true centre. The true affine and the header travel in the layer's metadata, and
results are computed and saved with them for as long as scale and translate are what they say.

**Layers from elsewhere** lie where their scale, translate, rotate, shear and affine put them, in
millimetres unless their units say otherwise. Which way the patient lies is taken from their axis
labels where these name directions ("superior", "S"), and else assumed to be superior, posterior,
left: the order and the directions of arrays that SimpleITK, ITK and DICOM series give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np

from napari_strokedx.placement import has_voxel_size, spatial_keywords, world_matrix
from strokedx_core.volume import Flag, VolumeError, from_canonical, to_canonical

__all__ = [
    "ASSUMED_ORIENTATION",
    "AXIS_LABELS",
    "METADATA_KEY",
    "ORIENTATIONS",
    "Grid",
    "grid_of",
    "named_orientation",
    "volume_keywords",
]

METADATA_KEY = "strokedx"
"""Where in a layer's metadata the true geometry is kept."""

AXIS_LABELS = ("inferior", "posterior", "left")
"""Where the axes of our own layers point."""

ASSUMED_ORIENTATION = "SPL"
"""Where the axes of a layer from elsewhere point that does not say."""

_RAS_AXIS = {"L": (0, -1), "R": (0, 1), "P": (1, -1), "A": (1, 1), "I": (2, -1), "S": (2, 1)}
_DIRECTIONS = ("left", "right", "posterior", "anterior", "inferior", "superior")

ORIENTATIONS = tuple(
    "".join(letters) for axes in permutations(("SI", "PA", "LR")) for letters in product(*axes)
)
"""The 48 ways in which three axes can point, `ASSUMED_ORIENTATION` first."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the three spatial axes of a layer lie in the patient.

    Attributes
    ----------
    affine : ndarray, (4, 4) float64
        Index on the native grid to RAS millimetres.
    header : nibabel header
        What is written with results on this grid.
    path : Path or None
        File that the layer was read from.
    ours : bool
        True where native and layer axes differ by the permutation and flips described above;
        False where they are the same.
    orientation : str
        Where the layer's world axes point, such as "SPL".
    flags : tuple of Flag
        What had to be assumed, and what reading the file found.
    """

    affine: np.ndarray
    header: Any
    path: Path | None
    ours: bool
    orientation: str
    flags: tuple[Flag, ...] = ()

    def to_native(self, data: np.ndarray) -> np.ndarray:
        """Layer axes to native axes; a view where possible."""
        return from_canonical(np.flip(data).T, self.affine) if self.ours else data

    def to_layer(self, data: np.ndarray) -> np.ndarray:
        """Native axes to layer axes; a view where possible."""
        return np.flip(to_canonical(data, self.affine)[0].T) if self.ours else data

    def native_index(self, shape: Sequence[int]) -> np.ndarray:
        """Layer index to native index, (4, 4), of a layer of this shape."""
        native_shape = self.to_native(np.broadcast_to(np.uint8(0), shape)).shape
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1
        for row, size in enumerate(native_shape):
            along = np.arange(size).reshape([-1 if axis == row else 1 for axis in range(3)])
            places = self.to_layer(np.broadcast_to(along, native_shape))
            matrix[row, 3] = places[0, 0, 0]
            matrix[row, :3] = np.sign(places.strides)
        # Along axes of one voxel any direction is right.
        for missing in np.flatnonzero(~matrix[:3, :3].any(axis=1)):
            matrix[missing, np.flatnonzero(~matrix[:3, :3].any(axis=0))[0]] = 1
        return matrix


def _display(affine: np.ndarray, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Scale and translate, in mm, of the layer that shows a native grid."""
    probe = np.broadcast_to(np.zeros((), np.uint8), shape)
    canonical, canonical_affine = to_canonical(probe, affine)
    scale = np.linalg.norm(canonical_affine[:3, :3], axis=0)[::-1]
    half = (np.asarray(canonical.shape) - 1) / 2
    centre = canonical_affine[:3, :3] @ half + canonical_affine[:3, 3]
    return scale, -centre[::-1] - scale * half[::-1]


def volume_keywords(
    affine: np.ndarray,
    header: Any,
    shape: Sequence[int],
    *,
    path: Path | None = None,
    flags: tuple[Flag, ...] = (),
    name: str = "",
) -> dict[str, Any]:
    """Keywords of the layer that shows a native grid: place, axis names, units, true geometry.

    Parameters
    ----------
    affine : ndarray, (4, 4)
        Native index to RAS mm.
    header : nibabel header
    shape : sequence of int
        Native shape; the first three count.
    path, flags
        Kept for results and messages.
    name : str
        Of the layer.

    Returns
    -------
    dict
        For `viewer.add_image` or `viewer.add_labels`, three spatial axes.
    """
    scale, translate = _display(affine, shape[:3])
    stored = {
        "affine": np.array(affine, np.float64),
        "header": header.copy(),
        "shape": tuple(int(n) for n in shape[:3]),
        "path": None if path is None else str(path),
        "flags": [(flag.code, flag.message) for flag in flags],
    }
    return {
        "name": name,
        "scale": tuple(scale),
        "translate": tuple(translate),
        "axis_labels": AXIS_LABELS,
        "units": ("mm",) * 3,
        "metadata": {METADATA_KEY: stored},
    }


def named_orientation(meta: Mapping[str, Any]) -> str | None:
    """Where a layer says that its world axes point, or None where it does not.

    Parameters
    ----------
    meta : mapping
        As the second item of `Layer.as_layer_data_tuple`. What a StrokeDx result noted down goes
        before the axis labels.
    """
    noted = _stored(meta).get("orientation")
    if noted is not None:
        return str(noted)
    code = ""
    for label in tuple(meta.get("axis_labels") or ())[-3:]:
        word = str(label).lower()
        if word not in _DIRECTIONS and str(label) not in _RAS_AXIS:
            return None
        code += word[0].upper()
    return code if code in ORIENTATIONS else None


def _stored(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    stored = (meta.get("metadata") or {}).get(METADATA_KEY)
    return stored if isinstance(stored, Mapping) else {}


def _still_true(
    stored: Mapping[str, Any], place: Mapping[str, Any], shape: tuple[int, ...]
) -> bool:
    """Whether the layer lies where its stored geometry would put it: nobody cropped or moved it."""
    if "affine" not in stored:
        return False
    probe = np.broadcast_to(np.zeros((), np.uint8), stored["shape"])
    if to_canonical(probe, stored["affine"])[0].shape[::-1] != shape:
        return False
    scale, translate = _display(stored["affine"], stored["shape"])
    expected = np.eye(4)
    expected[:3, :3], expected[:3, 3] = np.diag(scale), translate
    return np.allclose(world_matrix(place), expected, rtol=1e-5, atol=1e-3)


def grid_of(
    meta: Mapping[str, Any],
    shape: Sequence[int],
    *,
    dtype: np.dtype | None = None,
    orientation: str | None = None,
) -> Grid:
    """Find out where a layer's voxels lie.

    Parameters
    ----------
    meta : mapping
        As the second item of `Layer.as_layer_data_tuple`.
    shape : sequence of int
        Of the layer's data; the last three axes are the spatial ones.
    dtype : dtype, optional
        Stored type named in the header of a layer that has none; float32 by default.
    orientation : str, optional
        Where the world axes point, for a layer that does not say or says it wrongly.

    Returns
    -------
    Grid

    Raises
    ------
    VolumeError
        If the layer has no extent along some axis.
    """
    place = spatial_keywords(meta)
    stored, three = _stored(meta), tuple(int(n) for n in shape[-3:])
    if _still_true(stored, place, three):
        return Grid(
            affine=np.array(stored["affine"]),
            header=stored["header"].copy(),
            path=None if stored["path"] is None else Path(stored["path"]),
            ours=True,
            orientation="IPL",
            flags=tuple(Flag(code, message) for code, message in stored["flags"]),
        )
    flags = []
    said = orientation or named_orientation(meta)
    if said is None:
        said = ASSUMED_ORIENTATION
        flags.append(
            Flag(
                "orientation-assumed",
                "The layer does not say how the head lies: its axes were taken to point to"
                " superior, posterior and left. Choose other directions if that is not so.",
            )
        )
    world = world_matrix(place)
    if abs(np.linalg.det(world)) < 1e-12:
        raise VolumeError(f"{meta.get('name', 'layer')}: the layer has no extent along some axis")
    if np.allclose(world[:3, :3], np.eye(3)) and not has_voxel_size(place):
        flags.append(
            Flag(
                "voxel-size-assumed",
                "The layer has no voxel size: 1 mm was assumed.",
            )
        )
    to_ras = np.zeros((4, 4))
    to_ras[3, 3] = 1
    for axis, letter in enumerate(said):
        row, sign = _RAS_AXIS[letter]
        to_ras[row, axis] = sign
    affine = to_ras @ world
    return Grid(affine, _fresh_header(affine, three, dtype), None, False, said, tuple(flags))


def _fresh_header(affine: np.ndarray, shape: tuple[int, ...], dtype: np.dtype | None) -> Any:
    from nibabel.nifti1 import Nifti1Header

    header = Nifti1Header()
    header.set_data_dtype(np.dtype(np.float32) if dtype is None else dtype)
    header.set_data_shape(shape)
    header.set_xyzt_units("mm")
    header.set_qform(affine, 1, strip_shears=True)
    header.set_sform(affine, 1)
    return header

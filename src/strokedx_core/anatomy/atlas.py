"""An atlas of the brain in MNI space that the user has: numbered regions, and a table of them.

from strokedx_core.anatomy.atlas import read_atlas
atlas = read_atlas("arterial_territories.nii.gz", "arterial_territories.tsv")
labels = atlas.on_grid(mask.shape, mask.affine)
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from strokedx_core.image_reading import read_file
from strokedx_core.volume import VolumeError

__all__ = ["LOBES", "Atlas", "AtlasError", "Region", "nearest_labels", "read_atlas"]

_COLUMNS = ("index", "short", "name", "side", "territory")
_SIDES = ("left", "right", "")

LOBES = {
    "ACA": "frontal", "MCAF": "frontal", "MCAP": "parietal", "MCAT": "temporal",
    "MCAO": "occipital", "MCAI": "insula", "PCAT": "temporal", "PCAO": "occipital",
    "MLS": "deep", "LLS": "deep", "PCTP": "deep", "ACTP": "deep", "BA": "brainstem",
    "SC": "cerebellum", "IC": "cerebellum", "LV": "ventricle",
}  # fmt: skip
"""Where the parts of the arterial atlas of Liu et al. lie, for tables without a column `lobe`."""

CENTRAL_SULCUS_Y_MM = -30.0
"""MNI coordinate at which the central sulcus meets the medial wall: what the anterior cerebral
artery feeds behind it is parietal."""


class AtlasError(ValueError):
    """An atlas or its table cannot be used; the message names the file and the reason."""


@dataclass(frozen=True)
class Region:
    """One numbered region of an atlas.

    Attributes
    ----------
    index : int
        Its number in the image.
    short, name : str
        As in the table; `short` tells it from all others.
    side : {"left", "right", ""}
    group : str
        What it belongs to, such as the artery that a territory is part of.
    lobe : str
        "" where the table does not say.
    voxels : int
        In the atlas's own image.
    """

    index: int
    short: str
    name: str
    side: str
    group: str
    lobe: str
    voxels: int


@dataclass(frozen=True, eq=False)
class Atlas:
    """Regions of the brain in MNI space.

    Attributes
    ----------
    labels : ndarray of int, shape (i, j, k)
    affine : ndarray, (4, 4)
        Voxel index to MNI millimetres.
    regions : dict of int to Region
        By number, in the table's order.
    """

    labels: np.ndarray
    affine: np.ndarray
    regions: dict[int, Region]

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel, millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    def on_grid(self, shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
        """Numbers on another grid.

        Parameters
        ----------
        shape : three int
        affine : ndarray, (4, 4)
            Voxel index to MNI millimetres.

        Returns
        -------
        ndarray of int, of that shape
            Of the nearest voxel, 0 outside of the atlas. On the atlas's own grid its own.
        """
        return nearest_labels(self.labels, self.affine, shape, affine)

    def in_space(
        self, shape: tuple[int, int, int], affine: np.ndarray, to_mni: np.ndarray
    ) -> Atlas:
        """The atlas on a grid of somebody's own space, its regions' voxels counted there.

        Parameters
        ----------
        shape : three int
        affine : ndarray, (4, 4)
            Voxel index to that space's millimetres.
        to_mni : ndarray, (4, 4)
            From there to MNI millimetres.
        """
        labels = self.on_grid(shape, to_mni @ affine)
        counts = np.bincount(labels.ravel(), minlength=max(self.regions, default=0) + 1)
        regions = {n: replace(r, voxels=int(counts[n])) for n, r in self.regions.items()}
        return Atlas(labels, affine, regions)


def nearest_labels(
    labels: np.ndarray, labels_affine: np.ndarray, shape: tuple[int, int, int], affine: np.ndarray
) -> np.ndarray:
    """Labels of one grid on another, each of the nearest voxel, 0 outside; the same array where the
    grids are the same."""
    if shape == labels.shape and np.allclose(affine, labels_affine, atol=1e-3):
        return labels
    to_here = np.linalg.inv(labels_affine) @ affine
    out = np.zeros(shape, labels.dtype)
    rows, columns = np.meshgrid(*map(np.arange, shape[1:]), indexing="ij")
    for plane in range(shape[0]):
        voxels = np.stack([np.full(rows.shape, plane), rows, columns]).reshape(3, -1)
        at = np.rint(to_here[:3, :3] @ voxels + to_here[:3, 3:]).astype(int)
        inside = ((at >= 0) & (at < np.array(labels.shape)[:, None])).all(axis=0)
        out[plane].reshape(-1)[inside] = labels[tuple(at[:, inside])]
    return out


def read_atlas(image: str | os.PathLike[str], table: str | os.PathLike[str]) -> Atlas:
    """Read an atlas.

    Parameters
    ----------
    image : path-like
        Whole numbers, in MNI space; 0 is no region.
    table : path-like
        Tab-separated, with the columns index, short, name, side (left, right or empty), territory,
        and lobe where it is known.

    Raises
    ------
    AtlasError
        If either cannot be read, or they do not fit each other.
    """
    try:
        stored = read_file(image)
    except VolumeError as error:
        raise AtlasError(str(error)) from error
    values = np.squeeze(np.asarray(stored.array))
    if values.ndim != 3 or (values < 0).any() or (values % 1 != 0).any():
        raise AtlasError(f"{image}: not an atlas (one is 3-D and holds whole numbers from 0 up)")
    labels = values.astype(np.int32)
    counts = np.bincount(labels.ravel())
    regions = {}
    for line, row in enumerate(_rows(Path(table)), start=2):
        region = _region(row, f"{table}, line {line}", counts)
        if region.index in regions:
            raise AtlasError(f"{table}, line {line}: number {region.index} stands there twice")
        regions[region.index] = region
    unnamed = sorted(set(np.flatnonzero(counts).tolist()) - {0, *regions})
    if unnamed:
        raise AtlasError(f"{image}: numbers {unnamed} are not in {table}")
    return Atlas(labels, np.array(stored.affine), regions)


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        with table.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t")
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise AtlasError(f"{table}: no column {', '.join(missing)}")
            return list(reader)
    except (OSError, UnicodeDecodeError) as error:
        raise AtlasError(f"{table}: {error}") from error


def _region(row: dict[str, str], where: str, counts: np.ndarray) -> Region:
    values = {name: (row.get(name) or "").strip() for name in (*_COLUMNS, "lobe")}
    if not values["index"].isdigit() or values["index"] == "0":
        raise AtlasError(f"{where}: index {values['index']!r} is not a whole number from 1 up")
    if values["side"] not in _SIDES:
        raise AtlasError(f"{where}: side {values['side']!r}, where left, right or nothing is known")
    index, part = int(values["index"]), values["short"].rsplit("_", 1)[0]
    return Region(
        index=index,
        short=values["short"],
        name=values["name"],
        side=values["side"],
        group=values["territory"],
        lobe=values["lobe"] or LOBES.get(part, ""),
        voxels=int(counts[index]) if index < len(counts) else 0,
    )

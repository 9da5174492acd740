"""The grid that a network works on: along the first volume's axes, around the brain, isotropic but
where the volume's own voxels are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import io_orientation

from strokedx_core.volume import from_canonical, onto_grid, resample, to_canonical

__all__ = ["NEAR", "SAME", "Box", "BrainGrid"]

MARGIN_MM = 4.0
"""How far around the brain the grid reaches, up to half a voxel less on one side."""

SAME = 0.999, 1.001
"""Voxel sizes of a volume, as a share of the grid's, that are the same."""

NEAR = 0.8, 1.1
"""Voxel sizes of a volume, as a share of the grid's, that are near enough for some lesion networks:
what they saw in training varied as much, and brought onto others and back, small lesions blur."""

Box = tuple[slice, slice, slice]
Triple = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class BrainGrid:
    """A working grid over part of a volume, and the ways there and back.

    "Native" is the volume's own grid with its axes in the order of the file; "working" is this one,
    whose axes point to the right, anterior and superior as nearly as the volume's axes do.

    Attributes
    ----------
    shape : three int
        Of the working grid.
    start, step : three float
        Working voxel o lies at voxel start + step * o of the volume in canonical orientation.
    native_shape : three int
    native_affine : ndarray, (4, 4)
    """

    shape: tuple[int, int, int]
    start: Triple
    step: Triple
    native_shape: tuple[int, int, int]
    native_affine: np.ndarray

    @classmethod
    def around(
        cls,
        mask: np.ndarray,
        affine: np.ndarray,
        spacing_mm: float,
        multiple: int = 1,
        shape: Sequence[int] | None = None,
        own: tuple[float, float] = SAME,
    ) -> BrainGrid:
        """Lay the grid around a mask, or over all of the volume where the mask is empty.

        Parameters
        ----------
        mask : ndarray of bool, native
        affine : ndarray, (4, 4)
            Of the volume.
        spacing_mm : float
            Voxel size of the grid.
        multiple : int
            Sizes are multiples of it.
        shape : three int, optional
            Sizes of a grid around the middle of the mask, whether it holds all of it or not.
        own : two float
            Along axes where the volume's voxel size lies between these shares of `spacing_mm`, the
            grid's voxels are the volume's own: others would blur small lesions away.
        """
        canonical, affine_ras = to_canonical(mask, affine)
        counts, starts, steps = [], [], []
        for axis, size in enumerate(voxel_sizes(affine_ras)):
            hit = np.flatnonzero(canonical.any(axis=tuple(a for a in range(3) if a != axis)))
            low, high = (hit[0], hit[-1]) if hit.size else (0, canonical.shape[axis] - 1)
            as_it_is = own[0] < size / spacing_mm < own[1]
            step = 1.0 if as_it_is else float(spacing_mm / size)
            wanted = (high - low + 1 + 2 * MARGIN_MM / size) / step
            count = max(1, int(np.ceil(wanted / multiple - 1e-3))) * multiple
            if shape is not None:
                count = shape[axis]
            counts.append(count)
            steps.append(step)
            start = float((low + high) / 2 - step * (count - 1) / 2)
            starts.append(float(np.floor(start)) if as_it_is else start)
        x, y, z = mask.shape
        return cls(_three(counts), _three(starts), _three(steps), (x, y, z), np.array(affine))

    @property
    def box(self) -> Box:
        """All of the working grid."""
        return slice(0, self.shape[0]), slice(0, self.shape[1]), slice(0, self.shape[2])

    @property
    def affine(self) -> np.ndarray:
        """Working voxel to RAS millimetres, (4, 4)."""
        _, affine_ras = self._canonical
        placed = np.diag([*self.step, 1.0])
        placed[:3, 3] = self.start
        return affine_ras @ placed

    def point(self, index: Sequence[float]) -> Triple:
        """Where a native voxel lies on the working grid, in working voxels."""
        there = np.linalg.inv(self.affine) @ self.native_affine @ [*index, 1.0]
        return _three(there[:3].tolist())

    def image(self, data: np.ndarray, affine: np.ndarray) -> np.ndarray:
        """An image of any grid on this one: float32, 0 beyond its field of view."""
        return np.ascontiguousarray(onto_grid(data, affine, self.shape, self.affine))

    def mask(self, mask: np.ndarray, box: Box | None = None) -> np.ndarray:
        """A native mask on the working grid, or in a box of it: bool."""
        box = box or self.box
        canonical, _ = to_canonical(mask, self.native_affine)
        near = _three(
            [
                slice(min(max(first - 2, 0), size - 1), max(1, min(last + 3, size)))
                for (first, last), size in zip(self._reach(box), canonical.shape, strict=True)
            ]
        )
        start = [
            s + step * edge.start - region.start
            for s, step, edge, region in zip(self.start, self.step, box, near, strict=True)
        ]
        shape = tuple(edge.stop - edge.start for edge in box)
        found = resample(canonical[near], shape, _three(start), self.step, outside="zero")
        return np.ascontiguousarray(found >= 0.5)

    def native_box(self, box: Box) -> Box:
        """The native voxels whose centres lie in a box of the working grid; may be empty."""
        turns = io_orientation(self.native_affine)
        ranges = self._inside(box)
        slices = []
        for (axis, direction), size in zip(turns.astype(int), self.native_shape, strict=True):
            low, high = ranges[axis]
            slices.append(slice(low, high) if direction > 0 else slice(size - high, size - low))
        return _three(slices)

    def native(self, values: np.ndarray, box: Box) -> np.ndarray:
        """Values in a box of the working grid, on the native voxels of `native_box`: float32."""
        ranges = self._inside(box)
        start = [
            (low - s) / step - edge.start
            for (low, _), s, step, edge in zip(ranges, self.start, self.step, box, strict=True)
        ]
        shape = tuple(high - low for low, high in ranges)
        step = _three([1 / s for s in self.step])
        if 0 in shape:
            return from_canonical(np.zeros(shape, np.float32), self.native_affine)
        found = resample(values, shape, _three(start), step)
        return from_canonical(found, self.native_affine)

    def nearest(self, labels: np.ndarray, finer: int = 1) -> np.ndarray:
        """Labels on the native voxels, each the one nearest; beyond the grid, of its outermost.

        Parameters
        ----------
        labels : ndarray, as many times finer than this grid as `finer` says
        finer : int
        """
        index = []
        for size, start, step, count in zip(
            self._canonical[0], self.start, self.step, labels.shape, strict=True
        ):
            at = finer * (np.arange(size) - start) / step + (finer - 1) / 2
            index.append(np.clip(np.rint(at), 0, count - 1).astype(int))
        return from_canonical(labels[np.ix_(*index)], self.native_affine)

    @property
    def _canonical(self) -> tuple[tuple[int, ...], np.ndarray]:
        """Shape and affine of the volume in canonical orientation."""
        view, affine = to_canonical(
            np.broadcast_to(np.False_, self.native_shape), self.native_affine
        )
        return view.shape, affine

    def _reach(self, box: Box) -> list[tuple[int, int]]:
        """First and last canonical voxel at or around the outer faces of a box."""
        return [
            (int(np.floor(s + step * (edge.start - 1))), int(np.ceil(s + step * edge.stop)))
            for s, step, edge in zip(self.start, self.step, box, strict=True)
        ]

    def _inside(self, box: Box) -> list[tuple[int, int]]:
        """Range of canonical voxels whose centres lie in a box, along each axis."""
        ranges = []
        for s, step, edge, size in zip(self.start, self.step, box, self._canonical[0], strict=True):
            low = int(np.ceil(s + step * (edge.start - 0.5) - 1e-6))
            high = int(np.ceil(s + step * (edge.stop - 0.5) - 1e-6))
            low = min(max(low, 0), size)
            ranges.append((low, min(max(high, low), size)))
        return ranges


def _three(values: Sequence) -> tuple:  # type: ignore[type-arg]
    first, second, third = values
    return first, second, third

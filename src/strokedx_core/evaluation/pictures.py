"""Pictures of a mask on the scan it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from strokedx_core.volume import to_canonical

__all__ = ["CONVENTION", "mask_overlay"]

CONVENTION = (
    "Radiological convention: the patient's right is on the left of axial and coronal slices; "
    "sagittal slices face left."
)
_MASK, _REFERENCE = "#ff8c00", "#00d0ff"
_PLANES = ((2, "axial"), (1, "coronal"), (0, "sagittal"))


def mask_overlay(
    data: NDArray[np.floating],
    mask: NDArray[np.generic],
    affine: NDArray[np.floating],
    path: str | Path | IO[bytes],
    title: str,
    *,
    reference: NDArray[np.generic] | None = None,
    through: NDArray[np.generic] | None = None,
    columns: int = 5,
) -> None:
    """Draw the outline of a mask on slices in three planes, to scale, as a PNG file.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The scan, in any orientation.
    mask, reference : ndarray, shape (i, j, k)
        Zero is outside, anything else inside. The reference is outlined too where it is given.
    affine : ndarray, shape (4, 4)
        Voxel index to RAS mm. Oblique scans are drawn on their own grid, not resampled.
    path : path or binary stream
        PNG file to write.
    title : str
        Stands above the slices.
    through : ndarray, shape (i, j, k), optional
        What the slices are to show, where that is not the mask.
    columns : int
        Slices in each plane, evenly spaced through what is to be shown.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    layers = {"mask": mask, "reference": reference, "through": through}
    for name, layer in layers.items():
        if layer is not None and layer.shape != data.shape:
            raise ValueError(f"{name} has shape {layer.shape}, the scan has {data.shape}")
    image, ras = to_canonical(data, affine)
    spacing = np.sqrt((ras[:3, :3] ** 2).sum(axis=0))
    outlines = {
        name: to_canonical((layer != 0).astype(np.float32), affine)[0]
        for name, layer in layers.items()
        if layer is not None
    }
    shown = outlines.pop("through", outlines["mask"])
    low, high = _window(image, outlines["mask"])

    figure = Figure(figsize=(2.4 * columns, 8.4), dpi=100, facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, columns, squeeze=False)
    for row, (axis, plane) in zip(axes, _PLANES, strict=True):
        for ax, index in zip(row, _slices(shown, axis, columns), strict=True):
            picture = _face(image, axis, index)
            wide, tall = (spacing[i] for i in (0, 1, 2) if i != axis)
            rows, cols = picture.shape
            frame = (0.0, cols * wide, 0.0, rows * tall)
            ax.imshow(
                picture, cmap="gray", vmin=low, vmax=high, origin="lower", extent=frame,
                aspect="equal",
            )  # fmt: skip
            # Centres of voxels, so that the outline runs along their borders.
            x, y = (np.arange(cols) + 0.5) * wide, (np.arange(rows) + 0.5) * tall
            for name, color in (("reference", _REFERENCE), ("mask", _MASK)):
                if name in outlines:
                    outline = _face(outlines[name], axis, index)
                    if outline.any() and not outline.all():
                        ax.contour(x, y, outline, levels=[0.5], colors=[color], linewidths=0.9)
            ax.set_title(f"{plane} {index + 1}/{image.shape[axis]}", color="0.7", fontsize=8)
            ax.set_axis_off()
    colors = {"mask": _MASK, "reference": _REFERENCE}
    figure.legend(
        handles=[Line2D([], [], color=colors[name], label=name) for name in outlines],
        loc="upper right", ncols=2, frameon=False, labelcolor="0.9",
    )  # fmt: skip
    figure.suptitle(title, color="white", x=0.01, ha="left", fontsize=12)
    figure.text(0.01, 0.008, CONVENTION, color="0.7", fontsize=8)
    figure.subplots_adjust(0.005, 0.035, 0.995, 0.925, wspace=0.03, hspace=0.1)
    figure.savefig(path, format="png", facecolor="black")


def _window(image: NDArray[np.floating], marked: NDArray[np.floating]) -> tuple[float, float]:
    """Darkest and brightest grey: most of the background's zeros do not count, and what is marked
    is told from what lies around it, as a fresh infarct on DWI, brighter than all else."""
    shown = image[image != 0] if image.any() else image
    low, high = np.percentile(shown, (1, 99.5))
    if marked.any():
        high = max(high, np.percentile(image[marked > 0], 95))
    return float(low), float(max(high, np.nextafter(low, np.inf)))


def _slices(mask: NDArray[np.floating], axis: int, count: int) -> list[int]:
    """Every so many of the slices that hold the mask, or of the whole volume if it is empty."""
    others = tuple(i for i in range(3) if i != axis)
    held = np.flatnonzero(mask.any(axis=others))
    if not held.size:
        held = np.arange(mask.shape[axis])
    inner = np.linspace(0, held.size - 1, count + 2)[1:-1]
    return [int(held[round(float(position))]) for position in inner]


def _face(volume: NDArray[np.floating], axis: int, index: int) -> NDArray[np.floating]:
    """One slice of a RAS volume, rows upwards, as a radiologist looks at it."""
    # RAS axes grow to the patient's right, front and top. Seen from below (axial) or from the
    # front (coronal), right is on the viewer's left; a face looking left has its front there.
    return np.take(volume, index, axis=axis).T[:, ::-1]

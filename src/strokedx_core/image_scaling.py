"""Numbers as an image file stores them, and the float32 values that they stand for."""

from __future__ import annotations

import numpy as np

from strokedx_core.image_reading import StoredImage

__all__ = ["exact_in_float32", "quantised", "scaled"]


def scaled(array: np.ndarray, stored: StoredImage) -> np.ndarray:
    """Return the values that stored voxels stand for, as a float32 copy."""
    with np.errstate(over="ignore", invalid="ignore"):
        data = array.astype(np.float32)
        if stored.slope is not None and stored.inter is not None:
            data *= np.float32(stored.slope)
            data += np.float32(stored.inter)
    return data


def exact_in_float32(stored: StoredImage) -> bool:
    """Tell whether the stored voxels can be had back from their float32 values."""
    dtype = stored.array.dtype
    if stored.slope is None or stored.inter is None:
        return dtype.itemsize <= 2 or (dtype.kind == "f" and dtype.itemsize == 4)
    # Rounding in float32 stays far below half a step while the offset is not millions of steps.
    return (
        dtype.kind in "iu"
        and dtype.itemsize <= 2
        and abs(stored.inter) <= 2.0**20 * abs(stored.slope)
    )


def quantised(
    values: np.ndarray, dtype: np.dtype, slope: float | None, inter: float | None
) -> np.ndarray:
    """Return the stored numbers that come nearest to values; undoes `scaled`."""
    if slope is not None and inter is not None and (slope, inter) != (1.0, 0.0):
        values = (values.astype(np.float64) - inter) / slope
    if dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    if dtype.itemsize > 2:
        values = values.astype(np.float64)
    values = np.clip(np.rint(values), limits.min, limits.max)
    if dtype.itemsize == 8:
        # The largest 64-bit integer is no float64; one step below is.
        values = np.minimum(values, np.nextafter(float(limits.max), 0))
    return values.astype(dtype)

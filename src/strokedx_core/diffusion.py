"""The apparent diffusion coefficient of two diffusion-weighted images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from strokedx_core.volume import (
    Volume,
    VolumeError,
    check_same_space,
    onto_grid,
    same_grid,
    volume_from_array,
)

__all__ = ["adc_from"]

HIGHEST = 4000.0
"""Clip of the result, 10^-6 mm²/s: free water at body temperature reaches 3,000."""


def adc_from(dwi: Volume, b0: Volume, b_value: float) -> Volume:
    """Compute an ADC map.

    Parameters
    ----------
    dwi : Volume
        With diffusion weighting.
    b0 : Volume
        Without; it may lie on another grid, from which it is brought over.
    b_value : float
        s/mm², of `dwi`.

    Returns
    -------
    Volume
        On the grid of `dwi`, in 10^-6 mm²/s: ``ln(b0 / dwi) / b``, clipped to 0..4000, and 0 where
        either image is not positive.

    Raises
    ------
    VolumeError
        If the images do not show the same place, or if `dwi` is the brighter one in more than half
        of the voxels, which diffusion cannot do: then they have changed places.
    ValueError
        If the b-value is not positive.

    Notes
    -----
    After Stejskal & Tanner, "Spin diffusion measurements" (J Chem Phys 1965).
    """
    if not b_value > 0 or not np.isfinite(b_value):
        raise ValueError(f"the b-value must be positive, not {b_value}")
    check_same_space((dwi, b0))
    if same_grid(dwi, b0):
        without = b0.data
    else:
        without = onto_grid(b0.data, b0.affine, dwi.shape, dwi.affine)
    seen = (dwi.data > 0) & (without > 0)
    # The head, not the noise around it, in which either image may be the brighter one.
    head = without > 0.2 * np.percentile(without[seen], 95) if seen.any() else seen
    if not head.any() or np.mean(dwi.data[head] > without[head]) > 0.5:
        raise VolumeError(
            f"{dwi.path or 'DWI'}: brighter than {b0.path or 'B0'}, which diffusion weighting "
            "cannot be; are DWI and B0 in the right order?"
        )
    ratio = np.ones(dwi.shape, np.float32)
    np.divide(without, dwi.data, out=ratio, where=seen)
    adc = np.clip(np.log(ratio) * np.float32(1e6 / b_value), 0, HIGHEST)
    name = f"ADC of {dwi.path or 'DWI'} and {b0.path or 'B0'}"
    computed = volume_from_array(adc, dwi.affine, name=name)
    return replace(computed, header=dwi.header, flags=())

"""One intensity scale for the network, in training and in use."""

from __future__ import annotations

from torch import Tensor

__all__ = ["normalise"]

_SAMPLE = 200_000


def normalise(image: Tensor, *, low: float = 0.01, high: float = 0.995) -> Tensor:
    """Map the `low` and `high` quantiles of one volume to 0 and 1, and clip at 0 and 3.

    Parameters
    ----------
    image : Tensor, shape (x, y, z), float
        Any intensity scale. Negative values are allowed.
    low, high : float
        Quantiles over all voxels, background included, taken from an evenly strided sample of
        about 200,000 voxels.

    Returns
    -------
    Tensor of the same shape. A constant volume becomes all zeros.

    Notes
    -----
    Clipping at 3 rather than at 1 keeps scalp fat, which may be several times as bright as brain,
    apart from brain.
    """
    flat = image.reshape(-1)
    sample = flat[:: max(1, flat.numel() // _SAMPLE)].sort().values
    bottom = sample[int(low * (sample.numel() - 1))]
    top = sample[int(high * (sample.numel() - 1))]
    if top <= bottom:
        top, bottom = sample[-1], sample[0]
    if top <= bottom:
        return image * 0
    return ((image - bottom) / (top - bottom)).clamp(0, 3)

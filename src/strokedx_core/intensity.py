"""One intensity scale for the network, in training and in use."""

from __future__ import annotations

from torch import Tensor

__all__ = ["normalise", "normalise_brain"]

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


def normalise_brain(image: Tensor, inside: Tensor, *, high: float = 5.0) -> Tensor:
    """Divide by the median of the brain, so that a lesion of any size leaves the scale alone.

    Parameters
    ----------
    image : Tensor, shape (x, y, z), float
    inside : Tensor of bool, shape (x, y, z)
        Where the brain is. Voxels of exactly 0 within it, as outside a field of view, do not count.
    high : float
        Where the result is clipped; below it is clipped at 0.

    Returns
    -------
    Tensor of the same shape. All zeros where the brain has no signal.
    """
    values = image[inside & (image != 0)]
    if values.numel() == 0:
        return image * 0
    level = values[:: max(1, values.numel() // _SAMPLE)].median()
    return (image / level).clamp(0, high) if level > 0 else image * 0

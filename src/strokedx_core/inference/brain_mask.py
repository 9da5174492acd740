"""From probabilities to a brain mask on the volume's grid, and what is unusual about it."""

from __future__ import annotations

import cc3d
import numpy as np

from strokedx_core.volume import Flag, Volume, from_canonical, resample, to_canonical

__all__ = [
    "PLAUSIBLE_ML",
    "already_stripped",
    "clean_mask",
    "fill_holes",
    "largest_piece",
    "mask_flags",
]

PLAUSIBLE_ML = (700.0, 2200.0)
"""Volumes between which a mask passes for a whole brain."""

STRIPPED_SHARE = 0.9
"""Share of what is not background that is brain, from which a scan counts as stripped already. In a
head with its skull the brain takes up less than half."""


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """The largest of the pieces that hang together by faces."""
    kept: np.ndarray = cc3d.largest_k(mask, k=1, connectivity=6, binary_image=True)
    return kept.astype(bool)


def clean_mask(
    found: np.ndarray,
    origin: tuple[float, float, float],
    steps: tuple[float, float, float],
    volume: Volume,
    threshold: float,
) -> np.ndarray:
    """Mask on the volume's grid: in one piece, without holes.

    Parameters
    ----------
    found : ndarray, shape (x, y, z)
        Probabilities on a grid laid over part of the canonical volume.
    origin, steps : tuple of float
        Where that grid's first voxel lies and how far apart its voxels are, in voxels of the
        canonical volume.
    volume : Volume
    threshold : float

    Returns
    -------
    ndarray of bool, shape of the volume
    """
    data, _ = to_canonical(volume.data, volume.affine)
    # In the volume's own memory order, so that masking it later reads straight through memory.
    mask = from_canonical(np.zeros_like(data, dtype=bool), volume.affine)
    canonical, _ = to_canonical(mask, volume.affine)
    box, starts = [], []
    for size, start, step, count in zip(data.shape, origin, steps, found.shape, strict=True):
        low = max(0, int(np.floor(start - step / 2)))
        high = min(size, int(np.ceil(start + step * (count - 0.5))) + 1)
        box.append(slice(low, max(high, low + 1)))
        starts.append((low - start) / step)
    probability = resample(
        found,
        tuple(edge.stop - edge.start for edge in box),
        (starts[0], starts[1], starts[2]),
        (1 / steps[0], 1 / steps[1], 1 / steps[2]),
        # The outermost voxels may lie beyond the centres of the grid's, and are brain like those.
        outside="edge",
    )
    brain = probability >= threshold
    if brain.any():
        canonical[tuple(box)] = fill_holes(largest_piece(brain))
    return mask


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """Add what the mask encloses on all sides."""
    outside = np.pad(~mask, 1, constant_values=True)
    pieces = cc3d.connected_components(outside, connectivity=6)
    filled: np.ndarray = pieces[1:-1, 1:-1, 1:-1] != pieces[0, 0, 0]
    return filled


def already_stripped(volume: Volume, mask: np.ndarray) -> np.ndarray | None:
    """What somebody left of a scan that was stripped before, or None where nobody did.

    Parameters
    ----------
    volume : Volume
    mask : ndarray of bool, shape of the volume
        The brain as the network found it.

    Returns
    -------
    ndarray of bool, shape of the volume, or None
        All that is not background, in one piece and without holes, where background is one value
        in all corners and at least `STRIPPED_SHARE` of the rest is in `mask`.
    """
    ends = np.ix_((0, -1), (0, -1), (0, -1))
    background = volume.data[0, 0, 0]
    if not (volume.data[ends] == background).all():
        return None
    kept = volume.data != background
    inside, total = np.count_nonzero(kept & mask), np.count_nonzero(kept)
    if inside < STRIPPED_SHARE * total or total == 0:
        return None
    return fill_holes(largest_piece(kept))


def mask_flags(mask: np.ndarray, volume: Volume, volume_ml: float) -> tuple[Flag, ...]:
    """What is unusual about a mask."""
    if volume_ml == 0:
        return (Flag("empty-mask", "no brain was found"),)
    flags = []
    low, high = PLAUSIBLE_ML
    if not low <= volume_ml <= high:
        flags.append(
            Flag(
                "brain-volume",
                f"{volume_ml:.0f} ml is not the volume of a whole brain ({low:.0f}-{high:.0f} ml)",
            )
        )
    canonical, _ = to_canonical(mask, volume.affine)
    spacing = np.sort(volume.spacing)
    sides = []
    for axis, (first, last) in enumerate(
        (("left", "right"), ("posterior", "anterior"), ("inferior", "superior"))
    ):
        for name, index in ((first, 0), (last, -1)):
            pixels = np.count_nonzero(canonical.take(index, axis=axis))
            # Up to 1 cm² a brain may touch the edge, as the brainstem does where it is cut.
            if pixels * spacing[0] * spacing[1] > 100:
                sides.append(name)
    if sides:
        flags.append(
            Flag(
                "cut-off",
                f"the brain reaches the {' and '.join(sides)} edge of the field of view: "
                "the mask ends there",
            )
        )
    return tuple(flags)

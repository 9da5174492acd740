"""How errors are weighed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.losses.dice import DiceLoss
from torch import Tensor

from strokedx_core.training.config import LesionConfig

__all__ = ["balanced_entropy", "known_entropy", "lesion_loss", "skull_strip_loss"]

_FEW = 20
"""Voxels of an absent type from which marking more begins to cost less."""

_BLOCK = 4
"""Voxels along a side of the blocks by which the density of a lesion is told: within three of them
along each axis, its voxels share one weight, so that a small piece weighs as much as so large a
part of a large one."""

_DICE = DiceLoss(sigmoid=True)


def skull_strip_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Dice and cross-entropy, alike."""
    loss: Tensor = _DICE(logits, target)
    return loss + F.binary_cross_entropy_with_logits(logits, target)


def lesion_loss(logits: Tensor, target: Tensor, config: LesionConfig) -> Tensor:
    """Dice of the lesion types that are there, what is marked of those that are not, and
    cross-entropy.

    What is marked of absent types counts by its logarithm: every halving is worth as much, as
    with Dice. The cross-entropy is summed over all voxels, for Dice hardly minds what is marked
    wrongly where a lesion is small; and divided by the same number in every case, for relative
    to the lesion's volume it would forbid to mark much at all.

    All of these hardly move a network that marks nothing, or one small piece of several: there the
    sigmoid is flat, or its voxels are few. So what is missed counts once more, as the cross-entropy
    of the lesion's voxels, every piece of it alike (as in Kofler et al., "blob loss", IPMI 2023,
    but by the lesion's density around a voxel in place of its pieces).
    """
    axes = (2, 3, 4)
    probability, volume = logits.sigmoid(), target.sum(axes)
    both = (probability * target).sum(axes)
    # Squared, for a brain of voxels that are a hundredth lesion each is not to outweigh a lesion.
    marked = probability.square().sum(axes)
    dice = (2 * both + 1) / (marked + volume + 1)
    weight = torch.tensor(config.lesion_weight, device=logits.device)
    entropy = F.binary_cross_entropy_with_logits(
        logits, target, pos_weight=weight, reduction="none"
    ).sum(axes)
    there = volume > 0
    missed = ((1 - dice) * there).sum() / there.sum().clamp_min(1)
    false = (marked / _FEW).log1p()
    false = (false * ~there).sum() / (~there).sum().clamp_min(1)
    loss = missed + config.absent_weight * false + entropy.mean() / config.entropy_volume
    if config.missed_weight and there.any():
        share = target / _density(target)
        unseen = (F.softplus(-logits) * share).sum(axes) / share.sum(axes).clamp_min(1e-6)
        loss = loss + config.missed_weight * (unseen * there).sum() / there.sum()
    return loss


def _density(target: Tensor) -> Tensor:
    """How much of the blocks around each voxel is lesion; above 0."""
    dense = F.avg_pool3d(F.avg_pool3d(target, _BLOCK, ceil_mode=True), 3, stride=1, padding=1)
    return F.interpolate(dense.clamp_min(1e-4), size=target.shape[2:])


def known_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of the voxels whose target is known, that is not negative."""
    known = target >= 0
    return F.binary_cross_entropy_with_logits(logits[known], target[known])


def balanced_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy of what is marked and of what is not, alike where there are both: little
    blood in a large infarct would hardly count otherwise."""
    entropy = F.binary_cross_entropy_with_logits(logits, target.to(logits), reduction="none")
    parts = [entropy[part].mean() for part in (target, ~target) if part.any()]
    return torch.stack(parts).mean()

"""Parts of a brain that are brighter or darker than their tissue: infarcts, blood, lookalikes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from strokedx_core.synthesis.artefacts import smooth_field, uniform
from strokedx_core.synthesis.stroke_places import (
    Anatomy,
    beside_air,
    soft,
    tracts,
    white_matter_lesions,
)
from strokedx_core.synthesis.stroke_signals import (
    BLOOD,
    INFARCT,
    LOOKALIKES,
    Signal,
    draw_signals,
)
from strokedx_core.tasks import MODALITIES

__all__ = ["Patch", "blood", "choose", "fresh_infarct", "lookalikes", "old_infarct", "shown"]


@dataclass(frozen=True, eq=False)
class Patch:
    """Part of the brain that is brighter or darker than its tissue.

    Attributes
    ----------
    weight : Tensor, shape (x, y, z)
        How much of each voxel belongs to it, 0 to 1.
    signals : mapping of str to Signal
        By sequence.
    """

    weight: Tensor
    signals: Mapping[str, Signal]


def choose(odds: Mapping[str, float], rng: Generator) -> str:
    """One of the names, by its odds."""
    weights = torch.tensor(list(odds.values()), dtype=torch.float32)
    return list(odds)[int(torch.multinomial(weights, 1, generator=rng))]


def old_infarct(mask: Tensor, spacing: float, rng: Generator) -> list[Patch]:
    """A cavity within a glial scar: the innermost part, of a lacune as of a whole territory."""
    patches = [Patch(soft(mask, 2, spacing), draw_signals(INFARCT["gliosis"], rng))]
    depth, scar = soft(mask, 6, spacing), uniform(0.05, 0.8, rng)
    inner = depth > (depth[mask].quantile(scar) if mask.any() else 1)
    core = soft(inner & mask, 1.5, spacing) * uniform(0.5, 1, rng)
    patches.append(Patch(core, {name: Signal(1.0, 1.0) for name in MODALITIES}))
    return patches


def fresh_infarct(mask: Tensor, stage: str, spacing: float, rng: Generator) -> list[Patch]:
    """An infarct of some hours, days or weeks: `stage` is a key of `INFARCT`."""
    signals = draw_signals(INFARCT[stage], rng)
    rough = smooth_field(tuple(mask.shape), 24, rng, mask.device)[0]
    depth = uniform(0, 0.35, rng)
    # Some are so faint that they hardly differ from the tissue around.
    strength = min(1.0, uniform(0.5, 2.2, rng))
    weight = soft(mask, uniform(1, 3.5, rng), spacing) * (1 - depth * rough.abs()).clamp(0.3, 1)
    return [Patch(strength * weight, signals)]


_RIMMED = {"hyperacute": 0.85, "late subacute": 1.0, "chronic": 1.0}
"""How often blood has a dark rim. That of fresh blood, whose edge loses its oxygen first, was there
within two hours of the onset (Linfante et al., "MRI features of intracerebral hemorrhage within 2
hours from symptom onset", Stroke 1999)."""


def blood(mask: Tensor, depth: Tensor, stage: str, spacing: float, rng: Generator) -> list[Patch]:
    """Blood of some age with its rim, and oedema around it.

    `depth` is that of `stroke_places.Bleed`, `stage` a key of `BLOOD`.
    """
    patches = []
    if stage != "chronic" or uniform(0, 1, rng) < 0.2:
        width = uniform(0, 12, rng)
        around = soft((depth < width) & ~mask, 2, spacing)
        patches.append(Patch(around, draw_signals(LOOKALIKES["oedema"], rng)))
    rim = draw_signals(BLOOD["rim"], rng)
    # Iron darkens a gradient echo beyond where it lies, and EPI a little.
    bloom = soft((depth < uniform(0, 3, rng)) | mask, 1.5, spacing)
    patches.append(Patch(bloom, {"SWI": rim["SWI"]}))
    signals = draw_signals(BLOOD[stage], rng)
    if stage != "chronic":
        # Parts of a clot are of different age.
        rough = smooth_field(tuple(mask.shape), 20, rng, mask.device)[0]
        patches.append(Patch(soft(mask, 1.5, spacing), signals))
        other = draw_signals(BLOOD[choose({stage: 2, "acute": 1, "early subacute": 1}, rng)], rng)
        patches.append(Patch(soft(mask & (rough > uniform(0.3, 2, rng)), 1.5, spacing), other))
    else:
        patches.append(Patch(soft(mask, 1.5, spacing), signals))
    if uniform(0, 1, rng) < _RIMMED.get(stage, 0.2):
        patches.append(Patch(soft(depth.abs() < uniform(0.5, 2, rng), 1, spacing), rim))
    return patches


def lookalikes(anatomy: Anatomy, rng: Generator) -> list[Patch]:
    """What is there without a stroke."""
    spacing, shape = anatomy.spacing, tuple(anatomy.tissue.shape)
    patches = []
    if uniform(0, 1, rng) < 0.5:
        weight = soft(white_matter_lesions(anatomy, rng), 2, spacing)
        patches.append(Patch(weight, draw_signals(LOOKALIKES["white matter"], rng)))
    if uniform(0, 1, rng) < 0.4:
        weight = soft(tracts(anatomy, rng), 3, spacing)
        patches.append(Patch(weight, draw_signals(LOOKALIKES["tract"], rng)))
    if uniform(0, 1, rng) < 0.3:
        spots = smooth_field(shape, 26, rng, anatomy.tissue.device)[0] > uniform(0.3, 1.5, rng)
        plexus = anatomy.of("ventricle") & spots
        patches.append(
            Patch(soft(plexus, 1.5, spacing), draw_signals(LOOKALIKES["choroid plexus"], rng))
        )
    if uniform(0, 1, rng) < 0.5:
        for _ in range(int(torch.randint(1, 4, (), generator=rng))):
            weight = beside_air(anatomy, rng)
            patches.append(Patch(weight, draw_signals(LOOKALIKES["susceptibility"], rng)))
    return patches


def shown(patches: Sequence[Patch], sequences: Sequence[str]) -> bool:
    """Whether any of the sequences shows any of the patches."""
    return any(p.signals[m].visible for p in patches for m in sequences if m in p.signals)

"""What can be asked of the program: the one list that commands, widgets and docs read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["LESION_TYPES", "MODALITIES", "TASKS", "SpecialWeights", "Task"]

MODALITIES = ("T1W", "T2W", "FLAIR", "DWI", "B0", "ADC", "SWI")
"""Names of MR sequences; SWI stands for T2*-weighted gradient echo too."""

LESION_TYPES = ("general", "ischemic", "hemorrhagic")
"""What a lesion mask may mark: any stroke lesion, infarcts, or blood."""


class SpecialWeights(NamedTuple):
    """Weights that are better than a task's default ones, and where.

    Attributes
    ----------
    modality : str
        Sequence that has to be there.
    name : str
        Of the weights.
    lesion_type : str, optional
        What has to be asked for; anything where it is None.
    """

    modality: str
    name: str
    lesion_type: str | None = None


@dataclass(frozen=True)
class Task:
    """One thing the program does.

    Attributes
    ----------
    name : str
        As on the command line.
    title : str
        As in menus.
    modalities : tuple of str
        Sequences it takes; any one of them is enough.
    writes : tuple of str
        What it writes, in words.
    default_weights : str
        Name of the weights used when none are named.
    special_weights : tuple of SpecialWeights
        The first whose conditions hold are used in place of the default ones.
    closer_weights : str
        Name of the weights that look more closely at a part after the default ones; "" for none.
    """

    name: str
    title: str
    modalities: tuple[str, ...]
    writes: tuple[str, ...]
    default_weights: str
    special_weights: tuple[SpecialWeights, ...] = ()
    closer_weights: str = ""

    def weights_for(self, modalities: Iterable[str], lesion_type: str = LESION_TYPES[0]) -> str:
        """Name of the weights used when none are named, for a case of these sequences and what is
        asked for."""
        there = set(modalities)
        for special in self.special_weights:
            if special.modality in there and special.lesion_type in (None, lesion_type):
                return special.name
        return self.default_weights

    def all_weights_for(
        self, modalities: Iterable[str], lesion_type: str = LESION_TYPES[0]
    ) -> tuple[tuple[str, str], ...]:
        """What is asked of which weights when none are named, the first of which take clicks.

        Returns
        -------
        tuple of (lesion type, name)
            Where all lesions are asked for and other weights mark blood better, those too.
        """
        there = tuple(modalities)
        first = lesion_type, self.weights_for(there, lesion_type)
        blood = "hemorrhagic", self.weights_for(there, "hemorrhagic")
        if lesion_type != "general" or blood[1] == first[1]:
            return (first,)
        return first, blood


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            name="skull-strip",
            title="Skull strip",
            modalities=MODALITIES,
            writes=("brain mask", "stripped image"),
            default_weights="skull_strip",
        ),
        Task(
            name="lesion",
            title="Lesion segmentation",
            modalities=MODALITIES,
            writes=("lesion mask", "probability"),
            default_weights="lesion_flair",
            special_weights=(
                # What marks infarcts on a DWI or a FLAIR marks little blood.
                SpecialWeights("SWI", "lesion_swi", "hemorrhagic"),
                SpecialWeights("DWI", "lesion_diffusion"),
                SpecialWeights("FLAIR", "lesion_flair"),
                SpecialWeights("SWI", "lesion_swi"),
                SpecialWeights("T1W", "lesion_t1w"),
            ),
        ),
        Task(
            name="anatomy",
            title="Anatomy",
            modalities=MODALITIES,
            writes=("structures", "arterial territories", "sides", "MNI coordinates"),
            default_weights="anatomy",
            closer_weights="anatomy_closer",
        ),
        Task(
            name="caption",
            title="Captions",
            modalities=MODALITIES,
            writes=("captions", "findings"),
            default_weights="caption",
            closer_weights="caption_type",
        ),
    )
}

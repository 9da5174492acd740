"""How bright infarcts, blood and what is mistaken for them are, by sequence and stage.

Every entry is a range that multiplies the brightness of the tissue around; 1 is invisible. Ranges
follow the usual descriptions of ischaemic stages (Allen et al., "Practical approach to imaging of
acute stroke", RadioGraphics 2012) and of ageing blood (Bradley, "MR appearance of hemorrhage in the
brain", Radiology 1993), widened for the spread between scanners.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Generator

from strokedx_core.synthesis.artefacts import uniform

__all__ = ["BLOOD", "INFARCT", "LOOKALIKES", "Signal", "draw_signals"]

Ranges = dict[str, tuple[float, float]]

INFARCT: dict[str, Ranges] = {
    # Hours: water no longer moves freely, and nothing else has changed.
    "hyperacute": {
        "T1W": (0.97, 1.02), "T2W": (0.98, 1.06), "FLAIR": (0.98, 1.06), "DWI": (1.25, 2.2),
        "B0": (0.98, 1.06), "ADC": (0.45, 0.78), "SWI": (0.95, 1.05),
    },
    # Days.
    "acute": {
        "T1W": (0.8, 1.0), "T2W": (1.1, 1.6), "FLAIR": (1.15, 1.8), "DWI": (1.45, 3.2),
        "B0": (1.1, 1.6), "ADC": (0.4, 0.75), "SWI": (0.95, 1.25),
    },
    # One to three weeks: ADC passes through normal while DWI fades.
    "subacute": {
        "T1W": (0.6, 0.95), "T2W": (1.2, 1.9), "FLAIR": (1.3, 2.1), "DWI": (1.2, 2.0),
        "B0": (1.2, 1.9), "ADC": (0.75, 1.25), "SWI": (0.9, 1.35),
    },
    # What lies around the cavity of an old infarct.
    "gliosis": {
        "T1W": (0.6, 0.9), "T2W": (1.2, 1.8), "FLAIR": (1.2, 2.0), "DWI": (0.75, 1.2),
        "B0": (1.2, 1.8), "ADC": (1.15, 1.8), "SWI": (1.0, 1.35),
    },
}  # fmt: skip
"""Stage → sequence → range."""

BLOOD: dict[str, Ranges] = {
    # Oxyhaemoglobin.
    "hyperacute": {
        "T1W": (0.8, 1.0), "T2W": (1.2, 1.8), "FLAIR": (1.1, 1.7), "DWI": (1.2, 2.2),
        "B0": (1.1, 1.6), "ADC": (0.45, 0.8), "SWI": (0.5, 1.3),
    },
    # Deoxyhaemoglobin.
    "acute": {
        "T1W": (0.7, 1.05), "T2W": (0.15, 0.6), "FLAIR": (0.25, 0.8), "DWI": (0.05, 0.5),
        "B0": (0.05, 0.45), "ADC": (0.1, 0.7), "SWI": (0.03, 0.4),
    },
    # Methaemoglobin within cells.
    "early subacute": {
        "T1W": (1.25, 2.2), "T2W": (0.2, 0.65), "FLAIR": (0.3, 0.85), "DWI": (0.05, 0.5),
        "B0": (0.05, 0.45), "ADC": (0.3, 0.8), "SWI": (0.05, 0.4),
    },
    # Methaemoglobin set free.
    "late subacute": {
        "T1W": (1.3, 2.4), "T2W": (1.3, 2.1), "FLAIR": (1.3, 2.1), "DWI": (1.2, 2.4),
        "B0": (1.1, 1.9), "ADC": (0.5, 0.95), "SWI": (0.3, 1.5),
    },
    # Haemosiderin.
    "chronic": {
        "T1W": (0.3, 0.85), "T2W": (0.1, 0.6), "FLAIR": (0.1, 0.65), "DWI": (0.05, 0.5),
        "B0": (0.05, 0.5), "ADC": (0.3, 1.5), "SWI": (0.02, 0.3),
    },
    # The dark shell of older blood, and how far iron darkens a gradient echo.
    "rim": {
        "T1W": (0.7, 1.0), "T2W": (0.15, 0.6), "FLAIR": (0.3, 0.8), "DWI": (0.2, 0.7),
        "B0": (0.1, 0.6), "ADC": (0.6, 1.1), "SWI": (0.03, 0.4),
    },
}  # fmt: skip
"""Stage → sequence → range."""

LOOKALIKES: dict[str, Ranges] = {
    "oedema": {
        "T1W": (0.7, 0.95), "T2W": (1.2, 1.8), "FLAIR": (1.2, 1.8), "DWI": (0.85, 1.2),
        "B0": (1.15, 1.7), "ADC": (1.1, 1.8), "SWI": (1.0, 1.25),
    },
    # White-matter hyperintensity of age; its T2 may shine through on DWI.
    "white matter": {
        "T1W": (0.75, 0.97), "T2W": (1.1, 1.6), "FLAIR": (1.15, 1.9), "DWI": (0.9, 1.3),
        "B0": (1.05, 1.5), "ADC": (1.05, 1.7), "SWI": (1.0, 1.2),
    },
    # Air beside the brain: skull base, frontal and mastoid sinuses.
    "susceptibility": {
        "T1W": (0.9, 1.1), "T2W": (0.95, 1.05), "FLAIR": (0.95, 1.2), "DWI": (1.25, 3.6),
        "B0": (1.2, 3.0), "ADC": (0.75, 1.3), "SWI": (0.2, 1.1),
    },
    # Dense fibres at a high b-value.
    "tract": {
        "T1W": (1.0, 1.05), "T2W": (0.95, 1.05), "FLAIR": (1.0, 1.2), "DWI": (1.1, 1.6),
        "B0": (0.97, 1.03), "ADC": (0.85, 1.0), "SWI": (1.0, 1.0),
    },
    "choroid plexus": {
        "T1W": (0.8, 1.2), "T2W": (0.8, 1.4), "FLAIR": (0.9, 1.7), "DWI": (0.8, 2.0),
        "B0": (1.0, 1.8), "ADC": (1.0, 2.2), "SWI": (0.2, 1.0),
    },
}  # fmt: skip
"""What is not to be marked → sequence → range."""


class Signal(NamedTuple):
    """A patch's brightness in one sequence.

    Attributes
    ----------
    times : float
        Factor to the tissue around.
    fluid : float
        Share, 0 to 1, that is fluid in its place.
    """

    times: float
    fluid: float = 0.0

    @property
    def visible(self) -> bool:
        """Whether an eye would see it."""
        return abs(self.times - 1) > 0.12 or self.fluid > 0.2


def draw_signals(ranges: Ranges, rng: Generator, fluid: float = 0.0) -> dict[str, Signal]:
    """One signal a sequence; a severity common to all of them places each within its range."""
    severity = uniform(0, 1, rng)
    signals = {}
    for name, (low, high) in ranges.items():
        # Severe is far from 1, on whichever side of it the range lies.
        near, far = (low, high) if low + high >= 2 else (high, low)
        share = min(1.0, max(0.0, severity + uniform(-0.3, 0.3, rng)))
        signals[name] = Signal(near + share * (far - near), fluid)
    return signals

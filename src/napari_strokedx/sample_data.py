"""The heads that ship with StrokeDx, as sample data of napari."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from napari_strokedx.reader import read_layer
from strokedx_core.sample import sample_case, sample_stroke

if TYPE_CHECKING:
    from napari_strokedx.reader import LayerData

__all__ = ["head", "stroke"]


def head() -> list[LayerData]:
    """Return one layer a modality, each on a grid of its own; only the first is visible."""
    scans = {modality: scan for modality, (scan, _) in sample_case().items()}
    return _layers(scans, "Synthetic head")


def stroke() -> list[LayerData]:
    """Return DWI and ADC of a head with an acute infarct; only the DWI is visible."""
    return _layers(sample_stroke().scans, "Synthetic stroke")


def _layers(scans: Mapping[str, Path], name: str) -> list[LayerData]:
    """A layer a modality. The first comes last, since napari selects the layer it adds last."""
    return [
        read_layer(scan, name=f"{name} {modality}", visible=index == 0)
        for index, (modality, scan) in reversed(list(enumerate(scans.items())))
    ]

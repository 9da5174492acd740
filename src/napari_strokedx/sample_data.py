"""The head that ships with StrokeDx, as sample data of napari."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_strokedx.reader import read_layer
from strokedx_core.sample import sample_case

if TYPE_CHECKING:
    from napari_strokedx.reader import LayerData

__all__ = ["head"]


def head() -> list[LayerData]:
    """Return one layer a modality, each on a grid of its own; only the first is visible.

    The first comes last, since napari selects the layer it adds last.
    """
    scans = [scan for scan, _ in sample_case().values()]
    names = list(sample_case())
    return [
        read_layer(scan, name=f"Synthetic head {name}", visible=index == 0)
        for index, (scan, name) in reversed(list(enumerate(zip(scans, names, strict=True))))
    ]

"""Captions of a lesion layer, off the main thread. Nothing here touches a layer or a widget."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_strokedx.caption_sheet import CaptionRow, CaptionSheet, Spot
from napari_strokedx.layers import index_between
from napari_strokedx.lesion_shown import mask_on
from napari_strokedx.workers import Step

if TYPE_CHECKING:
    from napari_strokedx.layers import Source
    from strokedx_core.captions.facts import CaseFindings, SliceFindings
    from strokedx_core.captions.wording import Wording
    from strokedx_core.inference.prediction import Progress
    from strokedx_core.volume import Flag

__all__ = ["CaptionRequest", "Captioned", "write_captions"]


@dataclass(frozen=True, eq=False)
class CaptionRequest:
    """What to describe, taken down so that layers may go away meanwhile.

    Attributes
    ----------
    labels : Source
        The lesions: whatever is not 0.
    sources : mapping of str to Source
        Images by modality; the captions are of the first one's slices.
    lesion_type, language, device : str
    """

    labels: Source
    sources: Mapping[str, Source]
    lesion_type: str
    language: str
    device: str

    @property
    def source(self) -> Source:
        """The first image."""
        return next(iter(self.sources.values()))


@dataclass(frozen=True, eq=False)
class Captioned:
    """Captions, and what they describe.

    Attributes
    ----------
    request : CaptionRequest
    sheet : CaptionSheet
        Voxels and slices in the layer axes of the first image.
    labels : ndarray
        The labels that are described, in their layer's axes.
    flags : tuple of Flag
    """

    request: CaptionRequest
    sheet: CaptionSheet
    labels: np.ndarray
    flags: tuple[Flag, ...]


def write_captions(request: CaptionRequest) -> Generator[Step | Progress, None, Captioned]:
    """Measure the lesions, and say what there is."""
    yield Step(0, 0, "loading PyTorch")
    from strokedx_core import __version__
    from strokedx_core.captions.describe import describe_steps
    from strokedx_core.captions.schema import findings_json
    from strokedx_core.captions.wording import Wording

    yield Step(0, 0, "reading the layers")
    labels = np.array(request.labels.array)
    request = replace(request, labels=replace(request.labels, array=labels))
    volumes = {name: source.volume() for name, source in request.sources.items()}
    first = next(iter(volumes.values()))
    mask = request.source.grid.to_native(mask_on(request.labels, request.source))
    found, flags = yield from describe_steps(
        replace(first, data=np.asarray(mask), path=Path(request.labels.name), flags=()),
        volumes,
        device=request.device,
    )
    yield Step(1, 1, "writing captions")
    words = Wording(request.language, request.lesion_type)
    axis, slices = _layer_slices(request.source, found)
    case = words.case(found).text
    rows = [CaptionRow("case", 0, case, case)]
    for level, captions in (
        ("lesion", [(one.number, words.lesion(one).text) for one in found.lesions]),
        ("slice", [(slices[one.index], _numbered(words, one, slices)) for one in found.slices]),
    ):
        rows += [CaptionRow(level, number, text, text) for number, text in sorted(captions)]
    about = {
        "program": f"StrokeDx {__version__}",
        "notice": words.notice,
        "labels": request.labels.name,
        "images": {name: source.name for name, source in request.sources.items()},
        "flags": [asdict(flag) for flag in flags],
        "findings": findings_json(found),
    }
    spots = tuple(_spots(request, found, words))
    return Captioned(request, CaptionSheet(tuple(rows), spots, axis, about), labels, flags)


def _numbered(words: Wording, one: SliceFindings, slices: Mapping[int, int]) -> str:
    """The caption of a slice, counted as the viewer counts."""
    return words.slice(replace(one, index=slices[one.index])).text


def _layer_slices(source: Source, found: CaseFindings) -> tuple[int, dict[int, int]]:
    """The layer axis along which slices are counted, and native slice numbers to the layer's."""
    from strokedx_core.captions.measures import slice_axis

    native = slice_axis(source.grid.affine)
    to_layer = np.linalg.inv(source.grid.native_index(source.array.shape))
    axis = int(np.argmax(np.abs(to_layer[:3, native])))
    return axis, {
        one.index: round(float(to_layer[axis, native] * one.index + to_layer[axis, 3]))
        for one in found.slices
    }


def _spots(request: CaptionRequest, found: CaseFindings, words: Wording) -> Iterator[Spot]:
    """Lesions with their voxels and labels."""
    source = request.source
    pieces = np.asarray(source.grid.to_layer(found.labels))
    to_labels = index_between(source, request.labels)
    for lesion in found.lesions:
        voxels = np.argwhere(pieces == lesion.number)
        at = np.rint(voxels @ to_labels[:3, :3].T + to_labels[:3, 3]).astype(int)
        at = np.clip(at, 0, np.array(request.labels.array.shape) - 1)
        values = request.labels.array[tuple(at.T)]
        value = int(np.bincount(values[values > 0].astype(int)).argmax()) if values.any() else 0
        yield Spot(lesion.number, value, words.label(lesion).text, voxels)

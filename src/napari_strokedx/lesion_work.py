"""Lesion runs and clicks off the main thread. Nothing here touches a layer or a widget."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from napari_strokedx.lesion_shown import Shown, mask_on, shown_on
from napari_strokedx.workers import Step

if TYPE_CHECKING:
    from napari_strokedx.layers import Source
    from strokedx_core.inference.clicks import ClickSession
    from strokedx_core.inference.lesion_case import LesionCase
    from strokedx_core.inference.lesions import LesionResult
    from strokedx_core.inference.prediction import Progress

__all__ = ["Answer", "Case", "Request", "answer_click", "find_lesions"]


@dataclass(frozen=True, eq=False)
class Request:
    """What to find lesions in, taken down so that layers may go away meanwhile.

    Attributes
    ----------
    sources : mapping of str to Source
        By modality; the result lies where the first does.
    lesion_type, device : str
    skull_strip : bool
    threshold : float
    weights : str or None
        Name of weights; those that ship where not given.
    b_value : float
        Of the DWI, in s/mm²; 0 where it is not known. Where it is, the ADC is computed with B0.
    start : Source or None
        Labels to start from in place of what the network finds.
    brain : ndarray of bool or None
        Native; where the brain is, if it was found before.
    """

    sources: Mapping[str, Source]
    lesion_type: str
    device: str
    skull_strip: bool
    threshold: float = 0.5
    weights: str | None = None
    b_value: float = 0
    start: Source | None = None
    brain: np.ndarray | None = None

    @property
    def source(self) -> Source:
        """The first."""
        return next(iter(self.sources.values()))

    @property
    def key(self) -> tuple[object, ...]:
        """What two requests have in common that want the same found in the same."""
        layers = tuple((name, source.unique_id) for name, source in self.sources.items())
        return layers, self.lesion_type, self.skull_strip, self.b_value, self.weights

    @property
    def scan_key(self) -> tuple[object, ...]:
        """What two requests have in common that have the same brain."""
        return tuple(source.unique_id for source in self.sources.values()), self.skull_strip


@dataclass(eq=False)
class Case:
    """A case made ready: what was found, and all that clicks need.

    Attributes
    ----------
    request : Request
    prepared : LesionCase
    result : LesionResult
        As it is now.
    shown : Shown
        The result when it was found.
    seconds : float
    session : ClickSession or None
        Where it is mended by clicks.
    undone : int
        Clicks that can be done again.
    """

    request: Request
    prepared: LesionCase
    result: LesionResult
    shown: Shown
    seconds: float
    session: ClickSession | None = None
    undone: int = 0

    @property
    def source(self) -> Source:
        """Where the result lies."""
        return self.request.source

    def to_layer(self, native: np.ndarray) -> np.ndarray:
        """Native axes to the axes of the layer."""
        return self.source.grid.to_layer(native)

    def changed_by_hand(self, labels: np.ndarray) -> bool:
        """Whether labels, in layer axes, are not those of the result any more."""
        mask = self.to_layer(self.result.mask)
        return labels.shape != mask.shape or not np.array_equal(labels != 0, mask)

    def adopt(self, labels: np.ndarray) -> None:
        """Take labels, in layer axes, as the mask that clicks go on from."""
        mask = self.source.grid.to_native(labels != 0)
        sure = np.where(mask == self.result.mask, self.result.probability, mask)
        self.result = replace(
            self.result,
            mask=np.array(mask, order="K"),
            probability=sure.astype(np.float32, copy=False),
            clicks=(),
        )
        self._forget()

    def history(self) -> tuple[int, int]:
        """How many clicks can be taken back, and how many done again."""
        return (0 if self.session is None else len(self.session.clicks)), self.undone

    def _forget(self) -> None:
        self.session, self.undone = None, 0

    def clicks(self) -> ClickSession:
        """The session that mends the result; made where there is none."""
        if self.session is None:
            from strokedx_core.inference.clicks import ClickSession

            self.session = ClickSession.of(self.prepared, self.result)
        return self.session

    def move_threshold(self, threshold: float) -> Shown:
        """Find what is lesion from another probability on."""
        self.result = self.result.at(threshold)
        self._forget()
        return shown_on(self.source, self.result)


def find_lesions(request: Request) -> Generator[Step | Progress, None, Case]:
    """Find the lesions, or make ready for clicks on the mask that the request brings."""
    yield Step(0, 0, "loading PyTorch")
    from strokedx_core.diffusion import adc_from
    from strokedx_core.inference.automatic import automatic_steps

    yield Step(0, 0, "reading the layers")
    began = perf_counter()
    sources = {
        name: replace(source, array=np.asarray(source.array))
        for name, source in request.sources.items()
    }
    request = replace(request, sources=sources)
    grid = request.source.grid
    volumes = {name: source.volume() for name, source in sources.items()}
    if request.b_value:
        volumes["ADC"] = adc_from(volumes["DWI"], volumes["B0"], request.b_value)
    start = None if request.start is None else mask_on(request.start, request.source)
    prepared, result = yield from automatic_steps(
        volumes,
        lesion_type=request.lesion_type,
        device=request.device,
        threshold=request.threshold,
        weights=request.weights,
        skull_strip=request.skull_strip,
        start=None if start is None else grid.to_native(start),
        brain=request.brain,
    )
    seconds = perf_counter() - began
    yield Step(1, 1, "making layers")
    return Case(request, prepared, result, shown_on(request.source, result), seconds)


@dataclass(frozen=True, eq=False)
class Answer:
    """What came of a click, an undo or a redo.

    Attributes
    ----------
    shown : Shown or None
        None where nothing changed.
    hint : str
        Why nothing changed.
    clicks : int
        How many count now.
    seconds : float
    """

    shown: Shown | None
    hint: str
    clicks: int
    seconds: float


def answer_click(
    case: Case, wanted: tuple[int, int, int] | str, positive: bool, before: np.ndarray
) -> Generator[Step, None, Answer]:
    """Click, undo or redo.

    Parameters
    ----------
    case : Case
        Changed in place.
    wanted : three int or {"undo", "redo"}
        Voxel in layer axes.
    positive : bool
        Of a click.
    before : ndarray of int
        Labels shown so far, in layer axes.
    """
    from strokedx_core.inference.lesions import Click, ClickError

    yield Step(0, 1, "answering a click")
    start = perf_counter()
    session, hint = case.clicks(), ""
    if isinstance(wanted, str):
        changed = session.undo() if wanted == "undo" else session.redo()
        if changed is None:
            hint = f"There is no click to {wanted}."
        else:
            case.undone += 1 if wanted == "undo" else -1
    else:
        to_native = case.source.grid.native_index(before.shape)
        i, j, k = np.rint(to_native[:3, :3] @ wanted + to_native[:3, 3]).astype(int).tolist()
        try:
            session.click(Click((i, j, k), positive))
            case.undone = 0
        except ClickError:
            hint = "That lies outside of the brain."
    shown = None
    if not hint:
        case.result = session.result()
        shown = shown_on(case.source, case.result, before)
    return Answer(shown, hint, len(session.clicks), perf_counter() - start)

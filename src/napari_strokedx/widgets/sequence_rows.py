"""Which layer shows which MR sequence: guessed from names, put right by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QWidget

from napari_strokedx.results import is_result
from napari_strokedx.sequences import guess_sequences
from napari_strokedx.widgets.parts import ChoiceBox
from strokedx_core.tasks import TASKS

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["SequenceRows"]

_FIRST = ("DWI", "FLAIR", "SWI", "T2W", "T1W", "B0", "ADC")
"""The result lies on the first of these that there is."""


class ElidedLabel(QLabel):
    """A name that is cut in its middle rather than making the dock wide."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._whole = text
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.setMinimumWidth(60)
        self.setToolTip(text)
        self.setText(text)

    def resizeEvent(self, event: Any) -> None:  # noqa: N802
        """Cut anew."""
        width = event.size().width()
        self.setText(
            self.fontMetrics().elidedText(self._whole, Qt.TextElideMode.ElideMiddle, width)
        )
        super().resizeEvent(event)


class SequenceRows(QWidget):
    """One row for each image layer of a viewer: its name, and the sequence it shows.

    Signals
    -------
    changed
        The layers with a sequence are others than before, or show other sequences; or the first
        layer came, or the last went.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self._by_hand: dict[str, str | None] = {}
        self._boxes: list[tuple[Image, ChoiceBox]] = []
        self._last: tuple[dict[str, Image], bool] = ({}, False)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setColumnStretch(0, 1)

    def follow(self) -> None:
        """Start to follow the viewer."""
        layers = self._viewer.layers
        layers.events.inserted.connect(self._on_inserted)
        layers.events.removed.connect(self._on_removed)
        layers.events.reordered.connect(self.refresh)
        for layer in layers:
            layer.events.name.connect(self.refresh)
        self.refresh()

    def let_go(self) -> None:
        """Stop following: neither holds on to what the other has any more."""
        layers = self._viewer.layers
        layers.events.inserted.disconnect(self._on_inserted)
        layers.events.removed.disconnect(self._on_removed)
        layers.events.reordered.disconnect(self.refresh)
        for layer in layers:
            layer.events.name.disconnect(self.refresh)
        self._clear()
        self._last = ({}, False)

    def layers(self) -> dict[str, Image]:
        """Layers by the sequence they show; the one that the result lies on comes first."""
        chosen: dict[str, Image] = {}
        for layer, box in self._boxes:
            if box.currentData() is not None:
                chosen.setdefault(box.currentData(), layer)
        return {name: chosen[name] for name in _FIRST if name in chosen}

    def any(self) -> bool:
        """Whether there is an image layer."""
        return bool(self._boxes)

    def box(self, layer: Image) -> ChoiceBox:
        """Return the box of a layer."""
        return next(box for one, box in self._boxes if one is layer)

    def refresh(self, event: Any = None) -> None:
        """List the layers again; what was chosen by hand stays."""
        self._clear()
        images = [layer for layer in reversed(self._viewer.layers) if isinstance(layer, Image)]
        free = [
            layer
            for layer in reversed(images)
            if layer.unique_id not in self._by_hand and not is_result(layer)
        ]
        active = self._viewer.layers.selection.active
        preferred = free.index(active) if active in free else None
        guesses = guess_sequences([layer.name for layer in free], preferred=preferred)
        guessed = {
            layer.unique_id: guess
            for layer, guess in zip(free, guesses, strict=True)
            if guess not in self._by_hand.values()
        }
        for row, layer in enumerate(images):
            box = ChoiceBox("MR sequence that this layer shows; guessed from its name.")
            box.addItem("not used", None)
            for modality in TASKS["lesion"].modalities:
                box.addItem(modality, modality)
            box.choose(self._by_hand.get(layer.unique_id, guessed.get(layer.unique_id)))
            box.setAccessibleName(f"Sequence of {layer.name}")
            box.currentIndexChanged.connect(lambda _, layer=layer: self._on_chosen(layer))
            self._grid.addWidget(ElidedLabel(layer.name), row, 0)
            self._grid.addWidget(box, row, 1)
            self._boxes.append((layer, box))
        self._tell()

    def _clear(self) -> None:
        self._boxes.clear()
        while (item := self._grid.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()

    def _on_chosen(self, layer: Image) -> None:
        name = self.box(layer).currentData()
        self._by_hand[layer.unique_id] = name
        for other, box in self._boxes:
            # A sequence is shown by one layer: the one that was chosen last.
            if other is not layer and name is not None and box.currentData() == name:
                box.blockSignals(True)
                box.choose(None)
                box.blockSignals(False)
                self._by_hand[other.unique_id] = None
        self._tell()

    def _tell(self) -> None:
        now = self.layers(), self.any()
        if now != self._last:
            self._last = now
            self.changed.emit()

    def _on_inserted(self, event: Any) -> None:
        event.value.events.name.connect(self.refresh)
        self.refresh()

    def _on_removed(self, event: Any) -> None:
        event.value.events.name.disconnect(self.refresh)
        self._by_hand.pop(event.value.unique_id, None)
        self.refresh()

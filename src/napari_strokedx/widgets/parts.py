"""Pieces that dock widgets share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFrame,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QVBoxLayout,
    QWidget,
)

from napari_strokedx.grids import ASSUMED_ORIENTATION, ORIENTATIONS, grid_of, named_orientation
from napari_strokedx.results import is_result
from napari_strokedx.settings import preferred_device
from strokedx_core.tasks import TASKS
from strokedx_core.weights import available

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from strokedx_core.volume import Flag

__all__ = [
    "NO_IMAGE",
    "ChoiceBox",
    "DeviceBox",
    "FlagsLabel",
    "LayerBox",
    "OrientationBox",
    "ScrolledColumn",
    "TextLabel",
    "counted",
    "device_text",
    "sentence",
]

NO_IMAGE = "Open a scan first, or one of File > Open Sample > StrokeDx."
_WORDS = {
    "S": "superior",
    "I": "inferior",
    "P": "posterior",
    "A": "anterior",
    "L": "left",
    "R": "right",
}
_DEVICES = {"auto": "Automatic", "cuda": "GPU (CUDA)", "mps": "GPU (Apple)", "cpu": "CPU"}


class ChoiceBox(QComboBox):
    """A combo box that elides long entries rather than making the dock wide."""

    def __init__(self, tip: str) -> None:
        super().__init__()
        self.setToolTip(tip)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def paintEvent(self, event: Any) -> None:  # noqa: N802
        """Draw what is chosen with an ellipsis where it does not fit; Qt would cut it off."""
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        painter = QStylePainter(self)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        style: Any = self.style()
        room = style.subControlRect(
            QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, self
        )
        option.currentText = self.fontMetrics().elidedText(
            option.currentText, Qt.TextElideMode.ElideMiddle, room.width() - 4
        )
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)

    def choose(self, data: Any) -> None:
        """Choose the entry with this data, if there is one."""
        # Qt's own search compares some Python objects and not others.
        for index in range(self.count()):
            if self.itemData(index) == data:
                self.setCurrentIndex(index)
                return


class DeviceBox(ChoiceBox):
    """Where a network runs; begins with what the user chose under Preferences."""

    def __init__(self) -> None:
        super().__init__("Where the network runs. Automatic takes a GPU where there is one.")
        for name, text in _DEVICES.items():
            self.addItem(text, name)
        self.choose(preferred_device())

    def offer(self, found: list[str]) -> None:
        """Keep only what there is, best first, and say what Automatic comes to."""
        if not found:
            return
        for name in ("cuda", "mps"):
            if name not in found:
                if self.currentData() == name:
                    self.choose("auto")
                self.removeItem(self.findData(name))
        self.setItemText(self.findData("auto"), f"{_DEVICES['auto']} ({device_text(found[0])})")


class ModelBox(ChoiceBox):
    """Which weights are used: those that ship, and what `strokedx weights install` put beside them.

    Where the sequences decide which of those that ship are used, that is the first choice, "".

    Parameters
    ----------
    task : str
        Name of a task of `strokedx_core.tasks`.
    """

    def __init__(self, task: str) -> None:
        super().__init__("Weights of the network; `strokedx weights install` adds your own.")
        self.task = task
        self.follow()

    def follow(self) -> None:
        """Offer what there is now; the choice stays where it can."""
        chosen, task = self.currentData(), TASKS[self.task]
        first = "" if task.special_weights else task.default_weights
        silent = self.blockSignals(True)
        self.clear()
        self.addItem(f"{first or 'chosen by sequence'} (ships)", first)
        for name in available(self.task):
            if name != first:
                self.addItem(name, name)
        self.choose(chosen)
        self.blockSignals(silent)
        if chosen is not None and self.currentData() != chosen:
            self.currentIndexChanged.emit(self.currentIndex())


class OrientationBox(ChoiceBox):
    """Where the axes of a layer point that did not come with its true geometry."""

    def __init__(self) -> None:
        super().__init__(
            "Where the layer's three axes point in the patient. The layer itself does not say."
        )
        for code in ORIENTATIONS:
            self.addItem(f"{code} ({', '.join(_WORDS[letter] for letter in code)})", code)

    @staticmethod
    def asks_about(layer: Image) -> bool:
        """Whether a layer leaves open where its axes point."""
        _, meta, _ = layer.as_layer_data_tuple()
        shape = layer.data[0].shape if layer.multiscale else layer.data.shape
        return not grid_of(meta, shape).ours

    def begin_with(self, layer: Image) -> None:
        """Choose what a layer names, or else what is assumed."""
        self.choose(named_orientation(layer.as_layer_data_tuple()[1]) or ASSUMED_ORIENTATION)

    def answer_for(self, layer: Image) -> str | None:
        """What `grid_of` is to be told of a layer; None where nobody has said anything."""
        said: str = self.currentData()
        unsaid = named_orientation(layer.as_layer_data_tuple()[1]) is None
        return None if unsaid and said == ASSUMED_ORIENTATION else said


def device_text(device: str) -> str:
    """Return a device in words."""
    return _DEVICES.get(device.split(":")[0], device)


def counted(number: int, noun: str) -> str:
    """Return "no lesion", "1 lesion" or "2 lesions"."""
    return f"{number or 'no'} {noun}{'s' if number > 1 else ''}"


def sentence(text: str) -> str:
    """Begin with a capital."""
    return text[:1].upper() + text[1:]


class LayerBox(ChoiceBox):
    """The layers of one kind in a viewer, with the one that is selected in the layer list chosen.

    Of images, results of StrokeDx can be chosen too, but only by hand: a second run goes to the
    same scan.

    Parameters
    ----------
    viewer : ViewerModel
    tip : str
    kind : {Image, Labels}

    Signals
    -------
    chosen
        Another layer was chosen, or none.
    """

    chosen = Signal()

    def __init__(self, viewer: ViewerModel, tip: str, kind: type[Image | Labels] = Image) -> None:
        super().__init__(tip)
        self._viewer, self._kind = viewer, kind
        self._last: Any = None
        self.currentIndexChanged.connect(self._on_index)

    def follow(self) -> None:
        """Start to follow the viewer."""
        layers = self._viewer.layers
        layers.events.inserted.connect(self._on_inserted)
        layers.events.removed.connect(self._on_removed)
        layers.events.reordered.connect(self.refresh)
        layers.selection.events.active.connect(self._on_active)
        for layer in layers:
            layer.events.name.connect(self.refresh)
        self.refresh()
        self._on_active()

    def let_go(self) -> None:
        """Stop following: neither holds on to what the other has any more."""
        layers = self._viewer.layers
        layers.events.inserted.disconnect(self._on_inserted)
        layers.events.removed.disconnect(self._on_removed)
        layers.events.reordered.disconnect(self.refresh)
        layers.selection.events.active.disconnect(self._on_active)
        for layer in layers:
            layer.events.name.disconnect(self.refresh)
        self.blockSignals(True)
        self.clear()
        self._last = None
        self.blockSignals(False)

    def layer(self) -> Any:
        """Return the chosen layer, or None where there is none."""
        return self.currentData()

    def refresh(self, event: Any = None) -> None:
        """List the layers again and keep the choice."""
        self.blockSignals(True)
        self.clear()
        for layer in reversed(self._viewer.layers):
            if isinstance(layer, self._kind):
                self.addItem(layer.name, layer)
        self.choose(self._last)
        self.blockSignals(False)
        self._on_index()

    def _on_index(self, index: int = -1) -> None:
        if self.layer() is not self._last:
            self._last = self.layer()
            self.chosen.emit()

    def _on_inserted(self, event: Any) -> None:
        event.value.events.name.connect(self.refresh)
        self.refresh()
        # napari selects a new layer before it tells of it.
        self._on_active()

    def _on_removed(self, event: Any) -> None:
        event.value.events.name.disconnect(self.refresh)
        self.refresh()

    def _on_active(self, event: Any = None) -> None:
        active = self._viewer.layers.selection.active
        if isinstance(active, self._kind) and not (self._kind is Image and is_result(active)):
            self.choose(active)


class TextLabel(QLabel):
    """Text that wraps and can be copied."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)


class FlagsLabel(TextLabel):
    """Quality flags, one a paragraph; takes no room where there are none."""

    def __init__(self) -> None:
        super().__init__()
        # Only the edge has a colour, so that the text is as readable as the theme makes it.
        self.setStyleSheet("QLabel { border-left: 3px solid #d08a00; padding-left: 6px; }")
        self.hide()

    def show_flags(self, flags: Sequence[Flag]) -> None:
        """Show these and no others."""
        self.setText("\n".join(f"⚠ {sentence(flag.message)}" for flag in flags))
        self.setVisible(bool(flags))


class ScrolledColumn(QScrollArea):
    """A column that scrolls where a screen is too low for it, and is never cut off at its side."""

    def __init__(self, column: QVBoxLayout) -> None:
        super().__init__()
        inside = QWidget()
        inside.setLayout(column)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(inside)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """As wide as what is in it, with room for the bar."""
        inside: Any = self.widget()
        bar: Any = self.verticalScrollBar()
        width = inside.minimumSizeHint().width() + bar.sizeHint().width()
        return QSize(width, super().minimumSizeHint().height())

"""A probability to choose, with its value beside it."""

from __future__ import annotations

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSlider, QWidget

__all__ = ["ThresholdSlider"]

_WAIT_MS = 30


class ThresholdSlider(QWidget):
    """A slider from 0.01 to 0.99.

    Signals
    -------
    moved
        The value is another one; of many quick moves the last one tells.
    """

    moved = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(1, 99)
        self.slider.setValue(50)
        self.slider.setPageStep(10)
        self.slider.setAccessibleName("Threshold")
        self.slider.setToolTip(
            "Probability from which a voxel is lesion: less finds more. Acts at once."
        )
        self.text = QLabel()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.slider)
        row.addWidget(self.text)
        self.timer = QTimer(self)
        self.timer.setSingleShot(True)
        self.timer.setInterval(_WAIT_MS)
        self.timer.timeout.connect(self.moved)
        self.slider.valueChanged.connect(self._on_value)
        self._show_value()

    def value(self) -> float:
        """Return the probability."""
        return self.slider.value() / 100

    def tell_later(self) -> None:
        """Tell of the value again, after a moment."""
        self.timer.start()

    def _on_value(self, value: int) -> None:
        self._show_value()
        self.timer.start()

    def _show_value(self) -> None:
        self.text.setText(f"{self.value():.2f}")

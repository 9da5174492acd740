"""Dock widget: the brain of an image layer, as a mask and as a stripped image."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy.QtCore import QEvent, QSize
from qtpy.QtWidgets import (
    QFormLayout,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_strokedx.grids import ASSUMED_ORIENTATION, ORIENTATIONS, grid_of, named_orientation
from napari_strokedx.layers import check_layer, layer_source
from napari_strokedx.results import show_result
from napari_strokedx.widgets.parts import (
    ChoiceBox,
    DeviceBox,
    FlagsLabel,
    LayerBox,
    TextLabel,
    device_text,
    sentence,
)
from napari_strokedx.workers import (
    Failure,
    Job,
    Outcome,
    Step,
    start_finding_devices,
    start_skull_strip,
)
from strokedx_core.tasks import TASKS
from strokedx_core.volume import Flag, VolumeError

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from strokedx_core.inference.skull_strip import Progress

__all__ = ["SkullStripWidget"]

MASK, STRIPPED = TASKS["skull-strip"].writes
MASK_LOOK = {
    "opacity": 0.4,
    "colormap": {None: "yellow", 0: "transparent", 1: "#19c2d9"},
}
"""A colour that no tissue has; labels that somebody paints beside the brain are yellow."""
_OUTPUTS = {
    "Brain mask": [MASK],
    "Stripped image": [STRIPPED],
    "Mask and stripped image": [MASK, STRIPPED],
}
_NO_IMAGE = "Open a scan first, or File > Open Sample > StrokeDx > Synthetic head."
_WORDS = {
    "S": "superior",
    "I": "inferior",
    "P": "posterior",
    "A": "anterior",
    "L": "left",
    "R": "right",
}


class SkullStripWidget(QWidget):
    """Finds the brain in an image layer.

    Parameters
    ----------
    napari_viewer : ViewerModel
        A `napari.Viewer`, or the model of one.

    Attributes
    ----------
    job : Job or None
        The run that is going on.
    """

    # Qt sends events before the constructor is through.
    _joined = False
    job: Job | None = None

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._running: list[Job] = []
        self._build()
        self._join()
        # A window that is closed deletes its widgets without telling them.
        self.destroyed.connect(partial(_cancel_all, self._running))
        start_finding_devices(self.device_box.offer)

    # What is on it

    def _build(self) -> None:
        self.layer_box = LayerBox(
            self._viewer, "Image to work on; the one selected in the layer list."
        )
        self.orientation_box = ChoiceBox(
            "Where the layer's three axes point in the patient. The layer itself does not say."
        )
        for code in ORIENTATIONS:
            self.orientation_box.addItem(
                f"{code} ({', '.join(_WORDS[letter] for letter in code)})", code
            )
        self.output_box = ChoiceBox("What to add to the layer list.")
        for text, outputs in _OUTPUTS.items():
            self.output_box.addItem(text, outputs)
        self.device_box = DeviceBox()
        self.form = QFormLayout()
        self.form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        self.form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for text, box in (
            ("&Layer", self.layer_box),
            ("Ax&es point to", self.orientation_box),
            ("O&utput", self.output_box),
            ("De&vice", self.device_box),
        ):
            self.form.addRow(text, box)
            box.setAccessibleName(text.replace("&", ""))

        self.run_button = QPushButton("&Run")
        self.run_button.setToolTip("Find the brain. Earlier results on this layer are replaced.")
        self.run_button.setDefault(True)
        self.cancel_button = QPushButton("&Cancel")
        self.cancel_button.setToolTip("Stop; layers stay as they are.")
        self.cancel_button.setEnabled(False)
        buttons = QHBoxLayout()
        buttons.addWidget(self.run_button)
        buttons.addWidget(self.cancel_button)

        self.progress_bar = QProgressBar()
        self.progress_bar.setAccessibleName("Progress")
        self.progress_bar.setTextVisible(False)
        keep_room = self.progress_bar.sizePolicy()
        keep_room.setRetainSizeWhenHidden(True)
        self.progress_bar.setSizePolicy(keep_room)
        self.progress_bar.hide()
        self.status = TextLabel()
        self.flags = FlagsLabel()
        notice = TextLabel("Research use only: not a medical device.")
        notice.setStyleSheet("QLabel { font-style: italic; }")

        column = QVBoxLayout(self)
        column.addLayout(self.form)
        column.addLayout(buttons)
        for widget in (self.progress_bar, self.status, self.flags, notice):
            column.addWidget(widget)
        column.addStretch(1)

        self.layer_box.chosen.connect(self._on_layer_chosen)
        self.run_button.clicked.connect(self.run)
        self.cancel_button.clicked.connect(self.cancel)

    def _join(self) -> None:
        """Follow the viewer's layers."""
        if not self._joined:
            self._joined = True
            self.layer_box.follow()
            self._on_layer_chosen()

    def _leave(self) -> None:
        """Stop a run and let go of the viewer: the widget was closed."""
        self.cancel()
        if self._joined:
            self._joined = False
            self.layer_box.let_go()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Wide enough for the longest choice; narrower docks elide and wrap."""
        return super().sizeHint().expandedTo(QSize(300, 0))

    def event(self, event: Any) -> bool:
        """napari takes a closed dock widget out of its parent, without a close event."""
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self._leave()
        return super().event(event)

    def closeEvent(self, event: Any) -> None:  # noqa: N802
        """Cancel what runs."""
        self._leave()
        super().closeEvent(event)

    def showEvent(self, event: Any) -> None:  # noqa: N802
        """Follow the viewer again after a close."""
        self._join()
        super().showEvent(event)

    def _on_layer_chosen(self) -> None:
        layer, reason = self.layer_box.layer(), self._reason_against()
        askable = False
        if layer is not None and not reason:
            _, meta, _ = layer.as_layer_data_tuple()
            shape = layer.data[0].shape if layer.multiscale else layer.data.shape
            askable = not grid_of(meta, shape).ours
            self.orientation_box.choose(named_orientation(meta) or ASSUMED_ORIENTATION)
        for part in (self.orientation_box, self.form.labelForField(self.orientation_box)):
            if part is not None:
                part.setVisible(askable)
        if self.job is None:
            self.run_button.setEnabled(not reason)
            self.status.setText(reason)
            self.flags.show_flags(())

    def _reason_against(self) -> str:
        """Why the chosen layer cannot be run on, or nothing."""
        layer = self.layer_box.layer()
        if layer is None:
            return _NO_IMAGE
        try:
            check_layer(layer)
        except VolumeError as error:
            return str(error)
        return ""

    # A run

    def run(self) -> None:
        """Start on the chosen layer."""
        layer = self.layer_box.layer()
        if layer is None or self.job is not None:
            return
        asked = not self.orientation_box.isHidden()
        said = self.orientation_box.currentData() if asked else None
        try:
            _, meta, _ = layer.as_layer_data_tuple()
            unsaid = named_orientation(meta) is None and said == ASSUMED_ORIENTATION
            source = layer_source(
                layer, point=self._viewer.dims.point, orientation=None if unsaid else said
            )
        except VolumeError as error:
            self._fail(str(error))
            return
        self.flags.show_flags(())
        self.status.setText("Starting …")
        self.progress_bar.setRange(0, 0)
        self.progress_bar.show()
        self.run_button.setEnabled(False)
        self.cancel_button.setEnabled(True)
        self.job = start_skull_strip(
            source,
            device=self.device_box.currentData(),
            yielded=self._on_progress,
            returned=self._on_returned,
            finished=self._on_finished,
        )
        self._running[:] = [self.job]

    def cancel(self) -> None:
        """Stop the run that is going on, if any, after its current step."""
        if self.job is not None and self.cancel_button.isEnabled():
            self.cancel_button.setEnabled(False)
            self.status.setText("Cancelling …")
            self.job.cancel()

    def _on_progress(self, progress: Step | Progress) -> None:
        if self.cancel_button.isEnabled():
            self.progress_bar.setRange(0, progress.total)
            self.progress_bar.setValue(progress.done)
            self.status.setText(f"{sentence(progress.message)} …")

    def _on_returned(self, outcome: Outcome | Failure) -> None:
        self.cancel_button.setEnabled(False)
        # Cancelled, or closed, when the result was already on its way.
        if not self._joined or self.job is None or self.job.worker.abort_requested:
            return
        if isinstance(outcome, Failure):
            self._fail(outcome.message)
            return
        outputs, flags = self.output_box.currentData(), list(outcome.flags)
        source = outcome.source
        wanted = []
        if STRIPPED in outputs:
            # Under a mask the whole head is what one wants to see.
            look = {**source.look, "visible": MASK not in outputs}
            wanted.append((outcome.stripped, "image", STRIPPED, look))
        if MASK in outputs:
            wanted.append((outcome.mask, "labels", MASK, MASK_LOOK))
        for data, kind, output, look in wanted:
            _, kept = show_result(self._viewer, source, data, kind=kind, output=output, look=look)
            if kept is not None:
                message = f"“{kept.name}” was changed by hand and kept; the new one is beside it."
                flags.append(Flag("edited-kept", message))
        self.status.setText(
            f"Brain of {source.name}: {outcome.volume_ml:,.0f}\N{NO-BREAK SPACE}ml, "
            f"{outcome.seconds:.1f}\N{NO-BREAK SPACE}s on {device_text(outcome.device)}"
        )
        self.flags.show_flags(tuple(flags))

    def _on_finished(self) -> None:
        if self.job is not None and self.job.worker.abort_requested:
            self.status.setText("Cancelled.")
        self.job = None
        self._running.clear()
        self.cancel_button.setEnabled(False)
        self.progress_bar.hide()
        self.run_button.setEnabled(not self._reason_against())

    def _fail(self, message: str) -> None:
        self.status.setText(message)
        self.flags.show_flags(())
        show_error(message)


def _cancel_all(jobs: list[Job], *_: object) -> None:
    for job in jobs:
        job.cancel()

"""What every dock widget that runs a network has: run, cancel, progress, result line, flags."""

from __future__ import annotations

from abc import abstractmethod
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

from napari_strokedx.widgets.parts import (
    DeviceBox,
    FlagsLabel,
    ModelBox,
    TextLabel,
    sentence,
)
from napari_strokedx.workers import Failure, Job, Step, start_finding_devices
from strokedx_core.volume import VolumeError

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from strokedx_core.inference.skull_strip import Progress

__all__ = ["RunWidget"]


class RunWidget(QWidget):
    """A form, a run in another thread, and what came of it.

    Subclasses fill `form` and `column` and make `model_box` in their constructor, then call
    `_join`.

    Parameters
    ----------
    napari_viewer : ViewerModel
        A `napari.Viewer`, or the model of one.
    notice : str
        What stands at the foot, beside that this is no medical device.

    Attributes
    ----------
    job : Job or None
        The run that is going on.
    """

    model_box: ModelBox
    # Qt sends events before the constructor is through.
    _joined = False
    job: Job | None = None

    def __init__(self, napari_viewer: ViewerModel, *, notice: str = "") -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._running: list[Job] = []
        self._build(notice)
        # A window that is closed deletes its widgets without telling them.
        self.destroyed.connect(partial(_cancel_all, self._running))

    # What a subclass says

    @abstractmethod
    def _follow(self) -> None:
        """Follow the viewer's layers."""

    @abstractmethod
    def _let_go(self) -> None:
        """Let go of the viewer's layers."""

    @abstractmethod
    def _reason_against(self) -> str:
        """Why there is nothing that can be run on, or nothing."""

    @abstractmethod
    def _start(self) -> Job:
        """Start a run, with `_on_progress`, `_on_returned` and `_on_finished`.

        Raises
        ------
        VolumeError
            If a layer cannot be used.
        """

    @abstractmethod
    def _show(self, outcome: Any) -> None:
        """Make layers of what a run returned."""

    # What is on it

    def _build(self, notice: str) -> None:
        self.device_box = DeviceBox()
        self.form = QFormLayout()
        self.form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        self.form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)

        self.run_button = QPushButton("&Run")
        self.run_button.setDefault(True)
        self.cancel_button = QPushButton("&Cancel")
        self.cancel_button.setToolTip("Stop; layers stay as they are.")
        self.cancel_button.setEnabled(False)
        self.buttons = QHBoxLayout()
        self.buttons.addWidget(self.run_button)
        self.buttons.addWidget(self.cancel_button)

        self.progress_bar = QProgressBar()
        self.progress_bar.setAccessibleName("Progress")
        self.progress_bar.setTextVisible(False)
        keep_room = self.progress_bar.sizePolicy()
        keep_room.setRetainSizeWhenHidden(True)
        self.progress_bar.setSizePolicy(keep_room)
        self.progress_bar.hide()
        self.status = TextLabel()
        self.flags = FlagsLabel()
        self.notice = TextLabel(f"Research use only: not a medical device. {notice}".strip())
        self.notice.setStyleSheet("QLabel { font-style: italic; }")

        self.column = QVBoxLayout()
        self.column.addLayout(self.form)
        self.column.addLayout(self.buttons)
        for widget in (self.progress_bar, self.status, self.flags):
            self.column.addWidget(widget)

        self.run_button.clicked.connect(self.run)
        self.cancel_button.clicked.connect(self.cancel)

    def _add_row(self, text: str, box: QWidget) -> None:
        self.form.addRow(text, box)
        box.setAccessibleName(text.replace("&", ""))

    def _set_row_visible(self, box: QWidget, visible: bool) -> None:
        for part in (box, self.form.labelForField(box)):
            if part is not None:
                part.setVisible(visible)

    def _offer_models(self) -> None:
        """Offer the weights there are now; where there is but one set, there is nothing to ask."""
        self.model_box.follow()
        self._set_row_visible(self.model_box, self.model_box.count() > 1)

    def _join(self) -> None:
        """Follow the viewer's layers, from the constructor on until the widget is closed."""
        if not self._joined:
            self._joined = True
            self._follow()
            start_finding_devices(self.device_box.offer)

    def _leave(self) -> None:
        """Stop a run and let go of the viewer: the widget was closed."""
        self.cancel()
        if self._joined:
            self._joined = False
            self._let_go()

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

    def _check(self) -> None:
        """Say whether a run can be started, unless one is going on."""
        if self.job is None:
            reason = self._reason_against()
            self.run_button.setEnabled(not reason)
            self.status.setText(reason)
            self.flags.show_flags(())

    # A run

    def run(self) -> None:
        """Start, unless there is nothing to run on or a run is going on."""
        if self.job is not None or not self.run_button.isEnabled():
            return
        try:
            self._begin(self._start())
        except VolumeError as error:
            self._fail(str(error))

    def _begin(self, job: Job) -> None:
        """Show that a job runs, which has just been started."""
        self.flags.show_flags(())
        self.status.setText("Starting …")
        self.progress_bar.setRange(0, 0)
        self.progress_bar.show()
        self.run_button.setEnabled(False)
        self.cancel_button.setEnabled(True)
        self.job = job
        self._running[:] = [job]

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

    def _on_returned(self, outcome: Any) -> None:
        self.cancel_button.setEnabled(False)
        # Cancelled, or closed, when the result was already on its way.
        if not self._joined or self.job is None or self.job.worker.abort_requested:
            return
        if isinstance(outcome, Failure):
            self._fail(outcome.message)
        else:
            self._show(outcome)

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

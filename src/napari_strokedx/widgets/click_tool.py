"""Part of a dock widget: mend a lesion mask by clicking on it."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.notifications import show_info
from qtpy.QtCore import Signal
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_strokedx.clicks import Hit, MouseClicks, meant_voxel
from napari_strokedx.lesion_work import Answer, Case, answer_click
from napari_strokedx.widgets.parts import ChoiceBox, TextLabel, counted, sentence
from napari_strokedx.workers import Failure, Job, Step, start_job

if TYPE_CHECKING:
    from napari.components import ViewerModel


__all__ = ["EMPTY", "SO_FAR", "ClickTool"]

SO_FAR, EMPTY = "so far", "empty"
_UNDO, _REDO = "Control-Z", "Control-Shift-Z"
_HELP = "Left-click inside a lesion adds it; right-click or Shift-click takes away."
_HELP_3D = (
    "In 3-D a click adds at the brightest voxel of the brain under the mouse, and takes away at the"
    " lesion in front."
)


class ClickTool(QWidget):
    """Switch, mask to begin with, undo and redo; listens to the viewer's mouse while it is on.

    Clicks are answered one after the other in another thread.

    Signals
    -------
    wanted
        Switched on by the user: whoever owns the tool is to call `begin`, or `end` with the reason.
    answered : Answer
        A click was worked out.
    """

    wanted = Signal()
    answered = Signal(object)

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self._mouse = MouseClicks(viewer, self._on_hit)
        self._case: Case | None = None
        self._layer: Labels | None = None
        self._queue: deque[tuple[Any, bool]] = deque()
        self._job: Job | None = None
        self._bound: list[tuple[Any, str, Any]] = []
        self._build()

    def _build(self) -> None:
        self.switch = QPushButton("Click &lesions")
        self.switch.setCheckable(True)
        self.switch.setToolTip(f"{_HELP} {_HELP_3D}")
        self.start_box = ChoiceBox(
            "Mask that clicks begin with: the result so far, found by a run where there is none;"
            " nothing at all; or a copy of any Labels layer."
        )
        self.start_box.setAccessibleName("Begin with")
        self.undo_button = QPushButton("&Undo")
        self.undo_button.setToolTip("Take the last click back (Ctrl+Z).")
        self.redo_button = QPushButton("R&edo")
        self.redo_button.setToolTip("Do it again (Ctrl+Shift+Z).")
        self.hint = TextLabel()
        self.hint.hide()
        row = QHBoxLayout()
        for button in (self.switch, self.undo_button, self.redo_button):
            row.addWidget(button, 2 if button is self.switch else 1)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow("&Begin with", self.start_box)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(form)
        column.addLayout(row)
        column.addWidget(self.hint)
        self.shortcuts = []
        for button, key, act in (
            (self.undo_button, _UNDO, self._undo),
            (self.redo_button, _REDO, self._redo),
        ):
            button.clicked.connect(act)
            # napari hears keys over its canvas alone; these work over the dock.
            shortcut = QShortcut(
                QKeySequence(key.replace("Control", "Ctrl").replace("-", "+")), self
            )
            shortcut.activated.connect(act)
            self.shortcuts.append(shortcut)
        self.switch.toggled.connect(self._on_switch)
        self.start_box.activated.connect(self._on_start_chosen)
        self._show_state()

    # Labels layers to begin with

    def follow(self) -> None:
        """Start to follow the viewer's layers."""
        self._viewer.layers.events.inserted.connect(self._on_inserted)
        self._viewer.layers.events.removed.connect(self._on_removed)
        for layer in self._viewer.layers:
            layer.events.name.connect(self.refresh)
        self.refresh()

    def let_go(self) -> None:
        """Switch off, and let go of the viewer."""
        self.end()
        self._case = self._layer = None
        self._viewer.layers.events.inserted.disconnect(self._on_inserted)
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        for layer in self._viewer.layers:
            layer.events.name.disconnect(self.refresh)
        self.start_box.clear()

    def _on_inserted(self, event: Any) -> None:
        event.value.events.name.connect(self.refresh)
        self.refresh()

    def _on_removed(self, event: Any) -> None:
        event.value.events.name.disconnect(self.refresh)
        self.refresh()

    def refresh(self, event: Any = None) -> None:
        """List what clicks can begin with, and keep the choice."""
        chosen = self.start_box.currentData()
        self.start_box.clear()
        self.start_box.addItem("Result so far", SO_FAR)
        self.start_box.addItem("Empty mask", EMPTY)
        for layer in reversed(self._viewer.layers):
            if isinstance(layer, Labels):
                self.start_box.addItem(layer.name, layer)
        self.start_box.choose(chosen)

    # On and off

    @property
    def on(self) -> bool:
        """Whether clicks in the viewer count."""
        return self.switch.isChecked() and self._case is not None

    @property
    def busy(self) -> bool:
        """Whether a click is being worked out."""
        return self._job is not None or bool(self._queue)

    def _on_switch(self, checked: bool) -> None:
        if checked:
            self._say("Preparing …")
            self.wanted.emit()
        else:
            self.end()

    def _on_start_chosen(self, index: int) -> None:
        if self.switch.isChecked():
            self.end("Press Click lesions again to begin with that.")

    def begin(self, case: Case, layer: Labels) -> None:
        """Take clicks on a case, whose mask a layer shows."""
        self._case, self._layer = case, layer
        self.start_box.choose(SO_FAR)
        self._mouse.listen()
        self._bind()
        self._say(f"{_HELP} {_HELP_3D}" if self._viewer.dims.ndisplay == 3 else _HELP)
        self._show_state()

    def end(self, reason: str = "") -> None:
        """Switch off; clicks that wait are dropped, one that is being worked out is shown."""
        self._queue.clear()
        self._mouse.stop()
        self._unbind()
        self.switch.blockSignals(True)
        self.switch.setChecked(False)
        self.switch.blockSignals(False)
        if self._job is None:
            self._case = None
        self._say(reason)
        self._show_state()

    def _bind(self) -> None:
        """Take over the keys of napari's own undo, which a Labels layer has before the viewer."""
        self._unbind()
        providers: tuple[Any, ...] = (self._viewer, self._layer)
        for provider in providers:
            for key, act in ((_UNDO, self._undo), (_REDO, self._redo)):
                before = provider.bind_key(key, None)
                provider.bind_key(key, act, overwrite=True)
                self._bound.append((provider, key, before))

    def _unbind(self) -> None:
        for provider, key, before in self._bound:
            provider.bind_key(key, before, overwrite=True)
        self._bound.clear()

    # napari wants keys bound to what has a name, and calls it with the viewer or the layer.
    def _undo(self, provider: Any = None) -> None:
        self._on_key("undo")

    def _redo(self, provider: Any = None) -> None:
        self._on_key("redo")

    def _on_key(self, name: str) -> None:
        layer = self._viewer.layers.selection.active
        # Who paints by hand takes back strokes.
        if isinstance(layer, Labels) and layer.mode != "pan_zoom":
            getattr(layer, name)()
        else:
            self._ask(name)

    # Clicks

    def _on_hit(self, hit: Hit) -> None:
        if not self.on or self._case is None or self._layer is None:
            return
        target, reason = self._layer, ""
        layer = self._viewer.layers.selection.active
        shown = {source.unique_id: source for source in self._case.request.sources.values()}
        shown[str(target.unique_id)] = self._case.source
        if layer is None:
            layer = target
        source = shown.get(str(layer.unique_id))
        if source is None:
            reason = f"“{layer.name}” is selected: select “{target.name}” in the layer list first."
        elif layer.mode != "pan_zoom":
            reason = f"“{layer.name}” is in {layer.mode} mode: choose pan/zoom first."
        if source is None or reason:
            self._refuse(reason)
            return
        voxel, reason = meant_voxel(layer, source, self._case, np.asarray(target.data), hit)
        if voxel is None:
            self._refuse(reason)
        else:
            self._ask(voxel, hit.positive)

    def _refuse(self, reason: str) -> None:
        self._say(f"Ignored. {reason}")
        show_info(reason)

    def _ask(self, wanted: Any, positive: bool = True) -> None:
        if self.on:
            self._queue.append((wanted, bool(positive)))
            self._next()

    def _next(self) -> None:
        if self._job is not None or not self._queue or self._case is None or self._layer is None:
            return
        wanted, positive = self._queue.popleft()
        before = np.asarray(self._layer.data)
        if self._case.changed_by_hand(before):
            self._case.adopt(before)
        self._job = start_job(
            partial(answer_click, self._case, wanted, positive, before),
            yielded=self._on_step,
            returned=self._on_returned,
            finished=self._on_finished,
        )

    def _on_step(self, step: Step) -> None:
        self._say(f"{sentence(step.message)} …")

    def _on_returned(self, answer: Answer | Failure) -> None:
        if self._case is None:
            return
        if isinstance(answer, Failure):
            self._refuse(answer.message)
        elif answer.shown is None:
            self._refuse(answer.hint)
        else:
            self._say(f"{counted(answer.clicks, 'click')} so far.")
            self.answered.emit(answer)

    def _on_finished(self) -> None:
        self._job = None
        if not self.switch.isChecked():
            self._case = None
        self._show_state()
        self._next()

    def _say(self, text: str) -> None:
        self.hint.setText(text)
        self.hint.setVisible(bool(text))

    def _show_state(self) -> None:
        done, undone = (0, 0) if self._case is None else self._case.history()
        self.undo_button.setEnabled(self.on and done > 0)
        self.redo_button.setEnabled(self.on and undone > 0)
        for shortcut in self.shortcuts:
            shortcut.setEnabled(self.on)

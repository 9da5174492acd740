"""Dock widget: captions of a lesion layer, in the viewer and in a table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.notifications import show_error
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QFileDialog,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
)

from napari_strokedx.caption_layers import SliceText, hover_texts, show_labels
from napari_strokedx.caption_sheet import middle_of
from napari_strokedx.caption_work import CaptionRequest, write_captions
from napari_strokedx.layers import check_layer, labels_source, layer_source
from napari_strokedx.widgets.caption_table import CaptionTable
from napari_strokedx.widgets.parts import (
    NO_IMAGE,
    ChoiceBox,
    LayerBox,
    ScrolledColumn,
    TextLabel,
    counted,
    sentence,
)
from napari_strokedx.widgets.run_widget import RunWidget
from napari_strokedx.widgets.sequence_rows import SequenceRows
from napari_strokedx.workers import Job, start_job
from strokedx_core.tasks import LESION_TYPES
from strokedx_core.volume import VolumeError

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Points

    from napari_strokedx.caption_work import Captioned

__all__ = ["CaptionsWidget"]

_TYPES = {"general": "Stroke lesion", "ischemic": "Infarct", "hemorrhagic": "Haemorrhage"}
_LANGUAGES = {"en": "English", "de": "Deutsch"}
_NO_LABELS = "Find lesions first (Lesion segmentation), or open a lesion mask as labels."
_NO_SEQUENCE = "Say above which layer shows which sequence; one is enough."
_STALE = "The mask has changed since: these captions describe what it was. Run again."
_FILES = "JSON (*.json);;Table (*.tsv);;Text (*.txt)"
_REDRAW_MS = 120


class CaptionsWidget(RunWidget):
    """Describes the lesions of a Labels layer.

    Parameters
    ----------
    napari_viewer : ViewerModel
        A `napari.Viewer`, or the model of one.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer, notice="Captions state what was measured, nothing else.")
        self.captioned: Captioned | None = None
        self._layer: Labels | None = None
        self._points: Points | None = None
        self.stale = False
        self.slice_text = SliceText(napari_viewer)
        # The mouse wheel zooms in many small steps.
        self._redraw = QTimer(self)
        self._redraw.setSingleShot(True)
        self._redraw.setInterval(_REDRAW_MS)
        self._redraw.timeout.connect(self._draw)
        self._fill()
        self._join()

    def _fill(self) -> None:
        self.run_button.setToolTip("Describe the lesions; texts that you changed stay if they can.")
        self.rows = SequenceRows(self._viewer)
        self.labels_box = LayerBox(self._viewer, "Lesions: every label but 0.", Labels)
        self.type_box = ChoiceBox("What the labels mark.")
        for name in LESION_TYPES:
            self.type_box.addItem(_TYPES[name], name)
        self.language_box = ChoiceBox("Language of the captions.")
        for code, name in _LANGUAGES.items():
            self.language_box.addItem(name, code)
        self._add_row("&Lesions", self.labels_box)
        self._add_row("&They are", self.type_box)
        self._add_row("Lan&guage", self.language_box)
        self._add_row("De&vice", self.device_box)
        self.at_lesions = QCheckBox("&Words beside lesions")
        self.on_slice = QCheckBox("Caption of the &slice")
        self.table = CaptionTable()
        self.old = TextLabel(_STALE)
        self.old.setStyleSheet("QLabel { border-left: 3px solid #d08a00; padding-left: 6px; }")
        self.old.hide()
        self.copy_button = QPushButton("C&opy all")
        self.save_button = QPushButton("Sa&ve …")
        self.save_button.setToolTip("Save the captions as JSON, as a table or as plain text.")
        for box in (self.at_lesions, self.on_slice):
            box.setChecked(True)
            box.toggled.connect(self._draw)
        buttons = QHBoxLayout()
        for button in (self.copy_button, self.save_button):
            button.setEnabled(False)
            buttons.addWidget(button)
        self.column.insertWidget(0, self.rows)
        for part in (self.at_lesions, self.on_slice, self.old, self.table):
            self.column.addWidget(part)
        self.column.addLayout(buttons)
        self.column.addWidget(self.notice)
        self.column.addStretch(1)
        self.scrolled = ScrolledColumn(self.column)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(self.scrolled)
        self.rows.changed.connect(self._check)
        self.labels_box.chosen.connect(self._check)
        self.table.edited.connect(self._on_edit)
        self.table.chosen.connect(self._on_row)
        self.copy_button.clicked.connect(self.copy)
        self.save_button.clicked.connect(self._ask_where)

    # The viewer's layers

    def _follow(self) -> None:
        self._viewer.layers.events.removed.connect(self._on_removed)
        self._viewer.dims.events.current_step.connect(self._on_slice)
        self._viewer.dims.events.order.connect(self._draw_later)
        self._camera.events.zoom.connect(self._draw_later)
        self.rows.follow()
        self.labels_box.follow()
        self._check()

    def _let_go(self) -> None:
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        self._viewer.dims.events.current_step.disconnect(self._on_slice)
        self._viewer.dims.events.order.disconnect(self._draw_later)
        self._camera.events.zoom.disconnect(self._draw_later)
        self.rows.let_go()
        self.labels_box.let_go()
        self._forget()

    @property
    def _camera(self) -> Any:
        # The camera has moved there with napari 0.9.
        return getattr(self._viewer, "scene", self._viewer).camera

    def _on_removed(self, event: Any) -> None:
        if event.value is self._layer:
            if self._points in self._viewer.layers:
                self._viewer.layers.remove(self._points)
            self._forget()
        elif event.value is self._points:
            self._points = None
            self.at_lesions.setChecked(False)

    def _forget(self) -> None:
        self._watch(None)
        self.captioned = self._points = None
        self._redraw.stop()
        self.slice_text.remove()
        self.table.show_rows(())
        self._set_stale(False)
        self.copy_button.setEnabled(False)
        self.save_button.setEnabled(False)

    def _reason_against(self) -> str:
        layers = self.rows.layers()
        if not layers:
            return _NO_SEQUENCE if self.rows.any() else NO_IMAGE
        if self.labels_box.layer() is None:
            return _NO_LABELS
        try:
            for layer in layers.values():
                check_layer(layer)
        except VolumeError as error:
            return str(error)
        return ""

    # A run

    def _start(self) -> Job:
        point = self._viewer.dims.point
        self._asked = self.labels_box.layer()
        request = CaptionRequest(
            labels=labels_source(self._asked, point=point),
            sources={
                name: layer_source(layer, point=point) for name, layer in self.rows.layers().items()
            },
            lesion_type=self.type_box.currentData(),
            language=self.language_box.currentData(),
            device=self.device_box.currentData(),
        )
        return start_job(
            lambda: write_captions(request),
            yielded=self._on_progress,
            returned=self._on_returned,
            finished=self._on_finished,
        )

    def _show(self, outcome: Captioned) -> None:
        before = self.captioned
        if before is not None and self._layer is self._asked:
            outcome = replace(outcome, sheet=outcome.sheet.with_edits_of(before.sheet))
        self.captioned = outcome
        self._watch(self._asked)
        count = sentence(counted(len(outcome.sheet.spots), "lesion"))
        self.status.setText(f"{count} described in {outcome.request.labels.name}")
        self.flags.show_flags(outcome.flags)
        self.table.show_rows(outcome.sheet.rows)
        self.copy_button.setEnabled(True)
        self.save_button.setEnabled(True)
        hover_texts(self._asked, outcome.sheet)
        self._on_mask()
        self._draw()

    # The mask that is described

    def _watch(self, layer: Labels | None) -> None:
        if self._layer is not None:
            for name in ("data", "paint", "labels_update", "set_data"):
                getattr(self._layer.events, name).disconnect(self._on_mask)
        self._layer = layer
        if layer is not None:
            for name in ("data", "paint", "labels_update", "set_data"):
                getattr(layer.events, name).connect(self._on_mask)

    def _on_mask(self, event: Any = None) -> None:
        """Say whether the mask is still the one that is described."""
        if self._layer is None or self.captioned is None:
            return
        described = self.captioned.labels
        now = np.asarray(self._layer.data)
        while now.ndim > described.ndim:
            now = now[0]
        same = now.shape == described.shape and np.array_equal(now != 0, described != 0)
        self._set_stale(not same)

    def _set_stale(self, stale: bool) -> None:
        if stale == self.stale:
            return
        self.stale = stale
        self.old.setVisible(stale)
        self._draw_later()

    # What is shown

    def _draw_later(self, event: Any = None) -> None:
        if self.captioned is not None:
            self._redraw.start()

    def _draw(self, event: Any = None) -> None:
        """Words beside lesions and on the slice, as the viewer is turned and zoomed now."""
        if self.captioned is None or self._layer is None:
            return
        order = self._viewer.dims.order[-3:]
        axis = int(order[0]) - (self._viewer.dims.ndim - 3)
        if self.at_lesions.isChecked() and 0 <= axis < 3:
            active = self._viewer.layers.selection.active
            self._points = show_labels(
                self._viewer,
                self.captioned.sheet,
                self.captioned.request.source,
                self._points,
                axis=axis,
                pixels_per_unit=max(float(self._camera.zoom), 1e-3),
                name=f"{self.captioned.request.labels.name} captions",
                stale=self.stale,
            )
            # Brush and clicks go on where they were.
            self._viewer.layers.selection.active = active
        if self._points is not None:
            self._points.visible = self.at_lesions.isChecked()
        self._on_slice()

    def _on_slice(self, event: Any = None) -> None:
        if self.captioned is None or not self.on_slice.isChecked():
            self.slice_text.show("")
            return
        sheet = self.captioned.sheet
        axis = sheet.slice_axis + self._viewer.dims.ndim - 3
        text = ""
        if axis in self._viewer.dims.not_displayed and self._layer is not None:
            world = self._viewer.dims.point[-3:]
            place = self._slice_of(np.asarray(world, float))
            text = sheet.text("slice", place)
        if text and self.stale:
            text += " (mask has changed since)"
        self.slice_text.show(sentence(text))

    def _slice_of(self, world: np.ndarray) -> int:
        """The slice that the viewer shows, counted on the image that is described."""
        assert self.captioned is not None
        axis = self.captioned.sheet.slice_axis
        scale, start = self._placed()
        return round(float((world[axis] - start[axis]) / scale[axis]))

    def _placed(self) -> tuple[np.ndarray, np.ndarray]:
        """World units a voxel of the image that is described, and where its first voxel lies."""
        assert self.captioned is not None
        keywords = self.captioned.request.source.keywords
        scale, start = (np.asarray(keywords[name], float)[-3:] for name in ("scale", "translate"))
        return scale, start

    # The table

    def _on_edit(self, row: int, text: str) -> None:
        if self.captioned is None:
            return
        sheet = self.captioned.sheet.edit(row, text)
        self.captioned = replace(self.captioned, sheet=sheet)
        if self._layer is not None:
            hover_texts(self._layer, sheet)
        self._on_slice()

    def _on_row(self, row: int) -> None:
        """Go to what a caption is about."""
        if self.captioned is None or self._layer is None:
            return
        sheet = self.captioned.sheet
        about = sheet.rows[row]
        first = self._viewer.dims.ndim - 3
        scale, start = self._placed()
        if about.level == "lesion":
            spot = next(spot for spot in sheet.spots if spot.number == about.number)
            world = start + scale * middle_of(spot.voxels)
            self._viewer.dims.set_point(range(first, first + 3), world.tolist())
        elif about.level == "slice":
            axis = sheet.slice_axis
            self._viewer.dims.set_point(first + axis, start[axis] + scale[axis] * about.number)

    def copy(self) -> None:
        """Put all captions on the clipboard."""
        clipboard = QApplication.clipboard()
        if self.captioned is not None and clipboard is not None:
            clipboard.setText(self.captioned.sheet.plain())
            self.status.setText("Copied.")

    def _ask_where(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save captions", "captions.json", _FILES)
        if name:
            self.save(Path(name))

    def save(self, path: Path) -> None:
        """Save the captions; what went wrong is said on the widget."""
        if self.captioned is None:
            return
        try:
            self.captioned.sheet.save(path, mask_has_changed=self.stale)
        except (OSError, ValueError) as error:
            show_error(str(error))
        else:
            self.status.setText(f"Saved as {path.name}")

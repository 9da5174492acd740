"""Dock widget: stroke lesions from the sequences of one case, mended by clicks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from qtpy.QtWidgets import (
    QCheckBox,
    QLabel,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_strokedx.grids import named_orientation
from napari_strokedx.layers import check_layer, labels_source, layer_source
from napari_strokedx.lesion_work import Answer, Case, Request, find_lesions
from napari_strokedx.results import kept_flag, renew, show_result
from napari_strokedx.widgets.click_tool import EMPTY, SO_FAR, ClickTool
from napari_strokedx.widgets.lesion_table import LesionTable, jump_to
from napari_strokedx.widgets.parts import (
    NO_IMAGE,
    ChoiceBox,
    ModelBox,
    OrientationBox,
    ScrolledColumn,
    counted,
    device_text,
    sentence,
)
from napari_strokedx.widgets.run_widget import RunWidget
from napari_strokedx.widgets.sequence_rows import SequenceRows
from napari_strokedx.widgets.threshold import ThresholdSlider
from napari_strokedx.workers import Job, start_job
from strokedx_core.tasks import LESION_TYPES, TASKS
from strokedx_core.volume import VolumeError

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_strokedx.lesion_shown import Row, Shown

__all__ = ["LesionWidget"]

MASK = TASKS["lesion"].writes[0]
_LOOK = {"opacity": 0.5}
_TYPES = {
    "general": "Any stroke lesion",
    "ischemic": "Ischemic (infarct)",
    "hemorrhagic": "Hemorrhagic (blood)",
}
_NOTICE = "Hemorrhagic masks were validated on simulated blood alone."
_NO_SEQUENCE = "Say above which layer shows which sequence; one is enough."


class LesionWidget(RunWidget):
    """Finds stroke lesions in image layers, and takes clicks on them.

    Parameters
    ----------
    napari_viewer : ViewerModel
        A `napari.Viewer`, or the model of one.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer, notice=_NOTICE)
        self._case: Case | None = None
        self._layer: Labels | None = None
        self._click_after = False
        self._fill()
        self._lay_out()
        self._join()

    def _fill(self) -> None:
        self.run_button.setToolTip(
            "Find the lesions. Earlier ones on these layers are replaced, unless somebody has"
            " changed them by clicks or by hand."
        )
        self.rows = SequenceRows(self._viewer)
        self.orientation_box = OrientationBox()
        self.type_box = ChoiceBox("What counts as a lesion.")
        for name in LESION_TYPES:
            self.type_box.addItem(_TYPES[name], name)
        self.strip_box = QCheckBox("Find the brain first")
        self.strip_box.setToolTip(
            "Lesions are looked for in the brain alone. Images without skull do without."
        )
        self.strip_box.setChecked(True)
        self.b_box = QSpinBox()
        self.b_box.setRange(0, 10_000)
        self.b_box.setSingleStep(100)
        self.b_box.setSpecialValueText("not known")
        self.b_box.setSuffix(" s/mm²")
        self.b_box.setToolTip(
            "Of the DWI; an ADC map is computed from it and B0 where it is known."
        )
        self.model_box = ModelBox("lesion")
        rows: tuple[tuple[str, QWidget], ...] = (
            ("Ax&es point to", self.orientation_box),
            ("&b-value", self.b_box),
            ("&Lesion type", self.type_box),
            ("&Skull strip", self.strip_box),
            ("&Model", self.model_box),
            ("De&vice", self.device_box),
        )
        for text, box in rows:
            self._add_row(text, box)
        self.threshold = ThresholdSlider()
        self.table = LesionTable()
        self.click_tool = ClickTool(self._viewer)
        self.rows.changed.connect(self._on_inputs)
        self.type_box.currentIndexChanged.connect(self._on_inputs)
        self.strip_box.toggled.connect(self._on_inputs)
        self.model_box.currentIndexChanged.connect(self._on_inputs)
        self.b_box.valueChanged.connect(self._on_inputs)
        self.threshold.moved.connect(self._move_threshold)
        self.table.chosen.connect(self._on_row)
        self.click_tool.wanted.connect(self._on_clicks_wanted)
        self.click_tool.answered.connect(self._on_answer)

    def _lay_out(self) -> None:
        self.column.insertWidget(0, self.rows)
        label = QLabel("&Threshold")
        label.setBuddy(self.threshold.slider)
        self.form.addRow(label, self.threshold)
        self.column.addWidget(self.table)
        self.column.addWidget(self.click_tool)
        self.column.addWidget(self.notice)
        self.column.addStretch(1)
        self.scrolled = ScrolledColumn(self.column)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(self.scrolled)

    # The viewer's layers

    def _follow(self) -> None:
        self._offer_models()
        self._viewer.layers.events.removed.connect(self._on_removed)
        self.rows.follow()
        self.click_tool.follow()
        self._on_inputs()

    def _let_go(self) -> None:
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        self.click_tool.let_go()
        self.rows.let_go()
        self._case = self._layer = None
        self.table.show_rows((), self._colour)

    def _on_removed(self, event: Any) -> None:
        if event.value is self._layer:
            self._layer = None
            if self.click_tool.switch.isChecked():
                self.click_tool.end("The lesion layer was deleted.")

    def _on_inputs(self, *_: object) -> None:
        """Other layers, other sequences, another type: what was found holds no more for clicks."""
        if self.click_tool.on:
            self.click_tool.end("Press Click lesions again: something above was changed.")
        names = self.rows.layers().keys()
        self._set_row_visible(self.b_box, {"DWI", "B0"} <= names and "ADC" not in names)
        asked = self._unsure()
        self._set_row_visible(self.orientation_box, bool(asked))
        if asked:
            self.orientation_box.begin_with(asked[0])
        self.scrolled.updateGeometry()
        self._check()
        self.click_tool.setEnabled(not self._reason_against())

    def _unsure(self) -> list[Image]:
        """Chosen layers that do not say where their axes point."""
        return [
            layer
            for layer in self.rows.layers().values()
            if layer.ndim >= 3
            and self.orientation_box.asks_about(layer)
            and named_orientation(layer.as_layer_data_tuple()[1]) is None
        ]

    def _reason_against(self) -> str:
        layers = self.rows.layers()
        if not layers:
            return _NO_SEQUENCE if self.rows.any() else NO_IMAGE
        try:
            for layer in layers.values():
                check_layer(layer)
        except VolumeError as error:
            return str(error)
        return ""

    # A run

    def _request(self) -> Request:
        unsure = self._unsure()
        sources = {
            name: layer_source(
                layer,
                point=self._viewer.dims.point,
                orientation=self.orientation_box.answer_for(layer) if layer in unsure else None,
            )
            for name, layer in self.rows.layers().items()
        }
        return Request(
            sources=sources,
            lesion_type=self.type_box.currentData(),
            device=self.device_box.currentData(),
            weights=self.model_box.currentData() or None,
            skull_strip=self.strip_box.isChecked(),
            threshold=self.threshold.value(),
            b_value=0 if self.b_box.isHidden() else self.b_box.value(),
        )

    def run(self) -> None:
        """Find the lesions; clicks go on when they are wanted again."""
        if self.job is None and not self._click_after:
            self.click_tool.end()
        super().run()

    def _start(self) -> Job:
        return self._start_on(self._request())

    def _start_on(self, request: Request) -> Job:
        return start_job(
            lambda: find_lesions(request),
            yielded=self._on_progress,
            returned=self._on_returned,
            finished=self._on_finished,
        )

    def _show(self, outcome: Case) -> None:
        self._case = outcome
        kept = self._put(outcome.shown)
        self._tell(outcome.shown, f"{outcome.seconds:.1f}\N{NO-BREAK SPACE}s")
        self.flags.show_flags((*outcome.result.flags, *kept_flag(kept)))
        if self._click_after and self._layer is not None:
            self.click_tool.begin(outcome, self._layer)

    def _on_finished(self) -> None:
        super()._on_finished()
        if self._click_after and not self.click_tool.on:
            self.click_tool.end()
        self._click_after = False

    def _fail(self, message: str) -> None:
        super()._fail(message)
        self.click_tool.end()

    def _put(self, shown: Shown) -> Any:
        """Show labels as a result of this case; the layer that was kept, if any."""
        assert self._case is not None
        self._layer, kept = show_result(
            self._viewer, self._case.source, shown.labels, kind="labels", output=MASK, look=_LOOK
        )
        return kept

    def _tell(self, shown: Shown, cost: str = "") -> None:
        assert self._case is not None
        count = sentence(counted(len(shown.rows), "lesion"))
        text = f"{count} in {self._case.source.name}"
        if shown.rows:
            text += f": {shown.volume_ml:,.1f}\N{NO-BREAK SPACE}ml"
        if cost:
            text += f"; {cost} on {device_text(self._case.result.device)}"
        self.status.setText(text)
        self.table.show_rows(shown.rows, self._colour)

    def _colour(self, label: int) -> Any:
        return np.ones(4) if self._layer is None else self._layer.get_color(label)

    def _on_row(self, row: Row) -> None:
        if self._layer is not None:
            jump_to(self._viewer, self._layer, row)

    # Threshold

    def _move_threshold(self) -> None:
        """Show what another threshold finds, in the kept probability."""
        if self._case is None or self._layer is None or self.job is not None:
            return
        if self.click_tool.busy:
            self.threshold.tell_later()
        elif self._case.result.threshold == self.threshold.value():
            return
        elif self._case.changed_by_hand(self._layer.data):
            self.status.setText("The mask was changed by hand: the threshold leaves it alone.")
        else:
            clicked = bool(self._case.result.clicks)
            shown = self._case.move_threshold(self.threshold.value())
            if clicked:
                self._layer.data = shown.labels
            else:
                renew(self._layer, shown.labels)
            self._tell(shown)

    # Clicks

    def _on_clicks_wanted(self) -> None:
        """Make a case ready for clicks, as far as it is not."""
        if self.job is not None:
            self.click_tool.end("Wait for the run to end.")
            return
        try:
            request = self._request()
            start = self.click_tool.start_box.currentData()
            if start is self._layer or start == SO_FAR:
                case, layer = self._case, self._layer
                if case and layer and case.request.key == request.key:
                    self.click_tool.begin(case, layer)
                    return
            elif start == EMPTY:
                nothing = np.broadcast_to(np.uint8(0), request.source.array.shape)
                request = replace(request, start=replace(request.source, array=nothing))
            else:
                there = labels_source(start, point=self._viewer.dims.point)
                request = replace(request, start=there)
            if self._case is not None and self._case.request.scan_key == request.scan_key:
                request = replace(request, brain=self._case.result.brain)
            self._click_after = True
            self._begin(self._start_on(request))
        except VolumeError as error:
            self._fail(str(error))

    def _on_answer(self, answer: Answer) -> None:
        if self._layer is not None and answer.shown is not None:
            self._layer.data = answer.shown.labels
            self._tell(answer.shown)

"""Dock widget: the brain of an image layer, as a mask and as a stripped image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_strokedx.layers import check_layer, layer_source
from napari_strokedx.results import kept_flag, show_result
from napari_strokedx.widgets.parts import (
    NO_IMAGE,
    ChoiceBox,
    LayerBox,
    ModelBox,
    OrientationBox,
    device_text,
)
from napari_strokedx.widgets.run_widget import RunWidget
from napari_strokedx.workers import Job, Outcome, start_skull_strip
from strokedx_core.tasks import TASKS
from strokedx_core.volume import VolumeError

if TYPE_CHECKING:
    from napari.components import ViewerModel

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


class SkullStripWidget(RunWidget):
    """Finds the brain in an image layer.

    Parameters
    ----------
    napari_viewer : ViewerModel
        A `napari.Viewer`, or the model of one.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self.run_button.setToolTip("Find the brain. Earlier results on this layer are replaced.")
        self.layer_box = LayerBox(
            self._viewer, "Image to work on; the one selected in the layer list."
        )
        self.orientation_box = OrientationBox()
        self.output_box = ChoiceBox("What to add to the layer list.")
        for text, outputs in _OUTPUTS.items():
            self.output_box.addItem(text, outputs)
        self.model_box = ModelBox("skull-strip")
        for text, box in (
            ("&Layer", self.layer_box),
            ("Ax&es point to", self.orientation_box),
            ("O&utput", self.output_box),
            ("&Model", self.model_box),
            ("De&vice", self.device_box),
        ):
            self._add_row(text, box)
        self.column.addWidget(self.notice)
        self.column.addStretch(1)
        self.setLayout(self.column)
        self.layer_box.chosen.connect(self._on_layer_chosen)
        self._join()

    def _follow(self) -> None:
        self._offer_models()
        self.layer_box.follow()
        self._on_layer_chosen()

    def _let_go(self) -> None:
        self.layer_box.let_go()

    def _on_layer_chosen(self) -> None:
        layer, reason = self.layer_box.layer(), self._reason_against()
        askable = False
        if layer is not None and not reason:
            askable = self.orientation_box.asks_about(layer)
            self.orientation_box.begin_with(layer)
        self._set_row_visible(self.orientation_box, askable)
        self._check()

    def _reason_against(self) -> str:
        layer = self.layer_box.layer()
        if layer is None:
            return NO_IMAGE
        try:
            check_layer(layer)
        except VolumeError as error:
            return str(error)
        return ""

    def _start(self) -> Job:
        layer = self.layer_box.layer()
        assert layer is not None
        asked = not self.orientation_box.isHidden()
        said = self.orientation_box.answer_for(layer) if asked else None
        return start_skull_strip(
            layer_source(layer, point=self._viewer.dims.point, orientation=said),
            device=self.device_box.currentData(),
            weights=self.model_box.currentData(),
            yielded=self._on_progress,
            returned=self._on_returned,
            finished=self._on_finished,
        )

    def _show(self, outcome: Outcome) -> None:
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
            flags += kept_flag(kept)
        self.status.setText(
            f"Brain of {source.name}: {outcome.volume_ml:,.0f}\N{NO-BREAK SPACE}ml, "
            f"{outcome.seconds:.1f}\N{NO-BREAK SPACE}s on {device_text(outcome.device)}"
        )
        self.flags.show_flags(tuple(flags))

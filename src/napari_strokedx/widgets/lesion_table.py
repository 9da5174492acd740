"""The lesions of a result, one a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidgetItem

from napari_strokedx.widgets.row_table import RowTable

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_strokedx.lesion_shown import Row

__all__ = ["LesionTable", "jump_to"]

_COLUMNS = ("Lesion", "Volume (ml)", "Side")
_MOST_ROWS = 6
_KEYS = (Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_Home, Qt.Key.Key_End, Qt.Key.Key_Return)


class LesionTable(RowTable):
    """Number in the colour of its label, volume, side; largest first.

    Signals
    -------
    chosen : Row
        A lesion was clicked, or reached with the keyboard.
    """

    chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__(_COLUMNS, "Lesions", "Click a lesion to go there.")
        self._rows: tuple[Row, ...] = ()
        header: Any = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.cellClicked.connect(self._on_row)

    def show_rows(self, rows: tuple[Row, ...], colour: Callable[[int], Any]) -> None:
        """Show these lesions and no others; takes no room where there are none.

        Parameters
        ----------
        rows : tuple of Row
        colour : callable
            From a label to its colour, RGBA from 0 to 1.
        """
        self.blockSignals(True)
        self._rows = rows
        self.clearSelection()
        self.setCurrentCell(-1, -1)
        self.setRowCount(len(rows))
        for number, row in enumerate(rows):
            texts = (str(row.number), f"{row.volume_ml:.1f}", row.side)
            if row.volume_ml < 0.95:
                texts = (texts[0], f"{row.volume_ml:.2f}", row.side)
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
                if column == 0:
                    red, green, blue = (round(255 * part) for part in colour(row.number)[:3])
                    item.setData(Qt.ItemDataRole.DecorationRole, QColor(red, green, blue))
                self.setItem(number, column, item)
        self.setVisible(bool(rows))
        self.resizeRowsToContents()
        header: Any = self.horizontalHeader()
        height = header.sizeHint().height() + 2 * self.frameWidth()
        height += sum(self.rowHeight(row) for row in range(min(len(rows), _MOST_ROWS)))
        self.setFixedHeight(height)
        self.blockSignals(False)

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802
        """Go to the lesion that an arrow key or Enter leads to."""
        super().keyPressEvent(event)
        if event.key() in _KEYS:
            self._on_row(self.currentRow())

    def _on_row(self, row: int, column: int = 0) -> None:
        if 0 <= row < len(self._rows):
            self.chosen.emit(self._rows[row])


def jump_to(viewer: ViewerModel, layer: Labels, row: Row) -> None:
    """Bring a lesion into the middle of the view, whichever way the viewer is turned."""
    voxel = np.array(layer.data_to_world(row.voxel), float)
    axes = range(viewer.dims.ndim - 3, viewer.dims.ndim)
    viewer.dims.set_point(list(axes), voxel[-3:].tolist())
    # The camera has moved there with napari 0.9.
    camera = getattr(viewer, "scene", viewer).camera
    centre = np.array(camera.center, float)
    seen = [axis - axes[0] for axis in viewer.dims.displayed if axis >= axes[0]]
    if seen:
        centre[-len(seen) :] = voxel[-3:][seen]
        camera.center = tuple(centre)
    layer.selected_label = row.number

"""Captions in a table that can be edited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHeaderView, QTableWidgetItem

from napari_strokedx.caption_sheet import LEVELS
from napari_strokedx.widgets.row_table import RowTable

if TYPE_CHECKING:
    from napari_strokedx.caption_sheet import CaptionRow

__all__ = ["CaptionTable"]

_COLUMNS = ("About", "Caption")
_HEIGHT = 220


class CaptionTable(RowTable):
    """What a caption is about, and its text.

    Signals
    -------
    edited : int, str
        Row and its new text.
    chosen : int
        A row was clicked, or reached with the keyboard.
    """

    edited = Signal(int, str)
    chosen = Signal(int)

    def __init__(self) -> None:
        tip = "Click a caption to go there; double-click its text to change it."
        super().__init__(_COLUMNS, "Captions", tip)
        header: Any = self.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        self.setWordWrap(True)
        self.setMinimumHeight(_HEIGHT)
        self.cellChanged.connect(self._on_changed)
        self.currentCellChanged.connect(lambda row, *_: self.chosen.emit(row) if row >= 0 else None)

    def show_rows(self, rows: tuple[CaptionRow, ...]) -> None:
        """Show these captions and no others; takes no room where there are none."""
        self.blockSignals(True)
        self.setRowCount(len(rows))
        for number, row in enumerate(rows):
            about = LEVELS[row.level]
            if row.level != "case":
                about += f" {row.number}"
            cells = [QTableWidgetItem(about), QTableWidgetItem(row.text)]
            cells[0].setFlags(Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEnabled)
            for column, cell in enumerate(cells):
                cell.setToolTip(row.text)
                cell.setTextAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
                self.setItem(number, column, cell)
        self.setVisible(bool(rows))
        self.resizeRowsToContents()
        self.blockSignals(False)

    def resizeEvent(self, event: Any) -> None:  # noqa: N802
        """Wrap anew."""
        super().resizeEvent(event)
        self.resizeRowsToContents()

    def _on_changed(self, row: int, column: int) -> None:
        item = self.item(row, column)
        if column == 1 and item is not None:
            item.setToolTip(item.text())
            self.resizeRowToContents(row)
            self.edited.emit(row, item.text())

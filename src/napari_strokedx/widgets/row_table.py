"""A table of which one row is chosen at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtWidgets import QAbstractItemView, QTableWidget

__all__ = ["RowTable"]


class RowTable(QTableWidget):
    """Named columns, no row numbers, whole rows selected; hidden as long as it is empty.

    Parameters
    ----------
    columns : sequence of str
    name : str
        What assistive technology calls it.
    tip : str
    """

    def __init__(self, columns: Sequence[str], name: str, tip: str) -> None:
        super().__init__(0, len(columns))
        self.setAccessibleName(name)
        self.setToolTip(tip)
        self.setHorizontalHeaderLabels(columns)
        # Qt's stubs say that either may be None.
        across: Any = self.horizontalHeader()
        across.setHighlightSections(False)
        beside: Any = self.verticalHeader()
        beside.hide()
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setTabKeyNavigation(False)
        self.hide()

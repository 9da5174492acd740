"""What a command did, as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from strokedx_core import __version__

__all__ = ["NOTICE", "write_report"]

NOTICE = "Research use only: not a medical device."


def write_report(path: Path, kind: str, entries: Sequence[dict[str, Any]]) -> None:
    """Write a report beside its place and rename it.

    Parameters
    ----------
    path : Path
        Its folder is made where it is missing.
    kind : str
        Key of the entries.
    entries : sequence of dict
        JSON values.
    """
    content = {"program": f"strokedx {__version__}", "notice": NOTICE, kind: entries}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.partial")
    beside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    beside.replace(path)

"""What a command did, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strokedx_core import __version__

__all__ = ["NOTICE", "write_json", "write_report", "write_text"]

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
    write_json(path, {kind: entries})


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON values, with the program and the notice before them."""
    content = {"program": f"strokedx {__version__}", "notice": NOTICE, **content}
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file of text beside its place and rename it; its folder is made where missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.partial")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)

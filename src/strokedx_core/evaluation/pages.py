"""Pages of results: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

__all__ = ["page", "paragraph", "picture", "table"]

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;\
padding:0 1rem}}img{{width:100%}}table{{border-collapse:collapse}}\
td,th{{padding:.2rem .8rem .2rem 0;text-align:left}}</style></head><body>
<h1>{title}</h1>
"""


def page(title: str, notice: str, parts: Iterable[str]) -> str:
    """Put together a page.

    Parameters
    ----------
    title, notice : str
        Text; the notice stands out below the title.
    parts : iterable of str
        HTML, one below the other.
    """
    notice = f"<p><strong>{html.escape(notice)}</strong></p>"
    return _HEAD.format(title=html.escape(title)) + "\n".join((notice, *parts, "</body></html>\n"))


def paragraph(text: str) -> str:
    """Text as a paragraph."""
    return f"<p>{html.escape(text)}</p>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Text in rows and columns."""
    lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return "<table>" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def picture(png: bytes, description: str) -> str:
    """An image inside the page itself."""
    data = base64.b64encode(png).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{html.escape(description)}">'

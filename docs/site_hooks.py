"""What the site tells from the program itself: model cards, and the help of every command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import tomli_w
import typer
from typer.testing import CliRunner

from strokedx_core.cli import app
from strokedx_core.weights import read_card, shipped

_WIDE = {"COLUMNS": "92"}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put in what `<!-- cards -->` and `<!-- commands -->` stand for."""
    for mark, text in (("cards", _cards), ("commands", _commands)):
        if f"<!-- {mark} -->" in markdown:
            markdown = markdown.replace(f"<!-- {mark} -->", "\n".join(text()))
    return markdown


def _cards() -> Iterator[str]:
    for name in shipped():
        card = read_card(name)
        values = card.text
        yield f"## {name}\n\n{values['title']}.\n"
        yield f"- Task: `{card.task}`, {values['parameters']:,} parameters"
        yield f"- Voxels of {', '.join(f'{mm:g} mm' for mm in card.spacings_mm)}"
        yield f"- SHA-256: `{card.sha256}`\n"
        for key, value in values.get("use", {}).items():
            yield f"**{key.capitalize()}.** {value}\n"
        yield f"### Data of {name}\n\n| what | licence | use |\n|---|---|---|"
        for row in values.get("data", ()):
            yield f"| {row['name']} | {row['licence']} | {row.get('use', '')} |"
        yield f"\n### Results of {name}\n\n| measured | |\n|---|---|"
        yield from _rows(values.get("results", {}))
        recipe = tomli_w.dumps({"training": values.get("training", {})})
        yield '\n??? note "How it was trained"\n\n    ```toml'
        yield from (f"    {line}" for line in recipe.splitlines())
        yield "    ```\n"


def _rows(values: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for key, value in values.items():
        name = f"{before}, {key}" if before else key
        if isinstance(value, Mapping):
            yield from _rows(value, name)
        else:
            yield (
                f"| {name} | {value:.4g} |" if isinstance(value, float) else f"| {name} | {value} |"
            )


def _commands() -> Iterator[str]:
    yield from _help(typer.main.get_command(app), ())


def _help(command: Any, words: tuple[str, ...]) -> Iterator[str]:
    if words:
        result = CliRunner().invoke(app, [*words, "--help"], prog_name="strokedx", env=_WIDE)
        yield f"## strokedx {' '.join(words)}\n\n```text\n{result.stdout.strip()}\n```\n"
    for name, below in getattr(command, "commands", {}).items():
        if not below.hidden:
            yield from _help(below, (*words, name))

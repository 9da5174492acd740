"""Two run folders beside each other: what they were told, where they ran, how well they went."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from strokedx_core.training.run_log import read_metrics

__all__ = ["RunError", "compare_runs"]

_PLACES = ("command", "processor")
"""Entries of environment.json that differ for no reason worth telling."""


class RunError(ValueError):
    """A folder is no training run; the message names it."""


def compare_runs(first: Path, second: Path) -> str:
    """What two runs were told differently, and their metrics side by side.

    Parameters
    ----------
    first, second : Path
        Run folders of `training.segmentation.train`.

    Returns
    -------
    str
        Lines of text.

    Raises
    ------
    RunError
        If one is no run folder.
    """
    lines = [f"A: {first}", f"B: {second}", ""]
    for title, name, left_out in (
        ("configuration", "config.json", ()),
        ("environment", "environment.json", _PLACES),
    ):
        # Runs of earlier versions say nothing of where they ran.
        told = [
            dict(_flat(_read(run / name)))
            if title == "configuration" or (run / name).exists()
            else {}
            for run in (first, second)
        ]
        keys = [key for key in dict.fromkeys([*told[0], *told[1]]) if key not in left_out]
        rows = [
            [key, *(_shown(one.get(key)) for one in told)]
            for key in keys
            if told[0].get(key) != told[1].get(key)
        ]
        lines += (
            _columns([[f"{title}, where they differ", "A", "B"], *rows])
            if rows
            else [f"{title}: the same"]
        )
        lines.append("")
    tables = [_metrics(run) for run in (first, second)]
    for name in dict.fromkeys(key for rows in tables for row in rows for key in row):
        if name == "step":
            continue
        by_step = [
            {int(row["step"]): row[name] for row in rows if row.get(name)} for rows in tables
        ]
        steps = sorted({*by_step[0], *by_step[1]})
        rows = [[str(step), *(values.get(step, "") for values in by_step)] for step in steps]
        lines += [*_columns([[name, "A", "B"], *rows]), ""]
    best = [max((float(row["Dice mean"]) for row in rows), default=float("nan")) for rows in tables]
    lines.append(f"best validation Dice: A {best[0]:.4f}, B {best[1]:.4f}")
    return "\n".join(lines)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path.parent}: no training run ({path.name} is missing)") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from error


def _metrics(run: Path) -> list[dict[str, str]]:
    try:
        (run / "metrics.csv").stat()
        return read_metrics(run)
    except OSError as error:
        raise RunError(f"{run}: no training run (metrics.csv: {error.strerror})") from error


def _flat(values: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Entries of nested tables by dotted names; lists of tables are numbered."""
    tables = isinstance(values, list) and any(isinstance(value, dict) for value in values)
    if isinstance(values, Mapping) or tables:
        pairs = values.items() if isinstance(values, Mapping) else enumerate(values)
        for key, value in pairs:
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, values


def _shown(value: Any) -> str:
    return "-" if value is None else str(value)


def _columns(rows: list[list[str]]) -> list[str]:
    """Rows with their cells under each other."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    ]

"""What the benchmarks that measure weights share: their options, and where figures go."""

from __future__ import annotations

import argparse
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from strokedx_core.tasks import TASKS
from strokedx_core.volume import write_atomically


def options_of(text: str | None) -> argparse.ArgumentParser:
    """Options --data, --weights and --card; `text` is what the program is about."""
    parser = argparse.ArgumentParser(description=(text or "").split("\n")[0])
    default = os.environ.get("STROKEDX_DATA")
    parser.add_argument("--data", type=Path, default=default, required=default is None)
    parser.add_argument("--weights", help="name of shipped weights, or a file of others")
    parser.add_argument("--card", type=Path, help="card whose results are to be brought up to date")
    return parser


def answered_by(card: Path | None, sequences: Iterable[str], lesion_type: str = "general") -> bool:
    """Whether such lesions on these sequences are for the lesion weights of a card; where no card
    is named, all are."""
    return card is None or TASKS["lesion"].weights_for(sequences, lesion_type) == card.stem


def write_results(card: Path | None, results: Mapping[str, Any]) -> None:
    """Put figures into the `[results]` of a card, where one is named."""
    if card is not None:
        values = tomllib.loads(card.read_text(encoding="utf-8"))
        values.setdefault("results", {}).update(results)
        write_atomically(card, [tomli_w.dumps(values).encode()])

"""Everybody in one table, and what the output folder says of itself."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from strokedx_core import __version__
from strokedx_core.cli.report import NOTICE, write_text
from strokedx_core.cohort.records import Outcome
from strokedx_core.weights import read_card, shipped

__all__ = ["counts", "describe_dataset", "write_status"]

COLUMNS = ("subject", "session", "status", "reason", "seconds", "flags", "brain_ml", "lesion_ml",
           "lesions", "side", "pattern")  # fmt: skip


def counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Examinations by status; they add up to all."""
    found = Counter(outcome.status for outcome in outcomes)
    return {status: found[status] for status in ("done", "failed", "skipped")}


def write_status(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write a row for everybody, in the order of their names."""
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in sorted(outcomes, key=lambda outcome: outcome.name):
        facts = one.facts or {}
        more = [facts.get(name, "") for name in COLUMNS[6:]]
        writer.writerow(
            [one.subject, one.session, one.status, one.reason, f"{one.seconds:.2f}",
             "; ".join(one.flags), *more]
        )  # fmt: skip
    write_text(path, stream.getvalue())


def describe_dataset(out: Path) -> None:
    """Write `dataset_description.json`: which program and weights made the derivatives."""
    content = {
        "Name": "StrokeDx: brains, stroke lesions and captions",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "StrokeDx", "Version": __version__, "Description": NOTICE}],
        "Weights": {name: read_card(name).sha256 for name in shipped()},
    }
    write_text(out / "dataset_description.json", json.dumps(content, indent=2) + "\n")

"""The page of one examination: slices to scroll through, captions, findings, flags, provenance."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from strokedx_core.cli.report import NOTICE
from strokedx_core.cohort.exams import Exam
from strokedx_core.cohort.viewer import montage, shown
from strokedx_core.volume import Volume

__all__ = ["person_page", "render"]


@lru_cache
def _templates() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("strokedx_core.cohort"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


def render(template: str, **values: Any) -> str:
    """A page from its template; text is escaped."""
    return str(_templates().get_template(template).render(**values))


def person_page(
    exam: Exam,
    volumes: Mapping[str, Volume],
    first: Volume,
    brain: np.ndarray,
    lesion: np.ndarray | None,
    captions: Mapping[str, Any],
    facts: Mapping[str, Any],
    about: Mapping[str, Any],
) -> str:
    """HTML that needs nothing beside it.

    Parameters
    ----------
    exam : Exam
    volumes : mapping of str to Volume
    first : Volume
        On whose grid the masks lie.
    brain, lesion : ndarray, shape of `first`
    captions : mapping
        `case`, `lesions` and `slices`; empty where none were asked for.
    facts : mapping
        Numbers.
    about : mapping
        Sources, program, weights, flags, as in the sidecars.
    """
    view = shown(volumes, first, brain, lesion)
    x, y, z = view.masks.shape
    middle = np.argwhere(view.masks >= 2) if (view.masks >= 2).any() else np.argwhere(view.masks)
    start = (
        middle.mean(axis=0).round().astype(int).tolist()
        if len(middle)
        else [x // 2, y // 2, z // 2]
    )
    rows = [("Brain", f"{facts['brain_ml']:.0f} ml")]
    if "lesion_ml" in facts:
        rows.append(("Lesions", f"{facts['lesions']}, {facts['lesion_ml']:.2f} ml in all"))
    rows += [(name.capitalize(), str(facts[name])) for name in ("side", "pattern")
             if facts.get(name)]  # fmt: skip
    arteries = facts.get("arteries") or {}
    rows += [(f"Territory {name}", f"{ml:.2f} ml") for name, ml in arteries.items()]
    return render(
        "person.html.j2",
        title=exam.name,
        notice=NOTICE,
        sequences=[
            {"name": name, "sheet": view.picture(name), "montage": montage(view, name)}
            for name in view.images
        ],
        masks=view.picture("masks"),
        shape=[x, y, z],
        columns=view.columns,
        start=start,
        captions=captions,
        rows=rows,
        flags=about["Flags"],
        sources=about["Sources"],
        program=about["GeneratedBy"][0],
        weights=about["Weights"],
    )

"""The page of the study: everybody in one table, plots, and where lesions lie."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from strokedx_core import __version__
from strokedx_core.cli.report import NOTICE, write_text
from strokedx_core.cohort.exams import Exam
from strokedx_core.cohort.mni_voxels import SHAPE, unpack
from strokedx_core.cohort.person_page import render
from strokedx_core.cohort.records import Outcome
from strokedx_core.cohort.status import counts

__all__ = ["write_study_page"]

_FIRST = {"failed": 0, "flagged": 1, "skipped": 2, "done": 3}


def write_study_page(exams: Sequence[Exam], outcomes: Sequence[Outcome], out: Path) -> Path:
    """Write `index.html` in the output folder.

    Parameters
    ----------
    exams : sequence of Exam
    outcomes : sequence of Outcome
        Of each of them.
    out : Path

    Returns
    -------
    Path
        The page.
    """
    rows = []
    for exam, outcome in zip(exams, outcomes, strict=True):
        facts = outcome.facts or {}
        kind = "flagged" if outcome.status == "done" and outcome.flags else outcome.status
        page = f"{exam.folder.as_posix()}/{exam.name}_report.html"
        rows.append(
            {
                "kind": kind,
                "subject": exam.subject,
                "session": exam.session,
                "status": kind,
                "told": outcome.reason or "; ".join(outcome.flags),
                "page": page if (out / page).is_file() else "",
                "brain_ml": facts.get("brain_ml", ""),
                "lesion_ml": facts.get("lesion_ml", ""),
                "lesions": facts.get("lesions", ""),
                "side": facts.get("side", ""),
                "pattern": facts.get("pattern", ""),
                "artery": _main_artery(facts),
            }
        )
    rows.sort(key=lambda row: (_FIRST[row["kind"]], row["subject"], row["session"]))
    done = [outcome.facts for outcome in outcomes if outcome.status == "done" and outcome.facts]
    text = render(
        "study.html.j2",
        title="StrokeDx: the study",
        notice=NOTICE,
        version=__version__,
        counts=counts(outcomes),
        total=len(outcomes),
        rows=rows,
        plots=_plots(done),
        overlap=_overlap(done),
    )
    write_text(out / "index.html", text)
    return out / "index.html"


def _main_artery(facts: Any) -> str:
    arteries = facts.get("arteries") or {}
    return max(arteries, key=lambda name: arteries[name]) if arteries else ""


def _plots(done: Sequence[Any]) -> str:
    """Volumes, and territories that lesions lie in, as a data URL; "" where there is nothing."""
    volumes = [facts["lesion_ml"] for facts in done if facts.get("lesion_ml")]
    if not volumes:
        return ""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    ticks = [0.01, 0.1, 1, 10, 100, 1000]
    left.hist(np.clip(volumes, 0.01, 1000), bins=np.logspace(-2, 3, 21).tolist(), color="#36c")
    left.set(xscale="log", xlabel="lesion volume, ml", ylabel="examinations", xlim=(0.01, 1000))
    left.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    left.yaxis.set_major_locator(MaxNLocator(integer=True))
    arteries: Counter[str] = Counter()
    for facts in done:
        for name, ml in (facts.get("arteries") or {}).items():
            arteries[name] += ml
    names = sorted(arteries)
    right.barh(names, [arteries[name] for name in names], color="#c63")
    right.set(xlabel="ml of lesion in the territory, all together")
    return _data_url(figure)


def _overlap(done: Sequence[Any]) -> str:
    """How many have a lesion where, on the brain they have in common, as a data URL."""
    packed = [facts["mni"] for facts in done if facts.get("mni")]
    lesions, brains = np.zeros(SHAPE), np.zeros(SHAPE)
    for one in packed:
        lesions += unpack(one["lesion"])
        brains += unpack(one["brain"])
    if not lesions.any():
        return ""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 4.2), layout="constrained", facecolor="black")
    FigureCanvasAgg(figure)
    levels = np.linspace(8, SHAPE[2] - 6, 14).round().astype(int)
    drawn: Any = None
    for axis, z in zip(figure.subplots(2, 7).ravel(), levels, strict=True):
        # Seen from below, as radiologists do.
        brain, count = brains[::-1, :, z].T, lesions[::-1, :, z].T
        axis.imshow(brain >= 0.5 * len(packed), cmap="gray", origin="lower", vmin=0, vmax=3)
        drawn = axis.imshow(
            np.ma.masked_equal(count, 0), cmap="autumn", origin="lower", vmin=1,
            vmax=max(2, lesions.max()),
        )  # fmt: skip
        axis.set_title(f"z = {-74 + 4 * z:d} mm", color="0.7", fontsize=7)
        axis.set_axis_off()
    bar = figure.colorbar(
        drawn, ax=figure.axes[:14], shrink=0.8, pad=0.01, ticks=MaxNLocator(integer=True)
    )
    bar.set_label("examinations with a lesion", color="0.8")
    bar.ax.tick_params(colors="0.8")
    return _data_url(figure)


def _data_url(figure: Any) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=90, facecolor=figure.get_facecolor())
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")

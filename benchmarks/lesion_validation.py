"""What the lesion weights reach on simulated strokes in heads, and of shapes, not trained on.

    python benchmarks/lesion_validation.py --data DIR [--weights NAME|FILE] [--card CARD.toml]

DIR holds `head_labels/` and `lesion_masks/`. Every image goes the way of a user's scan, from the
volumes to the mask; only the brain is given. Printed are, by kind, stage and sequences, Dice, F1
over lesions and the absolute volume error, all means; by size, Dice; on heads without a stroke, the
share left without a mark; and Dice after each of the first clicks. With --card only what those
weights are taken for is measured, and written into the card's `[results]`: the shipped cards got
theirs so.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from cards import answered_by, options_of, write_results

from strokedx_core.evaluation.lesions import LesionScores, compare_lesions
from strokedx_core.evaluation.metrics import dice
from strokedx_core.inference.clicks import Click, ClickSession
from strokedx_core.inference.segment import segment_lesions
from strokedx_core.synthesis.clicks import simulate_clicks
from strokedx_core.synthesis.labels import load_head
from strokedx_core.synthesis.lesion_shapes import load_shapes
from strokedx_core.synthesis.mni import head_to_mni
from strokedx_core.synthesis.stroke import STAGES, StrokeCase, generate_case
from strokedx_core.tasks import LESION_TYPES

HELD_OUT = ("seg_19", "seg_20")
CLICKS = 5
SIZES = {"under 5 ml": (0.0, 5.0), "5 to 50 ml": (5.0, 50.0), "over 50 ml": (50.0, np.inf)}
QUESTIONS: tuple[tuple[str, str, tuple[tuple[str, ...], ...]], ...] = (
    ("infarct", "ischemic", (("DWI", "ADC"), ("DWI", "B0"), ("FLAIR",), ("T2W",))),
    ("old infarct", "ischemic", (("T1W",), ("FLAIR",))),
    ("haemorrhage", "hemorrhagic", (("SWI",), ("DWI", "ADC"))),
    ("none", "general", (("DWI", "ADC"), ("FLAIR",), ("T1W",), ("T2W",), ("SWI",))),
)
"""Kind of stroke, what is asked for, and of which sequences."""

CURVES = (
    ("infarct", "acute", "ischemic", ("DWI", "ADC")),
    ("infarct", "subacute", "ischemic", ("FLAIR",)),
    ("old infarct", "chronic", "ischemic", ("T1W",)),
    ("haemorrhage", "acute", "hemorrhagic", ("SWI",)),
)
"""What is clicked on: kind of stroke, stage, what is asked for, and sequences."""


class Cases:
    """Simulated examinations of held-out heads, with lesions of held-out shapes."""

    def __init__(self, data: Path, cache: Path | None) -> None:
        heads = [load_head(data / "head_labels" / f"{n}.nii.gz", cache) for n in HELD_OUT]
        self.heads = [(head, head_to_mni(head)) for head in heads]
        self.shapes = [
            shape
            for shape in load_shapes(data / "lesion_masks", cache)
            if shape.person.endswith("0") and shape.plausible
        ]

    def draw(
        self, kind: str, stage: str, sequences: tuple[str, ...], count: int
    ) -> Iterator[StrokeCase]:
        """Cases with a lesion that shows, or, of the kind "none", without one.

        None, where a lesion of that stage does not show on these sequences. Lesions of a kind are
        the same ones at every stage and on all sequences, as far as they show there.
        """
        for number in range(12 * count):
            head, to_mni = self.heads[number % len(self.heads)]
            case = generate_case(
                head, to_mni, self.shapes, 7_000_000 + number, sequences=sequences, kind=kind,
                stage=stage,
            )  # fmt: skip
            if kind == "none" or bool(case.target.any()):
                yield case
                count -= 1
                if not count:
                    return


def scores_of(
    case: StrokeCase, lesion_type: str, weights: str | None
) -> tuple[LesionScores, np.ndarray]:
    """Agreement of what is found with what was put there, and the latter."""
    truth = case.target[LESION_TYPES.index(lesion_type)].numpy() > 0.5
    result = segment_lesions(
        case.volumes(), lesion_type=lesion_type, brain=case.brain.numpy(), weights=weights
    )
    return compare_lesions(result.mask, truth, result.volume.affine), truth


def click_curve(cases: Iterator[StrokeCase], lesion_type: str, weights: str | None) -> list[float]:
    """Mean Dice before a click and after each of the first, on the largest error each time."""
    curves = []
    for case in cases:
        truth = case.target[LESION_TYPES.index(lesion_type)].numpy() > 0.5
        session = ClickSession(
            case.volumes(), lesion_type=lesion_type, brain=case.brain.numpy(), weights=weights
        )
        curve = [dice(session.mask, truth)]
        for _ in range(CLICKS):
            for clicked in simulate_clicks(session.mask, truth, 1):
                session.click(Click(*clicked))
            curve.append(dice(session.mask, truth))
        curves.append(curve)
    return [statistics.mean(values) for values in zip(*curves, strict=True)]


def measure(
    data: Path, weights: str | None, images: int, cache: Path | None, card: Path | None
) -> dict[str, Any]:
    """All figures that are a card's, or simply all, printed as they come."""
    cases = Cases(data, cache)
    table: dict[str, dict[str, float]] = {}
    sizes: dict[str, list[float]] = {name: [] for name in SIZES}
    specificity: dict[str, float] = {}
    for kind, lesion_type, sets in QUESTIONS:
        for sequences in sets:
            if not answered_by(card, sequences, lesion_type):
                continue
            said, every = "+".join(sequences), []
            for stage in STAGES[kind]:
                scores = []
                for case in cases.draw(kind, stage, sequences, images):
                    score, _ = scores_of(case, lesion_type, weights)
                    scores.append(score)
                    for name, (low, high) in SIZES.items():
                        if kind != "none" and low <= score.reference_ml < high:
                            sizes[name].append(score.dice)
                every += scores
                if kind != "none" and scores:
                    table[f"{kind} {stage}, {said}"] = row_of(scores)
            if kind == "none":
                clean = sum(score.predicted_ml == 0 for score in every)
                specificity[said] = round(clean / len(every), 3)
                print(f"no stroke, {said}: {clean} of {len(every)} without a mark", flush=True)
                continue
            if len(STAGES[kind]) > 1:
                table[f"{kind}, {said}"] = row_of(every)
            for name in [key for key in table if key.startswith(kind) and key.endswith(said)]:
                print(name + ": " + ", ".join(f"{k} {v:.3f}" for k, v in table[name].items()))
    by_size = {k: round(statistics.mean(v), 3) for k, v in sizes.items() if v}
    print("Dice by size: " + ", ".join(f"{k} {v:.3f}" for k, v in by_size.items()), flush=True)
    curves = {}
    for kind, stage, lesion_type, sequences in CURVES:
        if not answered_by(card, sequences, lesion_type):
            continue
        drawn = cases.draw(kind, stage, sequences, 2 * images)
        curve = click_curve(drawn, lesion_type, weights)
        said = f"Dice by number of clicks, {kind} {stage}, {'+'.join(sequences)}"
        print(f"{said}: " + ", ".join(f"{value:.3f}" for value in curve), flush=True)
        curves[said] = {str(number): round(value, 3) for number, value in enumerate(curve)}
    results = {
        "simulated strokes, held-out heads and shapes": table,
        "Dice by size of the lesion": by_size,
        "share of stroke-free heads without a mark": specificity,
        **curves,
        "images of each kind, stage and set": {"number": images},
    }
    return {title: values for title, values in results.items() if values}


def row_of(scores: list[LesionScores]) -> dict[str, float]:
    """Means over cases."""
    return {
        "Dice": round(statistics.mean(s.dice for s in scores), 3),
        "lesion F1": round(statistics.mean(s.lesion_f1 for s in scores), 3),
        "volume error ml": round(
            statistics.mean(s.absolute_volume_difference_ml for s in scores), 2
        ),
    }


def main() -> None:
    """Measure, print, and write into a card where one is named."""
    parser = options_of(__doc__)
    parser.add_argument("--images", type=int, default=8, help="per kind, stage and sequences")
    parser.add_argument("--cache", type=Path, help="folder to keep prepared label maps in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cache = options.cache or Path(folder)
        results = measure(options.data, options.weights, options.images, cache, options.card)
    write_results(options.card, results)


if __name__ == "__main__":
    main()

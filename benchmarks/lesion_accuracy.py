"""What the lesion weights reach: real strokes, clicks on them, and scans without a stroke.

    python benchmarks/lesion_accuracy.py --data DIR [--weights NAME|FILE] [--card CARD.toml]

DIR holds `stroke_dev/` and `scans_dev/`, laid out as the code below reads them. With --card only
what those weights are taken for is measured, and written into the card's `[results]`: the shipped
cards got theirs so.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from cards import answered_by, options_of, write_results

from strokedx_core.components import components
from strokedx_core.evaluation.metrics import dice, volume_ml
from strokedx_core.inference.clicks import ClickSession
from strokedx_core.inference.segment import Click, LesionResult, segment_lesions
from strokedx_core.synthesis.clicks import simulate_clicks
from strokedx_core.volume import read_mask

CLICKS = 5
LEAST_ML = 0.1
"""Reference lesions from which one that is missed counts."""


def stroke(
    volumes: Mapping[str, Path], reference: Path, weights: str | None
) -> tuple[dict[str, float], LesionResult]:
    """Scores of one case, automatic and with clicks, and how long both took."""
    truth = read_mask(reference)
    begin = time.perf_counter()
    result = segment_lesions(volumes, lesion_type="ischemic", weights=weights)
    seconds = time.perf_counter() - begin
    wanted = truth.data != 0
    figures = {"Dice": dice(result.mask, wanted)} | lesions_found(result.mask, wanted, truth.affine)
    figures["volume ml"] = volume_ml(result.mask, truth.affine)
    figures["reference ml"] = volume_ml(wanted, truth.affine)
    figures["false ml"] = volume_ml(result.mask & ~wanted, truth.affine)
    figures["seconds"] = seconds
    session = ClickSession(volumes, lesion_type="ischemic", weights=weights)
    slowest = 0.0
    for number in range(CLICKS):
        clicks = simulate_clicks(session.mask, wanted, 1)
        if not clicks:
            break
        begin = time.perf_counter()
        session.click(Click(*clicks[0]))
        slowest = max(slowest, time.perf_counter() - begin)
        figures[f"Dice, {number + 1} clicks"] = dice(session.mask, wanted)
    figures["slowest click, s"] = slowest
    return figures, result


def lesions_found(found: np.ndarray, wanted: np.ndarray, affine: np.ndarray) -> dict[str, float]:
    """Reference lesions of 0.1 ml and more that any voxel hits, and false ones."""
    pieces = components(wanted)
    large = [n for n in range(1, pieces.max() + 1) if volume_ml(pieces == n, affine) >= LEAST_ML]
    mine = components(found)
    false = [n for n in range(1, mine.max() + 1) if not wanted[mine == n].any()]
    return {
        "lesions over 0.1 ml": len(large),
        "of them found": sum(bool(found[pieces == n].any()) for n in large),
        "false lesions": len(false),
    }


def measure(data: Path, weights: str | None, card: Path | None) -> dict[str, Any]:
    """All figures that are a card's, or simply all, printed as they come."""
    isles = data / "stroke_dev" / "isles2022_sub-strokecase0001"
    ads = data / "stroke_dev" / "ads_subject01"
    stem = "sub-strokecase0001_ses-0001"
    cases = {
        "isles2022 DWI + ADC": (
            {"DWI": isles / f"{stem}_dwi.nii.gz", "ADC": isles / f"{stem}_adc.nii.gz"},
            isles / f"{stem}_msk.nii.gz",
        ),
        "ads_subject01 DWI + B0": (
            {"DWI": ads / "Subject01_DWI.nii.gz", "B0": ads / "Subject01_b0.nii.gz"},
            ads / "lesion_mask_dagmnet_output.nii.gz",
        ),
    }
    results: dict[str, Any] = {}
    for name, (volumes, reference) in cases.items():
        if not answered_by(card, volumes):
            continue
        figures, _ = stroke(volumes, reference, weights)
        print(name + ": " + ", ".join(f"{k} {v:.3g}" for k, v in figures.items()), flush=True)
        results[name] = {key: round(float(value), 3) for key, value in figures.items()}
    without: dict[str, float] = {}
    for mask_path in sorted((data / "scans_dev").glob("*_brainmask.nii.gz")):
        name = mask_path.name.removesuffix("_brainmask.nii.gz")
        path, sequence = mask_path.with_name(f"{name}.nii.gz"), name.rsplit("_", 1)[1]
        if not answered_by(card, [sequence]):
            continue
        found = segment_lesions({sequence: path}, weights=weights)
        without[name] = round(found.volume_ml, 2)
        print(f"no stroke, {name}: {found.volume_ml:.2f} ml", flush=True)
    if without:
        results["ml marked in scans without a stroke"] = without
        many = sum(volume >= 0.5 for volume in without.values())
        print(f"0.5 ml or more in {many} of {len(without)} scans without a stroke")
    return results


def main() -> None:
    """Measure, print, and write into a card where one is named."""
    options = options_of(__doc__).parse_args()
    write_results(options.card, measure(options.data, options.weights, options.card))


if __name__ == "__main__":
    main()

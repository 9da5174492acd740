"""How well the anatomy network tells the parts of a brain apart.

On generated heads, with skull and with strokes, of the people whose label maps were held out, in
six contrasts, and beside these in random ones, in which parts may look alike::

    python benchmarks/anatomy_accuracy.py --data DIR --images 2 [--card CARD.toml]

DIR holds `head_labels/`, `lesion_masks/` and `atlas/`. Dice is on the image's own grid of 1.5 mm,
and only where the brain is was told; structures are compared where the label map names one, which
fluid in the sulci and the ventral diencephalon are not; the truth of a territory is the atlas laid
over the label map, that of an MNI coordinate the label map's own affine. With --card the figures
are written into a card's `[results]`.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from cards import options_of, write_results
from nibabel.affines import apply_affine
from torch import Tensor

from strokedx_core.anatomy.atlas import read_atlas
from strokedx_core.anatomy.locate import locate
from strokedx_core.anatomy.regions import GROUPS, STRUCTURES, TERRITORIES
from strokedx_core.evaluation.metrics import dice
from strokedx_core.synthesis.anatomy import HeadAnatomy, load_anatomy
from strokedx_core.synthesis.head import nearest_index
from strokedx_core.synthesis.labels import load_head
from strokedx_core.synthesis.lesion_shapes import load_shapes
from strokedx_core.synthesis.mni import head_to_mni
from strokedx_core.synthesis.stroke import StrokeCase, StrokeRecipe, generate_case
from strokedx_core.volume import volume_from_array

HELD_OUT = ("seg_19", "seg_20")
CONTRASTS = ("T1W", "T2W", "FLAIR", "DWI", "ADC", "SWI")
RANDOM = "random"
RECIPE = StrokeRecipe(
    shape=(120, 144, 120), spacing=1.5, spacing_jitter=0.0, stripped=0.0, random_contrast=0.0
)
DEEP = ("caudate", "lentiform nucleus", "thalamus")
MNI = "median error of MNI coordinates, mm"

Scores = dict[str, list[float]]


def truth_of(
    case: StrokeCase, anatomy: HeadAnatomy, to_mni: Tensor
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What each voxel of an image is, and the MNI coordinates, (n, 3), of those in the brain."""
    index = nearest_index(case.place, torch.zeros(3), anatomy.structure.shape)
    parts = {
        key: getattr(anatomy, key).reshape(-1)[index].view(case.brain.shape).numpy()
        for key in ("structure", "named", "territory", "right")
    }
    parts["right"] = parts["right"] ^ case.mirrored
    places = case.place[:, case.brain]
    meant = (to_mni[:, :3] @ places + to_mni[:, 3:]).T.numpy()
    # The image's x runs to the right, whether the head is mirrored or not.
    return parts, meant * ([-1, 1, 1] if case.mirrored else [1, 1, 1])


def measure(case: StrokeCase, anatomy: HeadAnatomy, to_mni: Tensor, weights: str | None) -> Scores:
    """Dice of every part, the median error of MNI coordinates, and the seconds it took."""
    affine = np.diag([case.spacing] * 3 + [1.0])
    volume = volume_from_array(case.image.amax(0).numpy(), affine)
    begin = time.perf_counter()
    found = locate(volume, brain=case.brain.numpy(), weights=weights)
    scores: Scores = {"seconds": [time.perf_counter() - begin]}
    truth, meant = truth_of(case, anatomy, to_mni)
    brain = case.brain.numpy()
    scores["hemispheres"] = [
        dice((found.structure > 0) & (found.right == side), brain & (truth["right"] == side))
        for side in (False, True)
    ]
    for number, name in enumerate(STRUCTURES, start=1):
        there = truth["named"] & (truth["structure"] == number)
        scores[name] = [dice(truth["named"] & (found.structure == number), there)]
    scores["deep structures"] = [scores[name][0] for name in DEEP]
    short, names = (found.territory.astype(int) + 1) // 2, tuple(TERRITORIES)
    for group, members in GROUPS.items():
        numbers = [1 + names.index(member) for member in members]
        there = np.isin(truth["territory"], numbers)
        scores[f"territory of {group}"] = [dice(np.isin(short, numbers), there)]
    scores["single territories"] = [
        dice(short == number, truth["territory"] == number) for number in range(1, 1 + len(names))
    ]
    placed = apply_affine(found.to_mni @ affine, np.argwhere(brain).astype(float))
    scores[MNI] = [float(np.median(np.linalg.norm(placed - meant, axis=1)))]
    return scores


def main() -> None:
    """Measure, print, and write into a card where one is named."""
    parser = options_of(__doc__)
    parser.add_argument("--images", type=int, default=2, help="of each head and contrast")
    parser.add_argument("--cache", type=Path, help="folder to keep prepared label maps in")
    options = parser.parse_args()
    atlas = read_atlas(
        options.data / "atlas" / "arterial_territories.nii.gz",
        options.data / "atlas" / "arterial_territories.tsv",
    )
    shapes = [
        shape
        for shape in load_shapes(options.data / "lesion_masks", options.cache)
        if shape.person.endswith("0") and shape.plausible
    ]
    rows: dict[str, dict[str, list[float]]] = {}
    for name in HELD_OUT:
        path = options.data / "head_labels" / f"{name}.nii.gz"
        head = load_head(path, options.cache)
        to_mni = head_to_mni(head)
        anatomy = load_anatomy(path, head, to_mni, atlas, options.cache)
        for place, contrast in enumerate((*CONTRASTS, RANDOM)):
            any_at_all = contrast == RANDOM
            recipe = replace(RECIPE, random_contrast=float(any_at_all))
            sequences = ("T1W" if any_at_all else contrast,)
            for number in range(options.images):
                seed = 9_000_000 + 1000 * place + number
                case = generate_case(head, to_mni, shapes, seed, sequences=sequences, recipe=recipe)
                for row, values in measure(case, anatomy, to_mni, options.weights).items():
                    rows.setdefault(row, {}).setdefault(contrast, []).extend(values)
    print("| | " + " | ".join((*CONTRASTS, "mean", "worst", RANDOM)) + " |\n|" + "---|" * 10)
    results = {}
    for row, columns in rows.items():
        every = [value for contrast in CONTRASTS for value in columns[contrast]]
        worst = max(every) if row in (MNI, "seconds") else min(every)
        means = [statistics.mean(columns[contrast]) for contrast in (*CONTRASTS, RANDOM)]
        numbers = [*means[:-1], statistics.mean(every), worst, means[-1]]
        print(f"| {row} | " + " | ".join(f"{number:.3f}" for number in numbers) + " |")
        results[row] = {
            "mean": round(numbers[-3], 3), "worst": round(worst, 3), RANDOM: round(means[-1], 3)
        }  # fmt: skip
    seconds = results.pop("seconds")
    print(f"A head, its brain known: {seconds['mean']:.2f} s, {seconds['worst']:.2f} at most")
    title = (
        f"held-out people, heads with strokes, {options.images} images of each and contrast: Dice"
    )
    write_results(options.card, {title: results})


if __name__ == "__main__":
    main()

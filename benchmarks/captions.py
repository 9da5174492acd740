"""How true what the captioner writes is, and how much like what was meant.

On generated cases of the people and lesion shapes that were held out, at the voxel size of a scan,
each captioned as in use: the parts of the brain are those that the anatomy network tells, the
findings are measured on them. The first text is the network's likeliest, nothing of it checked;
where the findings tell otherwise, or both networks together another type, it is written again::

    python benchmarks/captions.py --data DIR [--cases 500] [--workers 2] [--card CARD.toml]

DIR holds `head_labels/`, `lesion_masks/` and `atlas/`. What is true is measured on the true parts
of the generated brain. A statement is unsupported that the findings do not bear out, or that cannot
be read back; blood is marked in the cases, so that types can be told. BLEU-4, ROUGE-L and CIDEr are
pycocoevalcap's, against five phrasings of what is true. With --card the figures are written into a
card's `[results]`. Needs the extra `bench`.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from cards import options_of, write_results
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from rich.progress import track

from strokedx_core.anatomy.locate import locate
from strokedx_core.anatomy.midplane import midplane_of
from strokedx_core.captions.claims import borne_out, claims_of
from strokedx_core.captions.facts import CaseFindings
from strokedx_core.captions.findings import measure_findings
from strokedx_core.captions.neural import NeuralCaption, check_text, write_caption
from strokedx_core.captions.phrasing import read, write
from strokedx_core.synthesis.described import Described
from strokedx_core.synthesis.stroke import StrokeCase
from strokedx_core.training.caption_cases import described_cases
from strokedx_core.training.caption_config import read_caption_config
from strokedx_core.training.captioning import field_accuracy

PHRASINGS = 5
SPACING_MM = 1.5
"""Voxel size of the cases: finer than the captioner's own, as scans are."""


class Captioned(NamedTuple):
    """A caption as in use, and the findings that it was checked against."""

    caption: NeuralCaption
    found: CaseFindings


def caption(case: StrokeCase, said: Described, weights: str | None) -> Captioned:
    """Caption a generated case as if it were a scan."""
    images, brain = case.volumes(), case.brain.numpy()
    grid = next(iter(images.values()))
    mask, blood = (replace(grid, data=data) for data in (said.lesion.numpy(), said.blood))
    anatomy = locate(list(images.values()), brain=brain)
    plane = midplane_of(brain, grid.affine)
    found = measure_findings(mask, anatomy=anatomy, midplane=plane, hemorrhagic=blood)
    # While it writes, nothing but the image tells it the type.
    untold = {name: one for name, one in found.findings.items() if name != "hemorrhagic"}
    blind = replace(found, findings=untold)
    written = write_caption(mask, images, brain, blind, weights=weights)
    checked = check_text(written.text, found.findings)
    return Captioned(replace(checked, first=written.first), found)


def unsupported(text: str, found: CaseFindings) -> list[bool]:
    """Of each statement of a text, whether findings do not bear it out."""
    bare = text.replace("Possibly ", "").replace("possibly ", "")
    return [
        part.claim is None or borne_out(part.claim, found.findings) is not True
        for part in read(bare)
    ]


def likeness(written: list[str], meant: list[list[str]]) -> dict[str, float]:
    """BLEU-4, ROUGE-L and CIDEr of texts, in lower case and without punctuation."""

    def plain(text: str) -> str:
        return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())

    one = {n: [plain(text)] for n, text in enumerate(written)}
    many = {n: [plain(text) for text in texts] for n, texts in enumerate(meant)}
    with contextlib.redirect_stdout(io.StringIO()):
        return {
            "BLEU-4": float(Bleu(4).compute_score(many, one, verbose=0)[0][3]),
            "ROUGE-L": float(Rouge().compute_score(many, one)[0]),
            "CIDEr": float(Cider().compute_score(many, one)[0]),
        }


class Told(NamedTuple):
    """What a case's captions came to.

    Attributes
    ----------
    first, text : str
    claims : dict of str to str
        What is true.
    measured : str
        A text of the findings.
    wrong : dict of str to list of bool
        By text and what it is compared with, whether each statement is unsupported.
    """

    first: str
    text: str
    claims: dict[str, str]
    measured: str
    wrong: dict[str, list[bool]]


class Teller:
    """Makes a case and captions it; in processes of its own, each begins with `begin`."""

    here: Teller

    def __init__(self, data: Path, cache: Path, weights: str | None) -> None:
        folders = {
            "head-labels": data / "head_labels", "lesion-masks": data / "lesion_masks",
            "atlas": next((data / "atlas").glob("*.nii.gz")),
        }  # fmt: skip
        config = read_caption_config().model_copy(update={"scan_spacing": SPACING_MM})
        self.make = described_cases(config, folders, cache, held_out=True)
        self.weights = weights

    def __call__(self, number: int) -> Told:
        case, said = self.make(number)
        done = caption(case, said, self.weights)
        first, text, checked = done.caption.first, done.caption.text, done.caption.checked
        texts = {"first text": first, "as written": text, "checked": checked}
        wrong = {
            f"{name}, against the {what}": unsupported(about, found)
            for name, about in texts.items()
            for what, found in (("findings", done.found), ("truth", said.found))
        }
        measured = write(claims_of(done.found.findings), np.random.default_rng(0))
        return Told(first, text, said.claims, measured, wrong)

    @classmethod
    def begin(cls, data: Path, cache: Path, weights: str | None, threads: int) -> None:
        torch.set_num_threads(threads)
        cls.here = cls(data, cache, weights)

    @classmethod
    def tell(cls, number: int) -> Told:
        return cls.here(number)


def main() -> None:
    parser = options_of(__doc__)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--workers", type=int, default=1, help="processes that share the cases")
    options = parser.parse_args()
    every: list[Told] = []
    with tempfile.TemporaryDirectory() as cache:
        threads = max(1, (os.cpu_count() or 1) // options.workers)
        given = options.data, Path(cache), options.weights, threads
        with ProcessPoolExecutor(
            options.workers, get_context("spawn"), initializer=Teller.begin, initargs=given
        ) as pool:
            told = pool.map(Teller.tell, range(options.cases))
            every += track(told, "captions", total=options.cases)
    first, written, claims, measured = ([one[n] for one in every] for n in range(4))
    wrong: dict[str, list[bool]] = {}
    types: Counter[tuple[str, str]] = Counter()
    for one in every:
        for name, values in one.wrong.items():
            wrong.setdefault(name, []).extend(values)
        if "type" in one.claims:
            said = dict(part.claim for part in read(one.text) if part.claim)
            types[one.claims["type"], said.get("type", "none")] += 1
    meant = [
        [write(true, np.random.default_rng(seed)) for seed in range(PHRASINGS)] for true in claims
    ]
    # Blood is marked for the findings: they cannot be wrong about it.
    without_type = [{f: v for f, v in true.items() if f != "type"} for true in claims]
    cases = f"{options.cases} generated cases, held-out people and shapes"
    results = {
        f"{cases}: accuracy of the first text": field_accuracy(first, claims),
        f"{cases}: accuracy as written": field_accuracy(written, claims),
        f"{cases}: accuracy of the findings": field_accuracy(measured, without_type),
        f"{cases}: share of unsupported statements": {
            name: float(np.mean(values)) for name, values in wrong.items()
        },
        f"{cases}: likeness to {PHRASINGS} phrasings": likeness(written, meant),
    }
    for title, values in results.items():
        print(title)
        for name, value in values.items():
            print(f"  {name:40} {value:.3f}")
    print("type, meant and written:", dict(types))
    rounded = {
        title: {name: round(value, 4) for name, value in values.items()}
        for title, values in results.items()
    }
    write_results(options.card, rounded)


if __name__ == "__main__":
    main()

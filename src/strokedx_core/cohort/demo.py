"""A study of generated people, made from the cases that ship: to try the cohort command on.

    python -m strokedx_core.cohort.demo FOLDER

writes eight people to FOLDER/study, works on them, and ends with where the pages are.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from strokedx_core.sample import sample_case, sample_stroke

__all__ = ["write_study"]


def write_study(folder: Path, people: int = 8, *, seed: int = 0, coarse: int = 1) -> Path:
    """Write a BIDS data set of people unlike each other.

    Every fourth has no stroke. The strokes of every other are mirrored; brightness and noise differ
    in all.

    Parameters
    ----------
    folder : Path
    people : int
    seed : int
    coarse : int
        Every how many voxels in the plane of the slices are kept.

    Returns
    -------
    Path
        `folder`.
    """
    stroke, healthy = sample_stroke(), sample_case()
    sources: dict[bool, dict[str, Any]] = {
        True: {"rec-TRACE_dwi": nib.load(stroke.scans["DWI"]),
               "rec-ADC_dwi": nib.load(stroke.scans["ADC"])},
        False: {"rec-TRACE_dwi": nib.load(healthy["DWI"][0])},
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    told = {"Name": "Generated people", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (folder / "dataset_description.json").write_text(json.dumps(told), encoding="utf-8")
    for number in range(people):
        rng = np.random.default_rng((seed, number))
        at = folder / f"sub-{number + 1:04d}" / "dwi"
        at.mkdir(parents=True, exist_ok=True)
        gain, noise = rng.uniform(0.8, 1.3), rng.uniform(0.5, 3)
        for name, image in sources[number % 4 != 3].items():
            data: Any = np.asarray(image.dataobj)[::coarse, ::coarse].astype(np.float32)
            if number % 2:
                data = data[::-1]
            if "ADC" not in name:
                data = data * gain + (data > 0) * rng.normal(0, noise, data.shape)
            affine = image.affine @ np.diag([coarse, coarse, 1, 1])
            made = nib.Nifti1Image(data.clip(0).round().astype(np.int16), affine)
            made.header.set_xyzt_units("mm")
            made.to_filename(at / f"sub-{number + 1:04d}_{name}.nii.gz")
    return folder


def main() -> int:
    """Entry of `python -m strokedx_core.cohort.demo`."""
    parser = argparse.ArgumentParser(description="Work on a study of eight generated people.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--people", type=int, default=8)
    options = parser.parse_args()
    study = write_study(options.folder / "study", options.people)
    out = options.folder / "derivatives"
    for level in ("participant", "group"):
        words = ["-m", "strokedx_core.cli", "cohort", str(study), str(out), level]
        done = subprocess.run([sys.executable, *words], check=False)
        if done.returncode:
            return done.returncode
    print(f"{out / 'index.html'}: open it in a browser; a click on a person opens theirs")
    return 0


if __name__ == "__main__":
    sys.exit(main())

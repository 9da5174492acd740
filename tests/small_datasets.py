"""Small folders in the layouts of real data sets, of made-up heads with made-up lesions."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from heads import ellipsoid_head

SHAPE, SPACING = (26, 30, 24), (7.5, 7.5, 7.5)


def _save(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(data, affine).to_filename(path)


def _head(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, brain and affine of a head unlike the others."""
    size = 7.5 + 0.15 * (number % 5)
    head = ellipsoid_head(SHAPE, (size, 7.5, 7.5), seed=number)
    return head.data.clip(0), head.brain, head.affine


def write_nfbs(folder: Path, people: int = 10) -> Path:
    """T1-weighted heads, stripped heads and brain masks, a folder a person."""
    for number in range(people):
        data, brain, affine = _head(number)
        person = f"A000{28185 + number}"
        stem = folder / person / f"sub-{person}_ses-NFB3_T1w"
        _save(Path(f"{stem}.nii.gz"), data.astype(np.int16), affine)
        _save(Path(f"{stem}_brain.nii.gz"), (data * brain).astype(np.int16), affine)
        _save(Path(f"{stem}_brainmask.nii.gz"), brain.astype(np.uint8), affine)
    return folder


def write_icpsr(folder: Path, people: int = 10) -> Path:
    """Acute strokes: DWI, ADC and B0 with masks of brain and lesion, and a table of people.

    Every third person bled; the rest have infarcts, bright on DWI and dark on ADC.
    """
    rows = ["participant_id\tMedical-history\tLesion-type"]
    for number in range(people):
        data, brain, affine = _head(number)
        place = np.indices(SHAPE).transpose(1, 2, 3, 0) - np.array([9, 12 + number % 6, 12])
        lesion = ((place**2).sum(-1) <= 6) & brain
        kind = "hemorrhagic" if number % 3 == 2 else "ischemic"
        person = f"sub-{0x02E8EB42 + number:08x}"
        stem = folder / "MRI-DS-0001" / person / person
        dwi = data * np.where(lesion, 2.2 if kind == "ischemic" else 0.3, 1.0)
        adc = 0.7 + 0.001 * data * np.where(lesion, 0.4, 1.0)
        for name, values in (("DWI", dwi), ("ADC", 1000 * adc), ("B0", data * 1.5)):
            _save(Path(f"{stem}_{name}_space-orig.nii.gz"), values.astype(np.int16), affine)
        for name, mask in (("brain", brain), ("stroke", lesion)):
            _save(Path(f"{stem}_desc-{name}_mask.nii.gz"), mask.astype(np.uint8), affine)
        rows.append(f"{person}\tnone\t{kind}")
    table = folder / "documentation" / "participants.tsv"
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder

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


def _examination(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, lesion and the affine of an oblique grid."""
    rng = np.random.default_rng(number)
    image = rng.uniform(10, 100, (12, 14, 10))
    lesion = np.zeros(image.shape, bool)
    size = 1 + number % 6
    lesion[2 : 2 + size, 3 : 3 + size, 2 : 2 + size] = True
    turn = np.deg2rad(8 + number)
    affine = np.diag([1.2, 1.2, 4.0, 1.0])
    rotation = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)],
                         [0, np.sin(turn), np.cos(turn)]])  # fmt: skip
    affine[:3, :3] = rotation @ affine[:3, :3]
    affine[:3, 3] = (-7, -8, -20)
    return image.astype(np.float32), lesion, affine


def write_soop(folder: Path, people: int = 6) -> Path:
    """Acute strokes: TRACE, ADC, FLAIR and T1w, three masks each, a table.

    As in the mirrors, some images are `.nii`, some lie in folders of their own names, and some have
    a fourth axis of length 1.
    """
    rows = ["participant_id\tsex\tage\tnihss"]
    for number in range(1, people + 1):
        image, lesion, affine = _examination(number)
        person, ending = f"sub-{number}", "nii" if number % 2 else "nii.gz"
        at, masks = folder / person, folder / "derivatives" / "lesion_masks" / person / "dwi"
        stored = image[..., None] if number % 3 == 0 else image
        _save(at / "dwi" / f"{person}_rec-TRACE_dwi.{ending}", stored, affine)
        _save(at / "dwi" / f"{person}_rec-ADC_dwi.{ending}", image, affine)
        _save(at / "anat" / f"{person}_T1w.nii.gz", image, affine)
        flair = at / "anat" / f"{person}_FLAIR.nii.gz"
        _save(flair / f"{person}_FLAIR.nii" if number % 2 else flair, image, affine)
        for name, mask in (("lesion", lesion), ("lesionAcute", lesion),
                           ("lesionChronic", lesion & False)):  # fmt: skip
            path = masks / f"{person}_space-TRACE_desc-{name}_mask.nii.gz"
            _save(path, mask.astype(np.uint8), affine)
        rows.append(f"{person}\tF\t{60 + number}\t{number}")
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def write_arc(folder: Path, people: int = 4) -> Path:
    """Chronic strokes in two sessions."""
    for number in range(people):
        image, lesion, affine = _examination(number)
        person = f"sub-M{2001 + number}"
        for session in ("ses-1", "ses-372"):
            at = folder / person / session / "anat"
            for name in ("T1w", "T2w", "FLAIR"):
                _save(at / f"{person}_{session}_{name}.nii.gz", image, affine)
            masks = folder / "derivatives" / "lesion_masks" / person / session / "anat"
            path = masks / f"{person}_{session}_desc-lesion_mask.nii.gz"
            _save(path, lesion.astype(np.uint8), affine)
    return folder


def write_atlas_r2(folder: Path, people: int = 4) -> Path:
    """Chronic strokes on T1w; the test part has no masks."""
    for number in range(people + 1):
        image, lesion, affine = _examination(number)
        part = "Testing" if number == people else "Training"
        person = f"sub-r001s{number + 1:03d}"
        stem = folder / part / "R001" / person / "ses-1" / "anat" / f"{person}_ses-1"
        space = "space-MNI152NLin2009aSym"
        _save(Path(f"{stem}_{space}_T1w.nii.gz"), image, affine)
        if part == "Training":
            path = Path(f"{stem}_{space}_label-L_desc-T1lesion_mask.nii.gz")
            _save(path, lesion.astype(np.uint8), affine)
    return folder


def write_isles2022(folder: Path, people: int = 4, *, nested: bool = False) -> Path:
    """Acute strokes; `nested` is the copies that lie below rawdata and write flair."""
    raw = folder / "rawdata" if nested else folder
    for number in range(people):
        image, lesion, affine = _examination(number)
        person = f"sub-strokecase{number + 1:04d}"
        stem = f"{person}_ses-0001"
        at = raw / person / "ses-0001"
        for name in ("dwi", "adc"):
            _save(at / "dwi" / f"{stem}_{name}.nii.gz", image, affine)
        flair = "flair" if nested else "FLAIR"
        _save(at / "anat" / f"{stem}_{flair}.nii.gz", image[::2], affine)
        masks = folder / "derivatives" / person / "ses-0001"
        _save(masks / f"{stem}_msk.nii.gz", lesion.astype(np.uint8), affine)
    return folder


def write_bids(folder: Path, people: int = 4) -> Path:
    """Any BIDS data set: SWI and T2w beside DWI, lesion and brain masks by a program of its own."""
    for number in range(people):
        image, lesion, affine = _examination(number)
        person = f"sub-{number:02d}"
        at = folder / person / "ses-a"
        _save(at / "dwi" / f"{person}_ses-a_dwi.nii.gz", image, affine)
        _save(at / "anat" / f"{person}_ses-a_T2w.nii.gz", image, affine)
        _save(at / "swi" / f"{person}_ses-a_swi.nii.gz", image, affine)
        masks = folder / "derivatives" / "drawn" / person / "ses-a" / "dwi"
        _save(masks / f"{person}_ses-a_label-lesion_mask.nii.gz", lesion.astype(np.uint8), affine)
        brain = np.ones(image.shape, np.uint8)
        _save(masks / f"{person}_ses-a_desc-brain_mask.nii.gz", brain, affine)
        # What another program made of an image is no image of the person's.
        _save(masks / f"{person}_ses-a_desc-smooth_dwi.nii.gz", image, affine)
    return folder


WRITERS = {
    "nfbs": write_nfbs,
    "icpsr38464": write_icpsr,
    "soop": write_soop,
    "arc": write_arc,
    "atlas-r2": write_atlas_r2,
    "isles2022": write_isles2022,
    "bids": write_bids,
}
"""Name of a data set → what writes a small folder of it."""

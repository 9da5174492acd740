"""One examination from its images to results: what a worker does.

from strokedx_core.cohort.pipeline import process
outcome = process(exam, Options(), Path("derivatives"), "strokedx cohort …")
"""

from __future__ import annotations

import contextlib
import shutil
import time
import traceback
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from strokedx_core import __version__
from strokedx_core.cli.report import NOTICE, write_json, write_text
from strokedx_core.cohort.exams import Exam
from strokedx_core.cohort.mni_voxels import pack
from strokedx_core.cohort.records import (
    Options,
    Outcome,
    fingerprint,
    forget_outcome,
    put_in_place,
    record_of,
    staging,
    write_outcome,
)
from strokedx_core.volume import Flag, Volume, VolumeError, write_mask, write_probability

__all__ = ["process"]


def process(exam: Exam, options: Options, out: Path, command: str) -> Outcome:
    """Make everything that is asked of an examination, unless it is there already.

    Whatever goes wrong is kept in a crash file, with the command that repeats it, and told in the
    outcome: one person's failure is nobody else's.

    Parameters
    ----------
    exam : Exam
    options : Options
    out : Path
        Output folder.
    command : str
        What repeats this examination alone.

    Raises
    ------
    OSError
        If nothing at all can be written, a full disk for one.
    """
    began = time.perf_counter()
    named = (exam.name, exam.subject, exam.session)
    staged: Path | None = None
    try:
        if exam.problem:
            raise VolumeError(exam.problem)
        made = fingerprint(exam, options)
        record = record_of(exam, out)
        if record is not None and record["made"] == made:
            forget_outcome(exam, out)
            kept = record["outcome"]
            return Outcome(
                *named, "skipped", "done before, and nothing has changed",
                time.perf_counter() - began, tuple(kept["flags"]), kept["facts"],
            )  # fmt: skip
        staged = staging(exam, out)
        flags, facts = _make(exam, options, staged, made)
        told = tuple(f"{flag.code}: {flag.message}" for flag in flags)
        seconds = time.perf_counter() - began
        outcome = Outcome(*named, "done", "", seconds, told, facts)
        put_in_place(staged, exam, out, made, outcome)
        forget_outcome(exam, out)
    except Exception as error:  # whatever it is: the next person is not to suffer from it
        if staged is not None:
            shutil.rmtree(staged, ignore_errors=True)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        if not isinstance(error, VolumeError | OSError):
            reason = f"{type(error).__name__}: {reason}"
        outcome = Outcome(*named, "failed", reason, time.perf_counter() - began)
        crash = f"{command}\n\n{traceback.format_exc()}"
        # With a disk that is full, the reason is told by the status alone.
        with contextlib.suppress(OSError):
            write_text(out / "crash" / f"{exam.name}.txt", crash)
            write_outcome(outcome, out)
    return outcome


def _make(
    exam: Exam, options: Options, folder: Path, made: dict[str, Any]
) -> tuple[tuple[Flag, ...], dict[str, Any]]:
    """All files of an examination in a folder; flags, and facts for the page of the study."""
    from strokedx_core.inference.lesion_case import read_sequences
    from strokedx_core.inference.segment import segment_lesions
    from strokedx_core.inference.skull_strip import skull_strip

    volumes = read_sequences(exam.images)
    first_name, first = next(iter(volumes.items()))
    stem = f"{exam.name}_space-{first_name}"
    sources = {name: path.name for name, path in exam.images.items()}
    if options.steps == ("brain",):
        stripped = skull_strip(first, device=options.device)
        brain, flags, result = stripped.mask, stripped.flags, None
    else:
        result = segment_lesions(volumes, lesion_type=options.lesion_type, device=options.device)
        brain, flags, first = result.brain, result.flags, result.volume
    about = {
        "Sources": sources,
        "GeneratedBy": [{"Name": "StrokeDx", "Version": __version__}],
        "Weights": made["weights"],
        "Flags": [asdict(flag) for flag in flags],
    }
    facts: dict[str, Any] = {
        "sequences": list(volumes),
        "brain_ml": round(float((brain != 0).sum()) * first.voxel_ml, 1),
    }
    write_mask(brain, first, folder / f"{stem}_desc-brain_mask.nii.gz")
    _sidecar(folder, f"{stem}_desc-brain_mask", about, "Brain")
    lesion = None
    if result is not None:
        lesion = result.mask
        kind = f"{options.lesion_type} stroke lesion"
        write_mask(lesion, first, folder / f"{stem}_desc-lesion_mask.nii.gz")
        _sidecar(folder, f"{stem}_desc-lesion_mask", about, kind)
        write_probability(result.probability, first, folder / f"{stem}_desc-lesion_probseg.nii.gz")
        _sidecar(folder, f"{stem}_desc-lesion_probseg", about, f"probability of {kind}")
        facts["lesion_ml"] = round(float(lesion.sum()) * first.voxel_ml, 3)
        facts["lesions"] = len(result.lesions())
    captions: dict[str, Any] = {}
    if "caption" in options.steps and lesion is not None:
        captions, more = _captions(exam, options, folder, stem, first, volumes, brain, lesion)
        facts |= more
    from strokedx_core.cohort.person_page import person_page

    text = person_page(exam, volumes, first, brain, lesion, captions, facts, about)
    (folder / f"{exam.name}_report.html").write_text(text, encoding="utf-8")
    return flags, facts


def _sidecar(folder: Path, name: str, about: dict[str, Any], what: str) -> None:
    write_json(folder / f"{name}.json", {"Description": what, **about})


def _captions(
    exam: Exam,
    options: Options,
    folder: Path,
    stem: str,
    first: Volume,
    volumes: dict[str, Volume],
    brain: np.ndarray,
    lesion: np.ndarray,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Captions and findings as files; for the page, the captions; and facts."""
    from strokedx_core.anatomy.locate import locate
    from strokedx_core.anatomy.midplane import midplane_of
    from strokedx_core.captions.findings import measure_findings
    from strokedx_core.captions.history import History
    from strokedx_core.cli.caption_files import Asked
    from strokedx_core.volume import same_grid

    here = [volume for volume in volumes.values() if same_grid(volume, first)]
    anatomy = locate(here, brain=brain, device=options.device) if brain.any() else None
    mask = replace(first, data=lesion)
    plane = midplane_of(brain, first.affine) if brain.any() else None
    found = measure_findings(mask, volumes, anatomy=anatomy, midplane=plane)
    asked = Asked(options.language, options.lesion_type, History())
    captions = asked.captions(found)
    inputs = {name: Path(path.name) for name, path in exam.images.items()}
    flags = anatomy.flags if anatomy is not None else ()
    asked.write(folder / f"{stem}_desc-captions.json", inputs, flags, captions, found)
    ((_, whole),) = captions["case"]
    case = found.findings
    facts: dict[str, Any] = {"caption": whole.text}
    for name in ("side", "pattern"):
        facts[name] = case[name].value if case[name].known else ""
    if case["arteries"].known:
        ml = case["volume"].value
        facts["arteries"] = {
            f"{share['part']} {share['side']}": round(share["of_lesion"] * ml, 3)
            for share in case["arteries"].value
        }
    if anatomy is not None:
        placed = anatomy.to_mni @ first.affine
        facts["mni"] = {"lesion": pack(lesion, placed), "brain": pack(brain != 0, placed)}
    text = {
        "case": whole.text,
        "lesions": [caption.text for _, caption in captions["lesion"]],
        "slices": {number: caption.text for number, caption in captions["slice"]},
        "notice": NOTICE,
    }
    return text, facts

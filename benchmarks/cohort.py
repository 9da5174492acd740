"""What a whole study costs: everybody done who can be, everybody named who cannot.

Writes a study of small generated people, some of them spoiled in ten ways, and runs the command on
it with two workers and with one::

    python benchmarks/cohort.py [--people 1000] [--faulty 50] [--single 200]

It prints who was done and who was named with the right reason; the memory of the workers after the
first fifty and at the end; how much faster two workers are than one, on as many people as --single
says, each worker with one thread; and the overhead of the engine: what the workers' time holds
besides the examinations. Give it a machine with two idle cores.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil

from strokedx_core.cohort.demo import write_study
from strokedx_core.cohort.records import RECORD

FIRST = 50


def _changed(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> None:
    image = nib.load(path)
    nib.Nifti1Image(data, image.affine if affine is None else affine).to_filename(path)


def _data(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def _no_size(path: Path) -> None:
    """A header whose voxels are 0 mm wide, whichever of its affines is read."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[80:92] = bytes(12)
    raw[252:256] = bytes(4)
    path.write_bytes(gzip.compress(bytes(raw)))


def _series(path: Path) -> None:
    _changed(path, np.stack([_data(path)] * 3, -1))


def _no_numbers(path: Path) -> None:
    _changed(path, np.full(_data(path).shape, np.nan, np.float32))


def _twice(path: Path) -> None:
    shutil.copy(path, path.with_name(path.name.replace("_rec", "_run-2_rec")))


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut short": (lambda path: path.write_bytes(path.read_bytes()[:2000]), "truncated"),
    "no image": (lambda path: path.write_text("hello"), "not an image"),
    "empty file": (lambda path: path.write_bytes(b""), "the file is empty"),
    "one slice": (lambda path: _changed(path, _data(path)[:, :, 5]), "a 2-D image"),
    "a series": (_series, "a 4-D image of 3 frames"),
    "constant": (lambda path: _changed(path, np.full_like(_data(path), 7)), "constant"),
    "no numbers": (_no_numbers, "NaN or infinite"),
    "no size": (_no_size, "voxel size 0"),
    "twice there": (_twice, "2 files for its DWI"),
    "nothing there": (lambda path: shutil.rmtree(path.parent), "no image of a known sequence"),
}
"""Fault → what does it to a person's DWI, and what must be said."""


def spoil(study: Path, faulty: int) -> dict[str, str]:
    """Spoil so many people, spread over the study; which fault each has."""
    people = sorted(study.glob("sub-*"))
    faults = {}
    for number in range(faulty):
        person = people[number * len(people) // faulty]
        fault = list(FAULTS)[number % len(FAULTS)]
        scan = next((person / "dwi").glob("*TRACE*"))
        FAULTS[fault][0](scan)
        faults[person.name.removeprefix("sub-")] = fault
    return faults


def run(study: Path, out: Path, workers: int) -> tuple[float, list[int], list[int]]:
    """Run the command; seconds, and bytes of each worker after the first people and at the end."""
    words = ["-m", "strokedx_core.cli", "cohort", str(study), str(out), "participant"]
    words += ["--steps", "brain", "--workers", str(workers), "-q"]
    began = time.perf_counter()
    # A thread for each worker, however many there are: one alone would take both cores.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, *words], stderr=subprocess.DEVNULL, env=environment)
    early: list[int] = []
    late: list[int] = []
    while process.poll() is None:
        time.sleep(0.5)
        found = memory(process.pid)
        if len(found) == workers:
            late = found
            if not early and len(list(out.glob(f"sub-*/{RECORD}"))) >= FIRST:
                early = found
    return time.perf_counter() - began, early, late


def memory(pid: int) -> list[int]:
    """Resident bytes of a command's workers: its great-grandchildren that hold a network."""
    found = []
    try:
        for child in psutil.Process(pid).children(recursive=True):
            resident = child.memory_info().rss
            if resident > 200 * 2**20:
                found.append(resident)
    except psutil.NoSuchProcess:
        return []
    return sorted(found)


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "status.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--faulty", type=int, default=50)
    parser.add_argument("--single", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study = write_study(Path(folder) / "study", options.people, coarse=4)
        faults = spoil(study, options.faulty)
        out = Path(folder) / "out"
        seconds, early, late = run(study, out, 2)
        rows = rows_of(out)
        done = sum(row["status"] == "done" for row in rows)
        failed = {row["subject"]: row["reason"] for row in rows if row["status"] == "failed"}
        right = [
            name for name, fault in faults.items()
            if re.search(FAULTS[fault][1], failed.get(name, ""))
        ]  # fmt: skip
        print(f"{len(rows)} people: {done} done, {len(failed)} failed")
        print(f"{len(right)} of {len(faults)} spoiled ones named with the right reason")
        for name in sorted(set(faults) - set(right)):
            print(f"  {name}, {faults[name]}: {failed.get(name, 'not failed')}")
        for name in sorted(set(failed) - set(faults)):
            print(f"  {name}, not spoiled: {failed[name]}")
        mb = ", ".join(f"{b / 1e6:.0f}" for b in early), ", ".join(f"{b / 1e6:.0f}" for b in late)
        print(f"memory of the workers, MB: {mb[0]} after {FIRST}, {mb[1]} at the end "
              f"({sum(late) / max(1, sum(early)) - 1:+.1%})")  # fmt: skip
        inside = sum(float(row["seconds"]) for row in rows)
        over = (2 * seconds - inside) / len(rows)
        print(f"two workers: {seconds:.1f} s, {inside:.1f} s of it in examinations; "
              f"{1000 * over:.0f} ms of engine an examination, its start included")  # fmt: skip

        few = Path(folder) / "few"
        for person in sorted(study.glob("sub-*"))[: options.single]:
            shutil.copytree(person, few / person.name)
        times = {n: run(few, Path(folder) / f"few-{n}", n)[0] for n in (1, 2)}
        print(f"{options.single} people: {times[1]:.1f} s with one worker, {times[2]:.1f} s with "
              f"two: {times[1] / times[2]:.2f} times as fast")  # fmt: skip


if __name__ == "__main__":
    main()

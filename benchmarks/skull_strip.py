"""Skull stripping compared: StrokeDx, deepbet and the 3-D U-Net of the project it grew from.

Run with the same number of free processor cores as you want to know about, on an idle machine::

    pip install 'napari-strokedx[bench]'        # brings deepbet 1.0.2
    python benchmarks/skull_strip.py --scans DIR/scans_dev

DIR is where ``STROKEDX_DATA`` points by default; each ``NAME.nii.gz`` there has its reference mask
beside it as ``NAME_brainmask.nii.gz``. For each scan and program the tables give

* Dice against the reference;
* warm seconds: read, predict, write mask and stripped image, in a process that has done it once
  before, median of ``--repeats``;
* whole seconds: the same as a process of its own, from its start to its end, median;
* peak memory of that process.

The U-Net of the original project (90,298,561 parameters) has random weights here, so it has no
Dice: only its speed and memory mean something. It sees each scan on ``--seed-grid``, by default
64 × 64 × 96, the number of voxels that its published training log counts for a scan.

The last table is StrokeDx alone on one head resampled to growing numbers of voxels.

Whole processes take turns, so that a change in the machine's speed meets all programs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROGRAMS = ("strokedx", "deepbet", "seed")


def worker(program: str, scan: Path, folder: Path, options: argparse.Namespace) -> None:
    """Print the seconds of each warm run as JSON, after one that does not count."""
    from programs import MAKERS

    run = MAKERS[program](options)
    brain, mask = folder / "brain.nii.gz", folder / "mask.nii.gz"
    run(scan, brain, mask)
    seconds = []
    for _ in range(options.repeats):
        start = time.perf_counter()
        run(scan, brain, mask)
        seconds.append(time.perf_counter() - start)
    print(json.dumps(seconds))


def whole(program: str, scan: Path, folder: Path, options: argparse.Namespace) -> list[str]:
    """Command line that strips one scan as its users would."""
    brain, mask = str(folder / "brain.nii.gz"), str(folder / "mask.nii.gz")
    scripts = Path(sys.executable).parent
    if program == "strokedx":
        command = [str(scripts / "strokedx"), "skull-strip", str(scan), "-o", brain, "-m", mask]
        return [*command, "--device", options.device, "--quiet"]
    if program == "deepbet":
        command = [str(scripts / "deepbet-cli"), "-i", str(scan), "-o", brain, "-m", mask]
        return [*command, *(["--no_gpu"] if options.device == "cpu" else [])]
    return worker_command(program, scan, folder, options, repeats=0)


def worker_command(
    program: str, scan: Path, folder: Path, options: argparse.Namespace, repeats: int
) -> list[str]:
    """Command line of a `worker`."""
    return [
        *(sys.executable, __file__, "--worker", program, "--scans", str(scan)),
        *("--folder", str(folder), "--device", options.device, "--repeats", str(repeats)),
        *("--seed-grid", *map(str, options.seed_grid)),
    ]


def measure(command: Sequence[str]) -> tuple[float, float, str]:
    """Seconds, peak memory in GB, and standard output of a process.

    The peak is the kernel's own count for that process (``ru_maxrss``). A child starts from its
    parent's count on Linux, which is why this process imports no more than it must.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{errors.read()}")
        output.seek(0)
        unit = 1 if sys.platform == "darwin" else 1024
        return seconds, usage.ru_maxrss * unit / 1e9, output.read()


def agreement(mask: Path, reference: Path) -> float:
    """Dice of two mask files of one grid."""
    code = (
        "import sys\n"
        "from strokedx_core.evaluation.metrics import dice\n"
        "from strokedx_core.volume import read_mask\n"
        "print(dice(read_mask(sys.argv[1]).data, read_mask(sys.argv[2]).data))"
    )
    return float(measure([sys.executable, "-c", code, str(mask), str(reference)])[2])


def compare(scan: Path, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Measure every program on one scan."""
    found: dict[str, dict[str, float]] = {}
    took: dict[str, list[float]] = {program: [] for program in options.programs}
    peak: dict[str, float] = dict.fromkeys(options.programs, 0.0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(max(options.repeats, options.seed_repeats)):
            for program in options.programs:
                if number < repeats_of(program, options):
                    seconds, memory, _ = measure(whole(program, scan, folder, options))
                    took[program].append(seconds)
                    peak[program] = max(peak[program], memory)
        for program in options.programs:
            repeats = repeats_of(program, options)
            command = worker_command(program, scan, folder, options, repeats)
            warm = json.loads(measure(command)[2])
            found[program] = {
                "warm": statistics.median(warm),
                "whole": statistics.median(took[program]),
                "memory": peak[program],
            }
            reference = scan.with_name(scan.name.replace(".nii.gz", "_brainmask.nii.gz"))
            if program != "seed" and reference.exists():
                found[program]["dice"] = agreement(folder / "mask.nii.gz", reference)
    return found


def repeats_of(program: str, options: argparse.Namespace) -> int:
    """How often one program runs; the original network is slow."""
    return options.seed_repeats if program == "seed" else options.repeats


def scale(options: argparse.Namespace) -> list[dict[str, Any]]:
    """StrokeDx on one head at growing sizes, as a process of its own and warm."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in options.sizes:
            scan = folder / f"head_{size}.nii.gz"
            measure([sys.executable, __file__, "--resample", str(size), "--folder", str(scan)])
            seconds, memory, _ = measure(whole("strokedx", scan, folder, options))
            command = worker_command("strokedx", scan, folder, options, options.repeats)
            warm = statistics.median(json.loads(measure(command)[2]))
            rows.append({"size": size, "warm": warm, "whole": seconds, "memory": memory})
    return rows


def resample_sample(size: int, path: Path) -> None:
    """Write the T1W head that ships with StrokeDx as a cube of `size` voxels a side."""
    import nibabel as nib
    import numpy as np

    from strokedx_core.sample import sample_case
    from strokedx_core.volume import read_volume, resample

    volume = read_volume(sample_case()["T1W"][0])
    step = np.asarray(volume.shape) / size
    start = (step - 1) / 2
    data = resample(volume.data, (size,) * 3, start, step)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ start
    affine[:3, :3] *= step
    nib.Nifti1Image(data.clip(0).round().astype(np.int16), affine).to_filename(path)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def report(results: dict[str, dict[str, dict[str, float]]], options: argparse.Namespace) -> str:
    """All comparisons as Markdown."""
    programs = options.programs
    head = ["scan"]
    for kind in ("Dice", "warm s", "whole s", "peak GB"):
        head += [f"{kind} {program}" for program in programs if (kind, program) != ("Dice", "seed")]
    paired = "strokedx" in programs and "deepbet" in programs
    if paired:
        head += ["warm ratio", "whole ratio"]
    rows = []
    for name, found in results.items():
        row = [name]
        row += [f"{found[p].get('dice', float('nan')):.3f}" for p in programs if p != "seed"]
        for kind in ("warm", "whole", "memory"):
            row += [f"{found[program][kind]:.2f}" for program in programs]
        if paired:
            row += [
                f"{found['strokedx'][kind] / found['deepbet'][kind]:.2f}"
                for kind in ("warm", "whole")
            ]
        rows.append(row)
    if len(rows) > 1:
        columns = list(zip(*(row[1:] for row in rows), strict=True))
        rows.append(["mean", *(f"{statistics.mean(map(float, c)):.3f}" for c in columns)])
    return table(head, rows)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Options of the command line."""
    data = os.environ.get("STROKEDX_DATA")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scans", type=Path, default=Path(data, "scans_dev") if data else None)
    parser.add_argument("--limit", type=int, default=None, help="only the first so many scans")
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the median counts")
    parser.add_argument("--seed-repeats", type=int, default=3, help="the same, original network")
    parser.add_argument("--seed-grid", type=int, nargs=3, default=[64, 64, 96])
    parser.add_argument("--sizes", type=int, nargs="*", default=[64, 128, 192, 256, 320])
    parser.add_argument("--device", default="cpu", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--json", type=Path, help="write the figures there too")
    for name in ("--worker", "--folder", "--resample"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main() -> None:
    """Measure and print."""
    options = parse()
    if options.worker:
        return worker(options.worker, options.scans, Path(options.folder), options)
    if options.resample:
        return resample_sample(int(options.resample), Path(options.folder))
    if options.scans is None:
        raise SystemExit("name a folder of scans with --scans, or set STROKEDX_DATA")
    scans = sorted(
        path for path in options.scans.glob("*.nii.gz") if "_brainmask" not in path.name
    )[: options.limit]
    runs = f"median of {options.repeats} runs, of {options.seed_repeats} for seed"
    print(f"{platform.machine()}, {os.cpu_count()} cores, {options.device}, {runs}\n", flush=True)
    results = {}
    for scan in scans:
        results[scan.name.removesuffix(".nii.gz")] = compare(scan, options)
        print(f"measured {scan.name}", file=sys.stderr)
    if results:
        print(report(results, options), flush=True)
    sizes = scale(options)
    if sizes:
        head = ["voxels", "warm s", "whole s", "peak GB", "warm µs a thousand voxels"]
        rows = [
            [
                f"{row['size']}³",
                *(f"{row[kind]:.2f}" for kind in ("warm", "whole", "memory")),
                f"{row['warm'] / row['size'] ** 3 * 1e9:.0f}",
            ]
            for row in sizes
        ]
        print(f"\nStrokeDx by number of voxels\n\n{table(head, rows)}")
    if options.json:
        options.json.write_text(json.dumps({"scans": results, "sizes": sizes}, indent=2) + "\n")
    return None


if __name__ == "__main__":
    main()

"""Studies: who is found, what is written, what is done again, and what nobody's failure ends."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from strokedx_core.cli import app
from strokedx_core.cohort.demo import write_study
from strokedx_core.cohort.engine import _batch_cluster
from strokedx_core.cohort.exams import CohortError, Exam, chosen, find_exams
from strokedx_core.cohort.lock import only_one
from strokedx_core.cohort.mni_voxels import SHAPE, pack, unpack
from strokedx_core.cohort.records import RECORD

PEOPLE = 4
DOCS = Path(__file__).parents[2] / "docs"


def run(*words: object) -> Result:
    result = CliRunner().invoke(app, ["cohort", *(str(word) for word in words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "status.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def statuses(out: Path) -> list[str]:
    return [row["status"] for row in rows_of(out)]


def results(out: Path) -> dict[str, str]:
    """Digests of all results but the records, which say how long each took."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("sub-*/*"))
        if path.is_file() and path.name != RECORD
    }


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """One thread here and in every process started: the last bits of sums depend on it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small people, which tests only read."""
    return write_study(tmp_path_factory.mktemp("study"), PEOPLE, coarse=4)


@pytest.fixture(scope="module")
def unbroken(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one run makes of their brains."""
    out = tmp_path_factory.mktemp("unbroken")
    assert run(study, out, "participant", "--workers", 0, "--steps", "brain", "-q").exit_code == 0
    return out


def test_a_bids_folder(study: Path) -> None:
    exams = find_exams(study)
    assert [exam.name for exam in exams] == [f"sub-{n:04d}" for n in range(1, PEOPLE + 1)]
    assert [list(exam.images) for exam in exams][:4] == [["DWI", "ADC"]] * 3 + [["DWI"]]
    assert not any(exam.problem for exam in exams)


def test_a_table_of_another_folder(tmp_path: Path) -> None:
    table = tmp_path / "cases.tsv"
    table.write_text("subject\tsession\tDWI\tFLAIR\nA1\t1\ta/dwi.nii\t\nA2\t\t\tb.nii\nA3\t\t\t\n")
    one, two, three = find_exams(tmp_path, table)
    assert (one.name, one.images) == ("sub-A1_ses-1", {"DWI": tmp_path / "a/dwi.nii"})
    assert list(two.images) == ["FLAIR"]
    assert three.problem == "no image is named in the table"
    for text, told in (
        ("who\tDWI\n", "no column subject|unknown who"),
        ("subject\tCT\nA\tx\n", "unknown CT"),
        ("subject\tDWI\nA\tx\nA\ty\n", "stands there twice"),
        ("subject\tDWI\nA/../B\tx\n", "letters and digits"),
        ("subject\tDWI\n", "nobody stands in it"),
    ):
        table.write_text(text)
        with pytest.raises(CohortError, match=told):
            find_exams(tmp_path, table)


def test_who_is_chosen() -> None:
    exams = [Exam(f"{n:02d}", session) for n in range(5) for session in ("a", "b")]
    assert len(chosen(exams, ["sub-01", "03"])) == 4
    assert [exam.name for exam in chosen(exams, ["01"], ["ses-b"])] == ["sub-01_ses-b"]
    shards = [chosen(exams, shard=(n, 3)) for n in (1, 2, 3)]
    assert sorted(exam.name for shard in shards for exam in shard) == [e.name for e in exams]
    with pytest.raises(CohortError, match="nobody is called 07, 09"):
        chosen(exams, ["09", "01", "07"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--steps", "lesion"), "--steps are brain, lesion, caption"),
        (("--type", "old"), "--type must be"),
        (("--shard", "4/3"), "--shard is I/N"),
        (("--workers", 1, "--scheduler", "tcp://x:1"), "only one of"),
        (("--participant-label", "nobody"), "nobody is called nobody"),
        (("--language", "fr"), "--language must be"),
        (("--table", "none.tsv"), "none.tsv"),
        (("--cluster", "none.toml"), "none.toml: No such file"),
        (("--scheduler", "tcp://127.0.0.1:9"), "no scheduler answers"),
    ],
)
def test_what_is_wrong_is_said(
    study: Path, tmp_path: Path, words: tuple[object, ...], told: str
) -> None:
    result = run(study, tmp_path / "out", "participant", *words)
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_dry_run_writes_nothing(study: Path, tmp_path: Path) -> None:
    result = run(study, tmp_path / "out", "participant", "--dry-run")
    assert "sub-0001: DWI, ADC" in result.stdout
    assert f"{PEOPLE} of {PEOPLE} examinations would run: brain, lesion, caption" in result.stdout
    assert not (tmp_path / "out").exists()


def test_what_is_written(unbroken: Path, study: Path) -> None:
    told = json.loads((unbroken / "dataset_description.json").read_text())
    assert told["DatasetType"] == "derivative"
    assert len(told["Weights"]["skull_strip"]) == 64
    assert statuses(unbroken) == ["done"] * PEOPLE
    folder = unbroken / "sub-0001"
    mask = nib.load(folder / "sub-0001_space-DWI_desc-brain_mask.nii.gz")
    scan = nib.load(study / "sub-0001" / "dwi" / "sub-0001_rec-TRACE_dwi.nii.gz")
    assert mask.shape == scan.shape
    assert np.allclose(mask.affine, scan.affine)
    assert np.asarray(mask.dataobj).any()
    sidecar = json.loads((folder / "sub-0001_space-DWI_desc-brain_mask.json").read_text())
    assert sidecar["Sources"]["DWI"] == "sub-0001_rec-TRACE_dwi.nii.gz"
    assert not list(unbroken.rglob("*.partial"))
    assert not list((unbroken / ".strokedx" / "staging").glob("*"))


def test_who_is_done_is_left_alone(unbroken: Path, study: Path, tmp_path: Path) -> None:
    out, copied = tmp_path / "out", tmp_path / "study"
    shutil.copytree(unbroken, out)
    shutil.copytree(study, copied)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("sub-*/*")}
    words = (copied, out, "participant", "--workers", 0, "--steps", "brain", "-q")
    assert run(*words).exit_code == 0
    assert statuses(out) == ["skipped"] * PEOPLE
    assert {row["reason"] for row in rows_of(out)} == {"done before, and nothing has changed"}
    assert {path: path.stat().st_mtime_ns for path in out.rglob("sub-*/*")} == before
    # Another image of one person, and a result of another that is gone.
    path = copied / "sub-0002" / "dwi" / "sub-0002_rec-TRACE_dwi.nii.gz"
    image = nib.load(path)
    nib.Nifti1Image(np.asarray(image.dataobj) // 2, image.affine).to_filename(path)
    next((out / "sub-0004").glob("*_mask.nii.gz")).unlink()
    assert run(*words).exit_code == 0
    assert statuses(out) == ["skipped", "done", "skipped", "done"]


def spoiled(study: Path, folder: Path) -> Path:
    """The study with three people who cannot be worked on."""
    shutil.copytree(study, folder)
    one = folder / "sub-0002" / "dwi" / "sub-0002_rec-TRACE_dwi.nii.gz"
    one.write_bytes(one.read_bytes()[:2000])
    two = folder / "sub-0003" / "dwi"
    shutil.copy(two / "sub-0003_rec-TRACE_dwi.nii.gz", two / "sub-0003_run-2_dwi.nii.gz")
    (folder / "sub-0099" / "anat").mkdir(parents=True)
    return folder


def test_nobodys_failure_ends_the_run(unbroken: Path, study: Path, tmp_path: Path) -> None:
    folder, out = spoiled(study, tmp_path / "study"), tmp_path / "out"
    result = run(folder, out, "participant", "--workers", 0, "--steps", "brain", "-q")
    assert result.exit_code == 1
    rows = {row["subject"]: row for row in rows_of(out)}
    assert len(rows) == PEOPLE + 1
    failed = {name for name, row in rows.items() if row["status"] == "failed"}
    assert failed == {"0002", "0003", "0099"}
    assert "truncated" in rows["0002"]["reason"]
    assert "2 files for its DWI" in rows["0003"]["reason"]
    assert rows["0099"]["reason"] == "no image of a known sequence"
    crash = (out / "crash" / "sub-0002.txt").read_text()
    command = crash.splitlines()[0]
    assert command.startswith(f"strokedx cohort {folder} {out} participant")
    assert command.endswith("--participant-label 0002")
    # The rest are as in a study without them.
    whole = results(unbroken)
    spared = ("sub-0001", "sub-0004")
    kept = {name: data for name, data in whole.items() if name.startswith(spared)}
    assert results(out) == kept
    assert run(folder, out, "group", "-q").exit_code == 0
    page = (out / "index.html").read_text()
    assert page.index(">0099<") < page.index(">0001<")
    # Mended, it is done; the crash file goes.
    shutil.copytree(study / "sub-0002", folder / "sub-0002", dirs_exist_ok=True)
    again = run(folder, out, "participant", "--workers", 0, "--steps", "brain", "-q",
                "--participant-label", "0002")  # fmt: skip
    assert again.exit_code == 0
    assert not (out / "crash" / "sub-0002.txt").exists()


@pytest.mark.slow
def test_shards_make_the_whole(unbroken: Path, study: Path, tmp_path: Path) -> None:
    """The batch file, as the jobs of an array are started."""
    out = tmp_path / "out"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for number in ("1", "2"):
        array = {"SLURM_ARRAY_TASK_ID": number, "SLURM_ARRAY_TASK_COUNT": "2"}
        words = ["bash", str(DOCS / "cohort.sbatch"), str(study), str(out), "--steps", "brain"]
        subprocess.run([*words, "-q"], check=True, env={**os.environ, **array, "PATH": path})
    assert results(out) == results(unbroken)
    assert run(study, out, "group", "-q").exit_code == 0
    assert statuses(out) == ["done"] * PEOPLE


# A cluster that dask-jobqueue refuses halfway through is not closed by it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_jobs_of_a_batch_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of the docs makes jobs that SLURM would take; what is wrong in one is said."""
    from dask_jobqueue import SLURMCluster

    asked: list[int] = []
    monkeypatch.setattr(SLURMCluster, "scale", lambda self, jobs: asked.append(jobs))
    cluster = _batch_cluster(DOCS / "cluster-slurm.toml")
    script = cluster.job_script()
    cluster.close()
    assert asked[0] == 20
    for line in ("#SBATCH --cpus-per-task=2", "#SBATCH --mem=6G", "export OMP_NUM_THREADS=2"):
        assert line in script.splitlines()
    path = tmp_path / "cluster.toml"
    for text, told in (
        ('system = "slurm"', "system and workers"),
        ('[cluster]\nsystem = "abacus"\nworkers = 1', "must be one of"),
        ('[cluster]\nsystem = "slurm"\nworkers = 1\nmemory = "1GB"', "cores"),
    ):
        path.write_text(text)
        with pytest.raises(CohortError, match=told):
            _batch_cluster(path)


def test_one_run_at_a_time(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with only_one(out):
        result = run(study, out, "participant", "--workers", 0)
        assert result.exit_code == 2
        assert f"{out}: another run works on this folder: process {os.getpid()} on" in result.stderr
        assert run(study, out, "participant", "--shard", "1/2").exit_code == 2
    with only_one(out, (1, 2)):
        with only_one(out, (2, 2)):
            pass
        for shard in ((1, 2), (1, 1)):
            with pytest.raises(CohortError, match="another run"), only_one(out, shard):
                pass


def test_nothing_can_be_written(study: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert run(study, tmp_path / "file", "participant").exit_code == 2
    result = run(study, tmp_path / "file" / "out", "participant", "--workers", 0)
    assert (result.exit_code, result.stderr.startswith("Error: ")) == (1, True)


def test_a_disk_that_is_full(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("strokedx_core.cohort.pipeline.write_mask", full)
    out = tmp_path / "out"
    words = (study, out, "participant", "--workers", 0, "--steps", "brain", "-q")
    assert run(*words, "--participant-label", "0001").exit_code == 1
    (row,) = rows_of(out)
    assert row["status"] == "failed"
    assert "No space left on device" in row["reason"]
    assert not (out / "sub-0001").exists()
    assert not list((out / ".strokedx" / "staging").glob("*"))


def test_input_that_cannot_be_written_to(study: Path, tmp_path: Path) -> None:
    copied = tmp_path / "study"
    shutil.copytree(study, copied)
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    for path in before:
        path.chmod(0o555 if path.is_dir() else 0o444)
    words = ("--workers", 0, "--steps", "brain", "-q", "--participant-label", "0001")
    assert run(copied, tmp_path / "out", "participant", *words).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in copied.rglob("*")} == before
    for path in before:
        path.chmod(0o755)


SECRETS = ("Erika Mustermann", "1949-05-23", "Charite Ward 7", "MRN 4711")


def test_no_header_tells_who_it_is(study: Path, tmp_path: Path) -> None:
    copied = tmp_path / "study"
    shutil.copytree(study / "sub-0001", copied / "sub-0001")
    for path in copied.rglob("*.nii.gz"):
        image = nib.load(path)
        image = nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header)
        for field, secret in zip(("descrip", "intent_name", "aux_file", "db_name"), SECRETS,
                                 strict=True):  # fmt: skip
            image.header[field] = secret.encode()
        content = ", ".join(SECRETS).encode()
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", content))
        image.to_filename(path)
    out = tmp_path / "out"
    assert run(copied, out, "participant", "--workers", 0, "-q").exit_code == 0
    assert run(copied, out, "group", "-q").exit_code == 0
    import gzip

    for path in out.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            data = gzip.decompress(data) if path.suffix == ".gz" else data
            for secret in SECRETS:
                assert secret.encode() not in data, path


def test_masks_in_mni_space_are_kept_small() -> None:
    affine = np.diag([2.0, 2.0, 6.0, 1.0])
    affine[:3, 3] = (-40, -60, -20)
    mask = np.zeros((40, 50, 12), bool)
    mask[10:20, 10:30, 3:6] = True
    text = pack(mask, affine)
    assert len(text) < 400
    found = unpack(text)
    assert found.shape == SHAPE
    places = np.argwhere(found) * 4.0 + (-90, -128, -74)
    assert np.allclose(places.min(0), (-20, -40, -2), atol=5)
    assert np.allclose(places.max(0), (-2, -2, 10), atol=5)
    ml = found.sum() * 4**3 / 1000
    assert ml == pytest.approx(mask.sum() * 24 / 1000, rel=0.5)
    assert not unpack(pack(mask & False, affine)).any()


def command(study: Path, out: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "strokedx_core.cli", "cohort", str(study), str(out),
            "participant", "--steps", "brain", *words]  # fmt: skip


@pytest.mark.slow
def test_the_command_is_killed(unbroken: Path, study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = command(study, out, "--workers", "0", "-q")
    for people in (1, 2):
        process = subprocess.Popen(words)
        end = time.monotonic() + 120
        while len(list(out.glob(f"sub-*/{RECORD}"))) < people and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = {path: path.stat().st_mtime_ns for path in out.glob(f"sub-*/{RECORD}")}
    assert 2 <= len(before) <= PEOPLE
    subprocess.run(words, check=True)
    assert results(out) == results(unbroken)
    assert not list((out / ".strokedx" / "staging").glob("*"))
    # Nobody was done twice.
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A scheduler of its own, and its address."""
    told = tmp_path / "scheduler.json"
    words = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"]
    words += ["--port", "0", "--no-dashboard", "--scheduler-file", str(told)]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not told.exists() and time.monotonic() < end:
        time.sleep(0.1)
    try:
        yield process, json.loads(told.read_text())["address"]
    finally:
        process.kill()
        process.wait()


def worker_of(address: str, folder: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1",
             "--no-nanny", "--no-dashboard", "--local-directory", str(folder)]  # fmt: skip
    return subprocess.Popen(words, stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_a_worker_is_killed(
    unbroken: Path,
    study: Path,
    tmp_path: Path,
    scheduler: tuple[subprocess.Popen[bytes], str],
) -> None:
    _, address = scheduler
    out = tmp_path / "out"
    first = worker_of(address, tmp_path)
    process = subprocess.Popen(command(study, out, "--scheduler", address, "-q"))
    end = time.monotonic() + 120
    while not list(out.glob(f"sub-*/{RECORD}")) and time.monotonic() < end:
        time.sleep(0.05)
    first.kill()
    first.wait()
    second = worker_of(address, tmp_path)
    try:
        assert process.wait(timeout=180) == 0
    finally:
        second.kill()
        second.wait()
    assert sorted(set(statuses(out))) in (["done"], ["done", "skipped"])
    assert results(out) == results(unbroken)


@pytest.mark.slow
def test_the_scheduler_is_killed(
    unbroken: Path,
    study: Path,
    tmp_path: Path,
    scheduler: tuple[subprocess.Popen[bytes], str],
) -> None:
    running, address = scheduler
    out = tmp_path / "out"
    worker = worker_of(address, tmp_path)
    words = command(study, out, "--scheduler", address, "-q")
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while not list(out.glob(f"sub-*/{RECORD}")) and time.monotonic() < end:
        time.sleep(0.05)
    running.kill()
    worker.kill()
    worker.wait()
    _, told = process.communicate(timeout=180)
    assert process.returncode == 2, told
    assert "the same command goes on" in told
    subprocess.run(command(study, out, "--workers", "0", "-q"), check=True)
    assert results(out) == results(unbroken)


@pytest.mark.slow
def test_workers_of_this_machine(unbroken: Path, study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = subprocess.run(command(study, out, "--workers", "2"), capture_output=True, text=True,
                          check=True)  # fmt: skip
    assert f"{PEOPLE} done, 0 failed, 0 skipped" in done.stdout
    assert results(out) == results(unbroken)

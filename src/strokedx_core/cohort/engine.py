"""Runs examinations on a Dask cluster, or one after the other in this process.

from strokedx_core.cohort.engine import LocalWorkers, run
for outcome in run(exams, Options(), Path("out"), LocalWorkers(2), command):
    ...
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strokedx_core.cohort.exams import CohortError, Exam
from strokedx_core.cohort.pipeline import process
from strokedx_core.cohort.records import Options, Outcome, write_outcome

__all__ = ["ClusterFile", "Here", "LocalWorkers", "Scheduler", "run"]

GB_A_WORKER = 3.0
"""Memory that one examination needs at most, by which a local cluster is sized."""

TRIES = 3
"""Workers that an examination may cost before it counts as failed."""

CommandOf = Callable[[Exam], str]
"""What repeats an examination alone."""


@dataclass(frozen=True)
class Here:
    """In this process, one after the other."""


@dataclass(frozen=True)
class LocalWorkers:
    """Processes of this machine; as many as cores and memory allow where no number is given."""

    count: int | None = None


@dataclass(frozen=True)
class Scheduler:
    """A scheduler that runs already."""

    address: str


@dataclass(frozen=True)
class ClusterFile:
    """A batch system, as a TOML file says."""

    path: Path


Where = Here | LocalWorkers | Scheduler | ClusterFile


def run(
    exams: Sequence[Exam], options: Options, out: Path, where: Where, command: CommandOf
) -> Generator[Outcome, None, None]:
    """What came of each examination, as it comes.

    Parameters
    ----------
    exams : sequence of Exam
    options : Options
    out : Path
        Output folder, which all workers see under this path.
    where : Here, LocalWorkers, Scheduler or ClusterFile
    command : callable
        What repeats an examination alone.

    Raises
    ------
    CohortError
        If the cluster cannot be reached or is lost.
    """
    if isinstance(where, Here):
        for exam in exams:
            yield process(exam, options, out, command(exam))
        return
    with _client(where, len(exams)) as client:
        yield from _on(client, exams, options, out, command)


def _on(
    client: Any, exams: Sequence[Exam], options: Options, out: Path, command: CommandOf
) -> Iterator[Outcome]:
    from distributed import CancelledError, KilledWorker, as_completed

    tasks = {
        client.submit(
            process, exam, options, out, command(exam), key=f"strokedx-{exam.name}", pure=False
        ): exam
        for exam in exams
    }
    waiting = as_completed(tasks)
    try:
        for future in waiting:
            if future.cancelled():  # the scheduler is gone
                break
            exam = tasks.pop(future)
            error = future.exception()
            if error is None:
                yield future.result()
            else:
                killed = isinstance(error, KilledWorker)
                reason = (
                    f"{TRIES} workers died on it; it may need more memory than they have"
                    if killed
                    else f"{type(error).__name__}: {error}"
                )
                lost = Outcome(exam.name, exam.subject, exam.session, "failed", reason)
                write_outcome(lost, out)
                yield lost
            future.release()
    except (OSError, TimeoutError, RuntimeError, CancelledError) as error:
        raise CohortError(f"the cluster was lost ({error}); the same command goes on") from error
    if tasks:
        raise CohortError(
            f"the cluster was lost with {len(tasks)} examinations left; the same command goes on"
        )


@contextmanager
def _client(where: Where, tasks: int) -> Iterator[Any]:
    """A connection to the cluster; one that was started for it ends with it."""
    import dask
    from distributed import Client, LocalCluster

    # Networks ask for the same large arrays again and again: memory that goes back to the system in
    # between costs a third of an examination's time.
    dask.config.set(
        {
            "distributed.scheduler.allowed-failures": TRIES - 1,
            "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 2**28,
            "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 2**25,
        }
    )
    cluster: Any = None
    try:
        if isinstance(where, Scheduler):
            try:
                client = Client(where.address, timeout=20)
            except (OSError, TimeoutError, ValueError) as error:
                raise CohortError(f"{where.address}: no scheduler answers ({error})") from error
        elif isinstance(where, ClusterFile):
            cluster = _batch_cluster(where.path)
            client = Client(cluster)
        else:
            assert isinstance(where, LocalWorkers)
            count, memory = local_size(where.count, tasks)
            threads = os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1) // count)
            for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
                dask.config.set({f"distributed.nanny.pre-spawn-environ.{name}": threads})
            cluster = LocalCluster(
                n_workers=count, threads_per_worker=1, memory_limit=memory,
                dashboard_address=None, silence_logs=50,
            )  # fmt: skip
            client = Client(cluster)
        with client:
            client.run(_prepare_worker)
            client.register_plugin(_plugin())
            yield client
    finally:
        if cluster is not None:
            cluster.close()


def local_size(asked: int | None, tasks: int) -> tuple[int, int]:
    """Workers of this machine, and the memory in bytes of each."""
    total = _memory()
    count = asked or max(1, min(os.cpu_count() or 1, int(total / 2**30 / GB_A_WORKER)))
    count = max(1, min(count, tasks))
    return count, int(0.9 * total / count)


def _memory() -> int:
    """Memory of this machine, or as much of it as this process may use, in bytes."""
    from distributed.system import MEMORY_LIMIT

    return int(MEMORY_LIMIT)


def _prepare_worker() -> None:
    """Load what every examination needs once; a GPU for each worker where there are some."""
    import torch

    from strokedx_core.inference import segment, skull_strip  # noqa: F401

    threads = os.environ.get("OMP_NUM_THREADS")
    if threads:
        torch.set_num_threads(int(threads))
    if torch.cuda.is_available():
        torch.cuda.set_device(os.getpid() % torch.cuda.device_count())


def _plugin() -> Any:
    """Prepares workers that come later."""
    from distributed import WorkerPlugin

    class Prepared(WorkerPlugin):
        name = "strokedx"

        def setup(self, worker: Any) -> None:
            _prepare_worker()

    return Prepared()


_SYSTEMS = {
    "slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster", "sge": "SGECluster",
    "local": "LocalCluster",
}  # fmt: skip


def _batch_cluster(path: Path) -> Any:
    """Workers as jobs of a batch system.

    The file's table `[cluster]` names the `system` and how many `workers`; all else goes to
    dask-jobqueue's class as it stands, such as `cores`, `memory`, `walltime`, `queue`.
    """
    try:
        with path.open("rb") as file:
            values = dict(tomllib.load(file)["cluster"])
        system, workers = values.pop("system"), int(values.pop("workers"))
    except OSError as error:
        raise CohortError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise CohortError(
            f"{path}: a table [cluster] with system and workers is wanted ({error})"
        ) from error
    if system not in _SYSTEMS or workers < 1:
        raise CohortError(f"{path}: system must be one of {', '.join(_SYSTEMS)}, workers 1 or more")
    try:
        if system == "local":
            from distributed import LocalCluster

            return LocalCluster(n_workers=workers, dashboard_address=None, **values)
        import dask_jobqueue

        cluster = getattr(dask_jobqueue, _SYSTEMS[system])(**values)
    except ImportError as error:
        raise CohortError(
            f"{path}: dask-jobqueue is missing; install napari-strokedx[cluster]"
        ) from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise CohortError(f"{path}: {error}") from error
    cluster.scale(jobs=workers)
    return cluster

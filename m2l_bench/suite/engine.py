"""Run jobs on this machine: a pool of processes, each finished job stored at once, never run twice.

A job's outcome is a pair of Parquet files named by the job's identity, each written whole or not at all, the records last:
where they lie, the job is finished. A damaged outcome is made again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol

from m2l_bench.audio import write_atomic
from m2l_bench.results import Item, Row, from_parquet, to_parquet

# One thread a worker: oversubscribed BLAS makes small problems many times slower, and a fixed number of threads is part
# of a reproducible sum.
_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


class EngineError(OSError):
    """The engine could not go on; nothing finished is lost."""


class Job(Protocol):
    """Anything with an identity and a pure ``run``."""

    @property
    def id(self) -> str:
        """Hash of everything the outcome depends on."""

    @property
    def label(self) -> str:
        """Whose time it is in the provenance: the system's name in the tables."""

    def is_whole(self, outcome: Outcome, workspace: Path) -> bool:
        """Whether what a finished job left in the workspace beside its outcome is still there."""

    def run(self, workspace: Path) -> Outcome:
        """Do it; `workspace` holds what jobs leave for others (the latent store)."""


@dataclass(frozen=True)
class Outcome:
    """What a job found: records of single files or predictions, and rows that only it could compute."""

    items: Sequence[Item] = ()
    rows: Sequence[Row] = ()


class JobStore:
    """Finished jobs on disk.

    Parameters
    ----------
    workspace : Path
        Made when the first job finishes; outcomes lie in its folder ``jobs``.
    """

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace

    def read(self, job: Job) -> Outcome | None:
        """The outcome of a finished job; None where it is not finished or a file of it is damaged."""
        items, rows = self._paths(job.id)
        if not items.is_file():
            return None
        try:
            outcome = Outcome(from_parquet(items, Item), from_parquet(rows, Row))
        except ValueError:
            return None
        return outcome if job.is_whole(outcome, self.workspace) else None

    def write(self, job: Job, outcome: Outcome) -> None:
        """Store a finished job."""
        items, rows = self._paths(job.id)
        write_atomic(rows, to_parquet(outcome.rows, Row))
        write_atomic(items, to_parquet(outcome.items, Item))

    def _paths(self, job_id: str) -> tuple[Path, Path]:
        folder = self.workspace / "jobs" / job_id[:2]
        return folder / f"{job_id}.items.parquet", folder / f"{job_id}.rows.parquet"


def run_jobs(
    jobs: Sequence[Job],
    store: JobStore,
    *,
    workers: int,
    on_finished: Callable[[Job, float | None], None] = lambda job, seconds: None,
) -> list[Outcome]:
    """Run every job that the store does not hold yet.

    Parameters
    ----------
    jobs : sequence of Job
    store : JobStore
    workers : int
        Processes, >= 1, one thread each.
    on_finished : callable
        Called in this process with each job and its seconds (None where it was found finished).

    Returns
    -------
    list of Outcome
        In the order of `jobs`.

    Raises
    ------
    EngineError
        If a worker died; finished jobs are kept.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    results: dict[str, Outcome] = {}
    pending: dict[str, Job] = {}  # two labels of one system may share a job
    for job in jobs:
        found = None if job.id in pending else store.read(job)
        if found is None:
            pending[job.id] = job
        else:
            results[job.id] = found
            on_finished(job, None)
    for job, outcome, seconds in _run_pool(list(pending.values()), store, workers):
        results[job.id] = outcome
        on_finished(job, seconds)
    return [results[job.id] for job in jobs]


def _run_pool(jobs: Sequence[Job], store: JobStore, workers: int) -> Iterator[tuple[Job, Outcome, float]]:
    if not jobs:
        return
    with _single_threaded_children():
        pool = ProcessPoolExecutor(min(workers, len(jobs)), mp_context=get_context("spawn"))
        try:
            waiting = iter(jobs)
            running: dict[Future[tuple[Outcome, float]], Job] = {}
            while True:
                # A short queue, not all jobs at once: a plan may hold a million.
                for job in waiting:
                    running[pool.submit(_run_one, job, store)] = job
                    if len(running) >= 2 * workers:
                        break
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    yield job, *future.result()
        except BrokenProcessPool as error:
            raise EngineError(
                "a worker process died (killed, or out of memory); finished jobs are kept, the same command goes on from "
                "there, --workers 1 needs the least memory"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _run_one(job: Job, store: JobStore) -> tuple[Outcome, float]:
    started = time.perf_counter()
    outcome = job.run(store.workspace)
    store.write(job, outcome)
    return outcome, time.perf_counter() - started


@contextmanager
def _single_threaded_children() -> Iterator[None]:
    """Set the thread limits that spawned workers read at start-up."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(_THREADS)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

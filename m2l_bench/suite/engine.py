"""Run jobs on this machine: a pool of processes, each finished job stored at once, never run twice.

A job's result is one Parquet file named by the job's identity, written whole or not at all; a damaged one is made again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol

from m2l_bench.audio import write_atomic
from m2l_bench.results import Item, from_parquet, to_parquet

# One thread a worker: oversubscribed BLAS makes small problems many times slower, and a fixed number of threads is part
# of a reproducible sum.
_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


class Job(Protocol):
    """Anything with an identity and a pure ``run``."""

    @property
    def id(self) -> str:
        """Hash of everything the result depends on."""

    def run(self) -> list[Item]:
        """The records of this job."""


class JobStore:
    """Finished jobs on disk.

    Parameters
    ----------
    root : Path
        Made when the first job finishes.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, job_id: str) -> Path:
        """Where a job's records lie, finished or not."""
        return self.root / job_id[:2] / f"{job_id}.parquet"

    def read(self, job_id: str) -> list[Item] | None:
        """The records of a finished job; None where it is not finished or its file is damaged."""
        path = self.path(job_id)
        if not path.is_file():
            return None
        try:
            return from_parquet(path, Item)
        except ValueError:
            return None

    def write(self, job_id: str, items: Sequence[Item]) -> None:
        """Store a finished job."""
        write_atomic(self.path(job_id), to_parquet(items, Item))


def run_jobs(
    jobs: Sequence[Job],
    store: JobStore,
    *,
    workers: int,
    on_finished: Callable[[Job, float | None], None] = lambda job, seconds: None,
) -> list[Item]:
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
    list of Item
        The records of all jobs, in the order of `jobs`.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    results: dict[str, list[Item]] = {}
    pending: list[Job] = []
    for job in jobs:
        found = store.read(job.id)
        if found is None:
            pending.append(job)
        else:
            results[job.id] = found
            on_finished(job, None)
    for job, items, seconds in _run_pool(pending, store, workers):
        results[job.id] = items
        on_finished(job, seconds)
    return [item for job in jobs for item in results[job.id]]


def _run_pool(jobs: Sequence[Job], store: JobStore, workers: int) -> Iterator[tuple[Job, list[Item], float]]:
    if not jobs:
        return
    with _single_threaded_children():
        pool = ProcessPoolExecutor(min(workers, len(jobs)), mp_context=get_context("spawn"))
        try:
            waiting = iter(jobs)
            running: dict[Future[tuple[list[Item], float]], Job] = {}
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
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _run_one(job: Job, store: JobStore) -> tuple[list[Item], float]:
    started = time.perf_counter()
    items = job.run()
    store.write(job.id, items)
    return items, time.perf_counter() - started


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

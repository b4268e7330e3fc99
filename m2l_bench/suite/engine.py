"""Run jobs: each finished job is stored at once and never run twice, whatever happens to the processes that run them.

A job's outcome is a pair of Parquet files named by the job's identity, each written whole or not at all, the records last:
where they lie, the job is finished. A damaged outcome is made again. A job that could not be done (it took too long, its
process was killed twice) has an outcome too: the reason, for every file it was to score.
"""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from m2l_bench.files.disk import write_atomic
from m2l_bench.files.mirror import Mirror
from m2l_bench.latents import LatentKey, LatentStore
from m2l_bench.results import Item, Row, from_parquet, to_parquet

# Not the fault of the file at hand: full, read-only or failing storage stops a run, and no file is blamed for it.
STORAGE_ERRORS = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO", "EMFILE", "ENFILE", "ESTALE")
    if hasattr(errno, name)
}


class EngineError(OSError):
    """The engine could not go on; nothing finished is lost."""


class Job(Protocol):
    """Anything with an identity and a pure ``run``."""

    @property
    def id(self) -> str:
        """Hash of everything the outcome depends on."""

    @property
    def kind(self) -> str:
        """What it does, in one word."""

    @property
    def label(self) -> str:
        """Whose work it is: the system's name in the tables."""

    def kept(self, outcome: Outcome) -> list[LatentKey]:
        """What a finished job left in the latent store."""

    def failed(self, reason: str) -> Outcome:
        """The outcome where it could not be done at all: every file that it was to score, with the reason."""

    def run(self, workspace: Workspace) -> Outcome:
        """Do it; `workspace` holds what jobs leave for others (the latent store)."""


@dataclass(frozen=True)
class Outcome:
    """What a job found: records of single files or predictions, and rows that only it could compute."""

    items: Sequence[Item] = ()
    rows: Sequence[Row] = ()

    @property
    def failures(self) -> dict[str, str]:
        """Item -> why it has no number."""
        return {item.item: item.reason for item in self.items if item.reason}


@dataclass(frozen=True)
class Done:
    """A finished job; `seconds` is None where it was found finished."""

    job: Job
    outcome: Outcome
    seconds: float | None


class Engine(Protocol):
    """Where jobs are run."""

    def run(self, jobs: Sequence[Job], store: JobStore, on_started: Callable[[Job], None]) -> Generator[Done]:
        """Run and store each job; results come in any order."""

    def close(self) -> None:
        """Let go of what it keeps for the next run."""


@dataclass(frozen=True)
class Workspace:
    """Where jobs leave what they made.

    Attributes
    ----------
    folder : Path
        Made when the first job finishes; outcomes lie in its folder ``jobs``, latents in ``latents``.
    mirror : str, optional
        URL of a copy of it for machines that share no file system: what is finished goes there, what others finished comes
        from there. See :mod:`m2l_bench.files.mirror`.
    """

    folder: Path
    mirror: str | None = None

    @property
    def latents(self) -> LatentStore:
        """Its latent store, opened once a process."""
        return _open_latents(self)

    def elsewhere(self) -> Workspace:
        """The same workspace as another machine sees it: a mirrored one has a folder of that machine's own."""
        if self.mirror is None:
            return self
        import platformdirs

        name = hashlib.sha256(self.mirror.encode()).hexdigest()[:16]
        return replace(self, folder=Path(platformdirs.user_cache_dir("m2l_bench")) / "mirrors" / name)


class JobStore:
    """Finished jobs on disk.

    Parameters
    ----------
    workspace : Workspace
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.mirror = Mirror(workspace.mirror) if workspace.mirror else None

    def read(self, job: Job) -> Outcome | None:
        """The outcome of a finished job; None where it is not finished or a file of it is damaged."""
        rows, items = self.paths(job)
        if not items.is_file() and not self._fetch(rows, items):
            return None
        try:
            outcome = Outcome(from_parquet(items, Item), from_parquet(rows, Row))
        except ValueError:
            return None
        kept = job.kept(outcome)
        return outcome if not kept or all(key in self.workspace.latents for key in kept) else None

    def write(self, job: Job, outcome: Outcome) -> None:
        """Store a finished job."""
        rows, items = self.paths(job)
        write_atomic(rows, to_parquet(outcome.rows, Row))
        write_atomic(items, to_parquet(outcome.items, Item))
        if self.mirror:
            for path in (rows, items):
                self.mirror.push(path, self._name(path))

    def files(self, done: Iterable[tuple[Job, Outcome]]) -> list[Path]:
        """Every file that finished jobs left here: their outcomes and the shards of their latents."""
        outcomes: set[Path] = set()
        keys: list[LatentKey] = []
        for job, outcome in done:
            rows, items = self.paths(job)
            if not items.is_file():  # a worker of another machine wrote it
                self._fetch(rows, items)
            outcomes |= {rows, items}
            keys += job.kept(outcome)
        return sorted(outcomes | (self.workspace.latents.shards(keys) if keys else set()))

    def paths(self, job: Job) -> tuple[Path, Path]:
        """Where a job's rows and items lie, once it is finished."""
        folder = self.workspace.folder / "jobs" / job.id[:2]
        return folder / f"{job.id}.rows.parquet", folder / f"{job.id}.items.parquet"

    def _fetch(self, rows: Path, items: Path) -> bool:
        """Copy an outcome from the mirror, the records last."""
        return self.mirror is not None and all(self.mirror.pull(self._name(path), path) for path in (rows, items))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.workspace.folder).as_posix()


def run_jobs(
    jobs: Sequence[Job],
    store: JobStore,
    engine: Engine,
    *,
    retry_failed: bool = False,
    on_started: Callable[[Job], None] = lambda job: None,
    on_finished: Callable[[Done], None] = lambda done: None,
) -> list[Outcome]:
    """Run every job that the store does not hold yet.

    Parameters
    ----------
    jobs : sequence of Job
    store : JobStore
    engine : Engine
    retry_failed : bool
        Run those again, too, that left a file without a number.
    on_started, on_finished : callable
        Called in this process.

    Returns
    -------
    list of Outcome
        In the order of `jobs`.

    Raises
    ------
    EngineError
        If the engine could not go on; finished jobs are kept.
    """
    results: dict[str, Outcome] = {}
    pending: dict[str, Job] = {}  # two labels of one system may share a job
    for job in jobs:
        found = None if job.id in pending else store.read(job)
        if found is None or (retry_failed and found.failures):
            pending[job.id] = job
        else:
            results[job.id] = found
            on_finished(Done(job, found, None))
    if pending:
        with closing(engine.run(list(pending.values()), store, on_started)) as finished:
            for done in finished:
                results[done.job.id] = done.outcome
                on_finished(done)
    return [results[job.id] for job in jobs]


def perform(job: Job, store: JobStore) -> tuple[Outcome, float]:
    """Run one job and store its outcome: what every engine does in its workers.

    Returns
    -------
    outcome : Outcome
        With the reason, where the job raised.
    seconds : float

    Raises
    ------
    EngineError
        If the storage failed.
    """
    started = time.perf_counter()
    try:
        try:
            outcome = job.run(store.workspace)
        # Jobs catch what a file or a system does to them; what comes through is kept with its name, and the run goes on.
        except Exception as error:
            outcome = job.failed(failure_reason(error))
        store.write(job, outcome)
    except OSError as error:
        raise EngineError(
            f"{error.strerror or error} ({error.filename or store.workspace.folder}): the run stopped; finished jobs are kept, "
            f"the same command goes on from there"
        ) from error
    return outcome, time.perf_counter() - started


def give_up(job: Job, store: JobStore, reason: str) -> Outcome:
    """Store that a job could not be done."""
    outcome = job.failed(reason)
    store.write(job, outcome)
    return outcome


def failure_reason(error: Exception) -> str:
    """One line for the results: the message, with the exception's name where it is not ours.

    Raises
    ------
    OSError
        The error itself where the storage failed: that says nothing of the file at hand.
    """
    if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
        raise error
    text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


@lru_cache(maxsize=2)
def _open_latents(workspace: Workspace) -> LatentStore:
    mirror = Mirror(f"{workspace.mirror.rstrip('/')}/latents") if workspace.mirror else None
    return LatentStore(workspace.folder / "latents", mirror=mirror)

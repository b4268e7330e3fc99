"""Run jobs: the outcome of each is stored at once, whatever happens to the processes that run them.

A job is one unit of work: one file through one system, one distance of sets, one probe. Jobs are handed to workers in
batches of one kind and system, so that a worker loads a system rarely and decodes the next file while it works on one. A
job that could not be done (it took too long, its process was killed twice) has an outcome too: the reason.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from m2l_bench.files.mirror import Mirror
from m2l_bench.suite.data import AudioItem
from m2l_bench.suite.steps import Read, in_two_steps, takes_steps
from m2l_bench.suite.store import Outcome, Store

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
        """Hash of everything the outcome depends on, 64 hexadecimal digits; empty for one that is not stored."""

    @property
    def kind(self) -> str:
        """The kind of work, in one word."""

    @property
    def label(self) -> str:
        """The system's name in the tables."""

    @property
    def batch(self) -> int:
        """How many jobs of its kind and system go to a worker at once."""

    @property
    def item(self) -> AudioItem | None:
        """The audio that it reads, where it reads any."""

    def failed(self, reason: str) -> Outcome:
        """The outcome where it could not be done at all."""

    def run(self, store: Store, read: Read | None) -> Outcome:
        """Do the work; `store` has the outcomes of the jobs that it rests on, `read` gives the audio of `item`."""


@dataclass(frozen=True)
class Done:
    """A finished job; `value` is its outcome's where the job is not stored, else empty."""

    job: Job
    reason: str
    seconds: float
    value: Mapping[str, Any]


class Engine(Protocol):
    """Where jobs are run."""

    def run(self, batches: Iterator[list[Job]], workspace: Workspace | None) -> Generator[Done]:
        """Run and store each job; results come in any order."""

    def close(self) -> None:
        """Let go of what it keeps for the next run."""


@dataclass(frozen=True)
class Workspace:
    """Where outcomes lie.

    Attributes
    ----------
    folder : Path
        Made when the first job finishes.
    mirror : str, optional
        URL of a copy of it for machines that share no file system; see :mod:`m2l_bench.files.mirror`.
    """

    folder: Path
    mirror: str | None = None

    @property
    def store(self) -> Store:
        """Its store, opened once a process."""
        return _open_store(self)

    def elsewhere(self) -> Workspace:
        """The same workspace as another machine sees it: a mirrored one has a folder of that machine's own."""
        if self.mirror is None:
            return self
        import platformdirs

        name = hashlib.sha256(self.mirror.encode()).hexdigest()[:16]
        return replace(self, folder=Path(platformdirs.user_cache_dir("m2l_bench")) / "mirrors" / name)


def run_jobs(
    jobs: Iterable[Job],
    workspace: Workspace | None,
    engine: Engine,
    *,
    retry_failed: bool = False,
    on_found: Callable[[Job], None] = lambda job: None,
    on_started: Callable[[Job], None] = lambda job: None,
    on_finished: Callable[[Done], None] = lambda done: None,
) -> None:
    """Run every job that the store does not hold yet.

    Parameters
    ----------
    jobs : iterable of Job
        Taken as workers get free, never held at once.
    workspace : Workspace or None
        None for jobs that are not stored.
    engine : Engine
    retry_failed : bool
        Run those again, too, that left a number out.
    on_found, on_started, on_finished : callable
        Called in this process: for a job that was found finished, for one that the engine takes, and for one that was run.

    Raises
    ------
    EngineError
        If the engine could not go on; finished jobs are kept.
    """
    store = workspace.store if workspace else None
    if store:
        store.refresh()

    def open_jobs() -> Iterator[Job]:
        for job in jobs:
            failed = store.failed(job.id) if store else None
            if failed is None or (failed and retry_failed):
                on_started(job)
                yield job
            else:
                on_found(job)

    with closing(engine.run(_batches(open_jobs()), workspace)) as finished:
        for done in finished:
            on_finished(done)
    if store:
        store.refresh()


def perform(batch: Sequence[Job], workspace: Workspace | None) -> Iterator[tuple[str, float, Mapping[str, Any]]]:
    """Run jobs one after the other and store their outcomes: what every engine does in its workers.

    Yields
    ------
    reason : str
        Of the outcome.
    seconds : float
    value : mapping
        The outcome's where the job is not stored, else empty.

    Raises
    ------
    EngineError
        If the storage failed.
    """
    store: Any = workspace.store if workspace else None
    try:
        started = time.perf_counter()
        for job, found in zip(batch, _outcomes(batch, store), strict=True):
            # A damaged file, or a system that may be anybody's code: the run goes on, whatever is raised.
            outcome = job.failed(failure_reason(found)) if isinstance(found, Exception) else found
            if store:
                store.put(job.id, outcome)
            now = time.perf_counter()
            yield outcome.reason, now - started, {} if store else outcome.value
            started = time.perf_counter()
        if store:
            store.flush()
    except OSError as error:
        raise stopped(error) from error


def _outcomes(batch: Sequence[Job], store: Store) -> Iterator[Outcome | Exception]:
    """What becomes of each job of a batch, in order."""
    reads = read_ahead([job.item for job in batch])
    if takes_steps(batch[0]):
        yield from in_two_steps(batch, reads)
        return
    for job, read in zip(batch, reads, strict=True):
        try:
            yield job.run(store, read)
        except Exception as error:
            yield error


def stopped(error: OSError) -> EngineError:
    """The error of a run that a failing storage stopped."""
    reason = os.strerror(error.errno) if error.errno else error.strerror or error
    return EngineError(
        f"{reason} ({error.filename or 'the run folder'}): the run stopped; finished jobs are kept, the same command "
        f"goes on from there"
    )


def give_up(job: Job, workspace: Workspace | None, reason: str, seconds: float) -> Done:
    """Store that a job could not be done."""
    if workspace:
        workspace.store.put(job.id, job.failed(reason))
        workspace.store.flush()
    return Done(job, reason, seconds, {})


def failure_reason(error: Exception) -> str:
    """One line for the results: the message, with the exception's name where it is not ours.

    Raises
    ------
    OSError
        The error itself where the storage failed: the file is not to blame.
    """
    if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
        raise error
    text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split()) or type(error).__name__


def read_ahead(items: Sequence[AudioItem | None]) -> Iterator[Read | None]:
    """A reader for each item, None for None; while one file is worked on, the next is decoded."""
    with ThreadPoolExecutor(1) as decoder:
        ahead = [decoder.submit(item.load) if item else None for item in items[:1]]
        for number in range(len(items)):
            if number + 1 < len(items):
                item = items[number + 1]
                ahead.append(decoder.submit(item.load) if item else None)
            future = ahead.pop(0)
            yield future.result if future else None


def _batches(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    """Neighbouring jobs of one kind and system together."""
    batch: list[Job] = []
    for job in jobs:
        if batch and (len(batch) >= batch[0].batch or (job.kind, job.label) != (batch[0].kind, batch[0].label)):
            yield batch
            batch = []
        batch.append(job)
    if batch:
        yield batch


@lru_cache(maxsize=2)
def _open_store(workspace: Workspace) -> Store:
    return Store(workspace.folder, Mirror(workspace.mirror) if workspace.mirror else None)

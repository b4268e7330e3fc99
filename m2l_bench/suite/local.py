"""Run jobs on this machine: a few worker processes, one job each at a time.

Each worker has a pipe of its own, so that nothing is shared that a killed process could leave locked, and it is known which
job died with it. That job is tried once more in a fresh process, then counted as failed. (An executor of
``concurrent.futures`` or loky gives up the whole pool when one process dies, and has no limit of time for a job.)
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

import psutil

from m2l_bench.suite.engine import Done, Engine, EngineError, Job, JobStore, Workspace, give_up, perform

# One thread a worker: oversubscribed BLAS makes small problems many times slower, and a fixed number of threads is part
# of a reproducible sum.
THREADS = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
ATTEMPTS = 2
_STARTS = 5  # failed ones before the run stops
_PATIENCE = 10.0  # seconds that an idle worker gets to leave
_MEMORY_CHECK = 0.5  # seconds from one look at the workers' memory to the next


@dataclass(frozen=True, kw_only=True)
class LocalEngine:
    """Worker processes of this machine.

    Attributes
    ----------
    workers : int
        Processes, >= 1, one thread each.
    timeout : float, optional
        Seconds that a job may take, > 0; then its process is killed and the job counts as failed.
    memory : float, optional
        GiB that a worker may hold, > 0; one seen with more (it is looked at twice a second) is killed, and its job counts as
        failed.
    on_stopping : callable
        Called with the number of running jobs when the user interrupts: they are waited for, a second interrupt kills them.

    Notes
    -----
    Processes stay for the next :meth:`run`, with the systems they have loaded, until :meth:`close`.
    """

    workers: int = 1
    timeout: float | None = None
    memory: float | None = None
    on_stopping: Callable[[int], None] = lambda running: None
    _crew: list[_Worker] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"timeout must be positive (seconds), got {self.timeout}")
        if self.memory is not None and not self.memory > 0:
            raise ValueError(f"memory must be positive (GiB), got {self.memory}")

    def run(self, jobs: Sequence[Job], store: JobStore, on_started: Callable[[Job], None]) -> Generator[Done]:
        """Run every job; see :class:`m2l_bench.suite.engine.Engine`.

        Raises
        ------
        EngineError
            If the storage failed, or a worker cannot be started.
        KeyboardInterrupt
            After the running jobs are finished and stored; at the second interrupt, at once.
        """
        waiting: deque[Job] = deque(jobs)
        attempts: Counter[str] = Counter()
        crew = self._crew
        with _stop_gently(lambda: self.on_stopping(_busy(crew))) as stopping:
            try:
                while True:
                    if stopping.is_set():
                        waiting.clear()
                    while len(crew) < min(self.workers, len(waiting) + _busy(crew)):
                        crew.append(_Worker(self.timeout, self.memory))
                    for worker in crew:
                        if waiting and worker.idle:
                            job = waiting.popleft()
                            worker.give(job, store.workspace)
                            on_started(job)
                    if not waiting and not _busy(crew):
                        break
                    for worker in _ready(crew):
                        answer = worker.answer()
                        if isinstance(answer, str):
                            crew.remove(worker)
                            answer = _lose(worker, answer, attempts, waiting, store)
                        elif answer is not None and worker.is_too_large():
                            # What one job leaves behind is not the next one's fault.
                            crew.remove(worker)
                            worker.kill()
                        if answer is not None:
                            yield answer
                if stopping.is_set():
                    raise KeyboardInterrupt
            except BaseException:
                while crew:
                    crew.pop().kill()
                raise

    def close(self) -> None:
        """Let the processes go."""
        for worker in self._crew:
            worker.pipe.close()
        while self._crew:
            worker = self._crew.pop()
            worker.process.join(_PATIENCE)
            worker.kill()


@contextmanager
def local_unless(engine: Engine | None) -> Iterator[Engine]:
    """The engine given, which stays the giver's to close; or one process of this machine, closed at the end."""
    if engine is not None:
        yield engine
    else:
        with closing(LocalEngine()) as own:
            yield own


def _busy(crew: Sequence[_Worker]) -> int:
    return sum(worker.job is not None for worker in crew)


def _lose(worker: _Worker, ending: str, attempts: Counter[str], waiting: deque[Job], store: JobStore) -> Done | None:
    """What follows from a worker's end: its job waits again, or has failed; or workers cannot even be started."""
    job = worker.job
    name = job.id if job else "start"
    attempts[name] += 1
    if job is None:
        if attempts[name] > _STARTS and not worker.started:
            raise EngineError(f"worker processes cannot be started: the last one {ending}")
        return None
    if worker.verdict:
        reason = f"its worker process {ending}"
    elif attempts[name] < ATTEMPTS:
        waiting.appendleft(job)
        return None
    else:
        reason = f"its worker process {ending}, {ATTEMPTS} times"
    return Done(job, give_up(job, store, reason), time.monotonic() - worker.since)


def _ready(crew: Sequence[_Worker]) -> list[_Worker]:
    """Those that have something to say, have died, or went beyond a limit; waits for one, or until limits must be looked at."""
    deadlines = [worker.deadline for worker in crew if worker.deadline is not None]
    if any(worker.memory is not None and worker.job for worker in crew):
        deadlines.append(time.monotonic() + _MEMORY_CHECK)
    patience = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
    speaking = wait([worker.pipe for worker in crew], patience)
    return [worker for worker in crew if worker.pipe in speaking or worker.judged()]


@dataclass
class _Worker:
    """A process with its pipe, its limits, and the job it is at; `verdict` is why it must be killed."""

    timeout: float | None
    memory: float | None
    job: Job | None = None
    started: bool = False
    since: float = 0.0
    verdict: str = ""
    pipe: Connection = field(init=False)
    process: SpawnProcess = field(init=False)

    def __post_init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), name="m2l-bench worker")
        with _single_threaded_children():
            self.process.start()
        theirs.close()  # so that the pipe ends when the process does

    @property
    def idle(self) -> bool:
        return self.started and self.job is None

    @property
    def deadline(self) -> float | None:
        return None if self.timeout is None or self.job is None else self.since + self.timeout

    def judged(self) -> bool:
        """Whether its job took too long or too much memory."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            self.verdict = f"was killed after {self.timeout:g} s, the time limit of a job"
        elif self.job and self.is_too_large():
            self.verdict = f"was killed at {self._gibibytes():.2f} GiB, the memory limit is {self.memory:g} GiB"
        return bool(self.verdict)

    def is_too_large(self) -> bool:
        """Whether it holds more memory than it may."""
        return self.memory is not None and self._gibibytes() > self.memory

    def _gibibytes(self) -> float:
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).memory_info().rss / 2**30
        return 0.0

    def give(self, job: Job, workspace: Workspace) -> None:
        self.job, self.since = job, time.monotonic()
        with suppress(OSError):  # it may have died meanwhile: the end of its pipe says so
            self.pipe.send((job, workspace))

    def answer(self) -> Done | str | None:
        """A finished job; what became of the process, where it is no more; None where it has just started."""
        if not self.pipe.poll():
            self.kill()
            return self.verdict
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            return _ending(self.process.exitcode)
        if isinstance(message, EngineError):
            raise message
        if self.job is None:
            self.started = True
            return None
        done, self.job, self.verdict = Done(self.job, *message), None, ""
        return done

    def kill(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join()


def _ending(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        hint = " (out of memory?)" if exitcode == -signal.SIGKILL else ""
        return f"was killed by {signal.Signals(-exitcode).name}{hint}"
    return f"left with exit code {exitcode}"


def _serve(pipe: Connection) -> None:
    """A worker's life: announce itself, then answer each job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal interrupts all processes: the parent decides
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    answer: object = None
    while True:
        try:
            pipe.send(answer)
            job, workspace = pipe.recv()
        except (EOFError, ConnectionError):  # the parent is gone
            return
        try:
            answer = perform(job, JobStore(workspace))
        except EngineError as error:
            answer = error


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _stop_gently(on_first: Callable[[], None]) -> Iterator[threading.Event]:
    """Set the event at the first interrupt; let the second one through. Signals reach the main thread only."""
    stopping = threading.Event()

    def interrupted(number: int, frame: object) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()
        on_first()

    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _single_threaded_children() -> Iterator[None]:
    """Set the thread limits that spawned processes read at start-up."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(THREADS)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

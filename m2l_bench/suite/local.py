"""Run jobs on this machine: a few worker processes, a batch of jobs each at a time.

Each worker has a pipe of its own, so that nothing is shared that a killed process could leave locked, and it is known which
job died with it. That job is tried once more in a fresh process, then counted as failed; the rest of its batch goes to
another worker. (An executor of ``concurrent.futures`` or loky gives up the whole pool when one process dies, and has no
limit of time for a job.) On a machine with GPUs each worker sees one of them alone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import psutil

from m2l_bench.memory import keep_freed_memory
from m2l_bench.suite.engine import Done, Engine, EngineError, Job, Workspace, give_up, perform
from m2l_bench.suite.steps import SCORERS

# One thread a worker: oversubscribed BLAS makes small problems many times slower, and a fixed number of threads is part
# of a reproducible sum.
THREADS = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
ATTEMPTS = 2
_NOTHING = object()  # in place of a message that has not come
_STARTS = 5  # failed ones before the run stops
_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
_PATIENCE = 10.0  # seconds that an idle worker gets to leave
_MEMORY_CHECK = 0.5  # seconds from one look at the workers' memory to the next


@dataclass(frozen=True, kw_only=True)
class LocalEngine:
    """Worker processes of this machine.

    Attributes
    ----------
    workers : int
        Processes, >= 1, one thread each.
    gpus : tuple of str
        GPUs as ``CUDA_VISIBLE_DEVICES`` names them; each worker sees one, in turn. Empty: workers see what this process sees.
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
    gpus: tuple[str, ...] = ()
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

    def run(self, batches: Iterator[list[Job]], workspace: Workspace | None) -> Generator[Done]:
        """Run every job; see :class:`m2l_bench.suite.engine.Engine`.

        Raises
        ------
        EngineError
            If the storage failed, or a worker cannot be started.
        KeyboardInterrupt
            After the running jobs are finished and stored; at the second interrupt, at once.
        """
        waiting = _Queue(batches)
        attempts: Counter[str] = Counter()
        crew = self._crew
        with _stop_gently(lambda: self.on_stopping(_busy(crew))) as stopping:
            try:
                while True:
                    if stopping.is_set():
                        waiting.clear()
                        for worker in crew:
                            worker.stop_after_this_job()
                    while len(crew) < min(self.workers, _busy(crew) + waiting.count(self.workers)):
                        crew.append(_Worker(self.timeout, self.memory, self._gpu(), self._scorers()))
                    for worker in crew:
                        if worker.idle and waiting:
                            worker.give(waiting.pop(), workspace)
                    if not waiting and not _busy(crew):
                        break
                    for worker in _ready(crew):
                        answer = worker.answer()
                        if isinstance(answer, str):
                            crew.remove(worker)
                            answer = _lose(worker, answer, attempts, waiting, workspace)
                        elif answer is not None and worker.is_too_large():
                            # What one job leaves behind is not the next one's fault.
                            crew.remove(worker)
                            worker.kill()
                            waiting.put_back(worker.jobs)
                        if answer is not None:
                            yield answer
                if stopping.is_set():
                    raise KeyboardInterrupt
            except BaseException:
                while crew:
                    crew.pop().kill()
                raise

    def _gpu(self) -> str | None:
        """The GPU that has the fewest workers."""
        taken = Counter(worker.gpu for worker in self._crew)
        return min(self.gpus, key=lambda gpu: taken[gpu]) if self.gpus else None

    def _scorers(self) -> int:
        """Threads that score beside a worker's GPU, which has a thread of its own: so that all workers fill the processor."""
        return max(1, (os.cpu_count() or 1) // self.workers - 1) if self.gpus else 0

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


class _Queue:
    """Batches that wait: those given back first, then those that are yet to be made."""

    def __init__(self, batches: Iterator[list[Job]]) -> None:
        self._batches, self._back = batches, deque[list[Job]]()

    def __bool__(self) -> bool:
        return self.count(1) > 0

    def count(self, most: int) -> int:
        """How many batches wait, counted up to `most`."""
        while len(self._back) < most and (batch := next(self._batches, None)):
            self._back.append(batch)
        return min(len(self._back), most)

    def pop(self) -> list[Job]:
        return self._back.popleft()

    def put_back(self, jobs: Iterable[Job]) -> None:
        if batch := list(jobs):
            self._back.appendleft(batch)

    def clear(self) -> None:
        self._batches = iter(())
        self._back.clear()


def _busy(crew: Sequence[_Worker]) -> int:
    return sum(bool(worker.jobs) for worker in crew)


def _lose(
    worker: _Worker, ending: str, attempts: Counter[str], waiting: _Queue, workspace: Workspace | None
) -> Done | None:
    """Decide what follows from a worker's end: its job waits again, or has failed; or workers cannot even be started."""
    if not worker.started:
        attempts["start"] += 1
        if attempts["start"] > _STARTS:
            raise EngineError(f"worker processes cannot be started: the last one {ending}")
        waiting.put_back(worker.jobs)
        return None
    if not worker.jobs:
        return None
    job = worker.jobs.popleft()
    name = job.id or job.label
    attempts[name] += 1
    waiting.put_back(worker.jobs)
    if worker.kill_reason:
        reason = f"its worker process {ending}"
    elif attempts[name] < ATTEMPTS:
        waiting.put_back([job])
        return None
    else:
        reason = f"its worker process {ending}, {ATTEMPTS} times"
    return give_up(job, workspace, reason, time.monotonic() - worker.since)


def _ready(crew: Sequence[_Worker]) -> list[_Worker]:
    """Those that have something to say, have died, or went beyond a limit; waits for one, or until limits must be looked at."""
    deadlines = [worker.deadline for worker in crew if worker.deadline is not None]
    if any(worker.memory is not None and worker.jobs for worker in crew):
        deadlines.append(time.monotonic() + _MEMORY_CHECK)
    patience = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
    speaking = wait([worker.pipe for worker in crew], patience)
    return [worker for worker in crew if worker.pipe in speaking or worker.over_limit()]


@dataclass
class _Worker:
    """A process with its pipe, its limits, its GPU, and the jobs of its batch, the running one first."""

    timeout: float | None
    memory: float | None
    gpu: str | None = None
    scorers: int = 0
    jobs: deque[Job] = field(default_factory=deque)
    started: bool = False
    stopping: bool = False
    since: float = 0.0
    kill_reason: str = ""
    pipe: Connection = field(init=False)
    process: SpawnProcess = field(init=False)

    def __post_init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), name="m2l-bench worker")
        gpu = {} if self.gpu is None else {"CUDA_VISIBLE_DEVICES": self.gpu, SCORERS: str(self.scorers)}
        with _environment(THREADS | gpu):
            self.process.start()
        theirs.close()  # so that the pipe ends when the process does

    @property
    def idle(self) -> bool:
        return self.started and not self.jobs

    @property
    def deadline(self) -> float | None:
        return None if self.timeout is None or not self.jobs else self.since + self.timeout

    def over_limit(self) -> bool:
        """Whether its job took too long or too much memory."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            self.kill_reason = f"was killed after {self.timeout:g} s, the time limit of a job"
        elif self.jobs and self.is_too_large():
            self.kill_reason = f"was killed at {self._gibibytes():.2f} GiB, the memory limit is {self.memory:g} GiB"
        return bool(self.kill_reason)

    def is_too_large(self) -> bool:
        """Whether it holds more memory than it may."""
        return self.memory is not None and self._gibibytes() > self.memory

    def _gibibytes(self) -> float:
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).memory_info().rss / 2**30
        return 0.0

    def give(self, batch: Sequence[Job], workspace: Workspace | None) -> None:
        self.jobs, self.since = deque(batch), time.monotonic()
        with suppress(OSError):  # it may have died meanwhile: the end of its pipe says so
            self.pipe.send((batch, workspace))

    def stop_after_this_job(self) -> None:
        """Ask it to leave the rest of its batch; it says when it has."""
        if self.jobs and not self.stopping:
            self.stopping = True
            with suppress(OSError):
                self.pipe.send(None)

    def answer(self) -> Done | str | None:
        """A finished job; what became of the process, where it is no more; None where it has just started or stopped."""
        if not self.pipe.poll():
            self.kill()
            return self.kill_reason
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            return _ending(self.process.exitcode)
        if isinstance(message, EngineError):
            raise message
        if message is None:
            self.started = True
            self.jobs.clear()  # it has just started, or has left the rest of its batch
            return None
        done = Done(self.jobs.popleft(), *message)
        self.since, self.kill_reason = time.monotonic(), ""
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
    """A worker's life: announce itself, then answer each job of each batch, until told to leave the rest."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal interrupts all processes: the parent decides
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    keep_freed_memory()
    message: Any = None
    try:
        while True:
            if message is None:  # it has just started, or was told to leave the rest of its batch
                pipe.send(None)
                message = pipe.recv()
            batch, message = message, _NOTHING
            try:
                for answer in perform(*batch) if batch else ():
                    pipe.send(answer)
                    if pipe.poll() and (message := pipe.recv()) is None:
                        break
            except EngineError as error:
                pipe.send(error)
            if message is _NOTHING:
                message = pipe.recv()
    except (EOFError, ConnectionError):  # the parent is gone
        return


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
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables that spawned processes read at start-up."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def gpus_for(device: str | None) -> tuple[str, ...]:
    """The GPUs that workers are pinned to, as ``CUDA_VISIBLE_DEVICES`` names them, for systems on a device.

    Parameters
    ----------
    device : str, optional
        ``"cuda"`` or None: every GPU that this process may use; ``"cuda:1"``: that one; another device: none.
    """
    kind, _, number = (device or "cuda").partition(":")
    gpus = visible_gpus() if kind == "cuda" else ()
    return gpus if not number else gpus[int(number) : int(number) + 1]


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process may use; none without CUDA."""
    if os.name == "posix" and not any(Path(place).exists() for place in _GPU_DRIVERS):  # without importing PyTorch
        return ()
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return tuple(named.split(","))[:count] if named else tuple(map(str, range(count)))

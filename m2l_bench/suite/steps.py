"""Jobs in two steps: what a system does to a file, and what is made of that on a processor.

Conventions
-----------
On an accelerator files of one shape and rate go through a system at once, where it takes batches, and threads score one batch
while the accelerator works on the next. The outcomes are those of the jobs alone, up to what a batch changes on the device;
a batch that fails is done again file by file, so that one damaged file costs no other.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from m2l_bench.suite.store import Outcome

Read = Callable[[], tuple[np.ndarray, int]]
"""Gives a file's audio, float32 (channels, samples), and its sample rate in Hz, or raises."""
Finish = Callable[[], Outcome]
"""The second step of a job."""
SCORERS = "M2L_BENCH_SCORERS"  # environment of a worker that has an accelerator: how many threads score beside it
MOST_SAMPLES = 2**25  # of all channels of the files of one batch: 128 MiB


class TwoSteps(Protocol):
    """A job whose first step may be taken together with others of its kind and system."""

    @property
    def takes_batches(self) -> bool:
        """Whether its system takes several files at once."""

    def start(self, signal: np.ndarray, rate: int) -> Finish:
        """Pass the file through the system; what is returned makes the outcome of it."""

    def start_batch(self, jobs: Sequence[TwoSteps], signals: Sequence[np.ndarray], rate: int) -> list[Finish]:
        """As :meth:`start`, of several jobs of its kind and system, and files of one shape and rate."""


def scorers() -> int:
    """How many threads score beside an accelerator; 0 where there is none, and each job is finished before the next."""
    return int(os.environ.get(SCORERS, "0"))


def takes_steps(job: Any) -> bool:
    """Whether a job is done in two steps here: it has them, and an accelerator or its system gains by it."""
    return hasattr(type(job), "start") and (scorers() > 0 or _takes_batches(job))


def _takes_batches(job: TwoSteps) -> bool:
    try:
        return job.takes_batches
    except Exception:  # the system cannot be loaded: each job says so
        return False


def in_two_steps(jobs: Sequence[Any], reads: Iterator[Any]) -> Iterator[Outcome | Exception]:
    """The outcome of each :class:`TwoSteps`, or why it has none, in order; `reads` are their files."""
    n_threads = scorers()
    if not n_threads:
        for step in _first_steps(jobs, reads):
            yield _second_step(step)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        waiting: deque[Future[Outcome | Exception]] = deque()
        for step in _first_steps(jobs, reads):
            waiting.append(pool.submit(_second_step, step))
            while waiting and (waiting[0].done() or len(waiting) > 2 * n_threads):
                yield waiting.popleft().result()
        for future in waiting:
            yield future.result()


def _second_step(step: Finish | Exception) -> Outcome | Exception:
    if isinstance(step, Exception):
        return step
    try:
        return step()
    except Exception as error:  # as what the first step raises: the run goes on
        return error


def _first_steps(jobs: Sequence[TwoSteps], reads: Iterator[Read]) -> Iterator[Finish | Exception]:
    """The first step of each job, in order; files of one shape together where the system takes batches."""
    if not _takes_batches(jobs[0]):
        for job, read in zip(jobs, reads, strict=True):
            try:
                yield job.start(*read())
            except Exception as error:
                yield error
        return
    loaded: list[tuple[np.ndarray, int] | Exception] = []
    for read in reads:
        try:
            loaded.append(read())
        except Exception as error:
            loaded.append(error)
    steps: dict[int, Finish | Exception] = {}
    for place, found in enumerate(loaded):
        if place not in steps:
            steps |= {place: found} if isinstance(found, Exception) else _together(jobs, loaded, place)
        yield steps.pop(place)


def _together(
    jobs: Sequence[TwoSteps], loaded: Sequence[tuple[np.ndarray, int] | Exception], first: int
) -> dict[int, Finish | Exception]:
    """The first steps of a job and of those after it whose files have the same shape and rate, by place."""
    signal, rate = loaded[first]  # type: ignore[misc]
    alike = [
        place
        for place in range(first, len(jobs))
        if not isinstance(found := loaded[place], Exception) and (found[0].shape, found[1]) == (signal.shape, rate)
    ]
    alike = alike[: max(1, MOST_SAMPLES // signal.size)]
    signals = [loaded[place][0] for place in alike]  # type: ignore[index]
    if len(alike) > 1:
        try:
            return dict(
                zip(alike, jobs[first].start_batch([jobs[place] for place in alike], signals, rate), strict=True)
            )
        except Exception:  # each of them alone says which file, or system, is to blame
            pass
    steps: dict[int, Finish | Exception] = {}
    for place, one in zip(alike, signals, strict=True):
        try:
            steps[place] = jobs[place].start(one, rate)
        except Exception as error:
            steps[place] = error
    return steps

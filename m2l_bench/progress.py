"""Progress on stderr: a bar on a terminal; else, as in CI, a line at most once a minute.

Conventions
-----------
The remaining time is what the jobs of this run took so far, by kind and system or else by kind, times the jobs that are
left; those that were found finished do not count. Kinds of which nothing is known yet are left out: it is "more than" that.
What is said to run is the earliest started kind and system with unfinished jobs.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from m2l_bench.files.untrusted import printable

if TYPE_CHECKING:
    from m2l_bench.suite.engine import Job
    from m2l_bench.suite.plan import Plan

EVERY = 60.0  # seconds between two lines


def duration(seconds: float) -> str:
    """Seconds as text.

    Examples
    --------
    >>> duration(12.3), duration(185), duration(9000)
    ('12 s', '3 min', '2.5 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class Tally:
    """Count what is planned, found finished, running and done.

    Parameters
    ----------
    unit : str
        What is counted, in the plural.
    total : int, optional
        Unknown by default, until :meth:`plan`.
    clock : callable
        Seconds since any moment.
    """

    def __init__(self, unit: str, total: int | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.unit, self.total, self.clock = unit, total, clock
        self.began = self.jobs_began = clock()
        self.done = self.computed = 0
        self.planned: Counter[str] = Counter()
        self.finished: Counter[str] = Counter()
        self.open: Counter[tuple[str, str]] = Counter()  # (kind, system) in the order of starting -> running jobs
        self.waiting: Counter[tuple[str, str]] = Counter()
        self.timed: Counter[tuple[str, str]] = Counter()  # jobs of known time, and the sum of their seconds
        self.seconds: defaultdict[tuple[str, str], float] = defaultdict(float)

    def plan(self, plan: Plan) -> None:
        """Take the number of jobs, of each system and of all together."""
        for (kind, system), jobs in plan.counts().items():
            self.planned[system] += jobs
            self.waiting[kind, system] += jobs
        self.unit, self.total = "jobs", self.planned.total()
        self.jobs_began = self.clock()

    def start(self, job: Job) -> None:
        """Take note that a job was handed out."""
        self.open[job.kind, job.label] += 1

    def finish(self, job: Job, seconds: float | None) -> None:
        """Count a job; one that was found finished took None seconds."""
        self.finished[job.label] += 1
        self.waiting[job.kind, job.label] -= 1
        self.done += 1
        if seconds is not None:
            self.computed += 1
            self.timed[job.kind, job.label] += 1
            self.seconds[job.kind, job.label] += seconds
            self.open[job.kind, job.label] -= 1

    def advance(self) -> None:
        """Count one more, of no system."""
        self.done += 1
        self.computed += 1

    def left(self) -> str:
        """Remaining time as text; empty before anything is known of it."""
        if not self.total or not self.computed:
            return ""
        elapsed = self.clock() - self.jobs_began
        if not self.timed:
            return f"about {duration(elapsed / self.computed * max(0, self.total - self.done))} left"
        jobs_of: Counter[str] = Counter()
        seconds_of: defaultdict[str, float] = defaultdict(float)
        for key, jobs in self.timed.items():
            jobs_of[key[0]] += jobs
            seconds_of[key[0]] += self.seconds[key]
        work, word = 0.0, "about"
        for key, jobs in self.waiting.items():
            if self.timed[key]:
                work += max(0, jobs) * self.seconds[key] / self.timed[key]
            elif jobs_of[key[0]]:
                work += max(0, jobs) * seconds_of[key[0]] / jobs_of[key[0]]
            elif jobs > 0:
                word = "more than"
        at_once = sum(seconds_of.values()) / elapsed if elapsed else 1.0
        return f"{word} {duration(work / max(at_once, 0.1))} left"

    def now(self) -> str:
        """What is running, with the finished and planned jobs of its system; empty where nothing is."""
        running = next((key for key, jobs in self.open.items() if jobs > 0), None)
        if running is None:
            return ""
        kind, system = running
        counts = f" {self.finished[system]}/{self.planned[system]}" if self.planned[system] else ""
        return f"{kind} {system}{counts}"

    def systems(self) -> str:
        """How many systems are finished, of how many; empty for a single one."""
        done = sum(self.finished[system] >= jobs for system, jobs in self.planned.items())
        return f"{done}/{len(self.planned)} systems" if len(self.planned) > 1 else ""

    def line(self) -> str:
        """Everything in one line."""
        counted = f"{self.done:,}" + (f" of {self.total:,}" if self.total else "")
        elapsed = f"elapsed {duration(self.clock() - self.began)}"
        now = self.now()
        parts = (f"{counted} {self.unit}", elapsed, self.left(), f"now: {now}" if now else "", self.systems())
        return ", ".join(filter(None, parts))


class Shown:
    """A tally on stderr.

    Attributes
    ----------
    tally : Tally
    """

    def __init__(self, tally: Tally, console: Any, refresh: Callable[[], None]) -> None:
        self.tally, self._console, self._refresh = tally, console, refresh

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        _say(self._console, line)

    def plan(self, plan: Plan) -> None:
        """As :meth:`Tally.plan`."""
        self.tally.plan(plan)
        self._refresh()

    def start(self, job: Job) -> None:
        """As :meth:`Tally.start`."""
        self.tally.start(job)
        self._refresh()

    def finish(self, job: Job, seconds: float | None) -> None:
        """As :meth:`Tally.finish`."""
        self.tally.finish(job, seconds)
        self._refresh()

    def advance(self) -> None:
        """As :meth:`Tally.advance`."""
        self.tally.advance()
        self._refresh()


@contextmanager
def progress(unit: str, total: int | None = None, *, clock: Callable[[], float] = time.monotonic) -> Iterator[Shown]:
    """Show progress on stderr for as long as the context lasts; the parameters are those of :class:`Tally`."""
    from rich.console import Console

    console, tally = Console(stderr=True), Tally(unit, total, clock=clock)
    if console.is_terminal:
        with _bar(tally, console) as refresh:
            yield Shown(tally, console, refresh)
    else:
        yield Shown(tally, console, _lines(tally, console))


def _say(console: Any, line: str) -> None:
    console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def _lines(tally: Tally, console: Any) -> Callable[[], None]:
    """A function that prints the tally, unless it did so less than a minute ago."""
    last = tally.clock()

    def refresh() -> None:
        nonlocal last
        if tally.clock() - last >= EVERY:
            last = tally.clock()
            _say(console, tally.line())

    return refresh


@contextmanager
def _bar(tally: Tally, console: Any) -> Iterator[Callable[[], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column

    cut = Column(no_wrap=True, overflow="ellipsis", ratio=1)  # the other columns keep their widths
    rest = TextColumn("{task.fields[rest]}", markup=False, table_column=cut)
    columns = (MofNCompleteColumn(), TextColumn("{task.description}"), BarColumn(bar_width=6))
    times = (TextColumn("elapsed"), TimeElapsedColumn(), rest)
    with Progress(*columns, *times, console=console, transient=True, expand=True, get_time=tally.clock) as bar:
        task = bar.add_task(tally.unit, total=tally.total, rest="")

        def refresh() -> None:
            rest = ", ".join(filter(None, (tally.left(), tally.now(), tally.systems())))
            bar.update(task, description=tally.unit, total=tally.total, completed=tally.done, rest=printable(rest))

        yield refresh

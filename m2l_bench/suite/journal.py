"""What a run plans and how far it is, readable while it runs and after it was killed.

``plan.json`` in the run's folder says how many jobs of each kind and system are planned; ``jobs.csv`` gets a line when a job
starts and one when it is finished. Who writes holds a lock on it, so that two runs cannot share a folder and a reader knows
whether a run is alive. Neither is needed to go on: finished jobs lie in the store.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from m2l_bench.files.disk import write_atomic
from m2l_bench.suite.engine import Done, Job

PLAN, JOURNAL = "plan.json", "jobs.csv"
_COLUMNS = ("state", "kind", "system", "job", "seconds", "failures", "reason")

Counts = Mapping[tuple[str, str], int]
"""(kind of job, system) -> how many."""


class Journal:
    """The journal of a run that is about to start; use it as a context.

    Parameters
    ----------
    folder : Path
        The run's.
    plan : str
        Hash of the plan.
    planned : mapping
        (kind, system) -> number of jobs.

    Raises
    ------
    ValueError
        If another process is running in the folder.
    OSError
        If the folder cannot be written.
    """

    def __init__(self, folder: Path, plan: str, planned: Counts) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / JOURNAL).open("a", newline="", buffering=1)
        if not _lock(self._file):
            self._file.close()
            raise ValueError(f"{folder}: another process is running there; wait for it, or choose another --out")
        self._plan_file = folder / PLAN
        self._content = {"plan": plan, "planned": [[*key, n] for key, n in sorted(planned.items())]}
        self._lines = csv.writer(self._file, lineterminator="\n")
        self._held_back: list[Done] | None = []

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def begin(self) -> None:
        """Start a new journal, with what was found finished so far; a run that finds all of it leaves the old one."""
        if self._held_back is None:
            return
        found, self._held_back = self._held_back, None
        self._file.truncate(0)
        write_atomic(self._plan_file, (json.dumps(self._content, indent=1) + "\n").encode())
        self._lines.writerow(_COLUMNS)
        for done in found:
            self.finished(done)

    def started(self, job: Job) -> None:
        """Note that a job has begun."""
        self.begin()
        self._lines.writerow(("started", job.kind, job.label, job.id, "", "", ""))

    def finished(self, done: Done) -> None:
        """Note that a job is finished, or was found finished."""
        if self._held_back is not None:
            self._held_back.append(done)
            return
        failures = done.outcome.failures
        first = next((f"{item}: {reason}" for item, reason in failures.items()), "")
        state = "failed" if failures else "done"
        seconds = "" if done.seconds is None else f"{done.seconds:.3f}"
        job = done.job
        self._lines.writerow((state, job.kind, job.label, job.id, seconds, len(failures), first))


@dataclass
class Status:
    """How far a run is.

    Attributes
    ----------
    state : str
        ``"running"``, ``"finished"`` or ``"stopped"``.
    planned, done, failed, running : Counter
        Jobs by (kind, system); a failed one left at least one file without a number.
    reasons : Counter
        (kind, system, first reason of a failed job) -> jobs.
    """

    state: str
    planned: Counter[tuple[str, str]] = field(default_factory=Counter)
    done: Counter[tuple[str, str]] = field(default_factory=Counter)
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)
    running: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str, str]] = field(default_factory=Counter)


def read_status(folder: Path) -> Status:
    """Read how far a run is.

    Raises
    ------
    ValueError
        If no run was ever started in the folder, or its plan is damaged.
    """
    plan = _read_plan(folder / PLAN)
    alive = _is_held(folder / JOURNAL)
    ended = (folder / "run.json").is_file()
    status = Status("running" if alive else "finished" if ended else "stopped")
    for kind, system, n in plan["planned"]:
        status.planned[kind, system] += n
    last: dict[str, list[str]] = {}
    with (folder / JOURNAL).open(newline="") as file:
        for line in csv.reader(file):
            if len(line) == len(_COLUMNS) and line[0] != "state":  # a killed writer may leave half a line
                last[line[3]] = line
    for state, kind, system, _, _, _, reason in last.values():
        if state == "failed":
            status.failed[kind, system] += 1
            status.reasons[kind, system, reason] += 1
        elif state == "done":
            status.done[kind, system] += 1
        elif alive:
            status.running[kind, system] += 1
    return status


def _read_plan(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        [(str(kind), str(system), int(n)) for kind, system, n in content["planned"]]
    except OSError as error:
        raise ValueError(f"{path.parent}: must be the folder of a run, got one without {path.name}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: must be a run's plan in JSON ({error})") from error
    return content


def _lock(file: IO[str]) -> bool:
    """Whether nobody else holds the file; where the system or the file system knows no locks, nobody does."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _is_held(path: Path) -> bool:
    with path.open("r") as file:
        return not _lock(file)

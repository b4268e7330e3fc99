"""How far a run is, readable while it runs and after it was killed: its planned jobs against the store.

``plan.json`` in the run's folder says how many jobs of each kind and system are planned, ``jobs-1.parquet``,
``jobs-2.parquet``, ... name those of its phases (:mod:`m2l_bench.suite.phases`). Whoever runs holds a lock on ``lock``, so
that two runs cannot share a folder and a reader knows whether a run is alive.
"""

from __future__ import annotations

import filecmp
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from m2l_bench.files.disk import write_atomic
from m2l_bench.suite.engine import Job, Workspace
from m2l_bench.suite.plan import Plan
from m2l_bench.suite.store import Store

_COLUMNS = ("kind", "system", "job")
_BLOCK = 10_000

Counts = Counter[tuple[str, str]]
"""(kind of job, system) -> how many."""


class RunLock:
    """The lock of a run's folder, where its jobs are listed; use it as a context.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    ValueError
        If another process is running in the folder.
    OSError
        If the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._file = (folder / "lock").open("a")
        if not _lock(self._file):
            self._file.close()
            raise ValueError(f"{folder}: another process is running there; wait for it, or choose another --out")

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def list_plan(self, plan: Plan, workspace: Workspace) -> None:
        """List what is planned, and the jobs of the first phase; a folder that lists this plan is left as it is."""
        place = Path(os.path.relpath(workspace.folder, self.folder.absolute())).as_posix()
        planned = [[*key, n] for key, n in sorted(plan.counts().items())]
        content = json.dumps({"plan": plan.hash, "store": place, "planned": planned}, indent=1) + "\n"
        path = self.folder / "plan.json"
        if path.is_file() and path.read_text(encoding="utf-8") == content:
            return
        path.unlink(missing_ok=True)
        for old in self.folder.glob("jobs-?.parquet"):
            old.unlink()
        self.list_jobs(1, plan.first_jobs())
        write_atomic(path, content.encode())

    def list_jobs(self, phase: int, jobs: Iterable[Job]) -> None:
        """List the jobs of a phase; a file that lists them already is left as it is."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / f"jobs-{phase}.parquet"
        part = path.with_suffix(".part")
        schema = pa.schema([(name, pa.string()) for name in _COLUMNS])
        remaining = iter(jobs)
        with pq.ParquetWriter(part, schema) as writer:
            while block := [(job.kind, job.label, job.id) for job in itertools.islice(remaining, _BLOCK)]:
                writer.write_table(pa.table(list(map(list, zip(*block, strict=True))), schema=schema))
        if path.is_file() and filecmp.cmp(part, path, shallow=False):
            part.unlink()
        else:
            part.replace(path)


@dataclass
class Status:
    """How far a run is.

    Attributes
    ----------
    state : str
        ``"running"``, ``"finished"`` or ``"stopped"``.
    planned, done, failed : Counter
        Jobs by (kind, system); a failed one is finished and left a number out.
    reasons : Counter
        (kind, system, first reason of a failed job) -> jobs.
    """

    state: str
    planned: Counts = field(default_factory=Counter)
    done: Counts = field(default_factory=Counter)
    failed: Counts = field(default_factory=Counter)
    reasons: Counter[tuple[str, str, str]] = field(default_factory=Counter)


def read_status(folder: Path) -> Status:
    """Read how far a run is.

    Raises
    ------
    ValueError
        If no run was ever started in the folder, or its plan is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "plan.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        planned = Counter({(str(kind), str(system)): int(n) for kind, system, n in content["planned"]})
        store = Store(folder / str(content["store"]))
        listed = [pq.ParquetFile(part) for part in sorted(folder.glob("jobs-?.parquet"))]
    except FileNotFoundError as error:
        raise ValueError(f"{folder}: must be the folder of a run, got one without {path.name}") from error
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise ValueError(f"{path}: must be a run's plan in JSON ({error})") from error
    with (folder / "lock").open("r") as file:
        alive = not _lock(file)
    ended = (folder / "run.json").is_file()
    status = Status("running" if alive else "finished" if ended else "stopped", planned)
    store.refresh()
    for table in listed:
        for batch in table.iter_batches(_BLOCK):
            for kind, system, job in zip(*(batch.column(name).to_pylist() for name in _COLUMNS), strict=True):
                failed = store.failed(job)
                if failed:
                    status.failed[kind, system] += 1
                    outcome = store.get(job, arrays=False)
                    status.reasons[kind, system, outcome.reason if outcome else "its outcome is damaged"] += 1
                elif failed is not None:
                    status.done[kind, system] += 1
    store.close()
    return status


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

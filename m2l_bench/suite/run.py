"""Run a suite: plan, run what is missing, gather the records, write.

The plan's hash names the run's folder, so that another request never overwrites this one's results.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from m2l_bench.audio import AudioError
from m2l_bench.cards import Card
from m2l_bench.files.disk import write_atomic
from m2l_bench.files.untrusted import parse_json
from m2l_bench.results import Item, Row, read_items, read_rows, write_run
from m2l_bench.suite.data import AudioItem, TaskSpec
from m2l_bench.suite.engine import STORAGE_ERRORS, Done, Engine, Job, Workspace, run_jobs, stopped
from m2l_bench.suite.finished import RUNS, remember, signature, store_of
from m2l_bench.suite.jobs.clip import ClipJob, read_clips
from m2l_bench.suite.local import local_unless
from m2l_bench.suite.phases import LATER
from m2l_bench.suite.plan import Plan
from m2l_bench.suite.planning import make_plan
from m2l_bench.suite.provenance import provenance
from m2l_bench.suite.records import all_records
from m2l_bench.suite.status import RunLock
from m2l_bench.suite.store import Store
from m2l_bench.suite.suite import Suite


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes
    ----------
    folder : Path
    plan : Plan
    rows : list of Row
    n_failed : int
        Items without a number, and data that were not there.
    fresh : bool
        Whether anything was computed.
    workspace : Workspace
        Where finished jobs lie.
    """

    folder: Path
    plan: Plan
    rows: list[Row]
    n_failed: int
    fresh: bool
    workspace: Workspace

    @property
    def cards(self) -> dict[str, Card]:
        """The cards of everything that was measured, by metric name."""
        return dict(self.plan.cards)

    @cached_property
    def items(self) -> list[Item]:
        """The items, read from the run's folder."""
        return read_items(self.folder)


@dataclass
class _Cost:
    """What jobs of one kind and system took: jobs, their seconds, and seconds of audio that they went over."""

    jobs: int = 0
    seconds: float = 0.0
    audio_seconds: float = 0.0

    def add(self, done: Done) -> None:
        self.jobs += 1
        self.seconds += done.seconds
        self.audio_seconds += audio_seconds(done.job)


def run_suite(
    suite: Suite,
    *,
    out: Path | None = None,
    engine: Engine | None = None,
    retry_failed: bool = False,
    mirror: str | None = None,
    on_plan: Callable[[Plan], None] = lambda plan: None,
    on_started: Callable[[Job], None] = lambda job: None,
    on_finished: Callable[[Job, float | None], None] = lambda job, seconds: None,
) -> RunResult:
    """Run a suite, or find it finished.

    Parameters
    ----------
    suite : Suite
    out : Path, optional
        The run's folder; ``results/runs/NAME-HASH`` below the working directory by default. With the default, finished
        jobs are shared between runs (``results/runs/.store``); else they lie in ``OUT/store``.
    engine : Engine, optional
        Where jobs run; one process of this machine by default.
    retry_failed : bool
        Run failed jobs again, and write the results again.
    mirror : str, optional
        URL of a copy of the finished jobs, for machines that share no file system: any that fsspec can open.
    on_plan, on_started, on_finished : callable
        For progress: called with the plan, with each job that is handed to the engine, and with each finished job and its
        seconds, None where it was found finished.

    Returns
    -------
    RunResult

    Raises
    ------
    ValueError
        If `out` already holds the run of another plan, another process is running there, or no system can be used.
    EngineError
        If the run could not go on; what is finished is kept, and the same call goes on from there.
    """
    started, asked = time.time(), signature(suite)  # before the files are read
    with local_unless(engine) as chosen:
        plan = make_plan(suite, chosen)
        on_plan(plan)
        if not (plan.data or plan.tasks):
            raise ValueError("; ".join(plan.missing.values()) or "audio, tasks: one of them must name something")
        if not plan.systems:
            raise ValueError("; ".join(plan.unusable.values()) or "systems: must name at least one")
        folder = out or RUNS / f"{suite.name}-{plan.hash}"
        found = _finished(folder)
        if found is not None and found["plan"] != plan.hash:
            raise ValueError(
                f"{folder}: holds the run of another plan ({found['plan']}, this one is {plan.hash}); choose another --out"
            )
        workspace = Workspace(store_of(out), mirror)
        store = workspace.store
        costs: dict[tuple[str, str], _Cost] = {}

        def finished(done: Done) -> None:
            costs.setdefault((done.job.kind, done.job.label), _Cost()).add(done)
            on_finished(done.job, done.seconds)

        def run_all(jobs: Iterable[Job]) -> None:
            run_jobs(
                jobs,
                workspace,
                chosen,
                retry_failed=retry_failed,
                on_found=lambda job: on_finished(job, None),
                on_started=on_started,
                on_finished=finished,
            )

        with _storage_errors(), RunLock(folder) as lock:
            lock.list_plan(plan, workspace)
            run_all(plan.first_jobs())
            later: list[Job] = []
            for number, jobs_of in enumerate(LATER, 2):
                jobs = list(jobs_of(plan, store))
                lock.list_jobs(number, jobs)
                run_all(jobs)
                later += jobs
            left_out = (plan.missing, plan.unusable, plan.missing_encoders, plan.missing_readers)
            if not any((*left_out, *(audio_set.skipped for audio_set in plan.data))):
                remember(asked, workspace.folder, folder)
            if found is not None and not costs:
                n_failed = int(found["failed"]) + len(plan.missing)
                return RunResult(folder, plan, read_rows(folder), n_failed, False, workspace)
            described = {card.hash: asdict(card) for card in plan.cards.values()}
            write_atomic(folder / "cards.json", (json.dumps(described, indent=2, sort_keys=True) + "\n").encode())
            record = _run_record(plan, started, costs, chosen) | {
                "store": Path(os.path.relpath(workspace.folder, folder.absolute())).as_posix(),
                "outcomes": outcomes_digest(plan, store, later),
            }
            rows: list[Row] = []

            def items() -> Iterator[Item]:
                for records in all_records(plan, store):
                    rows.extend(records.rows)
                    for several in records.items:
                        yield from several

            write_run(folder, rows, items(), record, others=[folder / "cards.json"])
    return RunResult(folder, plan, rows, int(record["failed"]) + len(plan.missing), True, workspace)


@contextmanager
def _storage_errors() -> Iterator[None]:
    """A full or failing storage stops the run in one line."""
    try:
        yield
    except OSError as error:
        if error.errno not in STORAGE_ERRORS:
            raise
        raise stopped(error) from error


def outcomes_digest(plan: Plan, store: Store, later: Sequence[Job]) -> str:
    """SHA-256 over the content of all outcomes that a run rests on, in the order of the jobs; their arrays included."""
    digest = hashlib.sha256()
    for jobs in (plan.first_jobs(), later):
        for job in jobs:
            digest.update(store.digest(job.id))
    return digest.hexdigest()


def audio_seconds(job: Job) -> float:
    """Seconds of audio that a job goes over; 0 for one that reads no audio, or a file that cannot be read."""
    try:
        return job.item.seconds if job.item else 0.0
    except AudioError:  # the job says so
        return 0.0


def _finished(folder: Path) -> dict[str, Any] | None:
    """The record of the run whose results lie in `folder`; None where there are none."""
    path = folder / "run.json"
    if not path.is_file():
        return None
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
        return {"plan": str(record["plan"]), "failed": int(record["failed"])}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: must be a run's provenance in JSON ({error})") from error


def _task_record(spec: TaskSpec) -> dict[str, Any]:
    """What ``run.json`` says of a task; the first metric is the one that it is judged by."""
    task = spec.load()
    metrics = list(dict.fromkeys((task.main_metric, *task.metrics)))
    return {"label": task.name, "items": len(spec.audio()), "data": task.about.version, "metrics": metrics}


def _run_record(plan: Plan, started: float, costs: dict[tuple[str, str], _Cost], engine: Engine) -> dict[str, Any]:
    return {
        "plan": plan.hash,
        "suite": plan.suite.model_dump(mode="json"),
        "data": {audio_set.name: {"hash": audio_set.hash, "files": len(audio_set.items)} for audio_set in plan.data},
        "tasks": {spec.name: _task_record(spec) for spec in plan.tasks},
        "systems": {
            label: {"fingerprint": system.fingerprint, "kind": plan.kinds[label], **system.stated}
            for label, system in plan.systems.items()
        },
        "unusable_systems": dict(plan.unusable),
        "unusable_encoders": dict(plan.missing_encoders),
        "unusable_readers": dict(plan.missing_readers),
        "missing_data": dict(plan.missing),
        "engine": repr(engine),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "wall_seconds": round(time.time() - started, 3),
        "costs": [
            {
                "kind": kind,
                "system": system,
                "jobs": cost.jobs,
                "seconds": round(cost.seconds, 3),
                "audio_seconds": round(cost.audio_seconds, 3),
            }
            for (kind, system), cost in sorted(costs.items())
        ],
        "provenance": provenance(),
    }


def render_clips(
    result: RunResult, dataset: str, ids: Sequence[str], *, engine: Engine | None = None
) -> Iterator[tuple[AudioItem, int, np.ndarray, dict[str, np.ndarray]]]:
    """Make clips of a finished run again, for the listening page.

    Parameters
    ----------
    result : RunResult
    dataset : str
    ids : sequence of str
        Files of the dataset.
    engine : Engine, optional

    Yields
    ------
    tuple
        As :func:`m2l_bench.suite.jobs.clip.read_clips`.
    """
    wanted = {item.id: item for audio_set in result.plan.data if audio_set.name == dataset for item in audio_set.items}
    jobs = [
        ClipJob(
            spec=system.spec,
            fingerprint=system.fingerprint,
            item=wanted[name],
            max_length_difference=result.plan.suite.max_length_difference,
        )
        for system in result.plan.codecs.values()
        for name in ids
    ]
    with local_unless(engine) as chosen:
        run_jobs(jobs, result.workspace, chosen)
    yield from read_clips(jobs, result.workspace.store)

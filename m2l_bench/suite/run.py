"""Run a suite: plan, run what is missing, summarise, write.

The plan's hash names the run's folder, so that another request never overwrites this one's results.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from m2l_bench.cards import Card
from m2l_bench.files.disk import write_atomic
from m2l_bench.files.untrusted import parse_json
from m2l_bench.reconstruction.metrics import METRICS
from m2l_bench.results import Item, Row, joined_notes, provenance, read_items, read_rows, write_run
from m2l_bench.suite.clips import ClipJob, heard
from m2l_bench.suite.data import AudioItem
from m2l_bench.suite.engine import Done, Engine, Job, JobStore, Outcome, Workspace, run_jobs
from m2l_bench.suite.forecast import Cost, cost_record
from m2l_bench.suite.jobs import BIT_RATE, set_metric
from m2l_bench.suite.journal import Journal
from m2l_bench.suite.local import local_unless
from m2l_bench.suite.plan import Plan, distance_jobs, left_out, make_plan, planned_counts, probe_jobs
from m2l_bench.suite.suite import Suite
from m2l_bench.suite.summary import summarise
from m2l_bench.systems.registry import caveat
from m2l_bench.tasks.scoring import METRICS as TASK_METRICS


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes
    ----------
    folder : Path
    plan : Plan
    rows, items : list of Row and of Item
    cards : dict of str to Card
        By metric name.
    fresh : bool
        Whether anything was computed.
    workspace : Workspace
        Where finished jobs and latents lie.
    """

    folder: Path
    plan: Plan
    rows: list[Row]
    items: list[Item]
    cards: dict[str, Card]
    fresh: bool
    workspace: Workspace

    @property
    def n_failed(self) -> int:
        """Records that hold a reason in place of a number, and tasks that could not be tried."""
        return sum(bool(item.reason) for item in self.items) + len(self.plan.missing)


def run_suite(
    suite: Suite,
    *,
    out: Path | None = None,
    engine: Engine | None = None,
    retry_failed: bool = False,
    mirror: str | None = None,
    on_plan: Callable[[Plan], None] = lambda plan: None,
    on_jobs: Callable[[int], None] = lambda n: None,
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
        Run those jobs again that left a file without a number, and write the results anew.
    mirror : str, optional
        URL of a copy of the finished jobs and latents, for machines that share no file system: any that fsspec can open.
    on_plan, on_jobs, on_finished : callable
        For progress: called with the plan, with how many jobs follow from the first phase, and with every job.

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
    plan = make_plan(suite)
    on_plan(plan)
    if not (plan.data or plan.tasks):
        raise ValueError("; ".join(plan.missing.values()) or "audio, tasks: one of them must name something")
    if not plan.systems:
        raise ValueError("; ".join(reason for _, reason in plan.unusable.values()) or "systems: must name at least one")
    runs = Path("results") / "runs"
    folder = out or runs / f"{suite.name}-{plan.hash}"
    cards = plan_cards(plan)
    found = _finished_plan(folder)
    if found is not None and found != plan.hash:
        raise ValueError(
            f"{folder}: holds the run of another plan ({found}, this one is {plan.hash}); choose another --out"
        )
    started = time.time()
    costs: dict[tuple[str, str], Cost] = {}
    store = JobStore(Workspace(folder / "store" if out else runs / ".store", mirror))
    with Journal(folder, plan.hash, planned_counts(plan)) as journal, local_unless(engine) as chosen:

        def finished(done: Done) -> None:
            journal.finished(done)
            if done.seconds is not None:
                costs.setdefault((done.job.kind, done.job.label), Cost()).add(done.job, done.seconds)
            on_finished(done.job, done.seconds)

        def outcomes(jobs: Sequence[Job]) -> list[Outcome]:
            return run_jobs(
                jobs,
                store,
                chosen,
                retry_failed=retry_failed,
                on_started=journal.started,
                on_finished=finished,
            )

        first = outcomes(plan.jobs)
        records = [record for outcome in first for record in outcome.items]
        following: list[Job] = [*distance_jobs(plan, records), *probe_jobs(plan, first)]
        on_jobs(len(following))
        second = outcomes(following)
        if found is not None and not costs:
            return RunResult(folder, plan, read_rows(folder), read_items(folder), cards, False, store.workspace)
        journal.begin()
        rows = [row for outcome in second for row in outcome.rows]
        items = [record for record in records if record.metric in cards] + left_out(plan, cards)
        rows += _summaries(plan, items, {(row.dataset, row.system, row.metric) for row in rows})
        items += [record for outcome in second for record in outcome.items]
        caveats = {label: caveat(spec.spelling) for label, (spec, _) in plan.systems.items() if spec.checkpoint is None}
        rows = [replace(row, note=joined_notes(row.note, caveats.get(row.system, ""))) for row in rows]
        described = {card.hash: asdict(card) for card in cards.values()}
        write_atomic(folder / "cards.json", (json.dumps(described, indent=2, sort_keys=True) + "\n").encode())
        done = [*zip(plan.jobs, first, strict=True), *zip(following, second, strict=True)]
        used = store.files(done)
        record = _run_record(plan, started, costs, chosen) | {
            "store": Path(os.path.relpath(store.workspace.folder, folder)).as_posix(),
            "jobs": len(done),
            "bytes": sum(path.stat().st_size for path in used),
        }
        write_run(folder, rows, items, record, others=[folder / "cards.json", *used])
    return RunResult(folder, plan, rows, items, cards, True, store.workspace)


def plan_cards(plan: Plan) -> dict[str, Card]:
    """The cards of everything a run measures, by metric name."""
    cards = {name: METRICS[name].card for name in plan.suite.metrics} | {BIT_RATE.name: BIT_RATE}
    cards |= {name: set_metric(name).card for name, embedding in plan.set_metrics if embedding in plan.embeddings}
    return cards | {name: TASK_METRICS[name].card for spec in plan.tasks for name in spec.load().metrics}


def _summaries(plan: Plan, items: Sequence[Item], covered: set[tuple[str, str, str]]) -> list[Row]:
    """Rows of everything that is a mean over files; what the second phase gave a row for is covered."""
    rows = []
    for audio_set in plan.data:
        open_items = (
            item
            for item in items
            if item.dataset == audio_set.name and (item.dataset, item.system, item.metric) not in covered
        )
        rows += summarise(open_items, audio_set, seed=plan.suite.seed)
    return rows


def _finished_plan(folder: Path) -> str | None:
    """Hash of the plan whose results lie in `folder`; None where there are none."""
    path = folder / "run.json"
    if not path.is_file():
        return None
    try:
        return str(parse_json(path.read_text(encoding="utf-8"))["plan"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: must be a run's provenance in JSON ({error})") from error


def _run_record(plan: Plan, started: float, costs: dict[tuple[str, str], Cost], engine: Engine) -> dict[str, Any]:
    return {
        "plan": plan.hash,
        "suite": plan.suite.model_dump(mode="json"),
        "data": {audio_set.name: {"hash": audio_set.hash, "files": len(audio_set.items)} for audio_set in plan.data},
        "tasks": {spec.name: {"items": len(spec.audio()), "data": spec.load().about.version} for spec in plan.tasks},
        "unusable_systems": {label: reason for label, (_, reason) in plan.unusable.items()},
        "unusable_embeddings": dict(plan.unheard),
        "missing_data": dict(plan.missing),
        "engine": repr(engine),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "wall_seconds": round(time.time() - started, 3),
        "costs": cost_record(costs),
        "provenance": provenance(),
    }


def render_clips(
    result: RunResult, dataset: str, ids: Sequence[str], *, engine: Engine | None = None
) -> Iterator[tuple[AudioItem, int, np.ndarray, dict[str, np.ndarray]]]:
    """Make clips of a finished run again, to be listened to.

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
        As :func:`m2l_bench.suite.clips.heard`.
    """
    wanted = {item.id: item for audio_set in result.plan.data if audio_set.name == dataset for item in audio_set.items}
    jobs = [
        ClipJob(
            system=spec,
            fingerprint=fingerprint,
            item=wanted[name],
            max_length_difference=result.plan.suite.max_length_difference,
        )
        for spec, fingerprint in result.plan.rebuilders.values()
        for name in ids
    ]
    with local_unless(engine) as chosen:
        run_jobs(jobs, JobStore(result.workspace), chosen)
    yield from heard(jobs, result.workspace)

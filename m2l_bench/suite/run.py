"""Run a suite: plan, run what is missing, summarise, write.

The plan's hash names the run's folder, so that another request never overwrites this one's results.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from m2l_bench.audio import write_atomic
from m2l_bench.reconstruction.cards import Card
from m2l_bench.reconstruction.metrics import METRICS
from m2l_bench.results import Item, Row, provenance, read_items, read_rows, write_run
from m2l_bench.suite.engine import Job, JobStore, Outcome, run_jobs
from m2l_bench.suite.jobs import BIT_RATE
from m2l_bench.suite.plan import Plan, distance_jobs, left_out, make_plan
from m2l_bench.suite.suite import Suite
from m2l_bench.suite.summary import summarise


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder, rows, records, the cards of its metrics, and whether anything was computed."""

    folder: Path
    rows: list[Row]
    items: list[Item]
    cards: dict[str, Card]
    fresh: bool

    @property
    def n_failed(self) -> int:
        """Records that hold a reason in place of a number."""
        return sum(bool(item.reason) for item in self.items)


def run_suite(
    suite: Suite,
    *,
    out: Path | None = None,
    workers: int = 1,
    on_plan: Callable[[Plan], None] = lambda plan: None,
    on_finished: Callable[[Job, float | None], None] = lambda job, seconds: None,
) -> RunResult:
    """Run a suite, or find it finished.

    Parameters
    ----------
    suite : Suite
    out : Path, optional
        The run's folder; ``results/runs/NAME-HASH`` below the working directory by default. With the default, finished
        jobs are shared between runs (``results/runs/.store``); else they lie in ``OUT/store``.
    workers : int
        Processes.
    on_plan, on_finished : callable
        For progress: called with the plan, and with every job.

    Returns
    -------
    RunResult

    Raises
    ------
    ValueError
        If `out` already holds the run of another plan.
    """
    plan = make_plan(suite)
    on_plan(plan)
    runs = Path("results") / "runs"
    folder = out or runs / f"{suite.name}-{plan.hash}"
    cards = plan_cards(suite)
    found = _finished_plan(folder)
    if found is not None and found != plan.hash:
        raise ValueError(
            f"{folder}: holds the run of another plan ({found}, this one is {plan.hash}); choose another --out"
        )
    started = time.time()
    seconds: dict[str, float] = {}

    def finished(job: Job, duration: float | None) -> None:
        if duration is not None:
            seconds[job.label] = seconds.get(job.label, 0.0) + duration
        on_finished(job, duration)

    store = JobStore(folder / "store" if out else runs / ".store")

    def outcomes(jobs: Sequence[Job]) -> list[Outcome]:
        return run_jobs(jobs, store, workers=workers, on_finished=finished)

    records = [record for outcome in outcomes(plan.jobs) for record in outcome.items]
    distances = outcomes(distance_jobs(plan, records))
    if found is not None and not seconds:
        return RunResult(folder, read_rows(folder), read_items(folder), cards, fresh=False)
    items = [record for record in records if record.metric in cards]
    items += [record for outcome in distances for record in outcome.items]
    items += left_out(plan)
    rows = [row for outcome in distances for row in outcome.rows]
    for audio_set in plan.data:
        of_set = (item for item in items if item.dataset == audio_set.name)
        covered = {(row.system, row.metric) for row in rows}
        rows += summarise((i for i in of_set if (i.system, i.metric) not in covered), audio_set, seed=suite.seed)
    described = {card.hash: asdict(card) for card in cards.values()}
    write_atomic(folder / "cards.json", (json.dumps(described, indent=2, sort_keys=True) + "\n").encode())
    write_run(folder, rows, items, _run_record(plan, started, seconds, workers))
    return RunResult(folder, rows, items, cards, fresh=True)


def plan_cards(suite: Suite) -> dict[str, Card]:
    """The cards of everything a suite measures, by metric name."""
    return {name: METRICS[name].card for name in suite.metrics} | {BIT_RATE.name: BIT_RATE}


def _finished_plan(folder: Path) -> str | None:
    """Hash of the plan whose results lie in `folder`; None where there are none."""
    path = folder / "run.json"
    if not path.is_file():
        return None
    try:
        return str(json.loads(path.read_text())["plan"])
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path}: must be a run's provenance in JSON ({error})") from error


def _run_record(plan: Plan, started: float, seconds: dict[str, float], workers: int) -> dict[str, Any]:
    return {
        "plan": plan.hash,
        "suite": plan.suite.model_dump(mode="json"),
        "data": {audio_set.name: {"hash": audio_set.hash, "files": len(audio_set.items)} for audio_set in plan.data},
        "unusable_systems": {spec.label: reason for spec, reason in plan.unusable},
        "unusable_embeddings": dict(plan.unheard),
        "jobs": len(plan.jobs),
        "workers": workers,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "wall_seconds": round(time.time() - started, 3),
        "seconds_per_system": {label: round(value, 3) for label, value in sorted(seconds.items())},
        "provenance": provenance(),
    }

"""From a suite to a finished run: plan the jobs, run what is missing, summarise, write.

The plan is a pure function of the suite, the files' content and the systems' fingerprints; its hash names the run's
folder, so that another request never overwrites this one's results.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from m2l_bench import assets
from m2l_bench.audio import AudioError, write_atomic
from m2l_bench.reconstruction.cards import Card, PairMetric
from m2l_bench.reconstruction.metrics import METRICS
from m2l_bench.results import Item, Row, provenance, read_items, read_rows, write_run
from m2l_bench.suite.data import AudioSet, from_folder
from m2l_bench.suite.engine import Job, JobStore, run_jobs
from m2l_bench.suite.jobs import BIT_RATE, ReconstructJob, SystemSpec
from m2l_bench.suite.suite import Suite
from m2l_bench.suite.summary import summarise

# Few enough that a killed run loses little, enough that loading a system is paid rarely.
SLICE = 4


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes
    ----------
    suite : Suite
    data : tuple of AudioSet
    jobs : tuple of Job
    unusable : tuple of (SystemSpec, str)
        Systems that cannot be loaded, and why; counted as failed on every file.
    """

    suite: Suite
    data: tuple[AudioSet, ...]
    jobs: tuple[ReconstructJob, ...]
    unusable: tuple[tuple[SystemSpec, str], ...]

    @property
    def hash(self) -> str:
        """Names the run: equal plans give equal rows."""
        parts = [job.id for job in self.jobs] + [spec.label for spec, _ in self.unusable] + [str(self.suite.seed)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


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


def make_plan(suite: Suite) -> Plan:
    """Hash the audio, load each system once for its fingerprint, and cut the work into jobs.

    Raises
    ------
    ValueError
        If a folder of audio is missing or empty, or a system's name is unknown.
    """
    data = tuple(find_audio(name) for name in suite.audio)
    jobs: list[ReconstructJob] = []
    unusable = []
    for entry in suite.systems:
        spec = entry.spec()
        try:
            fingerprint = spec.load().fingerprint
        except (ValueError, ImportError, OSError) as error:
            unusable.append((spec, " ".join(str(error).split())))
            continue
        jobs += [
            ReconstructJob(
                system=spec,
                fingerprint=fingerprint,
                dataset=audio_set.name,
                items=audio_set.items[start : start + SLICE],
                metrics=tuple(name for name in suite.metrics if isinstance(METRICS[name], PairMetric)),
                max_length_difference=suite.max_length_difference,
            )
            for audio_set in data
            for start in range(0, len(audio_set.items), SLICE)
        ]
    return Plan(suite, data, tuple(jobs), tuple(unusable))


def find_audio(name: str) -> AudioSet:
    """An embedded set by its name, or the user's folder.

    Raises
    ------
    AudioError
        If it is neither, or an embedded file is not the one that its manifest names.
    """
    if Path(name).is_dir():
        return from_folder(name)
    if name in assets.FOLDERS:
        assets.verify(name)
        return from_folder(assets.folder(name), name=name)
    raise AudioError(f"audio {name!r}: must be a folder or one of {', '.join(assets.FOLDERS)}")


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
            label = job.system.label if isinstance(job, ReconstructJob) else type(job).__name__
            seconds[label] = seconds.get(label, 0.0) + duration
        on_finished(job, duration)

    store = JobStore((folder / "store" if out else runs / ".store") / "jobs")
    items = run_jobs(plan.jobs, store, workers=workers, on_finished=finished)
    if found is not None and not seconds:
        return RunResult(folder, read_rows(folder), read_items(folder), cards, fresh=False)
    items += [record for spec, reason in plan.unusable for record in _failed_records(plan, spec, reason)]
    rows = [
        row
        for audio_set in plan.data
        for row in summarise((item for item in items if item.dataset == audio_set.name), audio_set, seed=suite.seed)
    ]
    described = {card.hash: asdict(card) for card in cards.values()}
    write_atomic(folder / "cards.json", (json.dumps(described, indent=2, sort_keys=True) + "\n").encode())
    write_run(folder, rows, items, _run_record(plan, started, seconds, workers))
    return RunResult(folder, rows, items, cards, fresh=True)


def plan_cards(suite: Suite) -> dict[str, Card]:
    """The cards of everything a suite measures, by metric name."""
    return {name: METRICS[name].card for name in suite.metrics} | {BIT_RATE.name: BIT_RATE}


def _failed_records(plan: Plan, spec: SystemSpec, reason: str) -> list[Item]:
    return [
        Item(
            system=spec.label,
            fingerprint="",
            dataset=audio_set.name,
            metric=name,
            card=METRICS[name].card.hash,
            seed=spec.seed,
            item=item.id,
            group=item.id,
            reason=reason,
        )
        for audio_set in plan.data
        for item in audio_set.items
        for name in plan.suite.metrics
    ]


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
        "jobs": len(plan.jobs),
        "workers": workers,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "wall_seconds": round(time.time() - started, 3),
        "seconds_per_system": {label: round(value, 3) for label, value in sorted(seconds.items())},
        "provenance": provenance(),
    }

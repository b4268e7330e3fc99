"""What a run would do: its jobs, what it would download, and what earlier runs on this machine say of time and disk.

Nothing is downloaded and nothing computed to say so. Where no earlier run tells, the answer is "unknown".
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from m2l_bench import audio
from m2l_bench.audio import AudioError
from m2l_bench.files import hub
from m2l_bench.results import processor
from m2l_bench.suite.data import AudioItem
from m2l_bench.suite.engine import Job
from m2l_bench.suite.plan import Plan, find_embeddings, make_plan, planned_counts
from m2l_bench.suite.suite import Suite


@dataclass
class Cost:
    """What jobs of one kind and system took: jobs, their seconds, and seconds of audio they went over."""

    jobs: int = 0
    seconds: float = 0.0
    audio_seconds: float = 0.0

    def add(self, job: Job, seconds: float) -> None:
        """Count one finished job."""
        self.jobs += 1
        self.seconds += seconds
        self.audio_seconds += audio_seconds(job)


@dataclass(frozen=True)
class Forecast:
    """See :func:`forecast`.

    Attributes
    ----------
    plan : Plan
    planned : mapping
        (kind, system) -> jobs.
    downloads : list of (str, str, str)
        Who needs it, what (with its size and licence), and ``"cached"``, ``"needed"`` or ``"missing"`` (to be got by hand).
    unusable : mapping of str to str
        Label -> why it cannot be loaded, apart from what a download mends.
    seconds : mapping
        (kind, system) -> processor seconds; absent where no earlier run tells.
    disk_bytes : float or None
    basis : tuple of str
        Folders of the earlier runs that the estimates rest on.
    """

    plan: Plan
    planned: Mapping[tuple[str, str], int]
    downloads: list[tuple[str, str, str]] = field(default_factory=list)
    unusable: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[tuple[str, str], float] = field(default_factory=dict)
    disk_bytes: float | None = None
    basis: tuple[str, ...] = ()


def forecast(suite: Suite, *, runs: Path = Path("results") / "runs") -> Forecast:
    """Plan a run without downloading or computing anything.

    Parameters
    ----------
    suite : Suite
    runs : Path
        Folder of earlier runs.

    Returns
    -------
    Forecast
    """
    with hub.offline() as asked:
        plan = make_plan(suite)
        if suite.audio:
            find_embeddings(suite)  # asked for also where the audio is not there yet
    absent = {label for label, (spec, _) in plan.unusable.items() if spec.would_download()}
    needed = dict.fromkeys(asked)  # two systems may share a file
    downloads = [
        (source.repo, f"{source.file} ({source.about})", "cached" if found else "needed") for source, found in needed
    ]
    downloads += [(name, reason, "missing") for name, reason in plan.missing.items()]
    unusable = {label: reason for label, (_, reason) in plan.unusable.items() if label not in absent}
    planned = planned_counts(plan, absent)
    earlier = _earlier(runs)
    seconds, basis = _seconds(plan, planned, earlier)
    sized = [run for run in earlier if run.get("jobs") and run.get("bytes")]
    disk = sized[0]["bytes"] / sized[0]["jobs"] * sum(planned.values()) if sized else None
    basis |= {sized[0]["folder"]} if sized else set()
    return Forecast(plan, planned, downloads, unusable, seconds, disk, tuple(sorted(basis)))


def audio_seconds(job: Job) -> float:
    """Seconds of audio that a job goes over; 0 for one that works on latents."""
    if job.kind not in ("reconstruct", "encode"):
        return 0.0
    items: Sequence[AudioItem] = getattr(job, "items", ())
    return float(sum(_duration(item.path) for item in items))


@lru_cache(maxsize=4096)
def _duration(path: str) -> float:
    try:
        header = audio.info(path)
    except AudioError:  # the job will say so
        return 0.0
    return header.n_samples / header.sample_rate


def cost_record(costs: Mapping[tuple[str, str], Cost]) -> list[dict[str, Any]]:
    """Costs as they stand in ``run.json``."""
    return [
        {
            "kind": kind,
            "system": system,
            "jobs": cost.jobs,
            "seconds": round(cost.seconds, 3),
            "audio_seconds": round(cost.audio_seconds, 3),
        }
        for (kind, system), cost in sorted(costs.items())
    ]


def _earlier(runs: Path) -> list[dict[str, Any]]:
    """The records of finished runs on this processor, newest first."""
    found = []
    for path in runs.glob("*/run.json"):
        try:
            record = json.loads(path.read_text())
            if record["provenance"]["processor"] == processor() and record["costs"]:
                found.append(record | {"folder": str(path.parent)})
        except (OSError, ValueError, KeyError, TypeError):  # damaged, or of an older version: it tells nothing
            continue
    return sorted(found, key=lambda record: str(record.get("started")), reverse=True)


def _seconds(
    plan: Plan, planned: Mapping[tuple[str, str], int], earlier: list[dict[str, Any]]
) -> tuple[dict[tuple[str, str], float], set[str]]:
    """Seconds by kind and system: of audio where jobs go over audio, else by the job."""
    audio_of: dict[tuple[str, str], float] = defaultdict(float)
    for job in plan.jobs:
        audio_of[job.kind, job.label] += audio_seconds(job)
    seconds, basis = {}, set()
    for key, jobs in planned.items():
        for record in earlier:
            cost = next((cost for cost in record["costs"] if (cost["kind"], cost["system"]) == key), None)
            if cost and cost["jobs"]:
                by_audio = cost["audio_seconds"] and audio_of[key]
                factor = audio_of[key] / cost["audio_seconds"] if by_audio else jobs / cost["jobs"]
                seconds[key] = cost["seconds"] * factor
                basis.add(record["folder"])
                break
    return seconds, basis

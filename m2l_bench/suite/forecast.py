"""What a run would do: its jobs, what it would download, what data are missing, and how long such jobs took before.

Nothing is downloaded and nothing computed to say so. Where no finished run of the same system tells, the time is unknown.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from m2l_bench.suite.engine import Engine
from m2l_bench.suite.local import local_unless
from m2l_bench.suite.plan import Plan
from m2l_bench.suite.planning import make_plan
from m2l_bench.suite.provenance import processor
from m2l_bench.suite.run import audio_seconds
from m2l_bench.suite.suite import Suite
from m2l_bench.systems.registry import needs_download, system_class


@dataclass(frozen=True)
class Forecast:
    """See :func:`forecast`.

    Attributes
    ----------
    plan : Plan
    planned : mapping
        (kind, system) -> jobs.
    downloads : list of (str, str, str)
        Repository or data, what (the files, their size together and licence), and ``"cached"``, ``"needed"`` or
        ``"missing"`` (to be got by hand).
    size : (float, float)
        Bytes of the needed downloads together: least and most, as their sizes are stated.
    unsized : int
        Needed downloads of unknown size, which are not in `size`.
    unusable : mapping of str to str
        System or encoder -> why it cannot be loaded, apart from what a download mends.
    seconds : mapping
        (kind, system) -> processor seconds; absent where no earlier run tells.
    basis : tuple of str
        Folders of the earlier runs that the times rest on.
    """

    plan: Plan
    planned: Mapping[tuple[str, str], int]
    downloads: list[tuple[str, str, str]] = field(default_factory=list)
    size: tuple[float, float] = (0.0, 0.0)
    unsized: int = 0
    unusable: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[tuple[str, str], float] = field(default_factory=dict)
    basis: tuple[str, ...] = ()


def forecast(suite: Suite, *, out: Path | None = None, engine: Engine | None = None) -> Forecast:
    """Plan a run without downloading or computing anything.

    Parameters
    ----------
    suite : Suite
    out : Path, optional
        Folder of the run, beside which finished runs are looked for too.
    engine : Engine, optional
        Where systems are loaded; one process of this machine by default.
    """
    with local_unless(engine) as chosen:
        plan = make_plan(suite, chosen, offline=True)
    downloads, sizes = _downloads(plan)
    downloads += [(name, reason, "missing") for name, reason in plan.missing.items()]
    specs = {spec.label: spec for spec in suite.system_specs()}
    absent = {}
    for label in plan.unusable:
        if specs[label].would_download():
            system = system_class(specs[label].system)
            absent[label] = hasattr(system, "reconstruct"), hasattr(system, "encode")
    unusable = {label: reason for label, reason in plan.unusable.items() if label not in absent}
    others = {**plan.missing_encoders, **plan.missing_readers}
    unusable |= {name: reason for name, reason in others.items() if not needs_download(name)}
    planned = plan.counts(absent)
    seconds, basis = _seconds(plan, planned, _earlier([Path("results") / "runs", *([out.parent] if out else [])]))
    known = [size for size in sizes if size]
    total = sum(least for least, _ in known), sum(most for _, most in known)
    return Forecast(plan, planned, downloads, total, len(sizes) - len(known), unusable, seconds, tuple(sorted(basis)))


def _downloads(plan: Plan) -> tuple[list[tuple[str, str, str]], list[tuple[float, float] | None]]:
    """What each repository is asked for, and the sizes of what is not in the cache."""
    files: dict[tuple[str, str], dict[bool, list[str]]] = {}
    for repo, file, about, found in plan.downloads:
        files.setdefault((repo, about), {True: [], False: []})[found].append(file)
    downloads, sizes = [], []
    for (repo, about), by_state in files.items():
        needed = by_state[False]
        state = "needed" if needed else "cached"
        downloads.append((repo, f"{', '.join(needed or by_state[True])} ({about})", state))
        sizes += [_stated_size(about)] if needed else []
    return downloads, sizes


def _stated_size(about: str) -> tuple[float, float] | None:
    """Least and most bytes of a text that starts with a size, such as ``"about 1.3 GB, MIT"``; None without one."""
    found = re.match(r"(?:about )?([\d.]+)(?: to ([\d.]+))? ([kMG])B", about)
    if found is None:
        return None
    unit = {"k": 1e3, "M": 1e6, "G": 1e9}[found[3]]
    return float(found[1]) * unit, float(found[2] or found[1]) * unit


def _earlier(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """The records of finished runs on this processor, newest first."""
    found = []
    for path in {path.absolute(): None for folder in folders for path in folder.glob("*/run.json")}:
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["provenance"]["processor"] == processor() and record["costs"]:
                found.append(record | {"folder": str(path.parent)})
        except (OSError, ValueError, KeyError, TypeError):  # damaged, or of an older version: it tells nothing
            continue
    return sorted(found, key=lambda record: str(record.get("started")), reverse=True)


def _seconds(
    plan: Plan, planned: Mapping[tuple[str, str], int], earlier: Sequence[Mapping[str, Any]]
) -> tuple[dict[tuple[str, str], float], set[str]]:
    """Seconds by kind and system: by seconds of audio where jobs go over audio, else by the job."""
    audio_of: dict[tuple[str, str], float] = defaultdict(float)
    seconds: dict[tuple[str, str], float] = {}
    basis: set[str] = set()
    if earlier:
        for job in plan.first_jobs():
            audio_of[job.kind, job.label] += audio_seconds(job)
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

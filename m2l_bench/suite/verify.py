"""Whether a finished run is still what it was: its files and outcomes checked, and a sample of its rows computed again.

All rows are built again from the stored outcomes. Of the rows that a sample is drawn of, the jobs behind are run again too: a
row of a whole set, or of a probe, over the stored windows and latents; a mean or median over one of its files.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import isclose, isnan
from pathlib import Path
from typing import Any

import numpy as np

from m2l_bench import plugins
from m2l_bench.cards import REPEATABILITY
from m2l_bench.checksums import changed_files, read_checksums
from m2l_bench.results import LATENT_SPACE, REFIT, ROW_KEY, VERSION, Row, read_rows
from m2l_bench.suite.engine import Engine, Job, Workspace, run_jobs
from m2l_bench.suite.jobs.distance import DistanceJob
from m2l_bench.suite.jobs.latent_sheet import SheetJob
from m2l_bench.suite.jobs.latents import NoiseJob
from m2l_bench.suite.jobs.probe import ProbeJob
from m2l_bench.suite.jobs.quantise import QuantiseJob
from m2l_bench.suite.jobs.read import ReadJob
from m2l_bench.suite.latent_records import latent_job_behind
from m2l_bench.suite.local import local_unless
from m2l_bench.suite.phases import later_jobs
from m2l_bench.suite.plan import Plan, repeated
from m2l_bench.suite.planning import make_plan
from m2l_bench.suite.records import all_records
from m2l_bench.suite.run import outcomes_digest
from m2l_bench.suite.store import Outcome, Store, require
from m2l_bench.suite.suite import make_suite


@dataclass(frozen=True)
class RowCheck:
    """One row, whether it came out again, and what was found."""

    row: Row
    agrees: bool
    found: str


@dataclass
class Verification:
    """The result of :func:`verify`.

    Attributes
    ----------
    n_files : int
        Listed in ``SHA256SUMS``.
    files : dict of str to str
        Relative path -> ``"changed"`` or ``"missing"``.
    rows : list of RowCheck
    obstacle : str
        Why no row could be computed again, or empty.
    """

    n_files: int = 0
    files: dict[str, str] = field(default_factory=dict)
    rows: list[RowCheck] = field(default_factory=list)
    obstacle: str = ""

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.files and not self.obstacle and all(check.agrees for check in self.rows)


def verify(
    folder: Path, *, sample: int = 5, seed: int = 0, tolerance: float = 0.0, engine: Engine | None = None
) -> Verification:
    """Verify a finished run.

    Parameters
    ----------
    folder : Path
    sample : int
        Rows to be computed again.
    seed : int
        Of the choice.
    tolerance : float
        Relative difference of values that counts as equal; 0 is right on the machine that made them.
    engine : Engine, optional

    Returns
    -------
    Verification

    Raises
    ------
    ValueError
        If the folder holds no finished run.
    """
    sums = read_checksums(folder)
    differing = changed_files(folder, sums)
    found = Verification(
        n_files=len(sums), files={name: "changed" if digest else "missing" for name, digest in differing.items()}
    )
    if found.files:
        found.obstacle = "mend the files first (a run repeated into another folder does)" if sample else ""
        return found
    with local_unless(engine) as chosen:
        _check_outcomes(found, folder, sample, np.random.default_rng(seed), tolerance, chosen)
    return found


def _check_outcomes(
    found: Verification, folder: Path, sample: int, rng: np.random.Generator, tolerance: float, engine: Engine
) -> None:
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    plan = make_plan(make_suite(record["suite"]), engine)
    if plan.hash != record["plan"]:
        found.obstacle = _difference(plan, record)
        return
    workspace = Workspace((folder / record["store"]).absolute())
    store = workspace.store
    store.refresh()
    try:
        for first in plan.first_jobs():
            require(store, first.id)
        later = later_jobs(plan, store)
        for following in later:
            require(store, following.id)
        if outcomes_digest(plan, store, later) != record["outcomes"]:
            found.files[record["store"]] = "changed"
            found.obstacle = "the stored outcomes are not those that the rows were made of"
            return
        again = {_key(row): row for records in all_records(plan, store) for row in records.rows}
    except OSError as error:
        found.files[record["store"]] = "changed"
        found.obstacle = f"{error.strerror}; the run repeated into another folder computes it again"
        return
    rows = read_rows(folder)
    found.rows = [check for row in rows if not (check := _compare(row, again.get(_key(row)), tolerance)).agrees]
    differing = {_key(check.row) for check in found.rows}
    chosen = [
        rows[place] for place in sorted(rng.permutation(len(rows))[:sample]) if _key(rows[place]) not in differing
    ]
    for row in chosen:
        job, check = _job_behind(row, plan, store, later, rng), RowCheck(row, True, repr(row.value))
        found.rows.append(_run_again(check, job, workspace, engine, tolerance) if job else check)


def _difference(plan: Plan, record: dict[str, Any]) -> str:
    """Why a run's suite is another plan today."""
    made = record["provenance"]["m2l_bench"]
    changes = [f"m2l_bench is {VERSION}, it was {made}"] if made != VERSION else []
    hashes = {name: data["hash"] for name, data in record["data"].items()}
    changes += [f"the audio of {data.name} changed" for data in plan.data if hashes.get(data.name, "") != data.hash]
    changes += [f"{name} is not there" for name in plan.missing if name not in record["missing_data"]]
    changes += [
        f"{label} cannot be loaded ({reason})"
        for label, reason in plan.unusable.items()
        if label not in record["unusable_systems"]
    ]
    return "; ".join(changes) or "a system, a task's data or the code is not the one that made it"


def _job_behind(row: Row, plan: Plan, store: Store, later: Sequence[Job], rng: np.random.Generator) -> Job | None:
    """The job that gives a row of a set or a probe, or one of those whose files a mean is over; None where there is none."""
    if row.reader:
        for job in later:
            if isinstance(job, ReadJob) and (job.task.load().name, plugins.label(job.probe)) == (row.task, row.probe):
                reader, system = plan.readers.get(row.reader.removesuffix(REFIT)), plan.read.get(row.system)
                same = reader and plan.readers[job.label].fingerprint == reader.fingerprint
                same = same and row.reader.endswith(REFIT) == bool(job.training.system)
                if same and system and system.fingerprint in {found.system for found in job.tests}:
                    return job
        return None
    if row.task == LATENT_SPACE:
        return latent_job_behind(row, plan, store, rng)
    if row.task:
        for job in later:
            if isinstance(job, ProbeJob) and (job.task.load().name, plugins.label(job.probe)) == (row.task, row.probe):
                system = plan.probed.get(row.system)
                if system and plan.probed[job.label].fingerprint == system.fingerprint:
                    return job
        return None
    if row.system not in plan.codecs:
        return None
    audio_set = next(data for data in plan.data if data.name == row.dataset)
    items = audio_set.items
    if plan.cards[row.metric].group == REPEATABILITY:
        repeats = plan.repeat_jobs(row.system, repeated(audio_set))
        return repeats[rng.integers(len(repeats))]
    if row.statistic in ("pooled", "corrected"):
        sides = {plan.scorings[row.system].job(item).id for item in items}
        distances = [job for job in later if isinstance(job, DistanceJob) and plugins.label(job.metric) == row.metric]
        return next((job for job in distances if sides.issuperset(job.estimates)), None)
    return plan.scorings[row.system].job(items[rng.integers(len(items))])


def _run_again(check: RowCheck, job: Job, workspace: Workspace, engine: Engine, tolerance: float) -> RowCheck:
    """Run a job in a store of its own, with the outcomes that it rests on, and compare what it gives."""
    stored = require(workspace.store, job.id)
    with tempfile.TemporaryDirectory() as folder:
        fresh = Workspace(Path(folder))
        for key in _rests_on(job):
            fresh.store.put(key, require(workspace.store, key))
        run_jobs([job], fresh, engine)
        made = require(fresh.store, job.id)
        fresh.store.close()
    if difference := _first_difference(stored, made, tolerance):
        return RowCheck(check.row, False, f"the {job.kind} job behind it gives {difference}")
    name = getattr(getattr(job, "item", None), "id", "")
    return RowCheck(check.row, True, f"{check.found}{f', {name} scored again' if name else ''}")


def _rests_on(job: Job) -> Iterator[str]:
    if isinstance(job, DistanceJob):
        yield from (*job.references, *job.estimates)
    elif isinstance(job, SheetJob):
        yield from job.latents
    elif isinstance(job, NoiseJob):
        yield job.sheet
    elif isinstance(job, QuantiseJob):
        yield from (job.latents, job.coder)
    elif isinstance(job, ProbeJob):
        yield from (key for _, key in job.latents)
    elif isinstance(job, ReadJob):
        yield from (key for found in (job.training, *job.tests) for _, key in found.kept)


def _first_difference(stored: Outcome, made: Outcome, tolerance: float) -> str:
    """Where two outcomes differ, such as ``scores.si_sdr: 1.0 in place of 2.0``; empty where they do not."""
    for name, a, b in _pairs("", stored.value, made.value):
        if not _close(a, b, tolerance):
            return f"{name}: {b!r} in place of {a!r}"
    if stored.arrays.keys() != made.arrays.keys():
        return f"the arrays {sorted(made.arrays)} in place of {sorted(stored.arrays)}"
    for name, array in stored.arrays.items():
        other = made.arrays[name]
        if other.shape != array.shape:
            return f"{name} of another shape"
        largest = float(np.nanmax(np.abs(array), initial=0.0))
        if not np.allclose(array, other, rtol=tolerance, atol=tolerance * largest, equal_nan=True):
            return f"other {name}"
    return ""


def _pairs(name: str, a: Any, b: Any) -> Iterator[tuple[str, Any, Any]]:
    """The values of two JSON objects at each place."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys()):
            yield from _pairs(f"{name}.{key}".lstrip("."), a.get(key), b.get(key))
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for k, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from _pairs(f"{name}[{k}]", one, other)
    else:
        yield name, a, b


def _compare(row: Row, made: Row | None, tolerance: float) -> RowCheck:
    stored, again = asdict(row), asdict(made) if made else {}
    if not all(_close(value, again.get(name), tolerance) for name, value in stored.items()):
        return RowCheck(row, False, f"stored {row.value!r}, now {made.value if made else 'nothing'!r}")
    return RowCheck(row, True, repr(row.value))


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in ROW_KEY)


def _close(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return (isnan(a) and isnan(b)) or isclose(a, b, rel_tol=tolerance, abs_tol=tolerance * 1e-3)
    return bool(a == b)

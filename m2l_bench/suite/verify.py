"""Whether a finished run is still what it was: its files hashed, and a sample of its rows computed again.

A row of a whole set, or of a probe, is computed again from the stored latents. A mean or median is summarised again from the
stored scores of single files, and one slice of those files, drawn by the seed, goes through its system and metrics again.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import isclose, isnan
from pathlib import Path
from typing import Any

import numpy as np

from m2l_bench.files.disk import sha256
from m2l_bench.results import ROW_KEY, Item, Row, read_checksums, read_items, read_rows
from m2l_bench.suite.engine import Engine, Job, JobStore, Outcome, Workspace, run_jobs
from m2l_bench.suite.jobs import ReconstructJob
from m2l_bench.suite.local import local_unless
from m2l_bench.suite.plan import Plan, distance_jobs, make_plan, probe_jobs
from m2l_bench.suite.suite import make_suite
from m2l_bench.suite.summary import summarise


@dataclass(frozen=True)
class RowCheck:
    """One row, whether it came out again, and what was found."""

    row: Row
    agrees: bool
    found: str


@dataclass
class Verification:
    """What was found.

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
    found = Verification(n_files=len(sums))
    for name, digest in sums.items():
        path = folder / name
        if not path.is_file():
            found.files[name] = "missing"
        elif sha256(path) != digest:
            found.files[name] = "changed"
    if found.files:
        found.obstacle = "mend the files first (a run repeated into another folder does)" if sample else ""
        return found
    if sample:
        with local_unless(engine) as chosen:
            _check_rows(found, folder, sample, np.random.default_rng(seed), tolerance, chosen)
    return found


def _check_rows(
    found: Verification, folder: Path, sample: int, rng: np.random.Generator, tolerance: float, engine: Engine
) -> None:
    record = json.loads((folder / "run.json").read_text())
    plan = make_plan(make_suite(record["suite"]))
    if plan.hash != record["plan"]:
        found.obstacle = _what_changed(plan, record)
        return
    rows, items = read_rows(folder), read_items(folder)
    chosen = [rows[place] for place in sorted(rng.permutation(len(rows))[:sample])]
    store = JobStore(Workspace(folder / record["store"]))
    following = _following(plan, store) if any(row.statistic in _OF_SETS for row in chosen) else {}
    jobs = [_job_behind(row, plan, following, rng) for row in chosen]
    of_sets = [job for job in jobs if job and job.kind != "reconstruct"]
    slices = [job for job in jobs if job and job.kind == "reconstruct"]
    made = _outcomes(slices, engine) | _outcomes(of_sets, engine, store.workspace.folder / "latents")
    for row, job in zip(chosen, jobs, strict=True):
        outcome = made[job.id] if job else None
        if row.statistic in _OF_SETS and (job or row.n_scored):
            found.rows.append(_check_of_set(row, outcome, tolerance))
        else:
            found.rows.append(_check_summary(row, outcome, job, items, plan, tolerance))


def _what_changed(plan: Plan, record: dict[str, Any]) -> str:
    """Why a run's suite is another plan today."""
    from m2l_bench import __version__

    made = record["provenance"]["m2l_bench"]
    changes = [f"m2l_bench is {__version__}, it was {made}"] if made != __version__ else []
    hashes = {name: data["hash"] for name, data in record["data"].items()}
    changes += [f"the audio of {data.name} changed" for data in plan.data if hashes.get(data.name, "") != data.hash]
    changes += [f"{name} is not there" for name in plan.missing if name not in record["missing_data"]]
    changes += [
        f"{label} cannot be loaded ({reason})"
        for label, (_, reason) in plan.unusable.items()
        if label not in record["unusable_systems"]
    ]
    return "; ".join(changes) or "a system, a task's data or the code is not the one that made it"


_OF_SETS = ("pooled", "score")
_SUMMARISED = ("system", "fingerprint", "dataset", "metric", "card", "seed")


def _following(plan: Plan, store: JobStore) -> dict[tuple[Any, ...], Job]:
    """The job of the second phase behind each row that one gave."""
    outcomes = [store.read(job) or Outcome() for job in plan.jobs]
    records = [record for outcome in outcomes for record in outcome.items]
    jobs: list[Job] = [*distance_jobs(plan, records), *probe_jobs(plan, outcomes)]
    return {_key(row, ROW_KEY): job for job in jobs for row in (store.read(job) or Outcome()).rows}


def _job_behind(row: Row, plan: Plan, following: dict[tuple[Any, ...], Job], rng: np.random.Generator) -> Job | None:
    """The job that gives a row of a set, or one of those whose files a mean is over; None where there is none."""
    if row.statistic in _OF_SETS:
        return following.get(_key(row, ROW_KEY))
    wanted = (row.system, row.dataset)
    jobs = [job for job in plan.jobs if isinstance(job, ReconstructJob) and (job.label, job.dataset) == wanted]
    return jobs[rng.integers(len(jobs))] if jobs else None


def _outcomes(jobs: Sequence[Job], engine: Engine, latents: Path | None = None) -> dict[str, Outcome]:
    """Run jobs in an empty store, over given latents where they need any."""
    with tempfile.TemporaryDirectory() as fresh:
        if latents is not None and latents.is_dir():
            (Path(fresh) / "latents").symlink_to(latents.resolve(), target_is_directory=True)
        outcomes = run_jobs(jobs, JobStore(Workspace(Path(fresh))), engine)
        return {job.id: outcome for job, outcome in zip(jobs, outcomes, strict=True)}


def _check_of_set(row: Row, outcome: Outcome | None, tolerance: float) -> RowCheck:
    rows = outcome.rows if outcome else ()
    made = next((other for other in rows if _key(other, ROW_KEY) == _key(row, ROW_KEY)), None)
    return _compare(row, made, tolerance)


def _check_summary(
    row: Row, outcome: Outcome | None, job: Job | None, items: Sequence[Item], plan: Plan, tolerance: float
) -> RowCheck:
    mine = [item for item in items if _key(item, _SUMMARISED) == _key(row, _SUMMARISED)]
    data = next(data for data in plan.data if data.name == row.dataset)
    rows = summarise(mine, data, seed=plan.suite.seed)
    check = _compare(row, next((made for made in rows if made.statistic == row.statistic), None), tolerance)
    if not check.agrees or outcome is None or not isinstance(job, ReconstructJob):
        return check
    names = {item.id for item in job.items}
    stored = {item.item: item for item in mine if item.item in names}
    made = {item.item: item for item in outcome.items if _key(item, _SUMMARISED) == _key(row, _SUMMARISED)}
    for name in sorted(stored.keys() | made.keys()):
        if not (name in stored and name in made and _equal(stored[name], made[name], tolerance)):
            values = [repr(scores[name].value) if name in scores else "nothing" for scores in (stored, made)]
            return RowCheck(row, False, f"{name}: stored {values[0]}, now {values[1]}")
    return RowCheck(row, True, f"{check.found}, {len(made)} of {row.n_planned} files scored again")


def _compare(row: Row, made: Row | None, tolerance: float) -> RowCheck:
    if made is None or not _equal(row, made, tolerance):
        return RowCheck(row, False, f"stored {row.value!r}, now {made.value if made else 'nothing'!r}")
    return RowCheck(row, True, repr(made.value))


def _key(record: Row | Item, names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(getattr(record, name) for name in names)


def _equal(a: Row | Item, b: Row | Item, tolerance: float) -> bool:
    stored, made = asdict(a), asdict(b)
    return all(_close(stored[name], made[name], tolerance) for name in stored)


def _close(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return (isnan(a) and isnan(b)) or isclose(a, b, rel_tol=tolerance, abs_tol=tolerance * 1e-3)
    return bool(a == b)

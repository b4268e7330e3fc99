"""Whether a finished run is still what it was: its files hashed, and a sample of its rows computed again.

A row of a whole set, or of a probe, is computed again from the stored latents. A mean or median is summarised again from the
stored scores of single files, and one slice of those files, drawn by the seed, goes through its system and metrics again.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from math import isclose, isnan
from pathlib import Path
from typing import Any

import numpy as np

from m2l_bench.audio import sha256
from m2l_bench.results import ROW_KEY, Item, Row, read_checksums, read_items, read_rows
from m2l_bench.suite.engine import Engine, Job, JobStore, Outcome, run_jobs
from m2l_bench.suite.local import LocalEngine
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
        _check_rows(found, folder, sample, np.random.default_rng(seed), tolerance, engine or LocalEngine())
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
    again = _Again(plan, JobStore(folder / record["store"]), items, rng, engine)
    for place in sorted(rng.permutation(len(rows))[:sample]):
        found.rows.append(_compare(rows[place], again, tolerance))


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


@dataclass
class _Again:
    """Computes rows of a plan again."""

    plan: Plan
    store: JobStore
    items: Sequence[Item]
    rng: np.random.Generator
    engine: Engine

    def row(self, row: Row) -> Row | None:
        """The row as it comes out now; None where nothing gives it."""
        if row.statistic in ("pooled", "score"):
            return self._of_set(row)
        mine = [item for item in self.items if _same(item, row, _SUMMARISED)]
        data = next(data for data in self.plan.data if data.name == row.dataset)
        made = summarise(mine, data, seed=self.plan.suite.seed)
        return next((other for other in made if _same(other, row, ROW_KEY)), None)

    def slice(self, row: Row) -> tuple[list[Item], list[Item]]:
        """Stored and new scores of one slice of the files behind a mean or median."""
        jobs = [job for job in self.plan.jobs if _is_behind(job, row)]
        if not jobs:  # of a system that could not be loaded: there is nothing to compute
            return [], []
        job = jobs[self.rng.integers(len(jobs))]
        names = {item.id for item in job.items}
        stored = [item for item in self.items if item.item in names and _same(item, row, _SUMMARISED)]
        with tempfile.TemporaryDirectory() as fresh:
            (outcome,) = run_jobs([job], JobStore(Path(fresh)), self.engine)
        made = [item for item in outcome.items if _same(item, row, _SUMMARISED)]
        return sorted(stored, key=lambda item: item.item), sorted(made, key=lambda item: item.item)

    def _of_set(self, row: Row) -> Row | None:
        outcomes = [self.store.read(job) or Outcome() for job in self.plan.jobs]
        records = [record for outcome in outcomes for record in outcome.items]
        jobs: list[Job] = [*distance_jobs(self.plan, records), *probe_jobs(self.plan, outcomes)]
        for job in jobs:
            stored = self.store.read(job) or Outcome()
            if any(_same(other, row, ROW_KEY) for other in stored.rows):
                with _beside(self.store) as store:
                    (outcome,) = run_jobs([job], store, self.engine)
                return next((other for other in outcome.rows if _same(other, row, ROW_KEY)), None)
        return None


_SUMMARISED = ("system", "fingerprint", "dataset", "metric", "card", "seed")


def _is_behind(job: Job, row: Row) -> bool:
    return job.kind == "reconstruct" and (job.label, getattr(job, "dataset", None)) == (row.system, row.dataset)


def _same(a: Row | Item, b: Row | Item, names: Sequence[str]) -> bool:
    return all(getattr(a, name) == getattr(b, name) for name in names)


@contextmanager
def _beside(store: JobStore) -> Iterator[JobStore]:
    """An empty store over the same latents."""
    with tempfile.TemporaryDirectory() as fresh:
        (Path(fresh) / "latents").symlink_to((store.workspace / "latents").resolve(), target_is_directory=True)
        yield JobStore(Path(fresh))


def _compare(row: Row, again: _Again, tolerance: float) -> RowCheck:
    made = again.row(row)
    if made is None:
        return RowCheck(row, False, f"stored {row.value!r}, now nothing")
    if not _equal(asdict(row), asdict(made), tolerance):
        return RowCheck(row, False, f"stored {row.value!r}, now {made.value!r}")
    if row.statistic in ("pooled", "score"):
        return RowCheck(row, True, f"{made.value!r}")
    stored, new = again.slice(row)
    for one, other in zip(stored, new, strict=False):
        if not _equal(asdict(one), asdict(other), tolerance):
            return RowCheck(row, False, f"{one.item}: stored {one.value!r}, now {other.value!r}")
    if len(stored) != len(new):
        return RowCheck(row, False, f"stored {len(stored)} scores of a slice, now {len(new)}")
    return RowCheck(row, True, f"{made.value!r}, {len(new)} of {row.n_planned} files scored again")


def _equal(stored: dict[str, Any], made: dict[str, Any], tolerance: float) -> bool:
    return all(_close(stored[name], made[name], tolerance) for name in stored)


def _close(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return (isnan(a) and isnan(b)) or isclose(a, b, rel_tol=tolerance, abs_tol=tolerance * 1e-3)
    return bool(a == b)

"""Fit a probe on what a reader finds in training audio, and test it on what it finds in reconstructed test audio.

With a reader that is the same for all systems, also systems without latents can be compared by what can be predicted from
their reconstructions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar

from m2l_bench.probes import load_probe
from m2l_bench.suite.data import TaskSpec
from m2l_bench.suite.jobs import identity
from m2l_bench.suite.jobs.probe import failed_task, kept_track, protocol_facts, records_of
from m2l_bench.suite.steps import Read
from m2l_bench.suite.store import KeptArrays, Outcome, Store
from m2l_bench.tasks.base import Task
from m2l_bench.tasks.frames import Track
from m2l_bench.tasks.outcome import Result, TimeResult
from m2l_bench.tasks.protocol import FittedTask, fit
from m2l_bench.tasks.time import FittedInTime, fit_in_time


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a reader found in the items of a task.

    Attributes
    ----------
    system : str
        Fingerprint of the system whose reconstructions it read; empty for the originals.
    kept : tuple of (str, str)
        Item -> identity of the job that kept it.
    missing : tuple of (str, str)
        The other items, and why they have nothing.
    array : str
        Name of the array in the outcomes of these jobs.
    """

    system: str
    kept: tuple[tuple[str, str], ...]
    missing: tuple[tuple[str, str], ...]
    array: str


@dataclass(frozen=True, kw_only=True)
class ReadJob:
    """Fit a probe on training items and test it on the reconstructions of one or several systems.

    Its outcome has ``systems``: fingerprint -> ``rows``, ``items`` and ``failed`` as in that of a
    :class:`m2l_bench.suite.jobs.probe.ProbeJob`.

    Attributes
    ----------
    label : str
        The reader's name in the tables.
    task : TaskSpec
    training : Found
        Of training and validation items.
    tests : tuple of Found
        Of test items, for each system.
    probe : str
    seeds : tuple of int
    """

    label: str
    task: TaskSpec
    training: Found
    tests: tuple[Found, ...]
    probe: str
    seeds: tuple[int, ...]

    kind: ClassVar[str] = "read"
    batch: ClassVar[int] = 1
    item: ClassVar[None] = None

    @cached_property
    def id(self) -> str:
        """SHA-256 of everything the outcome depends on."""
        facts = protocol_facts(self.task.load(), self.probe)
        found = [asdict(found) for found in (self.training, *self.tests)]
        return identity(self.kind, **facts, found=found, seeds=self.seeds)

    def failed(self, reason: str) -> Outcome:
        """No system could be tested."""
        if self.training.missing:
            name, why = self.training.missing[0]
            reason = f"{reason} ({len(self.training.missing)} training items could not be read, such as {name}: {why})"
        task = self.task.load()
        systems = {found.system: failed_task(task, self.seeds, reason).value for found in self.tests}
        return Outcome({"systems": systems}, reason=reason)

    def run(self, store: Store, read: Read | None) -> Outcome:
        """Rows and predictions of each system; items that it could not reconstruct are counted as failed."""
        task = self.task.load()
        fitted = _fit(task, load_probe(self.probe), store, self.training, self.seeds)
        systems: dict[str, Mapping[str, Any]] = {}
        reasons = []
        for found in self.tests:
            try:
                systems[found.system], reason = records_of(_test(fitted, store, found), dict(found.missing))
            except ValueError as error:  # this system has nothing, the others have theirs
                reason = found.missing[0][1] if found.missing else str(error)
                systems[found.system] = failed_task(task, self.seeds, reason).value
            reasons.append(reason)
        return Outcome({"systems": systems}, reason=next(filter(None, reasons), ""))


def _fit(task: Task, probe: Any, store: Store, found: Found, seeds: Sequence[int]) -> FittedTask | FittedInTime:
    if task.in_time:
        return fit_in_time(task, _tracks(store, found), list(dict(found.kept)), probe, seeds=seeds)
    return fit(task, _features(store, found), probe, seeds=seeds)


def _test(fitted: FittedTask | FittedInTime, store: Store, found: Found) -> Result | TimeResult:
    if isinstance(fitted, FittedInTime):
        return fitted.test(_tracks(store, found), list(dict(found.kept)))
    return fitted.test(_features(store, found))


def _tracks(store: Store, found: Found) -> Callable[[str], Track]:
    keys = dict(found.kept)
    return lambda item: kept_track(store, keys[item], found.array)


def _features(store: Store, found: Found) -> KeptArrays:
    return KeptArrays(store, dict(found.kept), found.array)

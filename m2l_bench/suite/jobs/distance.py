"""Compare the windows of all files of a dataset with those of one system's reconstructions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from m2l_bench import plugins
from m2l_bench.reconstruction.checks import Unscorable
from m2l_bench.reconstruction.metrics import SetMetric, get_metric
from m2l_bench.suite.engine import Read
from m2l_bench.suite.jobs import identity
from m2l_bench.suite.store import Outcome, Store, require


@dataclass(frozen=True, kw_only=True)
class DistanceJob:
    """One set metric of one system over one dataset.

    Its outcome has ``value``, ``low``, ``high``, ``note`` and ``contributions``, one number a file (empty where the metric
    has none).

    Attributes
    ----------
    label : str
        The system's name in the tables.
    metric : str
        Name of a set metric.
    card : str
        Hash of its card.
    encoder : str
        Its fingerprint.
    references, estimates : tuple of str
        Identities of the jobs that kept the windows, of files that have windows on both sides.
    seed : int
        Of the interval.
    """

    label: str
    metric: str
    card: str
    encoder: str
    references: tuple[str, ...]
    estimates: tuple[str, ...]
    seed: int

    kind: ClassVar[str] = "distance"
    batch: ClassVar[int] = 1
    path: ClassVar[None] = None

    @cached_property
    def id(self) -> str:
        """SHA-256 of everything the outcome depends on."""
        return identity(self.kind, card=self.card, references=self.references, estimates=self.estimates, seed=self.seed)

    def failed(self, reason: str) -> Outcome:
        """No number."""
        return Outcome({"note": f"{plugins.label(self.metric)}: {reason}."}, reason=reason)

    def run(self, store: Store, read: Read | None) -> Outcome:
        """The number, its interval and what each file adds to it."""
        metric = get_metric(self.metric)
        assert isinstance(metric, SetMetric)
        references, estimates = (
            [require(store, name).arrays[self.encoder].T for name in names]
            for names in (self.references, self.estimates)
        )
        try:
            score = metric.score(references, estimates, self.seed)
        except Unscorable as error:
            return self.failed(str(error))
        note = ""
        if score.health.get("rank_reference", math.inf) < score.health.get("dim", 0):
            few = f"{score.health['n']} windows in {score.health['dim']} dimensions"
            note = f"{metric.card.title}: {few}, so covariances of low rank: compare sets of this size only."
        value = {"value": score.value, "low": score.ci_low, "high": score.ci_high, "note": note}
        return Outcome(value | {"contributions": list(score.contributions)})

"""Compare the windows of all files of a dataset with those of one system's reconstructions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from m2l_bench import plugins
from m2l_bench.reconstruction.checks import Unscorable
from m2l_bench.reconstruction.metrics import SetMetric, get_metric
from m2l_bench.suite.jobs import identity
from m2l_bench.suite.steps import Read
from m2l_bench.suite.store import Outcome, Store, require

FEW_WINDOWS = 5  # a dimension


@dataclass(frozen=True, kw_only=True)
class DistanceJob:
    """One set metric of one system over one dataset.

    Its outcome has ``value``, ``corrected`` (NaN where the metric has no bias to correct), ``low``, ``high``, ``note`` and
    ``contributions``, one pseudo-value a file (empty where the metric has none).

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
    item: ClassVar[None] = None

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
        if "dim" in score.health:
            n, dim = (int(score.health[key]) for key in ("n", "dim"))
            note = f"{metric.card.title}: {n:,} windows in {dim:,} dimensions."
            if n < FEW_WINDOWS * dim:
                biased = "even the corrected value and its interval are too high, more for some kinds of distortion"
                note = f"{note[:-1]}, fewer than {FEW_WINDOWS} a dimension: {biased}."
        value = {"value": score.value, "corrected": score.corrected, "low": score.ci_low, "high": score.ci_high}
        return Outcome(value | {"note": note, "contributions": list(score.contributions)})

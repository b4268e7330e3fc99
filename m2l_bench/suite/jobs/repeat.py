"""Reconstruct one file twice, with a system's seed and the next one: whether, and by how much, the output depends on the seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from m2l_bench.cards import REPEATABILITY, SEED_CHANGE, Card
from m2l_bench.reconstruction.metrics import get_metric, score_pair
from m2l_bench.reconstruction.pair_metrics import OVER_FILES
from m2l_bench.suite.jobs import FileJob, identity
from m2l_bench.suite.jobs.reconstruct import by_label
from m2l_bench.suite.steps import Read
from m2l_bench.suite.store import Outcome, Store
from m2l_bench.systems.apply import reconstruct
from m2l_bench.systems.base import ReadyMade

MOST_FILES = 4  # of a set
_SI_SDR = get_metric("si_sdr").card

REPEATABILITY_CARD = Card(
    name=REPEATABILITY,
    title="repeatability",
    unit=_SI_SDR.unit,
    higher_is_better=True,
    formula="SI-SDR of the reconstruction with the seed after the system's to that with the system's seed; 100 where they are "
    "equal; a system whose reconstructions are equal in all files has none",
    channel_rule=_SI_SDR.channel_rule,
    constants={"most_files": MOST_FILES, "interval": f"mean: {OVER_FILES}", "metric": _SI_SDR.hash},
    source="m2l_bench",
    group=REPEATABILITY,
)


def seed_change_card(metric: Card) -> Card:
    """Card of the change of a pair metric with the seed."""
    first, *words = metric.title.split()
    # In the middle of a sentence "Mel distance" has a small letter; "SI-SDR" and "ViSQOL" stay.
    title = " ".join([first.lower() if first[1:].islower() else first, *words])
    return replace(
        REPEATABILITY_CARD,
        name=f"{SEED_CHANGE}:{metric.name}",
        title=f"change of {title} with the seed",
        unit=metric.unit,
        higher_is_better=False,
        formula="absolute difference of a file's scores with the system's seed and the one after it",
        channel_rule=metric.channel_rule,
        constants={**REPEATABILITY_CARD.constants, "metric": metric.hash},
    )


@dataclass(frozen=True, kw_only=True)
class RepeatJob(FileJob):
    """Reconstruct one file with a system's seed and with the next, and score both.

    Its outcome has ``equal``, whether the two are equal in every sample; where they are not, ``repeatability``, the SI-SDR of the
    second to the first in dB, and ``scores``: metric -> its scores of the first and of the second, each a number or the reason
    why there is none. Metrics that have nothing to measure in one of them are left out.

    Attributes
    ----------
    metrics : tuple of str
        Names of pair metrics.
    """

    metrics: tuple[str, ...] = ()

    kind: ClassVar[str] = "repeat"
    batch: ClassVar[int] = MOST_FILES

    @property
    def id(self) -> str:
        """SHA-256 of everything the outcome depends on."""
        return identity(
            self.kind,
            audio=self.item.sha256 or self.item.path,
            stem=self.item.stem,
            system=self.fingerprint,
            cards=[REPEATABILITY_CARD.hash, *(get_metric(name).card.hash for name in self.metrics)],
        )

    def run(self, store: Store, read: Read | None) -> Outcome:
        """Reconstruct twice, unless nothing depends on the seed, and score."""
        assert read is not None
        first, second = self.spec.load(), self.spec.model_copy(update={"seed": self.spec.seed + 1}).load()
        seeded = getattr(first, "is_seeded", True) and first.fingerprint != second.fingerprint
        if not seeded or isinstance(first, ReadyMade):
            return Outcome({"equal": True})
        reference, rate = read()
        one, other = (reconstruct(system, reference, rate, self.item.stem)[0] for system in (first, second))
        if np.array_equal(one, other):
            return Outcome({"equal": True})
        found, _ = by_label(score_pair(one, other, rate, [_SI_SDR.name]))
        scores = [by_label(score_pair(reference, estimate, rate, self.metrics))[0] for estimate in (one, other)]
        both = {name: [score, scores[1][name]] for name, score in scores[0].items() if name in scores[1]}
        repeatability = found[_SI_SDR.name]
        reason = repeatability if isinstance(repeatability, str) else ""
        return Outcome({"equal": False, "repeatability": repeatability, "scores": both}, reason=reason)

"""Compare two systems of one run: paired difference, interval and test for each metric, and outlying clips."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from m2l_bench.cards import REPEATABILITY
from m2l_bench.plugins import unknown
from m2l_bench.report.render import decimals, markdown_grid, markdown_text, number_text
from m2l_bench.report.runs import Measurement, RunData
from m2l_bench.report.significance import ALPHA, Pair, Pairs, is_ranked
from m2l_bench.report.tables import floors, heading, is_passed
from m2l_bench.results import LATENT_SPACE
from m2l_bench.statistics import holm, mean_interval

# A difference further from the median than this many (normal-consistent) median absolute deviations stands out.
OUTLIER = 3.5
MOST_OUTLIERS = 5


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Paired difference of two systems in one metric.

    Attributes
    ----------
    measurement : Measurement
    card : mapping
        Fields of the metric's card.
    pair : Pair
        Scores on the items that both systems have.
    value, low, high : float
        Mean of ``a - b`` and its 95% interval (:func:`m2l_bench.statistics.mean_interval`).
    p_value : float
        Paired test, Holm-corrected over the metrics that are ranked, those of latent spaces apart; NaN for the others.
    floor : float
        The value that is better than chance; NaN where there is none.
    """

    measurement: Measurement
    card: Mapping[str, Any]
    pair: Pair
    value: float
    low: float
    high: float
    p_value: float
    floor: float = math.nan

    @property
    def better(self) -> str:
        """``"a"`` or ``"b"`` where one is significantly better (p < 0.05) and better than chance, else empty."""
        if self.card["higher_is_better"] is None or not self.p_value < ALPHA:  # NaN where the metric is not ranked
            return ""
        ahead = "a" if (self.value > 0) == self.card["higher_is_better"] else "b"
        return ahead if is_passed(self.floor, float(np.mean(getattr(self.pair, ahead))), self.card) else ""


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison:
    """Paired differences of two systems, one for each metric and dataset (or task and probe) with scores of single items.

    Attributes
    ----------
    a, b : str
        Labels of the systems.
    differences : tuple of Difference
    """

    a: str
    b: str
    differences: tuple[Difference, ...]

    def __repr__(self) -> str:
        better = {side: [d.card["title"] for d in self.differences if d.better == side] for side in "ab"}
        wins = (f"{getattr(self, side)} better in {', '.join(titles) or 'none'}" for side, titles in better.items())
        return f"Comparison({self.a} minus {self.b}, {len(self.differences)} metrics; {'; '.join(wins)})"

    def to_frame(self) -> pd.DataFrame:
        """Arrange the differences as a DataFrame.

        Returns
        -------
        pandas.DataFrame
            One row for each measurement: dataset, task, probe, split, metric; ``n``, the common items; ``a``, ``b``, the means;
            ``difference``, ``ci_low``, ``ci_high``, ``p_value`` (float64); ``better``, a label or empty.
        """
        labels = {"a": self.a, "b": self.b, "": ""}
        return pd.DataFrame(
            {
                **{key: value for key, value in d.measurement._asdict().items() if key != "statistic"},
                "n": len(d.pair.items),
                "a": float(np.mean(d.pair.a)),
                "b": float(np.mean(d.pair.b)),
                "difference": d.value,
                "ci_low": d.low,
                "ci_high": d.high,
                "p_value": d.p_value,
                "better": labels[d.better],
            }
            for d in self.differences
        )


def compare(results: RunData, a: str, b: str) -> Comparison:
    """Compare the systems labelled `a` and `b` of finished runs on the items that both have a score on.

    Raises
    ------
    ValueError
        If there is no such system (the nearest is named), both are the same, or they share no scores.
    """
    for label in (a, b):
        if label not in results.systems:
            raise unknown("system", label, results.systems)
    if a == b:
        raise ValueError(f"a and b must be two systems, got {a!r} twice")
    pairs = Pairs(item for item in results.items if item.system in (a, b))
    found = ((m._replace(statistic=""), card) for m, card in results.measured.items())
    cards = {measurement: card for measurement, card in found if card.get("group") != REPEATABILITY}
    whole = (m for m in pairs.measured() if m in cards and not (m.task == LATENT_SPACE and m.split))  # not each step
    paired = {m: pair for m in whole if (pair := pairs.pair(m, a, b))}
    if not paired:
        raise ValueError(f"{a} and {b} must have scores on at least two common items, got none")
    tested = [m for m in paired if cards[m]["higher_is_better"] is not None and is_ranked(m, cards[m])]
    adjusted: dict[Measurement, float] = {}
    for latent in (False, True):  # the many numbers of a latent space do not weaken the tests of the others
        family = [m for m in tested if (m.task == LATENT_SPACE) == latent]
        adjusted |= zip(family, holm([pairs.test(m, a, b)[1] for m in family]).tolist(), strict=True)
    lowest = floors(results.rows, results.cards)
    differences = []
    for m, pair in paired.items():
        low, high = mean_interval(pair.a - pair.b, groups=pair.groups)
        value, p_value = float(np.mean(pair.a - pair.b)), adjusted.get(m, math.nan)
        numbers = {"value": value, "low": low, "high": high, "p_value": p_value}
        floor = lowest.get(m._replace(statistic="mean"), math.nan)
        differences.append(Difference(measurement=m, card=cards[m], pair=pair, floor=floor, **numbers))
    return Comparison(a=a, b=b, differences=tuple(differences))


def comparison_markdown(found: Comparison) -> str:
    """Format a comparison as Markdown: one table for each dataset, then the outliers."""
    a, b = markdown_text(found.a), markdown_text(found.b)
    blocks = [
        f"{a} minus {b}: mean paired difference [95% interval]; p: paired test, Holm-corrected; better: also than chance"
    ]
    for name, several in groupby(found.differences, key=lambda d: " ".join(d.measurement.parts)):
        heads = ("metric", "n", a, b, "difference", "p", "better")
        blocks += [f"{markdown_text(name)}:", markdown_grid([heads, *(_line(d, a, b) for d in several)])]
    for d in found.differences:
        for i in outliers(d.pair):
            of_a, of_b = d.pair.a[i], d.pair.b[i]
            values = f"{of_a:.4g}, {of_b:.4g}; difference {of_a - of_b:.4g}"
            blocks.append(f"outlier in {d.card['title']}: {markdown_text(d.pair.items[i])} ({values})")
    return "\n\n".join(blocks) + "\n"


def outliers(pair: Pair) -> list[int]:
    """Find items whose difference is more than 3.5 scaled median absolute deviations from the median difference.

    Returns
    -------
    list of int
        Places in ``pair.items``, furthest first.
    """
    distance, limit = median_distances(pair.a - pair.b)
    return [int(i) for i in np.argsort(-distance, kind="stable")[:MOST_OUTLIERS] if distance[i] > limit]


def median_distances(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Distance of each value from the median, and the distance beyond which a value is an outlier; values: (n,), n > 0."""
    distance = np.abs(values - np.median(values))
    return distance, max(OUTLIER * 1.4826 * float(np.median(distance)), 1e-9 * max(1.0, float(np.abs(values).max())))


def _line(d: Difference, a: str, b: str) -> Sequence[str]:
    digits = decimals([(d.value, d.low, d.high)])
    numbers = (float(np.mean(d.pair.a)), float(np.mean(d.pair.b)), d.value, d.low, d.high)
    of_a, of_b, *interval = (number_text(number, digits) for number in numbers)
    p_value = "" if math.isnan(d.p_value) else "<0.001" if d.p_value < 0.001 else f"{d.p_value:.3f}"
    better = {"a": a, "b": b, "": ""}[d.better]
    return heading(d.card), str(len(d.pair.items)), of_a, of_b, "{} [{}, {}]".format(*interval), p_value, better

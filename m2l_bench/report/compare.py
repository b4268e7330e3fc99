"""Compare two systems of one run: paired difference, interval and test for each metric, and outlying clips."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from m2l_bench.report.render import decimals, markdown_grid, markdown_text, number_text
from m2l_bench.report.runs import read_runs
from m2l_bench.report.significance import ALPHA, CONDITIONS, Pair, Pairs
from m2l_bench.report.tables import Measurement, heading, measurement_of
from m2l_bench.statistics import bootstrap_interval, holm

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
        Mean of ``a - b`` and its bootstrap interval (95%, groups resampled together).
    p_value : float
        Sign-flip test, Holm-corrected over the metrics that have a direction; NaN for those that only describe.
    """

    measurement: Measurement
    card: Mapping[str, Any]
    pair: Pair
    value: float
    low: float
    high: float
    p_value: float = math.nan

    @property
    def better(self) -> str:
        """``"a"`` or ``"b"`` where one is significantly better (p < 0.05), else empty."""
        if self.card["higher_is_better"] is None or not self.p_value < ALPHA:  # NaN where the metric only describes
            return ""
        return "a" if (self.value > 0) == self.card["higher_is_better"] else "b"


def compare(run: Path, a: str, b: str) -> list[Difference]:
    """Compare two systems of a finished run on the items that both have a score on.

    Parameters
    ----------
    run : path-like
        A run's folder.
    a, b : str
        Labels of two systems.

    Returns
    -------
    list of Difference
        One for each metric and dataset with scores of single items.

    Raises
    ------
    ValueError
        If the run lacks one of the systems (those that it has are named), both are the same, or they share no scores.
    """
    results = read_runs([Path(run)])
    for label in (a, b):
        if label not in results.systems:
            raise ValueError(f"system must be one of {', '.join(results.systems)}, got {label!r}")
    if a == b:
        raise ValueError(f"a and b must be two systems, got {a!r} twice")
    pairs = Pairs(item for item in results.items if item.system in (a, b))
    cards = {measurement_of(row)._replace(statistic=""): results.cards[row.card] for row in results.rows}
    differences = []
    for measurement in pairs.measured():
        pair = pairs.pair(measurement, a, b)
        if pair is not None and measurement in cards:
            gap = pair.a - pair.b
            low, high = bootstrap_interval(gap, groups=pair.groups)
            found = Difference(
                measurement=measurement,
                card=cards[measurement],
                pair=pair,
                value=float(np.mean(gap)),
                low=low,
                high=high,
            )
            differences.append(found)
    if not differences:
        raise ValueError(f"{a} and {b} must have scores on at least two common items, got none")
    directed = [d.measurement for d in differences if d.card["higher_is_better"] is not None]
    tested = [measurement for measurement in directed if measurement.metric not in CONDITIONS]
    adjusted = dict(zip(tested, holm([pairs.p_value(m, a, b) for m in tested]), strict=True))
    return [replace(d, p_value=float(adjusted.get(d.measurement, math.nan))) for d in differences]


def comparison_markdown(a: str, b: str, differences: Sequence[Difference]) -> str:
    """Format the comparison of systems `a` and `b` as Markdown: one table for each dataset, then the outliers."""
    a, b = markdown_text(a), markdown_text(b)
    blocks = [f"{a} minus {b}: mean paired difference [95% bootstrap interval]; p: sign-flip test, Holm-corrected"]
    grids: dict[str, list[Sequence[str]]] = {}
    for d in differences:
        grid = grids.setdefault(" ".join(d.measurement.parts), [("metric", "n", a, b, "difference", "p", "better")])
        grid.append(_line(d, a, b))
    for name, grid in grids.items():
        blocks += [f"{markdown_text(name)}:", markdown_grid(grid)]
    for d in differences:
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
    difference = pair.a - pair.b
    distance = np.abs(difference - np.median(difference))
    limit = max(OUTLIER * 1.4826 * float(np.median(distance)), 1e-9 * max(1.0, float(np.abs(difference).max())))
    return [int(i) for i in np.argsort(-distance, kind="stable")[:MOST_OUTLIERS] if distance[i] > limit]


def _line(d: Difference, a: str, b: str) -> Sequence[str]:
    digits = decimals([(d.value, d.low, d.high)])
    numbers = (float(np.mean(d.pair.a)), float(np.mean(d.pair.b)), d.value, d.low, d.high)
    of_a, of_b, *interval = (number_text(number, digits) for number in numbers)
    p_value = "" if math.isnan(d.p_value) else "<0.001" if d.p_value < 0.001 else f"{d.p_value:.3f}"
    title = heading(d.card["title"], d.card["unit"], d.card["higher_is_better"])
    better = {"a": a, "b": b, "": ""}[d.better]
    return title, str(len(d.pair.items)), of_a, of_b, "{} [{}, {}]".format(*interval), p_value, better

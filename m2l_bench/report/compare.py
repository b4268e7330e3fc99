"""Two systems of one run, metric by metric: paired difference, interval, test, and outlying clips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from m2l_bench.report.render import decimals, markdown_grid, markdown_text, number_text
from m2l_bench.report.runs import read_runs
from m2l_bench.report.significance import ALPHA, CONDITIONS, Pair, Pairs
from m2l_bench.report.tables import Measurement, heading, measurement_of
from m2l_bench.statistics import bootstrap_interval, holm

# A difference further from the median than this many (normal-consistent) median absolute deviations stands out.
OUTLIER = 3.5
MOST_OUTLIERS = 5


class Outlier(NamedTuple):
    """An item whose difference lies far from those of the other items."""

    item: str
    a: float
    b: float
    difference: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One metric.

    Attributes
    ----------
    measurement : Measurement
    title, unit : str
    higher_is_better : bool or None
    n : int
        Items that both systems have a score on.
    a, b : float
        Means over those items.
    difference, low, high : float
        Mean of ``a - b`` and its bootstrap interval (95%, groups resampled together).
    p_value : float
        Sign-flip test, Holm-corrected over the metrics that have a direction; NaN for those that only describe.
    outliers : tuple of Outlier
        Furthest first.
    """

    measurement: Measurement
    title: str
    unit: str
    higher_is_better: bool | None
    n: int
    a: float
    b: float
    difference: float
    low: float
    high: float
    p_value: float
    outliers: tuple[Outlier, ...]

    @property
    def better(self) -> str:
        """``"a"`` or ``"b"`` where one is significantly better (p < 0.05), else empty."""
        if self.higher_is_better is None or not self.p_value < ALPHA:  # NaN where the metric only describes
            return ""
        return "a" if (self.difference > 0) == self.higher_is_better else "b"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Systems `a` and `b`, and their difference in every metric with scores of single items."""

    a: str
    b: str
    differences: tuple[Difference, ...]


def compare(run: Path, a: str, b: str) -> Comparison:
    """Compare two systems of a finished run on the items that both have a score on.

    Parameters
    ----------
    run : path-like
        A run's folder.
    a, b : str
        Labels of two systems.

    Returns
    -------
    Comparison

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
            card = cards[measurement]
            low, high = bootstrap_interval(pair.a - pair.b, groups=pair.groups)
            difference = Difference(
                measurement=measurement,
                title=card["title"],
                unit=card["unit"],
                higher_is_better=card["higher_is_better"],
                n=len(pair.items),
                a=float(np.mean(pair.a)),
                b=float(np.mean(pair.b)),
                difference=float(np.mean(pair.a - pair.b)),
                low=low,
                high=high,
                p_value=math.nan,
                outliers=outliers(pair),
            )
            differences.append(difference)
    if not differences:
        raise ValueError(f"{a} and {b} must have scores on at least two common items, got none")
    tested = [
        d.measurement for d in differences if d.higher_is_better is not None and d.measurement.metric not in CONDITIONS
    ]
    adjusted = dict(zip(tested, holm([pairs.p_value(m, a, b) for m in tested]), strict=True))
    differences = [replace(d, p_value=float(adjusted.get(d.measurement, math.nan))) for d in differences]
    return Comparison(a=a, b=b, differences=tuple(differences))


def comparison_markdown(comparison: Comparison) -> str:
    """Format the comparison as Markdown: one table for each dataset, then the outliers."""
    a, b = markdown_text(comparison.a), markdown_text(comparison.b)
    blocks = [f"{a} minus {b}: mean paired difference [95% bootstrap interval]; p: sign-flip test, Holm-corrected"]
    grids: dict[str, list[Sequence[str]]] = {}
    for d in comparison.differences:
        grid = grids.setdefault(" ".join(d.measurement.parts), [("metric", "n", a, b, "difference", "p", "better")])
        grid.append(_line(d, a, b))
    for name, grid in grids.items():
        blocks += [f"{markdown_text(name)}:", markdown_grid(grid)]
    for d in comparison.differences:
        for item, of_a, of_b, difference in d.outliers:
            values = f"{of_a:.4g}, {of_b:.4g}; difference {difference:.4g}"
            blocks.append(f"outlier in {d.title}: {markdown_text(item)} ({values})")
    return "\n\n".join(blocks) + "\n"


def outliers(pair: Pair) -> tuple[Outlier, ...]:
    """Find items whose difference is more than 3.5 scaled median absolute deviations from the median difference."""
    difference = pair.a - pair.b
    distance = np.abs(difference - np.median(difference))
    spread = 1.4826 * float(np.median(distance))
    furthest = np.argsort(-distance, kind="stable")[:MOST_OUTLIERS]
    return tuple(
        Outlier(pair.items[i], float(pair.a[i]), float(pair.b[i]), float(difference[i]))
        for i in furthest
        if distance[i] > OUTLIER * spread and distance[i] > 1e-9 * max(1.0, float(np.abs(difference).max()))
    )


def _line(d: Difference, a: str, b: str) -> Sequence[str]:
    digits = decimals([(d.difference, d.low, d.high)])
    values = [number_text(value, digits) for value in (d.a, d.b, d.difference, d.low, d.high)]
    p_value = "" if math.isnan(d.p_value) else "<0.001" if d.p_value < 0.001 else f"{d.p_value:.3f}"
    better = {"a": a, "b": b, "": ""}[d.better]
    difference = f"{values[2]} [{values[3]}, {values[4]}]"
    return (heading(d.title, d.unit, d.higher_is_better), str(d.n), values[0], values[1], difference, p_value, better)

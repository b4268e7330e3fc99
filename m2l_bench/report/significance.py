"""Paired comparison of systems on the same items, with significance tests.

Conventions
-----------
Systems are paired item by item; an item that one of them failed on is left out of that pair. Repetitions with other
seeds are averaged first. A difference is of means over items; its test flips the signs of whole groups (tracks). Where
a metric has no score for a single item, an item's value is its pseudo-value (FAD, KAD; :func:`m2l_bench.statistics.jackknife`)
or its contribution (ROC AUC, macro F1; :func:`m2l_bench.statistics.contributions`), and the same test applies. Where there is
no such value either (FAD-inf), nothing is tested and nothing is set in bold.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from m2l_bench.cards import REPEATABILITY
from m2l_bench.report.runs import ANCHORS, CEILING, Measurement, measurement_of
from m2l_bench.report.tables import Table
from m2l_bench.results import Item
from m2l_bench.statistics import holm, paired_test

# Family-wise error rate of one table or figure.
ALPHA = 0.05
# Properties of a system rather than results: never ranked.
CONDITIONS = ("bit_rate", "compression_ratio")
# Statistics whose items have the number as their mean; a median has none.
RANKED = ("mean", "pooled", "score")
# Distances whose bias differs between kinds of distortion are compared, but never ranked: KAD has none.
BIASED = ("fad", "fad_inf")


class Pair(NamedTuple):
    """Scores of two systems on the items that both have, in the order of the items' names."""

    items: tuple[str, ...]
    groups: tuple[str, ...]
    a: np.ndarray
    b: np.ndarray


class Pairs:
    """Per-item scores of a run for paired tests; each p-value is computed once.

    Parameters
    ----------
    items : iterable of Item
        Records with a value, or predictions of single-label probes (1 where right, 0 where wrong, under ``accuracy``).
    """

    def __init__(self, items: Iterable[Item]) -> None:
        seeds: dict[tuple[Measurement, str, str], list[float]] = defaultdict(list)
        self._groups: dict[tuple[str, str], str] = {}
        for item in items:
            value = item.value
            if math.isnan(value) and item.metric == "accuracy" and item.target and not item.reason:
                value = float(item.target == item.prediction)
            if math.isfinite(value):
                seeds[measurement_of(item), item.system, item.item].append(value)
                self._groups[item.dataset, item.item] = item.group or item.item
        self._scores: dict[Measurement, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
        for measurement, system, name in sorted(seeds):
            values = seeds[measurement, system, name]
            self._scores[measurement][system][name] = sum(values) / len(values)
        self._tests: dict[tuple[Measurement, str, str], tuple[float, float]] = {}

    def measured(self) -> list[Measurement]:
        """List the measurements with scores of single items; their statistic is empty."""
        return sorted(self._scores)

    def scores(self, measurement: Measurement) -> Mapping[str, Mapping[str, float]]:
        """Return system -> item -> score; the measurement's statistic does not matter, here and below."""
        return self._scores.get(measurement._replace(statistic=""), {})

    def pair(self, measurement: Measurement, a: str, b: str) -> Pair | None:
        """Scores of `a` and `b` on their common items; None where they have fewer than two."""
        scores = self.scores(measurement)
        first, second = scores.get(a, {}), scores.get(b, {})
        names = tuple(name for name in first if name in second)
        if len(names) < 2:
            return None
        groups = tuple(self._groups[measurement.dataset, name] for name in names)
        return Pair(names, groups, np.array([first[n] for n in names]), np.array([second[n] for n in names]))

    def uncommon(self, measurement: Measurement, systems: Sequence[str]) -> tuple[int, int] | None:
        """Fewest and most common items of two of the systems; None if all were scored on the same items."""
        found = [set(scores) for system, scores in self.scores(measurement).items() if system in systems]
        if all(names == found[0] for names in found):
            return None
        common = [len(one & other) for one, other in combinations(found, 2)]
        return min(common), max(common)

    def test(self, measurement: Measurement, a: str, b: str) -> tuple[float, float]:
        """Mean of ``a - b`` and its p-value (two-sided sign-flip test, uncorrected); NaN where the two cannot be paired."""
        first, second = sorted((a, b))
        key = (measurement._replace(statistic=""), first, second)
        if key not in self._tests:
            pair, found = self.pair(measurement, first, second), (math.nan, math.nan)
            if pair is not None:
                found = float(np.mean(pair.a - pair.b)), paired_test(pair.a, pair.b, groups=pair.groups)
            self._tests[key] = found
        difference, p_value = self._tests[key]
        return difference if a == first else -difference, p_value


def is_ranked(measurement: Measurement, card: Mapping[str, Any]) -> bool:
    """Whether the best of a column may be set in bold: no condition, no biased distance, nothing that compares two seeds."""
    biased = measurement.metric.partition(":")[0] in BIASED
    return measurement.metric not in CONDITIONS and not biased and card.get("group") != REPEATABILITY


def winners(table: Table, pairs: Pairs) -> set[tuple[Measurement, str]]:
    """Find the cells whose system is significantly better than every other, Holm-corrected over the whole table.

    Where the table has groups, the systems of one group compete with each other, and those without a group with none.
    Anchors, columns that only describe, and medians have no winner; a system that is no better than chance is none.
    """
    groups = dict.fromkeys(filter(None, table.groups.values())) or ("",)
    ranked = table.cells[~table.cells.system.str.partition(" (")[0].isin(ANCHORS)].dropna(subset="value")
    claims: list[tuple[Measurement, str]] = []
    p_values: list[float] = []
    for index, column in enumerate(table.columns):
        measurement, higher_is_better = column.measurement, column.card["higher_is_better"]
        directed = higher_is_better is not None and is_ranked(measurement, column.card)
        if directed and measurement.statistic in RANKED:
            sign = 1.0 if higher_is_better else -1.0
            for group in groups:
                cells = ranked[(ranked.column == index) & (ranked.group == group)]
                values = dict(zip(cells.system, sign * cells.value, strict=True))
                values = {s: v for s, v in values.items() if (measurement, s) not in table.at_chance}
                best = max(values, key=values.__getitem__, default="")
                for other in (system for system in values if system != best):
                    difference, p_value = pairs.test(measurement, best, other)
                    claims.append((measurement, best))
                    p_values.append(p_value if sign * difference > 0 else 1.0)  # also where they cannot be paired
    return set(claims) - {claim for claim, p_value in zip(claims, holm(p_values), strict=True) if p_value >= ALPHA}


def significant_costs(table: Table, pairs: Pairs) -> set[tuple[Measurement, str]]:
    """Find the costs of coding that are significantly more than nothing, Holm-corrected over the whole table."""
    claims: list[tuple[Measurement, str]] = []
    p_values: list[float] = []
    for place, system, value in table.cells[["column", "system", "value"]].itertuples(index=False):
        measurement = table.columns[place].measurement
        if measurement.statistic == "cost":
            claims.append((measurement, system))
            p_values.append(pairs.test(measurement, CEILING, system)[1] if value > 0 else 1.0)
    return {claim for claim, p_value in zip(claims, holm(p_values), strict=True) if p_value < ALPHA}


def matrix(
    pairs: Pairs, measurement: Measurement, systems: Sequence[str], *, higher_is_better: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Compare every system with every other.

    Returns
    -------
    differences : np.ndarray, shape (systems, systems)
        Mean difference row minus column, positive where the row is better; NaN where they cannot be paired.
    p_values : np.ndarray, shape (systems, systems)
        Corrected (Holm) over the matrix.
    """
    n = len(systems)
    differences, p_values = np.full((n, n), np.nan), np.full((n, n), np.nan)
    for i, j in combinations(range(n), 2):
        difference, p_values[i, j] = pairs.test(measurement, systems[i], systems[j])
        differences[i, j] = difference if higher_is_better else -difference
        differences[j, i] = -differences[i, j]
    known = np.isfinite(p_values)
    p_values[known] = holm(p_values[known])
    return differences, np.where(known, p_values, p_values.T)

"""Differences between systems that another seed could make: the note under reconstruction tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations

from m2l_bench.cards import SEED_CHANGE
from m2l_bench.report.figure_data import intervals
from m2l_bench.report.runs import ANCHORS, Measurement, RunData

MOST_PAIRS = 3  # that are named; the others are counted


def within_a_seed(
    results: RunData, columns: Sequence[Measurement], groups: Mapping[str, Collection[str]] | None = None
) -> list[str]:
    """Name the pairs of systems whose difference is smaller than what another seed changes in one of them.

    Parameters
    ----------
    results : RunData
    columns : sequence of Measurement
        Of a reconstruction table; those of a metric without a better direction are passed over.
    groups : mapping of str to collection of str, optional
        Systems that are compared with each other; all by default.

    Returns
    -------
    list of str
        A sentence without its full stop; empty where there is no such pair.
    """
    found: list[str] = []
    n_files = 0
    for column in columns:
        card = results.measured[column]
        change = Measurement(column.dataset, metric=f"{SEED_CHANGE}:{column.metric}", statistic="mean")
        if card["higher_is_better"] is None or change not in results.measured:
            continue
        changes = {system: interval.value for system, interval in intervals(results, change).items()}
        n_files = max(
            row.n_planned for row in results.rows if (row.dataset, row.metric) == (change.dataset, change.metric)
        )
        values = {s: i.value for s, i in intervals(results, column).items() if s.partition(" (")[0] not in ANCHORS}
        unit = f" {card['unit']}" if card["unit"] else ""
        for group in groups.values() if groups else [values]:
            for a, b in combinations([system for system in values if system in group], 2):
                difference, least = abs(values[a] - values[b]), max(changes.get(a, 0.0), changes.get(b, 0.0))
                if difference < least:
                    found.append(f"{card['title']} of {a} and {b} ({difference:.2g}{unit} of {least:.2g}{unit})")
    more = f"; and {len(found) - MOST_PAIRS} more" if len(found) > MOST_PAIRS else ""
    start = f"Differences smaller than what another seed changes in a file (mean of {n_files} files)"
    return [f"{start}: {'; '.join(found[:MOST_PAIRS])}{more}"] if found else []

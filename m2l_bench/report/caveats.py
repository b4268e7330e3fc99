"""Caveats in a table over several datasets: a dataset's caveat names the dataset."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace

from m2l_bench.results import Row, joined_notes


def name_datasets(cells: Collection[list[Row]]) -> None:
    """Put the dataset's name before each caveat that is not its system's own.

    A system's own caveat stands in its rows of every dataset, and in no other system's.

    Parameters
    ----------
    cells : collection of list of Row
        Changed in place.
    """
    systems: dict[tuple[str, str], set[str]] = defaultdict(set)
    datasets: dict[tuple[str, str], set[str]] = defaultdict(set)
    measured: dict[str, set[str]] = defaultdict(set)
    for several in cells:
        for row in several:
            measured[row.system].add(row.dataset)
            for note in row.notes:
                systems[row.dataset, note].add(row.system)
                datasets[row.system, note].add(row.dataset)

    def named(row: Row, note: str) -> str:
        own = len(systems[row.dataset, note]) == 1 and datasets[row.system, note] == measured[row.system]
        return note if own else f"{row.dataset}: {note}"

    for several in cells:
        several[:] = [replace(row, note=joined_notes(*(named(row, note) for note in row.notes))) for row in several]

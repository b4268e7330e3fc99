"""Whose caveat is it? In a table over several datasets, a dataset's own caveat says which dataset it speaks of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace

from m2l_bench.results import Row, joined_notes


def name_datasets(cells: Collection[list[Row]]) -> None:
    """Put the dataset's name before each caveat that stands in more rows than those of one system.

    Parameters
    ----------
    cells : collection of list of Row
        Changed in place.
    """
    systems: dict[tuple[str, str], set[str]] = defaultdict(set)
    for several in cells:
        for row in several:
            for note in row.notes:
                systems[row.dataset, note].add(row.system)

    def named(row: Row, note: str) -> str:
        return f"{row.dataset}: {note}" if len(systems[row.dataset, note]) > 1 else note

    for several in cells:
        several[:] = [replace(row, note=joined_notes(*(named(row, note) for note in row.notes))) for row in several]

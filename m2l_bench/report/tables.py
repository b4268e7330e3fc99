"""Tables as data: a line for each system, a column for each measurement; a cell is a value with its interval.

Pure functions of rows and cards; :mod:`m2l_bench.report.render` writes them as Markdown, LaTeX, CSV, HTML and Parquet.

Conventions
-----------
A column holds one metric of one dataset (of one task and probe) and therefore one card: mixing definitions or
data raises ValueError. Rows that differ in their seed alone become one cell: mean of the values, mean of the
interval's ends, and the standard deviation over seeds beside them, never inside the interval.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import stdev
from string import ascii_lowercase
from typing import Any

from m2l_bench.report.runs import Measurement, Published, measurement_of, refuse_mixtures
from m2l_bench.results import Row, joined_notes

# Shown but never ranked: an exact copy is best in every reconstruction metric.
ANCHORS = ("identity",)
ARROWS = {True: "↑", False: "↓", None: ""}
Counts = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Column:
    """A measurement, its title, and the hash and fields of its card."""

    measurement: Measurement
    title: str
    hash: str
    card: Mapping[str, Any]

    @property
    def heading(self) -> str:
        """Title, unit and arrow, such as ``"SI-SDR (dB) ↑"``."""
        return heading({**self.card, "title": self.title})


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number.

    Attributes
    ----------
    value, low, high : float
        Mean over seeds, and the ends of its interval.
    spread : float
        Standard deviation over seeds; NaN for one seed.
    n_seeds : int
    counts : (int, int, int)
        Planned, scored and failed items.
    notes : tuple of str
        Caveats.
    """

    value: float
    low: float
    high: float
    spread: float
    n_seeds: int
    counts: Counts
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Line:
    """One system: a cell for each column, None where it was not measured."""

    system: str
    cells: tuple[Cell | None, ...]
    group: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """Caveats of any of its cells."""
        return tuple(dict.fromkeys(note for cell in self.cells if cell for note in cell.notes))


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table.

    Attributes
    ----------
    columns : tuple of Column
    lines : tuple of Line
        Lines of one group follow each other.
    name : str
        Of its files.
    title : str
    caption : tuple of str
        Sentences that say how to read it.
    best : collection of (Measurement, str)
        Column and system of the cells that are set in bold.
    published : tuple of Published
        Set apart below it.
    """

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    name: str = "table"
    title: str = ""
    caption: tuple[str, ...] = ()
    best: Collection[tuple[Measurement, str]] = ()
    published: tuple[Published, ...] = ()

    @property
    def common_notes(self) -> tuple[str, ...]:
        """Caveats that hold for every line."""
        if not self.lines:
            return ()
        return tuple(note for note in self.lines[0].notes if all(note in line.notes for line in self.lines))

    @property
    def footnotes(self) -> dict[str, str]:
        """Caveat of some lines -> its mark: a, b, c, ..."""
        common = self.common_notes
        notes = dict.fromkeys(note for line in self.lines for note in line.notes if note not in common)
        return {note: ascii_lowercase[index] if index < 26 else f"n{index + 1}" for index, note in enumerate(notes)}

    @property
    def counts(self) -> tuple[str, ...]:
        """Sentences with the planned, scored and failed items: one if they depend on the dataset alone, else by metric."""
        metrics: dict[str, list[str]] = defaultdict(list)  # the counts of a column as text -> its metrics
        datasets: dict[str, set[Counts]] = defaultdict(set)
        for index, column in enumerate(self.columns):
            found = [(line.system, cell.counts) for line in self.lines if (cell := line.cells[index])]
            if found:
                metrics[_by_system(found)].append(column.title)
                datasets[column.measurement.dataset] |= {counts for _, counts in found}
        start = "Items planned / scored / failed"
        if all(len(counts) == 1 for counts in datasets.values()):
            named = [f"{dataset} " * (len(datasets) > 1) + _slashed(*counts) for dataset, counts in datasets.items()]
            return (f"{start}: {', '.join(named)} for every system.",) if named else ()
        return tuple(f"{start}, {', '.join(titles)}: {text}." for text, titles in metrics.items())


def make_table(
    rows: Sequence[Row],
    cards: Mapping[str, Mapping[str, Any]],
    measurements: Sequence[Measurement],
    *,
    systems: Sequence[str],
) -> Table:
    """Arrange rows in lines and columns.

    Parameters
    ----------
    rows : sequence of Row
    cards : mapping of str to mapping
        Card hash -> the card's fields.
    measurements : sequence of Measurement
        Columns, in order; those without any row are left out.
    systems : sequence of str
        Lines, in order; those without any row are left out.

    Raises
    ------
    ValueError
        If one column would mix cards or data (both hashes are named).
    """
    wanted = set(measurements)
    cells: dict[tuple[Measurement, str], list[Row]] = defaultdict(list)
    for row in rows:
        if measurement_of(row) in wanted:
            cells[measurement_of(row), row.system].append(row)
    refuse_mixtures(row for several in cells.values() for row in several)
    cards_of = {measurement: several[0].card for (measurement, _), several in cells.items()}
    if len({measurement.dataset for measurement in cards_of}) > 1:
        name_datasets(cells.values())
    kept = [measurement for measurement in measurements if measurement in cards_of]
    lines = [
        Line(system=system, cells=tuple(_cell(cells.get((m, system), [])) for m in kept))
        for system in systems
        if any((m, system) in cells for m in kept)
    ]
    columns = tuple(_column(m, cards_of[m], cards, kept) for m in kept)
    return Table(columns=columns, lines=tuple(lines))


def name_datasets(cells: Collection[list[Row]]) -> None:
    """Put the dataset's name before each caveat that is not its system's own; changes `cells` in place.

    A system's own caveat stands in its rows of every dataset, and in no other system's.
    """
    systems: dict[tuple[str, str], set[str]] = defaultdict(set)
    datasets: dict[tuple[str, str], set[str]] = defaultdict(set)
    measured: dict[str, set[str]] = defaultdict(set)
    for row in (row for several in cells for row in several):
        measured[row.system].add(row.dataset)
        for note in row.notes:
            systems[row.dataset, note].add(row.system)
            datasets[row.system, note].add(row.dataset)

    def named(row: Row, note: str) -> str:
        own = len(systems[row.dataset, note]) == 1 and datasets[row.system, note] == measured[row.system]
        return note if own else f"{row.dataset}: {note}"

    for several in cells:
        several[:] = [replace(row, note=joined_notes(*(named(row, note) for note in row.notes))) for row in several]


def heading(card: Mapping[str, Any], *, arrow: bool = True) -> str:
    """Title, unit and arrow of a metric.

    >>> heading({"title": "SI-SDR", "unit": "dB", "higher_is_better": True})
    'SI-SDR (dB) ↑'
    """
    unit = f"({card['unit']})" if card["unit"] else ""
    return " ".join(filter(None, (card["title"], unit, ARROWS[card["higher_is_better"]] if arrow else "")))


def bands(values: Mapping[str, float], edges: Sequence[float], unit: str) -> dict[str, list[str]]:
    """Sort systems into bands of a number such as the bit rate: band -> systems, from the lowest band to the highest.

    A value equal to one of the rising `edges` belongs below it. Bands without a system and values of NaN are left out.

    >>> bands({"a": 300.0, "b": 12.0}, [16, 64], "kbit/s")
    {'up to 16 kbit/s': ['b'], 'above 64 kbit/s': ['a']}
    """
    names = [f"up to {edges[0]:g} {unit}", *(f"{low:g} to {high:g} {unit}" for low, high in pairwise(edges))]
    names.append(f"above {edges[-1]:g} {unit}")
    places = {system: sum(value > edge for edge in edges) for system, value in values.items() if not math.isnan(value)}
    return {names[n]: [system for system in places if places[system] == n] for n in sorted(set(places.values()))}


def grouped(table: Table, groups: Mapping[str, Collection[str]]) -> Table:
    """Sort the lines by group, in the order of `groups` (group -> systems); systems without a group come last."""
    group_of = {system: group for group, systems in groups.items() for system in systems}
    place = {group: index for index, group in enumerate(groups)}
    lines = [replace(line, group=group_of.get(line.system, "")) for line in table.lines]
    return replace(table, lines=tuple(sorted(lines, key=lambda line: place.get(line.group, len(place)))))


def with_published(table: Table, figures: Sequence[Published]) -> Table:
    """Add the published figures of the table's metrics below it.

    In reconstruction tables the metric must be the same, in probing tables the task too: embedded tasks are not
    comparable with the public ones.
    """
    columns = {(column.measurement.task, column.measurement.metric) for column in table.columns}
    return replace(table, published=tuple(figure for figure in figures if (figure.task, figure.metric) in columns))


def _column(
    measurement: Measurement, card_hash: str, cards: Mapping[str, Mapping[str, Any]], beside: Sequence[Measurement]
) -> Column:
    """Make a column; its heading names the dataset or task, probe and split where these differ between columns."""
    card = cards[card_hash]
    title = card["title"]
    for field in ("split", "probe", "task" if measurement.task else "dataset"):
        if len({getattr(other, field) for other in beside}) > 1:
            title = f"{getattr(measurement, field)} {title}" if field != "probe" else f"{title}, {measurement.probe}"
    return Column(measurement=measurement, title=title, hash=card_hash, card=card)


def _cell(rows: Sequence[Row]) -> Cell | None:
    """One cell of the rows that differ in their seed alone; the worst counts of them."""
    if not rows:
        return None
    scored = [row for row in rows if row.n_scored and not math.isnan(row.value)]
    worst = max(rows, key=lambda row: row.n_failed)
    return Cell(
        value=_mean([row.value for row in scored]),
        low=_mean([row.ci_low for row in scored]),
        high=_mean([row.ci_high for row in scored]),
        spread=stdev(row.value for row in scored) if len(scored) > 1 else math.nan,
        n_seeds=len(rows),
        counts=(worst.n_planned, worst.n_scored, worst.n_failed),
        notes=tuple(dict.fromkeys(note for row in rows for note in row.notes)),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _slashed(counts: Counts) -> str:
    return " / ".join(map(str, counts))


def _by_system(profile: Sequence[tuple[str, Counts]]) -> str:
    """Counts of one column: the rarer ones with the systems that have them, the commonest for the others."""
    systems: dict[Counts, list[str]] = defaultdict(list)
    for system, counts in profile:
        systems[counts].append(system)
    if len(systems) == 1:
        return f"{_slashed(profile[0][1])} for every system"
    *rarer, (commonest, several) = sorted(systems.items(), key=lambda found: len(found[1]))
    parts = [f"{_slashed(counts)} for {', '.join(names)}" for counts, names in rarer]
    return ", ".join([*parts, f"{_slashed(commonest)} for {several[0] if len(several) == 1 else 'the others'}"])

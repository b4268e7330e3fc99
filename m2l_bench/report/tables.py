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
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, pairwise
from statistics import stdev
from string import ascii_lowercase
from typing import Any

import pandas as pd

from m2l_bench.report.runs import CHANCE, Measurement, Published, measurement_of, refuse_mixtures
from m2l_bench.results import Row, joined_notes

ARROWS = {True: "↑", False: "↓", None: ""}


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
class Table:
    """One table.

    Attributes
    ----------
    columns : tuple of Column
    cells : pandas.DataFrame
        One row a cell, line by line: ``system``, ``group`` (lines of one group follow each other; empty without groups),
        ``column`` (its place in `columns`), ``value``, ``ci_low``, ``ci_high``, ``seeds``, ``seed_deviation`` (NaN for one
        seed), ``n_planned``, ``n_scored``, ``n_failed``, and ``notes``, a tuple of caveats. A system lacks the columns that
        it was not measured in.
    name : str
        Of its files.
    title : str
    caption : tuple of str
        Sentences that say how to read it.
    best : collection of (Measurement, str)
        Column and system of the cells that are set in bold.
    published : tuple of Published
        Set apart below it.
    floors : mapping of Measurement to float
        The value of each column that is better than chance: see :func:`floors`.
    """

    columns: tuple[Column, ...]
    cells: pd.DataFrame
    name: str = "table"
    title: str = ""
    caption: tuple[str, ...] = ()
    best: Collection[tuple[Measurement, str]] = ()
    published: tuple[Published, ...] = ()
    floors: Mapping[Measurement, float] = field(default_factory=dict)

    @cached_property
    def at_chance(self) -> set[tuple[Measurement, str]]:
        """Column and system of the cells that are no better than chance."""
        found = set()
        for place, system, value in self.cells[["column", "system", "value"]].itertuples(index=False):
            column = self.columns[place]
            floor = self.floors.get(column.measurement)
            if floor is not None and system != CHANCE and not is_passed(floor, value, column.card):
                found.add((column.measurement, system))
        return found

    @cached_property
    def groups(self) -> dict[str, str]:
        """Each system and its group, in the order of the lines."""
        return dict(zip(self.cells.system, self.cells.group, strict=True))

    @cached_property
    def notes(self) -> dict[str, tuple[str, ...]]:
        """Each system and the caveats of any of its cells; chance has none of its own."""
        notes = {s: self.cells.notes[self.cells.system == s] for s in self.groups if s != CHANCE}
        return {system: tuple(dict.fromkeys(chain.from_iterable(several))) for system, several in notes.items()}

    @cached_property
    def common_notes(self) -> tuple[str, ...]:
        """Caveats that hold for every line."""
        first, *others = self.notes.values() or [()]
        return tuple(note for note in first if all(note in notes for notes in others))

    @cached_property
    def footnotes(self) -> dict[str, str]:
        """Caveat of some lines -> its mark: a, b, c, ..."""
        common = self.common_notes
        notes = dict.fromkeys(note for notes in self.notes.values() for note in notes if note not in common)
        return {note: ascii_lowercase[index] if index < 26 else f"n{index + 1}" for index, note in enumerate(notes)}

    @cached_property
    def counts(self) -> tuple[str, ...]:
        """Sentences with the planned, scored and failed items: one if they depend on the dataset alone, else by metric."""
        metrics: dict[str, list[str]] = defaultdict(list)  # the counts of a column as text -> its metrics
        datasets: dict[str, dict[str, None]] = defaultdict(dict)
        for place, cells in self.cells[self.cells.system != CHANCE].groupby("column"):
            column = self.columns[int(str(place))]
            texts = (
                cells.n_planned.astype(str) + " / " + cells.n_scored.astype(str) + " / " + cells.n_failed.astype(str)
            )
            metrics[_by_system(texts.set_axis(cells.system))].append(column.title)
            datasets[column.measurement.dataset] |= dict.fromkeys(texts)
        start = "Items planned / scored / failed"
        if all(len(counts) == 1 for counts in datasets.values()):
            named = [f"{dataset} " * (len(datasets) > 1) + "".join(counts) for dataset, counts in datasets.items()]
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
    found = [
        {"system": system, "group": "", "column": place, **_cell(cells[measurement, system])}
        for system in systems
        for place, measurement in enumerate(kept)
        if (measurement, system) in cells
    ]
    columns = tuple(_column(m, cards_of[m], cards, kept) for m in kept)
    frame = pd.DataFrame(found, columns=["system", "group", "column", *_cell([])])
    return Table(columns=columns, cells=frame, floors=floors(rows, cards))


def floors(rows: Iterable[Row], cards: Mapping[str, Mapping[str, Any]]) -> dict[Measurement, float]:
    """The value that a system must pass to be better than chance: the better end of chance's interval, by measurement.

    Without an interval (one file) its value.
    """
    found = {}
    for row in rows:
        higher = cards[row.card]["higher_is_better"]
        if row.system == CHANCE and higher is not None and not math.isnan(row.value):
            end = row.ci_high if higher else row.ci_low
            found[measurement_of(row)] = row.value if math.isnan(end) else end
    return found


def is_passed(floor: float, value: float, card: Mapping[str, Any]) -> bool:
    """Whether a value is better than the floor; NaN is neither."""
    return not (value <= floor if card["higher_is_better"] else value >= floor)


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
    cells = table.cells.assign(group=[group_of.get(system, "") for system in table.cells.system])
    order = cells.group.map(place).fillna(len(place))
    return replace(table, cells=cells.loc[order.sort_values(kind="stable").index].reset_index(drop=True))


def with_published(table: Table, figures: Sequence[Published]) -> Table:
    """Add the published figures of the table's metrics below it.

    In reconstruction tables the metric must be the same, in probing tables the task too: embedded tasks are not
    comparable with the public ones. A figure under the source's own name of a metric follows those of the same source's table.
    """
    columns = {(column.measurement.task, column.measurement.metric) for column in table.columns}
    shown = {figure for figure in figures if (figure.task, figure.metric) in columns}
    sources = {(figure.task, figure.source, figure.table) for figure in shown}
    for figure in figures:
        if not figure.metric.islower() and (figure.task, figure.source, figure.table) in sources:
            shown.add(figure)
    return replace(table, published=tuple(figure for figure in figures if figure in shown))


def _column(
    measurement: Measurement, card_hash: str, cards: Mapping[str, Mapping[str, Any]], beside: Sequence[Measurement]
) -> Column:
    """Make a column; its heading names the dataset or task, probe and split where these differ between columns."""
    card = cards[card_hash]
    title = card["title"]
    if measurement.statistic == "corrected":
        title += " corrected"
    if measurement.statistic == "cost":
        title, card = f"cost in {title}", {**card, "higher_is_better": False}
    for part in ("split", "probe", "reader", "task" if measurement.task else "dataset"):
        named, others = getattr(measurement, part), {getattr(other, part) for other in beside}
        if named and len(others - ({""} if part == "probe" else set())) > 1:
            title = f"{named} {title}" if part != "probe" else f"{title}, {named}"
    return Column(measurement=measurement, title=title, hash=card_hash, card=card)


def _cell(rows: Sequence[Row]) -> dict[str, Any]:
    """One cell of the rows that differ in their seed alone; the worst counts of them."""
    scored = [row for row in rows if row.n_scored and not math.isnan(row.value)]
    worst = max(rows, key=lambda row: row.n_failed, default=None)
    return {
        "value": _mean([row.value for row in scored]),
        "ci_low": _mean([row.ci_low for row in scored]),
        "ci_high": _mean([row.ci_high for row in scored]),
        "seeds": len(rows),
        "seed_deviation": stdev(row.value for row in scored) if len(scored) > 1 else math.nan,
        **{name: getattr(worst, name, 0) for name in ("n_planned", "n_scored", "n_failed")},
        "notes": tuple(dict.fromkeys(note for row in rows for note in row.notes)),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _by_system(counts: pd.Series) -> str:
    """Counts of one column, by system: the rarer ones with the systems that have them, the commonest for the others."""
    systems = {text: list(several.index) for text, several in counts.groupby(counts, sort=False)}
    if len(systems) == 1:
        return f"{counts.iloc[0]} for every system"
    *rarer, (commonest, several) = sorted(systems.items(), key=lambda found: len(found[1]))
    parts = [f"{text} for {', '.join(names)}" for text, names in rarer]
    return ", ".join([*parts, f"{commonest} for {several[0] if len(several) == 1 else 'the others'}"])

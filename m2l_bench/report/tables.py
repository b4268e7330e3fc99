"""Tables as data: one line a system, one column a measurement, each cell a value with its interval.

Pure functions of rows and cards; :mod:`m2l_bench.report.render` writes them as Markdown, LaTeX, CSV, HTML and Parquet.

Conventions
-----------
A column holds one metric of one dataset (of one task and probe) and therefore one card: a table that would mix
definitions or data is refused. Rows that differ in their seed alone become one cell: mean of the values, mean of the
interval's ends, and the standard deviation over seeds beside them, never inside the interval.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import stdev
from typing import Any, NamedTuple

from m2l_bench.report.caveats import name_datasets
from m2l_bench.report.store import Published, refuse_mixtures
from m2l_bench.results import Row

# Shown, never ranked: the exact copy wins every column of reconstruction.
ANCHORS = ("identity",)
ARROWS = {True: "↑", False: "↓", None: ""}
_NAN = float("nan")


class Measurement(NamedTuple):
    """What one column holds."""

    dataset: str
    task: str
    probe: str
    split: str
    metric: str
    statistic: str


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column's heading: what was measured, its unit and direction, and the hash of its card."""

    measurement: Measurement
    title: str
    unit: str
    higher_is_better: bool | None
    card: str

    @property
    def arrow(self) -> str:
        """The direction of better, or nothing where the number only describes."""
        return ARROWS[self.higher_is_better]

    @property
    def heading(self) -> str:
        """Title, unit and arrow, such as ``"SI-SDR (dB) ↑"``."""
        return heading(self.title, self.unit, self.higher_is_better)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number: its interval, its spread over seeds (NaN for one seed), its counts and whether it is set in bold."""

    value: float
    low: float
    high: float
    spread: float
    n_seeds: int
    n_planned: int
    n_scored: int
    n_failed: int
    notes: tuple[str, ...] = ()
    best: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    """One system.

    Attributes
    ----------
    system : str
    cells : tuple of Cell or None
        One a column; None where it was not measured.
    counts : tuple of int
        Planned, scored and failed items of the cell with most failures.
    notes : tuple of str
        Caveats of any of its cells.
    group : str
    """

    system: str
    cells: tuple[Cell | None, ...]
    counts: tuple[int, int, int]
    notes: tuple[str, ...] = ()
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table.

    Attributes
    ----------
    name : str
        Of its files.
    title : str
    columns : tuple of Column
    lines : tuple of Line
        Lines of one group follow each other.
    caption : tuple of str
        Sentences that say how to read it.
    published : tuple of Published
        Set apart below it.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    caption: tuple[str, ...] = ()
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
        return {note: _mark(index) for index, note in enumerate(notes)}

    @property
    def same_counts(self) -> dict[str, tuple[int, int, int]] | None:
        """Dataset -> counts, where they are the same in every line; of a line the cell with most failures."""
        found: dict[str, set[tuple[int, int, int]]] = {}
        for line in self.lines:
            worst: dict[str, Cell] = {}
            for column, cell in zip(self.columns, line.cells, strict=True):
                if cell is not None:
                    other = worst.setdefault(column.measurement.dataset, cell)
                    worst[column.measurement.dataset] = max(other, cell, key=lambda c: c.n_failed)
            for dataset, cell in worst.items():
                found.setdefault(dataset, set()).add((cell.n_planned, cell.n_scored, cell.n_failed))
        if any(len(counts) > 1 for counts in found.values()):
            return None
        return {dataset: counts.pop() for dataset, counts in found.items()}


def make_table(
    rows: Sequence[Row],
    cards: Mapping[str, Mapping[str, Any]],
    measurements: Sequence[Measurement],
    *,
    systems: Sequence[str],
    name: str = "table",
    title: str = "",
    winners: Collection[tuple[Measurement, str]] = (),
    caption: Sequence[str] = (),
) -> Table:
    """Put rows into lines and columns.

    Parameters
    ----------
    rows : sequence of Row
    cards : mapping of str to mapping
        Card hash -> the card's fields.
    measurements : sequence of Measurement
        Columns, in order; those without any row are left out.
    systems : sequence of str
        Lines, in order; those without any row are left out.
    name, title : str
    winners : collection of (Measurement, str)
        Cells to set in bold: in that column, the system is better than every other beyond doubt.
    caption : sequence of str

    Returns
    -------
    Table

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
    found = {measurement for measurement, _ in cells}
    if len({measurement.dataset for measurement in found}) > 1:  # whose caveat is it?
        name_datasets(cells.values())
    kept = [measurement for measurement in measurements if measurement in found]
    lines = [
        _line(system, [_cell(cells.get((m, system), []), best=(m, system) in winners) for m in kept])
        for system in systems
        if any((m, system) in cells for m in kept)
    ]
    cards_of = {m: several[0].card for (m, _), several in cells.items()}
    columns = [_column(m, cards_of[m], cards, kept) for m in kept]
    return Table(
        name=name,
        title=title,
        columns=tuple(columns),
        lines=tuple(lines),
        caption=tuple(caption),
    )


def heading(title: str, unit: str, higher_is_better: bool | None) -> str:
    """Title, unit and arrow.

    >>> heading("SI-SDR", "dB", True)
    'SI-SDR (dB) ↑'
    """
    return " ".join(part for part in (title, f"({unit})" if unit else "", ARROWS[higher_is_better]) if part)


def measurement_of(row: Row) -> Measurement:
    """The column that a row belongs to."""
    return Measurement(row.dataset, row.task, row.probe, row.split, row.metric, row.statistic)


def grouped(
    table: Table, groups: Mapping[str, str], *, order: Sequence[str], winners: Collection[tuple[Measurement, str]] = ()
) -> Table:
    """The same lines by group, groups in `order`; a system without a group comes last, under none of them.

    `winners` replace the bold cells: who is best of all says nothing about the best of a group.
    """
    place = {group: index for index, group in enumerate(order)}

    def regrouped(line: Line) -> Line:
        cells = tuple(
            cell and replace(cell, best=(column.measurement, line.system) in winners)
            for column, cell in zip(table.columns, line.cells, strict=True)
        )
        return replace(line, group=groups.get(line.system, ""), cells=cells)

    lines = [regrouped(line) for line in table.lines]
    return replace(table, lines=tuple(sorted(lines, key=lambda line: place.get(line.group, len(place)))))


def bands(values: Mapping[str, float], edges: Sequence[float], unit: str) -> tuple[dict[str, str], list[str]]:
    """Sort systems into bands of a number such as the bit rate.

    Parameters
    ----------
    values : mapping of str to float
    edges : sequence of float
        Rising; a value equal to an edge belongs below it.
    unit : str

    Returns
    -------
    groups : dict of str to str
        System -> band.
    order : list of str
        All bands, rising.

    Examples
    --------
    >>> bands({"a": 12.0, "b": 300.0}, [16, 64], "kbit/s")[0]
    {'a': 'up to 16 kbit/s', 'b': 'above 64 kbit/s'}
    """
    names = [f"up to {edges[0]:g} {unit}"]
    names += [f"{low:g} to {high:g} {unit}" for low, high in pairwise(edges)]
    names.append(f"above {edges[-1]:g} {unit}")
    groups = {
        system: names[sum(value > edge for edge in edges)] for system, value in values.items() if not math.isnan(value)
    }
    return groups, names


def with_published(table: Table, figures: Sequence[Published]) -> Table:
    """The table with the published figures of its metrics below it.

    A figure belongs under a table of reconstruction when the metric is the same, and under one of probes only when the
    task is too: our embedded tasks are never set beside the public ones.
    """
    columns = {(column.measurement.task, column.measurement.metric) for column in table.columns}
    return replace(table, published=tuple(figure for figure in figures if (figure.task, figure.metric) in columns))


def markdown(
    rows: Sequence[Row],
    cards: Mapping[str, Mapping[str, Any]],
    metrics: Sequence[str],
    *,
    systems: Sequence[str],
    statistic: str = "mean",
    width: int = 80,
) -> str:
    """One Markdown table over the rows of one dataset, for a terminal.

    Parameters
    ----------
    rows : sequence of Row
        Of one dataset.
    cards : mapping of str to mapping
        Card hash -> the card's fields.
    metrics : sequence of str
        Columns, in order; those without any row are left out.
    systems : sequence of str
        Lines, in order.
    statistic : str
        Beside it, numbers of the whole set (``"pooled"``) are shown too.
    width : int
        Characters; a table that is wider is cut into several with the same lines.

    Returns
    -------
    str
        Ends with the counts: planned / scored / failed files, the worst over the line's metrics.

    Raises
    ------
    ValueError
        If one column would mix cards or data.
    """
    from m2l_bench.report.render import to_markdown

    place = {metric: index for index, metric in enumerate(metrics)}
    found = dict.fromkeys(
        measurement_of(row) for row in rows if row.metric in place and row.statistic in (statistic, "pooled")
    )
    columns = sorted(found, key=lambda m: (place[m.metric], m))
    return to_markdown(make_table(rows, cards, columns, systems=systems), width=width)


def ranked(systems: Collection[str]) -> list[str]:
    """The systems that compete: all but the anchors."""
    return [system for system in systems if system.partition(" (")[0] not in ANCHORS]


def _column(
    measurement: Measurement, card_hash: str, cards: Mapping[str, Mapping[str, Any]], beside: Sequence[Measurement]
) -> Column:
    """The heading says what tells this column from those beside it: dataset or task, probe, split."""
    card = cards[card_hash]
    title = card["title"]
    for field in ("split", "probe", "task" if measurement.task else "dataset"):
        if len({getattr(other, field) for other in beside}) > 1:
            title = f"{getattr(measurement, field)} {title}" if field != "probe" else f"{title}, {measurement.probe}"
    return Column(
        measurement=measurement,
        title=title,
        unit=card["unit"],
        higher_is_better=card["higher_is_better"],
        card=card_hash,
    )


def _line(system: str, cells: Sequence[Cell | None]) -> Line:
    found = [cell for cell in cells if cell is not None]
    worst = max(found, key=lambda cell: cell.n_failed)
    counts = (worst.n_planned, worst.n_scored, worst.n_failed)
    notes = tuple(dict.fromkeys(note for cell in found for note in cell.notes))
    return Line(system=system, cells=tuple(cells), counts=counts, notes=notes)


def _cell(rows: Sequence[Row], *, best: bool) -> Cell | None:
    """One cell of the rows that differ in their seed alone; the worst counts of them."""
    if not rows:
        return None
    scored = [row for row in rows if row.n_scored and not math.isnan(row.value)]
    worst = max(rows, key=lambda row: row.n_failed)
    return Cell(
        value=_mean([row.value for row in scored]),
        low=_mean([row.ci_low for row in scored]),
        high=_mean([row.ci_high for row in scored]),
        spread=stdev(row.value for row in scored) if len(scored) > 1 else _NAN,
        n_seeds=len(rows),
        n_planned=worst.n_planned,
        n_scored=worst.n_scored,
        n_failed=worst.n_failed,
        notes=tuple(dict.fromkeys(note for row in rows for note in row.notes)),
        best=best and bool(scored),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else _NAN


def _mark(index: int) -> str:
    return chr(ord("a") + index) if index < 26 else f"n{index + 1}"

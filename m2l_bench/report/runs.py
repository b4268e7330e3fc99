"""Read one or several finished runs as one set of results; refuse incompatible ones.

Conventions
-----------
Runs are merged by what they measured: the same metric on the same data must carry one card and one data hash in all of
them. A label that stands for two different systems gets the first digits of the fingerprint appended.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from m2l_bench.files.untrusted import parse_json
from m2l_bench.results import ROW_KEY, Item, Row, read_items, read_rows

Record = TypeVar("Record", Row, Item)


class Measurement(NamedTuple):
    """Identity of a column; an empty statistic stands for the scores of single items."""

    dataset: str
    task: str = ""
    probe: str = ""
    split: str = ""
    metric: str = ""
    statistic: str = ""
    reader: str = ""

    @property
    def parts(self) -> list[str]:
        """Dataset, task, reader and probe, each named once."""
        return [part for part in dict.fromkeys((self.dataset, self.task, self.reader, self.probe)) if part]


def measurement_of(record: Row | Item) -> Measurement:
    """Return the column that a row belongs to, or a score of a single item."""
    statistic = record.statistic if isinstance(record, Row) else ""
    return Measurement(record.dataset, record.task, record.probe, record.split, record.metric, statistic, record.reader)


@dataclass(frozen=True)
class RunData:
    """The merged results of the runs in a report.

    Attributes
    ----------
    rows : tuple of Row
    items : tuple of Item
    cards : mapping of str to mapping
        Card hash -> the card's fields.
    systems : tuple of str
        Labels in the order in which the suites name them.
    runs : mapping of Path to mapping
        Folder -> what its ``run.json`` says.
    """

    rows: tuple[Row, ...]
    items: tuple[Item, ...]
    cards: Mapping[str, Mapping[str, Any]]
    systems: tuple[str, ...]
    runs: Mapping[Path, Mapping[str, Any]]

    @cached_property
    def measured(self) -> dict[Measurement, Mapping[str, Any]]:
        """Every measurement in the rows, sorted -> the fields of its card."""
        cards = {measurement_of(row): row.card for row in self.rows}
        return {measurement: self.cards[cards[measurement]] for measurement in sorted(cards)}

    @cached_property
    def kinds(self) -> dict[str, str]:
        """System -> its kind, one of :data:`m2l_bench.results.KINDS`; of the systems whose run states it."""
        stated = {label: kind for record in self.runs.values() for label, kind in record.get("kinds", {}).items()}
        labels = {system: system if system in stated else _unmarked(system) for system in self.systems}
        return {system: stated[label] for system, label in labels.items() if label in stated}


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published figure; kept apart from measured numbers, always with source and conditions.

    `metric` is a name of this package, or, for a definition that the package does not have, the source's own, which has
    capitals: ``"MR-STFT"``, ``"Mel distance"``.
    """

    system: str
    dataset: str
    task: str
    metric: str
    value: str
    source: str
    table: str
    date: str
    conditions: str


def read_runs(folders: Sequence[Path]) -> RunData:
    """Read the finished runs in `folders` and merge them.

    Raises
    ------
    ValueError
        If no folder is given, one holds no readable run, or the runs measured one metric with two cards or on different
        data (both hashes are named), or disagree about one number.
    """
    if not folders:
        raise ValueError("folders must hold at least one run, got none")
    runs = {Path(folder): _read_json(Path(folder) / "run.json") for folder in folders}
    rows = [row for folder in runs for row in read_rows(folder)]
    items = [item for folder in runs for item in read_items(folder)]
    cards = {card: content for folder in runs for card, content in _read_json(folder / "cards.json").items()}
    refuse_mixtures(rows)
    labels = _distinct_labels(rows)
    rows = _once(_relabelled(row, labels) for row in rows)
    # With one NaN object equal records compare equal.
    items = [item if item.value == item.value else replace(item, value=math.nan) for item in items]
    items = list(dict.fromkeys(_relabelled(item, labels) for item in items))
    missing = sorted({row.card for row in rows} - set(cards))
    if missing:
        raise ValueError(f"cards.json must hold the card of every row, got none of {', '.join(missing)}")
    return RunData(tuple(rows), tuple(items), cards, _system_order(rows, runs.values()), runs)


def read_published(folder: Path) -> list[Published]:
    """Read every CSV file of `folder`; its columns are the fields of :class:`Published`.

    Raises
    ------
    ValueError
        If there is no such file, one has other columns, or a figure lacks its system, metric, value, source, date or
        conditions.
    """
    paths = sorted(folder.glob("*.csv"))
    if not paths:
        raise ValueError(f"{folder}: must hold CSV files of published figures, got none")
    names = [field.name for field in fields(Published)]
    figures = []
    for path in paths:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if sorted(reader.fieldnames or []) != sorted(names):
                raise ValueError(f"{path}: must have the columns {', '.join(names)}, got {reader.fieldnames}")
            for record in reader:
                lacking = [name for name in names if name not in ("dataset", "task", "table") and not record[name]]
                if lacking:
                    raise ValueError(f"{path}, line {reader.line_num}: must state {', '.join(lacking)}, got nothing")
                figures.append(Published(**{name: record[name] for name in names}))
    return figures


def refuse_mixtures(rows: Iterable[Row]) -> None:
    """Raise ValueError where one measurement appears with two card hashes or two data hashes, naming both."""
    found: dict[tuple[str, ...], Row] = {}
    for row in rows:
        key = measurement_of(row)[:5]  # means and medians alike
        other = found.setdefault(key, row)
        for name in ("card", "data_hash"):
            if getattr(other, name) != getattr(row, name):
                where = " ".join(part for part in dict.fromkeys(key) if part)
                raise ValueError(f"{where}: must have one {name}, got {getattr(other, name)} and {getattr(row, name)}")


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sort key that puts ``opus:12k`` before ``opus:96k`` before ``opus:128k``.

    >>> sorted(["opus:96k", "opus:128k", "mp3:64k"], key=natural_key)
    ['mp3:64k', 'opus:96k', 'opus:128k']
    """
    parts = re.split(r"([0-9]+)", text)
    return [(1, int(part), "") if index % 2 else (0, 0, part) for index, part in enumerate(parts)]


def _distinct_labels(rows: Iterable[Row]) -> dict[tuple[str, str], str]:
    """(label, fingerprint) -> label, with the fingerprint's first digits where one label stands for several systems."""
    systems = {(row.system, row.fingerprint) for row in rows}
    n_systems = Counter(label for label, _ in systems)
    several = [(label, fingerprint) for label, fingerprint in systems if n_systems[label] > 1]
    return {system: f"{system[0]} ({system[1][:6] or 'not loaded'})" for system in several}


def _unmarked(label: str) -> str:
    """A label without the digits that :func:`_distinct_labels` appends."""
    return label.rpartition(" (")[0]


def _relabelled(record: Record, labels: Mapping[tuple[str, str], str]) -> Record:
    label = labels.get((record.system, record.fingerprint))
    return replace(record, system=label) if label else record


def _once(rows: Iterable[Row]) -> list[Row]:
    """Keep each measurement once; raise ValueError if two runs disagree about it."""
    kept: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = tuple(getattr(row, name) for name in ROW_KEY)
        other = kept.setdefault(key, row)
        if repr(other.value) != repr(row.value):
            raise ValueError(
                f"{row.system} {row.dataset} {row.metric}: two runs must agree about one measurement, "
                f"got {other.value} and {row.value}"
            )
    return list(kept.values())


def _system_order(rows: Iterable[Row], records: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Labels in the order of the suites; labels that no suite names follow in natural order."""
    entries = [entry for record in records for entry in record.get("suite", {}).get("systems", [])]
    listed = [entry.get("label") or str(entry.get("system", "")).rpartition("/")[2] for entry in entries]
    order = {label: index for index, label in enumerate(dict.fromkeys(listed))}

    def key(label: str) -> tuple[int, list[tuple[int, int, str]]]:
        return order.get(label, order.get(_unmarked(label), len(order))), natural_key(label)

    return tuple(sorted({row.system for row in rows}, key=key))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: must be a run's JSON file ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold a JSON object, got {type(content).__name__}")
    return content

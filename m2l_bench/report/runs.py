"""Read one or several finished runs as one set of results; refuse incompatible ones.

Conventions
-----------
Runs are merged by what they measured: the same metric on the same data must carry one card and one data hash in all of
them. A label that stands for two different systems gets the first digits of the fingerprint appended. Nothing is averaged over
runs: a system that several of them measured with equal numbers stands there once; where their numbers differ (another machine,
other seeds), it stands there once for each run, with the run's name. Identity and chance are those of the first run.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import chain, combinations, repeat
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from m2l_bench.checksums import CHECKSUMS, changed_files, read_checksums
from m2l_bench.results import RESULTS, Item, Row, read_items, read_json, read_rows

Record = TypeVar("Record", Row, Item)
# Other tracks in the place of the reconstructions: a system within its interval, or worse, is no better than chance.
CHANCE = "chance"
# The originals themselves.
CEILING = "identity"
# Shown but never ranked: an exact copy is best in every reconstruction metric.
ANCHORS = (CEILING, CHANCE)
CLIPS = "audio"  # folder of a run with the clips to listen to
# Relative difference of two runs' numbers that counts as none: sums in another order.
_EQUAL = 1e-6


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
    measured_in : mapping of str to tuple of Path
        Label -> the runs that measured the system.
    """

    rows: tuple[Row, ...]
    items: tuple[Item, ...]
    cards: Mapping[str, Mapping[str, Any]]
    systems: tuple[str, ...]
    runs: Mapping[Path, Mapping[str, Any]]
    measured_in: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    @cached_property
    def measured(self) -> dict[Measurement, Mapping[str, Any]]:
        """Every measurement in the rows, sorted -> the fields of its card."""
        cards = {measurement_of(row): row.card for row in self.rows}
        return {measurement: self.cards[cards[measurement]] for measurement in sorted(cards)}

    @cached_property
    def stated(self) -> dict[str, Mapping[str, Any]]:
        """System -> its facts in ``run.json``, of the systems whose run states them: kind, sample rate, licence, ..."""
        stated: dict[Any, Mapping[str, Any]] = {}
        for record in self.runs.values():
            systems = record.get("systems")
            for facts in systems.values() if isinstance(systems, dict) else ():
                if isinstance(facts, dict):
                    stated.setdefault(facts.get("fingerprint"), facts)
        fingerprints = {row.system: row.fingerprint for row in self.rows}
        return {system: stated[fingerprints[system]] for system in self.systems if fingerprints[system] in stated}

    @cached_property
    def kinds(self) -> dict[str, str]:
        """System -> its kind, one of :data:`m2l_bench.results.KINDS`; of the systems whose run states it."""
        return {system: str(facts["kind"]) for system, facts in self.stated.items() if "kind" in facts}


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

    The files of runs that are merged are compared with their checksums first.

    Raises
    ------
    ValueError
        If no folder is given, one holds no readable run, a file of a run that is merged is not that of its ``SHA256SUMS`` or
        not listed there, or the runs measured one metric with two cards or on different data (both folders and hashes are named).
    """
    if not folders:
        raise ValueError("folders must hold at least one run, got none")
    runs = {Path(folder): read_json(Path(folder) / "run.json") for folder in folders}
    for folder in runs if len(runs) > 1 else ():
        _verify(folder)
    rows = {folder: read_rows(folder) for folder in runs}
    items = {folder: read_items(folder) for folder in runs}
    cards = {card: content for folder in runs for card, content in read_json(folder / "cards.json").items()}
    refuse_mixtures(
        chain.from_iterable(rows.values()), chain.from_iterable(repeat(f, len(found)) for f, found in rows.items())
    )
    labels = _labels(rows, run_names(runs))
    merged = _first_of_each(rows, labels)
    missing = sorted({row.card for row in merged} - set(cards))
    if missing:
        raise ValueError(f"cards.json must hold the card of every row, got none of {', '.join(missing)}")
    measured_in: dict[str, dict[Path, None]] = defaultdict(dict)
    for (folder, *_), label in labels.items():
        measured_in[label][folder] = None
    return RunData(
        rows=tuple(merged),
        items=tuple(_first_of_each(items, labels)),
        cards=cards,
        systems=_system_order(merged, runs.values()),
        runs=runs,
        measured_in={label: tuple(found) for label, found in measured_in.items()},
    )


def run_names(runs: Mapping[Path, Mapping[str, Any]]) -> dict[Path, str]:
    """Give each run a name: that of its folder, with the plan or a number where several folders have one name."""
    names = {folder: folder.resolve().name for folder in runs}
    for tell_apart in (lambda folder, place: runs[folder].get("plan"), lambda folder, place: place + 1):
        doubled = {name for name, n in Counter(names.values()).items() if n > 1}
        for place, (folder, name) in enumerate(names.items()):
            if name in doubled:
                names[folder] = f"{name} {tell_apart(folder, place)}"
    return names


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


def refuse_mixtures(rows: Iterable[Row], folders: Iterable[Path | None] = repeat(None)) -> None:
    """Raise ValueError where one measurement appears with two card hashes or two data hashes.

    Parameters
    ----------
    rows : iterable of Row
    folders : iterable of Path, optional
        The run of each row; the error names those of the two rows.
    """
    found: dict[tuple[str, ...], tuple[Row, Path | None]] = {}
    for row, folder in zip(rows, folders, strict=False):
        key = measurement_of(row)[:5]  # means and medians alike
        other, its_folder = found.setdefault(key, (row, folder))
        for name in ("card", "data_hash"):
            hashes = getattr(other, name), getattr(row, name)
            if hashes[0] != hashes[1]:
                where = " ".join(part for part in dict.fromkeys(key) if part)
                ends = [
                    f"{digest} in {of}" if of else digest
                    for digest, of in zip(hashes, (its_folder, folder), strict=True)
                ]
                raise ValueError(f"{where}: must have one {name}, got {' and '.join(ends)}")


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sort key that puts ``opus:12k`` before ``opus:96k`` before ``opus:128k``.

    >>> sorted(["opus:96k", "opus:128k", "mp3:64k"], key=natural_key)
    ['mp3:64k', 'opus:96k', 'opus:128k']
    """
    parts = re.split(r"([0-9]+)", text)
    return [(1, int(part), "") if index % 2 else (0, 0, part) for index, part in enumerate(parts)]


def _verify(folder: Path) -> None:
    """Raise ValueError unless all that is read of a run is listed in its checksums and matches them."""
    sums, listed_in = read_checksums(folder), folder / CHECKSUMS
    clips = [path.relative_to(folder).as_posix() for path in (folder / CLIPS).rglob("*") if path.is_file()]
    unlisted = [name for name in (*RESULTS, *sorted(clips)) if name not in sums]
    if unlisted:
        raise ValueError(f"{listed_in}: must list every file that is read, got none for {', '.join(unlisted[:3])}")
    for name, found in changed_files(folder, {name: sums[name] for name in (*RESULTS, *clips)}).items():
        raise ValueError(
            f"{folder / name}: must have the SHA-256 in {listed_in}, expected {sums[name]}, got {found or 'no such file'}"
        )


# A system's numbers in one run: measurement -> seed -> value and number of scored items.
_Numbers = Mapping[Measurement, Mapping[int, tuple[float, int]]]


def _labels(rows: Mapping[Path, Sequence[Row]], names: Mapping[Path, str]) -> dict[tuple[Path, str, str], str]:
    """(run, label, fingerprint) -> label in the merged results."""
    numbers: dict[tuple[str, str], dict[Path, dict[Measurement, dict[int, tuple[float, int]]]]] = {}
    for folder, several in rows.items():
        for row in several:
            of_run = numbers.setdefault((row.system, row.fingerprint), {}).setdefault(folder, {})
            of_run.setdefault(measurement_of(row), {})[row.seed] = row.value, row.n_scored
    n_systems = Counter(label for label, _ in numbers)
    labels = {}
    for (label, fingerprint), found in numbers.items():
        differ = label not in ANCHORS and not all(_agree(one, other) for one, other in combinations(found.values(), 2))
        for folder in found:
            told_apart = [fingerprint[:6] or "not loaded"] if n_systems[label] > 1 else []
            told_apart += [names[folder]] if differ else []
            labels[folder, label, fingerprint] = f"{label} ({', '.join(told_apart)})" if told_apart else label
    return labels


def _agree(one: _Numbers, other: _Numbers) -> bool:
    """Whether two runs found the same wherever both measured a system."""
    for measurement in one.keys() & other.keys():
        seeds, others = one[measurement], other[measurement]
        if seeds.keys() != others.keys():
            return False
        for seed, (value, n_scored) in seeds.items():
            other_value, other_n_scored = others[seed]
            neither = math.isnan(value) and math.isnan(other_value)
            same = neither or math.isclose(value, other_value, rel_tol=_EQUAL, abs_tol=1e-9)
            if not same or n_scored != other_n_scored:
                return False
    return True


def _first_of_each(
    records: Mapping[Path, Sequence[Record]], labels: Mapping[tuple[Path, str, str], str]
) -> list[Record]:
    """Relabel rows or items, and keep those of the first run that measured something of a system."""
    owners: dict[tuple[str, Measurement], Path] = {}
    kept = []
    for folder, several in records.items():
        for record in several:
            label = labels.get((folder, record.system, record.fingerprint), record.system)
            if owners.setdefault((label, measurement_of(record)), folder) == folder:
                kept.append(record if label == record.system else replace(record, system=label))
    return kept


def _system_order(rows: Iterable[Row], records: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Labels in the order of the suites; labels that no suite names follow in natural order."""
    entries = [entry for record in records for entry in record.get("suite", {}).get("systems", [])]
    listed = [entry.get("label") or str(entry.get("system", "")).rpartition("/")[2] for entry in entries]
    order = {label: index for index, label in enumerate(dict.fromkeys(listed))}

    def key(label: str) -> tuple[int, list[tuple[int, int, str]]]:
        return order.get(label, order.get(label.rpartition(" (")[0], len(order))), natural_key(label)

    return tuple(sorted({row.system for row in rows}, key=key))

"""Results: the one row type, the per-item record, and a run's folder on disk.

Conventions
-----------
One row holds one number with its interval and everything needed to reproduce it except time and place, which stand in
``run.json`` alone: two equal runs write byte-identical ``rows.csv``. ``items.parquet`` holds what each row was computed
from: one record per file and metric, or per prediction. ``failures.csv`` names every item that could not be scored.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from m2l_bench import __version__ as VERSION
from m2l_bench.checksums import checksums, file_of_run, write_checksums
from m2l_bench.files.disk import write_atomic
from m2l_bench.files.untrusted import modest_parquet, parse_json

NOTES_APART = " | "
LATENT_SPACE = "latent space"  # the task of rows that say something of it without labels
REFERENCES = ("identity", "lowpass-3.5k", "lowpass-7k", "majority")  # systems that others are compared with
KINDS = ("references", "codecs", "autoencoders", "encoders")  # of systems, in the order of tables and pages
GROUPED_FROM = 6  # systems; fewer are not grouped by kind
REFIT = "/refit"  # at the end of a reader's name, where its probe was fitted on reconstructions


def joined_notes(*notes: str) -> str:
    """One text of several caveats; the empty ones are left out."""
    return NOTES_APART.join(note for note in notes if note)


def group_by_kind(kinds: Mapping[str, str]) -> dict[str, list[str]]:
    """Group systems by their kind, for tables and pages.

    Parameters
    ----------
    kinds : mapping of str to str
        System -> one of :data:`KINDS`.

    Returns
    -------
    dict of str to list of str
        Kind -> its systems, in the order of :data:`KINDS`; empty where there are fewer than :data:`GROUPED_FROM` systems
        or all are of one kind.

    Examples
    --------
    >>> group_by_kind({"pca": "autoencoders", "identity": "references"} | {f"opus:{n}k": "codecs" for n in (6, 8, 12, 24)})
    {'references': ['identity'], 'codecs': ['opus:6k', 'opus:8k', 'opus:12k', 'opus:24k'], 'autoencoders': ['pca']}
    """
    if len(kinds) < GROUPED_FROM or len(set(kinds.values())) == 1:
        return {}
    found = {kind: [system for system, its in kinds.items() if its == kind] for kind in KINDS}
    return {kind: systems for kind, systems in found.items() if systems}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One number of one system.

    Attributes
    ----------
    system, fingerprint : str
        Label and exact identity of the system.
    dataset : str
        Name of the data, such as ``"reconstruction/wesnoth"``.
    task, probe, split : str
        Empty for reconstruction metrics. The task ``"latent space"`` is that of numbers of the latents over audio without
        labels; its split is ``"step 0.5"`` where latents were quantised with that step.
    reader : str
        Of a task: the encoder that read the system's reconstructions; empty where the system's own latents were probed.
    metric : str
        Registry name, such as ``"mel_distance"``; its unit and direction stand in its card.
    statistic : str
        How items became one value: ``"mean"``, ``"median"``, ``"pooled"`` (a number of the whole set),
        ``"corrected"`` (the same, less its bias), ``"score"`` (of a task), ``"cost"`` (what a reader loses by the coding:
        the mean paired difference to the originals, positive where the reconstructions are worse; or what is lost by the
        quantisation of latents, likewise).
    card : str
        Hash of the metric's card; rows with different cards are never mixed in a table.
    data_hash : str
        Hash of the planned items' content; rows over different data are never paired.
    seed : int
    value, ci_low, ci_high : float
        NaN where it could not be computed.
    n_planned, n_scored, n_failed : int
        Items.
    note : str
        Caveats that must stand under the table, joined by `` | ``, or empty.
    version : str
        Of m2l_bench.
    """

    system: str
    fingerprint: str
    dataset: str
    task: str = ""
    reader: str = ""
    probe: str = ""
    split: str = ""
    metric: str
    statistic: str
    card: str
    data_hash: str
    seed: int = 0
    value: float
    ci_low: float = float("nan")
    ci_high: float = float("nan")
    n_planned: int
    n_scored: int
    n_failed: int
    note: str = ""
    version: str = VERSION

    @classmethod
    def of(cls, fields: Mapping[str, Any], interval: tuple[float, float, float]) -> Row:
        """A row from its fields, and its value with the ends of its interval."""
        value, low, high = interval
        return cls(**{**fields, "value": value, "ci_low": low, "ci_high": high})

    @property
    def notes(self) -> tuple[str, ...]:
        """The caveats one by one."""
        return tuple(self.note.split(NOTES_APART)) if self.note else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One file's score under one metric, or one prediction of a probe.

    Attributes
    ----------
    item : str
        Relative path (POSIX) or track id.
    group : str
        Items of one group (track, tune, album) are resampled together; the item itself by default.
    value : float
        NaN where it failed.
    target, prediction : str
        Of a probe: label names, `;`-separated where there are several; else empty.
    reason : str
        Why it failed, or empty.
    """

    system: str
    fingerprint: str
    dataset: str
    task: str = ""
    reader: str = ""
    probe: str = ""
    split: str = ""
    metric: str
    card: str
    seed: int = 0
    item: str
    group: str = ""
    value: float = float("nan")
    target: str = ""
    prediction: str = ""
    reason: str = ""

    @classmethod
    def of(cls, fields: Mapping[str, Any], score: float | str) -> Item:
        """An item from its fields, and its score or the reason why it has none."""
        return cls(**fields, reason=score) if isinstance(score, str) else cls(**fields, value=score)


@dataclass
class Records:
    """Rows of one system on one dataset, and the items behind them, which are made as they are taken."""

    rows: list[Row] = field(default_factory=list)
    items: list[Iterable[Item]] = field(default_factory=list)


PAGE = "index.html"  # the report of a run
REPORTED = ("audio", "report", "index.md", PAGE)  # written once a run is finished, and again by m2l-bench report
# Files of a run that hold its results.
RESULTS = ("rows.parquet", "rows.csv", "items.parquet", "failures.csv", "cards.json", "run.json")


def column_names(kind: type) -> list[str]:
    """Names of the columns of rows (``Row``) or items (``Item``), or of the fields of another dataclass."""
    return [field.name for field in fields(kind)]


# Two rows that agree in these are the same measurement.
ROW_KEY = (
    "dataset",
    "task",
    "reader",
    "probe",
    "split",
    "system",
    "fingerprint",
    "metric",
    "statistic",
    "card",
    "data_hash",
    "seed",
)
FAILURE_COLUMNS = ("dataset", "item", "system", "task", "reader", "probe", "metric", "reason")
_BLOCK = 10_000  # items held at once


def write_run(
    folder: Path, rows: Sequence[Row], items: Iterable[Item], run: dict[str, Any], *, others: Iterable[Path] = ()
) -> None:
    """Write a run's results: ``rows.parquet``, ``rows.csv``, ``items.parquet``, ``failures.csv``, ``run.json``, ``SHA256SUMS``.

    Parameters
    ----------
    folder : Path
    rows : sequence of Row
        Written in a fixed order; looked at when all items are written, so that whoever gives the items may fill it meanwhile.
    items : iterable of Item
        Written as they come, and never held at once.
    run : dict
        Provenance (see :mod:`m2l_bench.suite.provenance`) and whatever depends on time or place; JSON-serialisable. Written
        last, and deleted first: a folder with it is whole. Gets the number of failed items under ``"failed"``.
    others : iterable of Path
        Other files of the run to be listed in ``SHA256SUMS``.
    """
    (folder / "run.json").unlink(missing_ok=True)
    run["failed"] = _write_items(folder, items)
    write_rows(folder, rows)
    own = [folder / name for name in ("items.parquet", "failures.csv", "rows.parquet", "rows.csv")]
    record = (json.dumps(run, indent=2, sort_keys=True) + "\n").encode()
    sums = checksums(folder, [*own, *others]) | {"run.json": hashlib.sha256(record).hexdigest()}
    write_checksums(folder, sums)
    write_atomic(folder / "run.json", record)


def _write_items(folder: Path, items: Iterable[Item]) -> int:
    """Write ``items.parquet`` and ``failures.csv`` block by block; returns how many items failed."""
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    parquet, failures = folder / ".items.parquet.part", folder / ".failures.csv.part"
    n_failed, remaining = 0, iter(items)
    try:
        with (
            pq.ParquetWriter(parquet, _schema(Item), write_page_checksum=True) as writer,
            failures.open("w", encoding="utf-8", newline="") as table,
        ):
            table.write(_csv([], FAILURE_COLUMNS).decode())
            while block := list(itertools.islice(remaining, _BLOCK)):
                writer.write_table(_arrow(block, Item))
                failed = [item for item in block if item.reason]
                table.write(_csv(failed, FAILURE_COLUMNS, header=False).decode())
                n_failed += len(failed)
        for part, name in ((parquet, "items.parquet"), (failures, "failures.csv")):
            part.replace(folder / name)
    finally:
        for part in (parquet, failures):
            part.unlink(missing_ok=True)
    return n_failed


def write_rows(folder: Path, rows: Sequence[Row]) -> None:
    """Write ``rows.parquet`` and ``rows.csv``, in a fixed order."""
    rows = sorted(rows, key=lambda row: [getattr(row, name) for name in ROW_KEY])
    write_atomic(folder / "rows.parquet", to_parquet(rows, Row))
    write_atomic(folder / "rows.csv", _csv(rows, column_names(Row)))


def read_json(path: Path) -> dict[str, Any]:
    """Read ``run.json`` or ``cards.json`` of a run.

    Raises
    ------
    ValueError
        If it is not there, or holds no JSON object.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: must be a run's JSON file ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold a JSON object, got {type(content).__name__}")
    return content


def read_rows(folder: str | os.PathLike[str]) -> list[Row]:
    """Read a run's rows; ValueError where the folder holds no readable run."""
    return from_parquet(file_of_run(folder, "rows.parquet"), Row)


def read_items(folder: str | os.PathLike[str]) -> list[Item]:
    """Read a run's per-item records; ValueError where the folder holds no readable run."""
    return from_parquet(file_of_run(folder, "items.parquet"), Item)


def to_parquet(records: Sequence[Any], kind: type) -> bytes:
    """Records of one dataclass (Row or Item) as Parquet bytes with page checksums."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(_arrow(records, kind), buffer, write_page_checksum=True)
    return buffer.getvalue()


def from_parquet(path: Path, kind: type) -> list[Any]:
    """Read what :func:`to_parquet` wrote, checksums verified; a file from before there were readers too.

    Raises
    ------
    ValueError
        If the file is missing, damaged, or has other columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(kind)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            modest_parquet(path, file.metadata)
            found = file.schema_arrow.names
            if "reader" not in found:
                schema = schema.remove(schema.get_field_index("reader"))
            if found != schema.names:
                raise ValueError(f"{path}: must have the columns {column_names(kind)}, got {found}")
            if not file.schema_arrow.equals(schema):
                raise ValueError(f"{path}: must have columns of the kinds\n{schema}\ngot\n{file.schema_arrow}")
            columns = file.read().to_pydict()
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path}: damaged or not a file of results ({reason})") from error
    if any(None in column for column in columns.values()):
        raise ValueError(f"{path}: must have a value in every field")
    # One object for each distinct string: a run holds its records in memory, and most of their strings repeat.
    shared = [
        [sys.intern(value) for value in column] if column and isinstance(column[0], str) else column
        for column in columns.values()
    ]
    return [kind(**dict(zip(schema.names, record, strict=True))) for record in zip(*shared, strict=True)]


def _arrow(records: Sequence[Any], kind: type) -> Any:
    import pyarrow as pa

    schema = _schema(kind)
    return pa.table({name: [getattr(record, name) for record in records] for name in schema.names}, schema=schema)


def _schema(kind: type) -> Any:
    import pyarrow as pa

    types = {"str": pa.string(), "int": pa.int64(), "float": pa.float64()}
    return pa.schema([(field.name, types[str(field.type)]) for field in fields(kind)])


def data_hash(items: Iterable[tuple[str, str]]) -> str:
    """Hash of a dataset's planned items, given as (id, sha256 of the content): 16 hexadecimal digits."""
    text = "\n".join(f"{name}\t{digest}" for name, digest in sorted(items))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _csv(records: Sequence[Any], columns: Sequence[str], *, header: bool = True) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if header:
        writer.writerow(columns)
    for record in records:
        values = asdict(record)
        writer.writerow([repr(values[name]) if isinstance(values[name], float) else values[name] for name in columns])
    return buffer.getvalue().encode()

"""Results: the one row type, the per-item record, provenance, and a run's folder on disk.

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
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import m2l_bench
from m2l_bench.audio import write_atomic
from m2l_bench.trust import modest_parquet


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number of one system.

    Attributes
    ----------
    system, fingerprint : str
        Label and exact identity of the system.
    dataset : str
        Name of the data, such as ``"reconstruction/wesnoth"``.
    task, probe, split : str
        Empty for reconstruction metrics.
    metric : str
        Registry name, such as ``"mel_distance"``; its unit and direction stand in its card.
    statistic : str
        How items became one value: ``"mean"``, ``"median"``, ``"pooled"`` (a number of the whole set), ``"score"`` (of a task).
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
        A caveat that must stand under the table, or empty.
    version : str
        Of m2l_bench.
    """

    system: str
    fingerprint: str
    dataset: str
    task: str = ""
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
    version: str = m2l_bench.__version__


@dataclass(frozen=True, kw_only=True)
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


ROW_COLUMNS = tuple(field.name for field in fields(Row))
ITEM_COLUMNS = tuple(field.name for field in fields(Item))

# Two rows that agree in these are the same measurement.
ROW_KEY = (
    "dataset",
    "task",
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
ITEM_KEY = ("dataset", "task", "probe", "split", "system", "fingerprint", "metric", "card", "seed", "item")


def write_run(folder: Path, rows: Sequence[Row], items: Sequence[Item], run: dict[str, Any]) -> None:
    """Write a run's results: ``rows.parquet``, ``rows.csv``, ``items.parquet``, ``failures.csv`` and ``run.json``.

    Parameters
    ----------
    folder : Path
    rows, items : sequence of Row and of Item
        Written in a fixed order, whatever order they come in.
    run : dict
        Provenance (see :func:`provenance`) and whatever depends on time or place; JSON-serialisable.
    """
    items = sorted(items, key=lambda item: [getattr(item, name) for name in ITEM_KEY])
    failed = [item for item in items if item.reason]
    write_atomic(folder / "items.parquet", to_parquet(items, Item))
    write_atomic(
        folder / "failures.csv", _csv(failed, ("dataset", "item", "system", "task", "probe", "metric", "reason"))
    )
    write_rows(folder, rows)
    write_atomic(folder / "run.json", (json.dumps(run, indent=2, sort_keys=True) + "\n").encode())


def write_rows(folder: Path, rows: Sequence[Row]) -> None:
    """Write ``rows.parquet`` and ``rows.csv``, in a fixed order."""
    rows = sorted(rows, key=lambda row: [getattr(row, name) for name in ROW_KEY])
    write_atomic(folder / "rows.parquet", to_parquet(rows, Row))
    write_atomic(folder / "rows.csv", _csv(rows, ROW_COLUMNS))


def read_rows(folder: str | os.PathLike[str]) -> list[Row]:
    """Read a run's rows; ValueError where the folder holds no readable run."""
    return from_parquet(_file_of_run(folder, "rows.parquet"), Row)


def read_items(folder: str | os.PathLike[str]) -> list[Item]:
    """Read a run's per-item records; ValueError where the folder holds no readable run."""
    return from_parquet(_file_of_run(folder, "items.parquet"), Item)


def to_parquet(records: Sequence[Any], kind: type) -> bytes:
    """Records of one dataclass (Row or Item) as Parquet bytes with page checksums."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(kind)
    columns = {name: [getattr(record, name) for record in records] for name in schema.names}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns, schema=schema), buffer, write_page_checksum=True)
    return buffer.getvalue()


def from_parquet(path: Path, kind: type) -> list[Any]:
    """Read what :func:`to_parquet` wrote, checksums verified.

    Raises
    ------
    ValueError
        If the file is missing, damaged, or has other columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    expected = [field.name for field in fields(kind)]
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            modest_parquet(path, file.metadata)
            if (found := file.schema_arrow.names) != expected:
                raise ValueError(f"{path}: must have the columns {expected}, got {found}")
            if not file.schema_arrow.equals(_schema(kind)):
                raise ValueError(f"{path}: must have columns of the kinds\n{_schema(kind)}\ngot\n{file.schema_arrow}")
            records = file.read().to_pylist()
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path}: damaged or not a file of results ({reason})") from error
    if any(value is None for record in records for value in record.values()):
        raise ValueError(f"{path}: must have a value in every field")
    return [kind(**record) for record in records]


def _schema(kind: type) -> Any:
    import pyarrow as pa

    types = {"str": pa.string(), "int": pa.int64(), "float": pa.float64()}
    return pa.schema([(field.name, types[str(field.type)]) for field in fields(kind)])


def data_hash(items: Iterable[tuple[str, str]]) -> str:
    """Hash of a dataset's planned items, given as (id, sha256 of the content): 16 hexadecimal digits."""
    text = "\n".join(f"{name}\t{digest}" for name, digest in sorted(items))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def provenance() -> dict[str, Any]:
    """What a run ran on: versions, git state, processor, platform."""
    names = (
        "numpy",
        "scipy",
        "soundfile",
        "soxr",
        "torch",
        "scikit-learn",
        "librosa",
        "pyarrow",
        "transformers",
        "diffusers",
    )
    return {
        "m2l_bench": m2l_bench.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "packages": {name: _version(name) for name in names},
        "git": _git_state(),
        "command": sys.argv,
    }


def _file_of_run(folder: str | os.PathLike[str], name: str) -> Path:
    path = Path(folder) / name
    if not path.is_file():
        raise ValueError(f"{folder}: must be the folder of a finished run, got one without {name}")
    return path


def _csv(records: Sequence[Any], columns: Sequence[str]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for record in records:
        values = asdict(record)
        writer.writerow([repr(values[name]) if isinstance(values[name], float) else values[name] for name in columns])
    return buffer.getvalue().encode()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _git_state() -> dict[str, Any] | None:
    """Commit and whether files differ from it, where the package runs from a checkout."""
    folder = Path(__file__).parent
    try:
        commit, status = (
            subprocess.run(
                ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10
            ).stdout
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.strip(), "changed_files": len(status.splitlines())}

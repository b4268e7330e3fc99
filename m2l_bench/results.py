"""Results: the one row type, the per-item record, provenance, and a run's folder on disk.

Conventions
-----------
One row holds one number with its interval and everything needed to reproduce it except time and place, which stand in
``run.json`` alone: two equal runs write byte-identical ``rows.csv``. ``items.parquet`` holds what each row was computed
from: one record per file and metric, or per prediction. ``failures.csv`` names every item that could not be scored.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import m2l_bench


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
        How items became one value: ``"mean"``, ``"median"``, ``"pooled"`` (a set-level number), ``"score"`` (of a task).
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

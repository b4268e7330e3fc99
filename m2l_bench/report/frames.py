"""Results of finished runs as pandas DataFrames, for notebooks.

>>> import m2l_bench
>>> results = m2l_bench.read_results("results/runs/embedded-1234abcd")  # doctest: +SKIP
>>> results.table("si_sdr", "mel_distance")  # doctest: +SKIP
"""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import pandas as pd

from m2l_bench.cards import Card
from m2l_bench.plugins import unknown
from m2l_bench.report.compare import Comparison, compare
from m2l_bench.report.render import to_frame
from m2l_bench.report.runs import Measurement, RunData, read_runs
from m2l_bench.report.tables import heading, make_table
from m2l_bench.results import FAILURE_COLUMNS, Item, Row, column_names


class Results:
    """Results of one or several finished runs, merged.

    Attributes
    ----------
    rows : pandas.DataFrame
        One number a row, with the columns of ``rows.csv``: ``value``, ``ci_low``, ``ci_high`` are float64 (NaN where there is
        none), ``seed`` and the counts int64, all others text.
    items : pandas.DataFrame
        What each number was computed from: one score of one file, or one prediction, with the columns of
        ``items.parquet``; ``value`` is float64, ``seed`` int64, all others text.
    failures : pandas.DataFrame
        The items without a score: dataset, item, system, task, probe, metric and the reason, all text.
    cards : pandas.DataFrame
        Definition of each metric, by card hash: the fields of :class:`m2l_bench.cards.Card`.
    systems : tuple of str
        Labels, in the order of the suites.
    """

    def __init__(self, data: RunData) -> None:
        self._data = data
        self.systems = data.systems

    def __repr__(self) -> str:
        metrics = sorted({measurement.metric for measurement in self._data.measured})
        return (
            f"Results({len(self._data.rows)} rows; systems: {', '.join(self.systems)}; metrics: {', '.join(metrics)})"
        )

    @cached_property
    def rows(self) -> pd.DataFrame:
        """See the class."""
        return pd.DataFrame([asdict(row) for row in self._data.rows], columns=column_names(Row))

    @cached_property
    def items(self) -> pd.DataFrame:
        """See the class."""
        return pd.DataFrame([asdict(item) for item in self._data.items], columns=column_names(Item))

    @cached_property
    def failures(self) -> pd.DataFrame:
        """See the class."""
        return self.items.loc[self.items.reason != "", list(FAILURE_COLUMNS)].reset_index(drop=True)

    @cached_property
    def cards(self) -> pd.DataFrame:
        """See the class."""
        frame = pd.DataFrame.from_dict(dict(self._data.cards), orient="index").rename_axis("card")
        return frame[[name for name in column_names(Card) if name in frame]]

    def table(
        self, *metrics: str, dataset: str | None = None, probe: str | None = None, reader: str | None = None
    ) -> pd.DataFrame:
        """Arrange systems by metric, as the report prints them: text such as ``"9.6 [8.8, 10.4]"``.

        Parameters
        ----------
        *metrics : str
            Columns, in order, such as ``"si_sdr"``; by default every metric. Medians and learning curves are left out.
        dataset, probe, reader : str, optional
            Only the columns of this dataset (or task), of this probe, or of this reader.

        Returns
        -------
        pandas.DataFrame
            Index: system. Columns: title, unit and direction of each metric.

        Raises
        ------
        ValueError
            If nothing was measured under a name.
        """
        for name in metrics:
            _require("metric", name, self._known("metric"))
        found = [
            m
            for m in self._data.measured
            if m.statistic != "median" and "@" not in m.split and (not metrics or m.metric in metrics)
        ]
        for kind, wanted in (("dataset", dataset), ("probe", probe), ("reader", reader)):
            if wanted is not None:
                _require(kind, wanted, self._known(kind))
                found = [m for m in found if getattr(m, kind) == wanted]
        order = {metric: place for place, metric in enumerate(metrics)}
        found.sort(key=lambda m: (order.get(m.metric, 0), m))
        return to_frame(make_table(self._data.rows, self._data.cards, found, systems=self.systems))

    def per_file(self, metric: str, *, dataset: str | None = None, probe: str = "", reader: str = "") -> pd.DataFrame:
        """Arrange the scores of single files, or of a task's test items, by system.

        Parameters
        ----------
        metric : str
        dataset : str, optional
            May be left out where only one has the metric.
        probe, reader : str
            Of a task; seeds are averaged.

        Returns
        -------
        pandas.DataFrame, float64
            Index: item. Columns: systems; the name of their axis says what the numbers are. A distance of whole sets (FAD,
            KAD) has no score of a single file: its numbers are jackknife pseudo-values, whose mean is the distance less its bias.

        Raises
        ------
        ValueError
            If nothing was measured under these names, or several datasets (probes, readers) have the metric and none is named.
        """
        _require("metric", metric, self._known("metric"))
        if dataset is not None:
            _require("dataset", dataset, self._known("dataset"))
        found = {(m.dataset, m.reader, m.probe) for m in self._data.measured if m.metric == metric}
        found = {m for m in found if dataset in (None, m[0]) and reader in ("", m[1]) and probe in ("", m[2])}
        if len(found) != 1:
            places = ", ".join(" ".join(filter(None, m)) for m in sorted(found)) or "none"
            raise ValueError(f"dataset, reader and probe must name one of several that have {metric}, got {places}")
        (place,) = found
        items = self.items[self.items.metric == metric]
        chosen = items[(items[["dataset", "reader", "probe"]] == list(place)).all(axis=1)]
        frame = chosen.pivot_table(index="item", columns="system", values="value", aggfunc="mean")
        measured: Measurement = next(
            m for m in self._data.measured if (m.dataset, m.reader, m.probe) == place and m.metric == metric
        )
        title = heading(self._data.measured[measured], arrow=False)
        of_sets = measured.statistic in ("pooled", "corrected") and not metric.startswith("embedding_distance:")
        kind = f"jackknife pseudo-value of {title}" if of_sets else title
        return frame.reindex(columns=[s for s in self.systems if s in frame]).rename_axis(columns=kind)

    def compare(self, a: str, b: str) -> Comparison:
        """Compare two systems on the items that both have a score on: paired differences, intervals and tests.

        Parameters
        ----------
        a, b : str
            Labels.

        Returns
        -------
        Comparison
            Its ``to_frame()`` has one row for each metric.

        Raises
        ------
        ValueError
            If there is no such system, both are the same, or they share no scores.
        """
        return compare(self._data, a, b)

    def _known(self, field: str) -> list[str]:
        return sorted({getattr(measurement, field) for measurement in self._data.measured} - {""})


def read_results(*runs: str | os.PathLike[str]) -> Results:
    """Read one or several finished runs.

    Parameters
    ----------
    *runs : path-like
        Folders of runs.

    Returns
    -------
    Results

    Raises
    ------
    ValueError
        If a folder holds no finished run, or the runs cannot be merged (one metric with two definitions or on different
        data).
    """
    return Results(read_runs([Path(run) for run in runs]))


def _require(kind: str, name: str, known: list[str]) -> None:
    if name not in known:
        raise unknown(kind, name, known)

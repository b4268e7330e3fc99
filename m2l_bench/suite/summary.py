"""From the records of single files to rows: one number with its interval per system, metric and statistic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np

from m2l_bench.reconstruction.metrics import METRICS, SetMetric
from m2l_bench.results import Item, Row
from m2l_bench.statistics import bootstrap_interval
from m2l_bench.suite.data import AudioSet


def summarise(items: Iterable[Item], data: AudioSet, *, seed: int) -> list[Row]:
    """Mean and median over files with bootstrap intervals, failures counted.

    Parameters
    ----------
    items : iterable of Item
        Records of pair metrics over `data`.
    data : AudioSet
    seed : int
        Of the bootstrap.

    Returns
    -------
    list of Row
        Two for each system and metric; one without a number for a metric of sets, which has records here only where nothing of
        a system could be heard.
    """

    def key(item: Item) -> tuple[str, str, str, str, int]:
        return item.system, item.fingerprint, item.metric, item.card, item.seed

    return [row for _, group in groupby(sorted(items, key=key), key) for row in _rows(list(group), data, seed)]


def _rows(items: Sequence[Item], data: AudioSet, seed: int) -> list[Row]:
    scored = sorted((item for item in items if not item.reason), key=lambda item: item.item)
    values = np.array([item.value for item in scored], dtype=np.float64)
    groups = [item.group for item in scored]
    first = items[0]
    rows = []
    of_sets = isinstance(METRICS.get(first.metric), SetMetric)
    for name, statistic in (("pooled", np.mean),) if of_sets else (("mean", np.mean), ("median", np.median)):
        value = low = high = float("nan")
        if len(values):
            value = float(statistic(values))
            low, high = bootstrap_interval(values, groups=groups, statistic=statistic, seed=seed)
        rows.append(
            Row(
                system=first.system,
                fingerprint=first.fingerprint,
                dataset=data.name,
                metric=first.metric,
                statistic=name,
                card=first.card,
                data_hash=data.hash,
                seed=first.seed,
                value=value,
                ci_low=low,
                ci_high=high,
                n_planned=len(data.items),
                n_scored=len(scored),
                n_failed=len(data.items) - len(scored),
                note=data.note,
            )
        )
    return rows

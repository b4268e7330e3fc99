"""What an evaluation gives: scores with two kinds of uncertainty kept apart, predictions, confusion, paired tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from m2l_bench.results import Item as ItemRow
from m2l_bench.results import Row
from m2l_bench.tasks.base import Task
from m2l_bench.tasks.scoring import METRICS, Weighted, bootstrap_draws, group_contributions
from m2l_bench.tasks.sources.source import Item


@dataclass(frozen=True, kw_only=True)
class SeedResult:
    """What one seed gave.

    Attributes
    ----------
    seed : int
    logits : np.ndarray, (test items, labels)
        Minus infinity for a label that no training item has.
    scores : mapping of str to float
        Metric -> score on the test split.
    intervals : mapping of str to (float, float)
        Metric -> 95 % bootstrap interval over groups of test items.
    validation_score : float
        Main metric on the validation split, of the grid point that was selected.
    """

    seed: int
    logits: np.ndarray
    scores: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    validation_score: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a probe reads in some features, for every seed.

    Attributes
    ----------
    task : Task
    probe : str
        Its name in tables.
    labels : tuple of str
        Columns of logits.
    items : list of Item
        The scored test items, by id.
    targets : np.ndarray
        Label positions (items,), or tags (items, tags).
    seeds : tuple of SeedResult
    failures : tuple of (str, str)
        Test items that could not be scored, and why.
    note : str
        What must stand under the table.
    data_hash : str
        Of the planned items and their labels: results over different ones are never paired.
    n_train : int
        Items that the probe was trained on.
    """

    task: Task
    probe: str
    labels: tuple[str, ...]
    items: list[Item]
    targets: np.ndarray
    seeds: tuple[SeedResult, ...]
    failures: tuple[tuple[str, str], ...]
    note: str
    data_hash: str
    n_train: int

    def mean(self, metric: str) -> float:
        """Mean over seeds."""
        return float(np.mean([seed.scores[metric] for seed in self.seeds]))

    def spread(self, metric: str) -> float:
        """Standard deviation over seeds (n - 1), NaN of one seed; the intervals over items know nothing of it."""
        scores = [seed.scores[metric] for seed in self.seeds]
        return float(np.std(scores, ddof=1)) if len(scores) > 1 else float("nan")

    def confusion(self) -> np.ndarray:
        """Counts summed over seeds, (reference, predicted); of tags (tags, 2, 2), each absent then present."""
        n = len(self.labels)
        if self.targets.ndim == 1:
            pairs = sum(np.bincount(self.targets * n + s.logits.argmax(axis=1), minlength=n * n) for s in self.seeds)
            return np.asarray(pairs).reshape(n, n)
        guesses = np.stack([seed.logits > 0 for seed in self.seeds]).astype(np.int64)
        cells = [[((self.targets == r) & (guesses == p)).sum(axis=(0, 1)) for p in (0, 1)] for r in (0, 1)]
        return np.asarray(cells).transpose(2, 0, 1)

    def rows(self, *, system: str, fingerprint: str) -> list[Row]:
        """One row a metric and seed."""
        return [
            Row(
                system=system, fingerprint=fingerprint, dataset=self.task.name, task=self.task.name, probe=self.probe,
                split="test", metric=metric, statistic="score", card=METRICS[metric].card.hash,
                data_hash=self.data_hash, seed=seed.seed, value=seed.scores[metric], ci_low=seed.intervals[metric][0],
                ci_high=seed.intervals[metric][1], n_planned=len(self.items) + len(self.failures),
                n_scored=len(self.items), n_failed=len(self.failures), note=self.note,
            )
            for metric in self.task.metrics
            for seed in self.seeds
        ]  # fmt: skip

    def item_rows(self, *, system: str, fingerprint: str) -> list[ItemRow]:
        """One record an item, metric and seed: its score, or what it adds to a score that no single item has.

        Target and prediction stand in the records of the main metric.
        """
        return [
            ItemRow(
                system=system, fingerprint=fingerprint, dataset=self.task.name, task=self.task.name, probe=self.probe,
                split="test", metric=name, card=METRICS[name].card.hash, seed=seed.seed, item=item.id, group=item.group,
                value=float(value), target=self._names(target) if name == self.task.main_metric else "",
                prediction=self._names(self._decide(logits)) if name == self.task.main_metric else "",
            )
            for seed in self.seeds
            for name in self.task.metrics
            for item, value, target, logits in zip(
                self.items, self._item_values(name, seed), self.targets, seed.logits, strict=True
            )
        ]  # fmt: skip

    def _item_values(self, metric: str, seed: SeedResult) -> np.ndarray:
        """The items' scores, or their groups' contributions; either way their mean is the score."""
        per_item = METRICS[metric].per_item
        if per_item is not None:
            return per_item(self.targets, seed.logits)
        weighted = METRICS[metric].prepare(self.targets, seed.logits)
        return group_contributions(weighted, np.array([item.group for item in self.items]))

    def _names(self, target: np.ndarray) -> str:
        if self.targets.ndim == 1:
            return self.labels[int(target)]
        return ";".join(label for label, there in zip(self.labels, target, strict=True) if there)

    def _decide(self, logits: np.ndarray) -> np.ndarray:
        return np.asarray(logits.argmax()) if self.targets.ndim == 1 else logits > 0

    def _prepared(self, metric: str) -> list[Weighted]:
        return [METRICS[metric].prepare(self.targets, seed.logits) for seed in self.seeds]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The difference of two results on the same items: value, 95 % interval over groups, two-sided p-value."""

    difference: float
    ci_low: float
    ci_high: float
    p_value: float


def compare(first: Result, second: Result, metric: str, *, n_draws: int = 10_000, seed: int = 0) -> Comparison:
    """Compare two systems, or two probes, by a paired bootstrap over groups of test items.

    Parameters
    ----------
    first, second : Result
        Of the same items; their seeds are averaged.
    metric : str
    n_draws : int
        At least 1000.
    seed : int

    Returns
    -------
    Comparison
        Of `first` minus `second`. The p-value is ``2 min(P(d <= 0), P(d >= 0))`` over draws, one draw counted on either
        side, at most 1: correct it for the number of comparisons (:func:`m2l_bench.statistics.holm`).

    Raises
    ------
    ValueError
        If the results are of different items or targets.

    References
    ----------
    Efron and Tibshirani, "An introduction to the bootstrap", 1993, section 16.4.
    """
    ids = [[item.id for item in result.items] for result in (first, second)]
    if first.data_hash != second.data_hash or first.labels != second.labels or ids[0] != ids[1]:
        raise ValueError(
            f"results must be of the same items and targets, got {first.data_hash} and {second.data_hash} "
            f"({len(first.items)} and {len(second.items)} items)"
        )
    sides = [result._prepared(metric) for result in (first, second)]

    def difference(weights: np.ndarray) -> float:
        one, other = (float(np.mean([weighted(weights) for weighted in side])) for side in sides)
        return one - other

    groups = np.array([item.group for item in first.items])
    draws = bootstrap_draws([difference], groups, n_draws=n_draws, seed=seed)[0]
    draws = draws[~np.isnan(draws)]
    value = difference(np.ones(len(groups)))
    if not len(draws):
        return Comparison(difference=value, ci_low=np.nan, ci_high=np.nan, p_value=np.nan)
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    low, high = np.quantile(draws, [0.025, 0.975])
    p_value = min(1.0, 2 * (tail + 1) / (len(draws) + 1))
    return Comparison(difference=value, ci_low=float(low), ci_high=float(high), p_value=p_value)

"""The scores of tasks, each with its card, and their intervals over groups.

Conventions
-----------
Predictions are logits ``(items, labels)``; targets are label positions ``(items,)`` or, of tags, 0 and 1
``(items, tags)``. A metric is *prepared* once for its targets and logits and then gives its value for any item weights
``(items,)``: with ones, the score; with counts of how often each item was drawn, one draw of the bootstrap. A draw
therefore needs no sorting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from m2l_bench.cards import Card
from m2l_bench.statistics import N_DRAWS, cluster_draws, contributions, draw_counts
from m2l_bench.tasks.tonality import score_table

Weighted = Callable[[np.ndarray], float]
"""Item weights (items,) -> score; NaN where the weights leave it undefined."""


@dataclass(frozen=True, kw_only=True)
class TaskMetric:
    """One score of a task.

    Attributes
    ----------
    card : Card
    prepare : callable
        ``(targets, logits) -> Weighted``.
    per_item : callable, optional
        ``(targets, logits) -> (items,)`` where the score is the mean of items' scores.
    """

    card: Card
    prepare: Callable[[np.ndarray, np.ndarray], Weighted]
    per_item: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None


def hits(targets: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """1 where the largest logit is the target's, else 0."""
    return (logits.argmax(axis=1) == targets).astype(np.float64)


def key_hits(rule: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """MIREX's weighted score of each item; labels are the 24 keys, in the order of ``tonality.KEYS``."""
    return lambda targets, logits: score_table(rule)[targets, logits.argmax(axis=1)]


def mean_of(per_item: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[[np.ndarray, np.ndarray], Weighted]:
    """The weighted mean of items' scores."""

    def prepare(targets: np.ndarray, logits: np.ndarray) -> Weighted:
        values = per_item(targets, logits)
        return lambda weights: float(values @ weights / weights.sum())

    return prepare


def macro_f1(targets: np.ndarray, logits: np.ndarray) -> Weighted:
    """F1 of each label that the targets have, averaged: ``2 TP / (2 TP + FP + FN)``."""
    n = logits.shape[1]
    predicted = logits.argmax(axis=1)

    def weigh(weights: np.ndarray) -> float:
        right = np.bincount(targets, weights * (predicted == targets), minlength=n)
        actual, guessed = np.bincount(targets, weights, minlength=n), np.bincount(predicted, weights, minlength=n)
        there = actual > 0
        return float(np.mean(2 * right[there] / (actual + guessed)[there]))

    return weigh


def roc_auc(targets: np.ndarray, logits: np.ndarray) -> Weighted:
    """Macro area under the ROC curve: the share of (present, absent) pairs in the right order, ties counting one half.

    By ranks (Mann and Whitney 1947), all tags at once. Tags that no item or every item has are left out.
    """
    order, present, tag, item, first, last = _ranked(targets, logits)

    def weigh(weights: np.ndarray) -> float:
        absent = _running(weights[order] * ~present)  # (tags, items + 1)
        positive = weights[item]
        wins = np.bincount(tag, positive * (absent[tag, first] + absent[tag, last]), minlength=len(order)) / 2
        return _mean_where(wins, np.bincount(tag, positive, minlength=len(order)) * absent[:, -1])

    return weigh


def average_precision(targets: np.ndarray, logits: np.ndarray) -> Weighted:
    """Macro average precision: the precision at each present item's score, averaged over the present items.

    Tags that no item or every item has are left out.
    """
    order, present, tag, item, _, last = _ranked(targets, -logits)

    def weigh(weights: np.ndarray) -> float:
        ordered, positive = weights[order], weights[item]
        total, hits = _running(ordered), _running(ordered * present)
        with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 before the first drawn item
            precision = hits[tag, last] / total[tag, last]
        summed = np.bincount(tag, np.where(positive > 0, positive * precision, 0.0), minlength=len(order))
        positives = np.bincount(tag, positive, minlength=len(order))
        return _mean_where(summed, np.where(positives < total[:, -1], positives, 0.0))

    return weigh


def group_bootstrap(
    metrics: list[Weighted], groups: np.ndarray, *, n_draws: int = N_DRAWS, seed: int = 0, level: float = 0.95
) -> np.ndarray:
    """Percentile bootstrap intervals of several scores of the same items, drawing whole groups.

    Parameters
    ----------
    metrics : list of Weighted
        All are evaluated on the same draws, so that differences of scores may be taken draw by draw.
    groups : np.ndarray, (items,)
        Labels; items of one group are drawn together.
    n_draws : int
        At least 1000.
    seed : int
    level : float
        In (0, 1).

    Returns
    -------
    np.ndarray, (metrics, 2)
        Lower and upper end; draws that leave a score undefined are left out. NaN for a single group.
    """
    draws = bootstrap_draws(metrics, groups, n_draws=n_draws, seed=seed)
    if np.isnan(draws).all():
        return np.full((len(metrics), 2), np.nan)
    return np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=1).T


def bootstrap_draws(
    metrics: list[Weighted], groups: np.ndarray, *, n_draws: int = N_DRAWS, seed: int = 0
) -> np.ndarray:
    """The draws themselves, (metrics, n_draws)."""
    if n_draws < 1000:
        raise ValueError(f"n_draws must be at least 1000, got {n_draws}")
    _, member = np.unique(groups, return_inverse=True)
    n_groups = int(member.max()) + 1
    if n_groups == 1:
        return np.full((len(metrics), n_draws), np.nan)
    draws = cluster_draws(n_groups, n_draws=n_draws, seed=seed)
    weights = (counts[member] for picks in draws for counts in draw_counts(picks))
    return np.array([[metric(w) for metric in metrics] for w in weights]).T


def group_contributions(metric: Weighted, groups: np.ndarray) -> np.ndarray:
    """Contribution of each item to a score of all, (items,), from the jackknife over groups; their mean is the score.

    A group's deviation from the score is spread evenly over its items. NaN where the score is undefined without one
    of the groups, or there is a single group.
    """
    _, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) == 1:
        return np.full(len(groups), np.nan)
    value = metric(np.ones(len(groups)))
    without = np.array([metric((member != group).astype(np.float64)) for group in range(len(sizes))])
    deviations = contributions(value, without) - value
    return value + (deviations * len(groups) / (len(sizes) * sizes))[member]


def _ranked(targets: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, ...]:
    """Sort the items of each tag by score, and locate the present items and their ties in that order.

    Returns
    -------
    order : np.ndarray of int, (tags, items)
        Ascending.
    present : np.ndarray of bool, (tags, items)
        Whether the item at a place of `order` has the tag.
    tag, item : np.ndarray of int, (present,)
        Of each present item, in the order of tags and places.
    first, last : np.ndarray of int, (present,)
        Where its run of equal scores begins and ends (exclusive).
    """
    order = np.argsort(scores.T, axis=1, kind="stable")
    ordered = np.take_along_axis(scores.T, order, axis=1)
    present = np.take_along_axis(targets.T, order, axis=1).astype(bool)
    n = len(scores)
    edges = ordered[:, 1:] != ordered[:, :-1]
    ends = np.ones((len(order), 1), bool)
    places = np.arange(n)
    first = np.maximum.accumulate(np.where(np.hstack([ends, edges]), places, 0), axis=1)
    last = np.minimum.accumulate(np.where(np.hstack([edges, ends]), places + 1, n)[:, ::-1], axis=1)[:, ::-1]
    tag, _ = np.nonzero(present)
    return order, present, tag, order[present], first[present], last[present]


def _running(values: np.ndarray) -> np.ndarray:
    """Running sums along the last axis, with a zero before them: entry i is the sum of the first i values."""
    sums = np.zeros((len(values), values.shape[1] + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def _mean_where(numerator: np.ndarray, denominator: np.ndarray) -> float:
    defined = denominator > 0
    return float(np.mean(numerator[defined] / denominator[defined])) if defined.any() else float("nan")


def _card(name: str, title: str, formula: str, source: str) -> Card:
    return Card(
        name=name,
        title=title,
        higher_is_better=True,
        formula=formula,
        rate_rule="none: scored on predictions",
        channel_rule="latents are averaged over the streams (channels), logits over the clips of an item",
        source=source,
    )


_MIREX = "1 same key, 0.5 same mode a fifth above{}, 0.3 relative, 0.2 parallel, else 0; mean over items"
METRICS: dict[str, TaskMetric] = {
    "accuracy": TaskMetric(
        card=_card("accuracy", "accuracy", "share of items whose largest logit is the target's", "-"),
        prepare=mean_of(hits),
        per_item=hits,
    ),
    "macro_f1": TaskMetric(
        card=_card(
            "macro_f1", "macro F1", "2 TP / (2 TP + FP + FN) a label, mean over the labels of the test split", "-"
        ),
        prepare=macro_f1,
    ),
    "key_mirex": TaskMetric(
        card=_card("key_mirex", "MIREX key score", _MIREX.format(""), "MIREX 2005; mir_eval (Raffel et al. 2014)"),
        prepare=mean_of(key_hits("mirex")),
        per_item=key_hits("mirex"),
    ),
    "key_mirex_2017": TaskMetric(
        card=_card("key_mirex_2017", "MIREX 2017 key score", _MIREX.format(" or below"), "MIREX 2017"),
        prepare=mean_of(key_hits("mirex-2017")),
        per_item=key_hits("mirex-2017"),
    ),
    "roc_auc": TaskMetric(
        card=_card(
            "roc_auc",
            "ROC-AUC",
            "area under the ROC curve a tag (ties one half), mean over tags both present and absent in the test split",
            "Mann and Whitney 1947",
        ),
        prepare=roc_auc,
    ),
    "average_precision": TaskMetric(
        card=_card(
            "average_precision",
            "PR-AUC",
            "sum of precision times step in recall a tag, mean over tags both present and absent in the test split",
            "scikit-learn's average_precision_score",
        ),
        prepare=average_precision,
    ),
}

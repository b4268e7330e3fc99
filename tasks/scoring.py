"""Metrics of tasks, each with its card and the rule of its interval.

Conventions
-----------
Predictions are logits ``(items, labels)``; targets are label positions ``(items,)``, tempi in bpm ``(items,)`` or, of tags,
0, 1 and -1 (unknown) ``(items, tags)``. An item of which a tag is unknown has no part in this tag's score. A metric is
*prepared* once for its targets and logits; it then returns its value for any item weights ``(items,)``. Weights of one give
the score, weights of zero leave items out, which therefore needs no sorting. The intervals are those of
:mod:`m2l_bench.tasks.intervals`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from m2l_bench.cards import Card
from m2l_bench.tasks.bpm import CENTRES, OCTAVES, SAME, tempo_hits
from m2l_bench.tasks.intervals import Interval, Weighted
from m2l_bench.tasks.tonality import score_table
from m2l_bench.tasks.track_scores import CARDS as TRACK_CARDS

Prepare = Callable[[np.ndarray, np.ndarray], Weighted]
PerItem = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class TaskMetric:
    """A metric of a task.

    Attributes
    ----------
    card : Card
    prepare : callable
        ``(targets, logits) -> Weighted``.
    interval : Interval
    per_item : callable, optional
        ``(targets, logits) -> (items,)``, if the score is the mean of the items' scores.
    """

    card: Card
    prepare: Prepare
    interval: Interval
    per_item: PerItem | None = None


def hits(targets: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """1 where the largest logit is the target's, else 0."""
    return (logits.argmax(axis=1) == targets).astype(np.float64)


def key_hits(rule: str) -> PerItem:
    """Make the MIREX key score of each item; labels are the 24 keys, in the order of ``tonality.KEYS``."""
    return lambda targets, logits: score_table(rule)[targets, logits.argmax(axis=1)]


def tempo_class_hits(factors: Sequence[float]) -> PerItem:
    """Make Accuracy1 or Accuracy2 of each item; labels are the classes of :mod:`m2l_bench.tasks.bpm`, targets bpm."""
    return lambda targets, logits: tempo_hits(targets, CENTRES[logits.argmax(axis=1)], factors=factors)


def mean_of(per_item: PerItem) -> Prepare:
    """Make the weighted mean of the items' scores."""

    def prepare(targets: np.ndarray, logits: np.ndarray) -> Weighted:
        values = per_item(targets, logits)
        return lambda weights: float(values @ weights / weights.sum())

    return prepare


def macro_f1(targets: np.ndarray, logits: np.ndarray) -> Weighted:
    """Mean F1 over the labels that occur in the targets: ``2 TP / (2 TP + FP + FN)``."""
    n = logits.shape[1]
    predicted = logits.argmax(axis=1)

    def weigh(weights: np.ndarray) -> float:
        right = np.bincount(targets, weights * (predicted == targets), minlength=n)
        actual, guessed = np.bincount(targets, weights, minlength=n), np.bincount(predicted, weights, minlength=n)
        there = actual > 0
        return float(np.mean(2 * right[there] / (actual + guessed)[there]))

    return weigh


def roc_auc(targets: np.ndarray, logits: np.ndarray) -> Weighted:
    """Macro area under the ROC curve: the share of (present, absent) pairs in the right order; ties count one half.

    Computed from ranks (Mann and Whitney 1947), all tags at once. Tags that no item or every item has are left out.
    """
    order, present, known, tag, item, first, last = _ranked(targets, logits)

    def weigh(weights: np.ndarray) -> float:
        absent = _running(weights[order] * (known & ~present))  # (tags, items + 1)
        positive = weights[item]
        wins = np.bincount(tag, positive * (absent[tag, first] + absent[tag, last]), minlength=len(order)) / 2
        return _mean_where(wins, np.bincount(tag, positive, minlength=len(order)) * absent[:, -1])

    return weigh


def average_precision(targets: np.ndarray, logits: np.ndarray) -> Weighted:
    """Macro average precision: the mean over present items of the precision at their score.

    Tags that no item or every item has are left out.
    """
    order, present, known, tag, item, _, last = _ranked(targets, -logits)

    def weigh(weights: np.ndarray) -> float:
        ordered, positive = weights[order] * known, weights[item]
        total, hits = _running(ordered), _running(ordered * present)
        with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 before the first drawn item
            precision = hits[tag, last] / total[tag, last]
        summed = np.bincount(tag, np.where(positive > 0, positive * precision, 0.0), minlength=len(order))
        positives = np.bincount(tag, positive, minlength=len(order))
        return _mean_where(summed, np.where(positives < total[:, -1], positives, 0.0))

    return weigh


def _ranked(targets: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, ...]:
    """Sort the items of each tag by score, and locate the present items and their ties in that order.

    Returns ``order``, (tags, items), ascending; ``present`` and ``known``, (tags, items), whether the item at that place has
    the tag, and whether that is known; and for each present item, (present,): its ``tag``, its ``item``, and where its run of
    equal scores begins (``first``) and ends (``last``, exclusive).
    """
    order = np.argsort(scores.T, axis=1, kind="stable")
    ordered = np.take_along_axis(scores.T, order, axis=1)
    truth = np.take_along_axis(targets.T, order, axis=1)
    present, known = truth > 0, truth >= 0
    n = len(scores)
    edges = ordered[:, 1:] != ordered[:, :-1]
    ends = np.ones((len(order), 1), bool)
    places = np.arange(n)
    first = np.maximum.accumulate(np.where(np.hstack([ends, edges]), places, 0), axis=1)
    last = np.minimum.accumulate(np.where(np.hstack([edges, ends]), places + 1, n)[:, ::-1], axis=1)[:, ::-1]
    tag, _ = np.nonzero(present)
    return order, present, known, tag, order[present], first[present], last[present]


def _running(values: np.ndarray) -> np.ndarray:
    """Running sums along the last axis, with a zero before them: entry i is the sum of the first i values."""
    sums = np.zeros((len(values), values.shape[1] + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def _mean_where(numerator: np.ndarray, denominator: np.ndarray) -> float:
    defined = denominator > 0
    return float(np.mean(numerator[defined] / denominator[defined])) if defined.any() else float("nan")


def _metric(
    name: str,
    title: str,
    formula: str,
    source: str,
    *,
    interval: Interval,
    prepare: Prepare | None = None,
    per_item: PerItem = hits,
    version: int = 2,
) -> TaskMetric:
    card = Card(
        name=name,
        title=title,
        higher_is_better=True,
        formula=formula,
        rate_rule="none: scored on predictions",
        channel_rule="latents are averaged over the streams (channels), logits over the clips of an item",
        constants={"interval": interval.rule},
        source=source,
        version=version,
    )
    if prepare is not None:
        return TaskMetric(card=card, prepare=prepare, interval=interval)
    return TaskMetric(card=card, prepare=mean_of(per_item), interval=interval, per_item=per_item)


_MIREX = "1 same key, 0.5 same mode a fifth above{}, 0.3 relative, 0.2 parallel, else 0; mean over items"
_METRICS = (
    _metric(
        "accuracy",
        "accuracy",
        "share of items whose largest logit is the target's",
        "-",
        interval=Interval(most=1),
    ),
    _metric(
        "macro_f1",
        "macro F1",
        "2 TP / (2 TP + FP + FN) a label, mean over the labels of the test split",
        "-",
        interval=Interval(),
        prepare=macro_f1,
    ),
    _metric(
        "key_mirex",
        "MIREX key score",
        _MIREX.format(""),
        "MIREX 2005; mir_eval (Raffel et al. 2014)",
        interval=Interval(),
        per_item=key_hits("mirex"),
    ),
    _metric(
        "key_mirex_2017",
        "MIREX 2017 key score",
        _MIREX.format(" or below"),
        "MIREX 2017",
        interval=Interval(),
        per_item=key_hits("mirex-2017"),
    ),
    _metric(
        "tempo_accuracy1",
        "Accuracy1",
        "share of items whose predicted tempo, the centre of a class, is within 4 % of the reference",
        "Gouyon et al. 2006",
        interval=Interval(most=1),
        per_item=tempo_class_hits(SAME),
        version=1,
    ),
    _metric(
        "tempo_accuracy2",
        "Accuracy2",
        "as Accuracy1, also within 4 % of 2, 3, 1/2 or 1/3 times the reference",
        "Gouyon et al. 2006",
        interval=Interval(most=1),
        per_item=tempo_class_hits(OCTAVES),
        version=1,
    ),
    _metric(
        "roc_auc",
        "ROC-AUC",
        "area under the ROC curve a tag (ties one half), mean over tags both present and absent in the test split",
        "Mann and Whitney 1947",
        interval=Interval(of_few=True),
        prepare=roc_auc,
    ),
    _metric(
        "average_precision",
        "PR-AUC",
        "sum of precision times step in recall a tag, mean over tags both present and absent in the test split",
        "scikit-learn's average_precision_score",
        interval=Interval(most=4, of_few=True),  # near 1 the variance is too small: most test sets have no rare error
        prepare=average_precision,
    ),
)
METRICS: dict[str, TaskMetric] = {metric.card.name: metric for metric in _METRICS}
TASK_CARDS: dict[str, Card] = {name: metric.card for name, metric in METRICS.items()} | TRACK_CARDS
"""Of the metrics of all kinds of task, those in time included."""

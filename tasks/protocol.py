"""Evaluation of a task: features of its items, a probe and seeds in; scores and predictions out.

The order of steps is the protocol. Training and validation labels are read; the probe's grid is fitted on training clips
and selected by the main metric on validation items; the test items are predicted; only then are the test labels read.
The result depends on the task, the features, the probe and the seed alone: a seed gives the same result whether it is
evaluated with others or by itself, so that a run can be resumed at any seed.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from m2l_bench.results import joined_notes
from m2l_bench.tasks.base import Task, as_tags
from m2l_bench.tasks.bpm import nearest_class
from m2l_bench.tasks.outcome import Fitted, Result, SeedResult
from m2l_bench.tasks.scoring import METRICS
from m2l_bench.tasks.sources.source import KnownTags, Label, Labels, TaskItem

UNKNOWN = -1  # target of a tag for which an item was not annotated


def evaluate(
    task: Task,
    features: Mapping[str, np.ndarray],
    probe: Any,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    train_items: int | None = None,
) -> Result:
    """Probe frozen features on a task: :func:`fit` on its training and validation items, then a test of all seeds.

    Parameters
    ----------
    task : Task
    features : mapping of str to np.ndarray
        Item id -> (dim, clips), as returned by :meth:`Task.pool`. An item without features is left out of training, or
        counted as failed in the test. They are read item by item, so that a mapping that reads from disk saves memory.
    probe : Probe or scikit-learn classifier
        Not modified. The grid of a probe of this package is selected by the task's main metric on validation items;
        another classifier is fitted on the training items (see :mod:`m2l_bench.probes.estimator`).
    seeds : sequence of int
    train_items : int, optional
        Number of training items, chosen with the labels in the same proportions; a larger choice contains every smaller
        one. The whole training split by default.

    Returns
    -------
    Result

    Raises
    ------
    LeakError
        If a group lies in two splits.
    ValueError
        If a split has no item with features and a label, features differ in dimension, or the training split has fewer
        items than `train_items`.
    """
    return fit(task, features, probe, seeds=seeds, train_items=train_items).test(features)


def fit(
    task: Task,
    features: Mapping[str, np.ndarray],
    probe: Any,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    train_items: int | None = None,
) -> FittedTask:
    """Fit a probe for each seed, for tests on several features of the test items; parameters as :func:`evaluate`."""
    items = task.items()
    train = _part(task, items, features, "train", task.split_labels("train"))
    valid = _part(task, items, features, "valid", task.split_labels("valid"))
    table = task.labels or tuple(sorted({tag for label in train.labels for tag in as_tags(label)}))
    if train_items is not None:
        train = train.chosen(train_items)
    models = _fit(task, probe, table, train, valid, seeds)
    return FittedTask(
        task=task,
        probe=type(probe).__name__,
        seeds=tuple(seeds),
        models=tuple(models),
        table=table,
        n_train=len(train.items),
        notes=_training_notes(models, train, valid),
    )


@dataclass(frozen=True, kw_only=True)
class FittedTask(Fitted):
    """Probes of a task of labels.

    Attributes
    ----------
    table : tuple of str
        The labels that they tell apart.
    """

    table: tuple[str, ...]

    def test(self, features: Mapping[str, np.ndarray]) -> Result:
        """Predict the test items from their features, as in :func:`evaluate`, and only then read their labels."""
        task, table = self.task, self.table
        test = _part(task, task.items(), features, "test")
        logits = [test.average(_widen(model.logits(test.clips), model.classes_, len(table))) for model in self.models]

        test_labels = task.split_labels("test")  # only now, after everything is predicted
        logits = [values[[item.id in test_labels for item in test.items]] for values in logits]
        test = test.labelled(test_labels)
        unseen = sorted({tag for label in test.labels for tag in as_tags(label)}.difference(table))
        if task.kind != "multi-label":  # a label that training lacks is a column of its own: always predicted wrongly
            table = (*table, *unseen)
        targets = _targets(task, table, test.labels)
        groups = np.array([item.group for item in test.items])
        logits = [_widen(values, np.arange(values.shape[1]), len(table)) for values in logits]
        return Result(
            task=task,
            probe=self.probe,
            labels=table,
            items=test.items,
            targets=targets,
            seeds=tuple(
                _score(task, groups, targets, values, seed, float(np.max(model.scores_)))
                for seed, values, model in zip(self.seeds, logits, self.models, strict=True)
            ),
            failures=test.failures,
            note=joined_notes(*_test_notes(task, table, targets, unseen), *self.notes),
            data_hash=planned_hash(task, test_labels),
            n_train=self.n_train,
        )


def planned_hash(task: Task, labels: Labels) -> str:
    """Hash of all test items and their labels, failed ones included; 16 hexadecimal digits."""
    lines = [f"{item.id}\t{labels.get(item.id, '')!s}" for item in task.items() if item.split == "test"]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Part:
    """Clips of one split: (clips, dim), the position of each clip's item, and the items that were left out."""

    items: list[TaskItem]
    clips: np.ndarray
    item_of: np.ndarray
    labels: list[Label]
    failures: tuple[tuple[str, str], ...]

    def average(self, logits: np.ndarray) -> np.ndarray:
        """(clips, labels) -> (items, labels)."""
        sums = np.zeros((len(self.items), logits.shape[1]))
        np.add.at(sums, self.item_of, logits)
        return sums / np.bincount(self.item_of, minlength=len(self.items))[:, None]

    def labelled(self, labels: Labels) -> _Part:
        """Keep the items that have a usable label, and add it."""
        items, failed = _with_label(self.items, labels)
        has_label = np.array([item.id in labels for item in self.items], dtype=bool)
        kept = has_label[self.item_of]
        clips = self.clips[kept] if failed else self.clips
        renumbered = (np.cumsum(has_label) - 1)[self.item_of[kept]]
        return _Part(items, clips, renumbered, [labels[item.id] for item in items], (*self.failures, *failed))

    def chosen(self, n: int) -> _Part:
        """Choose `n` labelled items with the labels in the proportions of all, ordered by the hashes of their ids."""
        if not 1 <= n <= len(self.items):
            raise ValueError(f"train_items must be 1 to {len(self.items)}, got {n}")
        label_of = {item.id: label for item, label in zip(self.items, self.labels, strict=True)}
        sizes, seen = Counter(self.labels), Counter[Label]()
        share = {}  # position of an item among the items of its label, 0 to 1
        for name in sorted(label_of, key=lambda name: hashlib.sha256(name.encode()).digest()):
            seen[label_of[name]] += 1
            share[name] = (seen[label_of[name]] - 0.5) / sizes[label_of[name]]
        part = self.labelled({name: label_of[name] for name in sorted(share, key=lambda name: share[name])[:n]})
        return replace(part, failures=self.failures)  # an item that was not chosen did not fail


def _part(
    task: Task, items: list[TaskItem], features: Mapping[str, np.ndarray], split: str, labels: Labels | None = None
) -> _Part:
    """Stack the clips of a split's items, of those that have a label where labels are given.

    Features are asked for item by item, twice, so that a mapping may read them from disk and nothing is held but the stack.
    """
    from m2l_bench.probes.selection import is_large

    planned = [item for item in items if item.split == split]
    kept = [item for item in planned if item.id in features]
    if not kept:
        raise ValueError(f"features must hold items of the {split} split, got none of {len(planned)}")
    failures = [(item.id, "no features") for item in planned if item.id not in features]
    if labels is not None:
        kept, failed = _with_label(kept, labels)
        failures += failed
    dim = np.asarray(next(iter(features.values()))).shape[0]
    counts, kinds = [], []
    for item in kept:
        array = np.asarray(features[item.id])
        if array.ndim != 2 or array.shape[0] != dim or not array.shape[1]:
            raise ValueError(f"features of {item.id!r} must have shape ({dim}, clips), got {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"features of {item.id!r} must be finite, got {(~np.isfinite(array)).sum()} that are not")
        counts.append(array.shape[1])
        kinds.append(array.dtype)
    item_of = np.repeat(np.arange(len(kept)), counts)
    shape = len(item_of), dim
    single = is_large(shape) and set(kinds) == {np.dtype(np.float32)}
    # The order in memory is part of the protocol: it decides how products round.
    clips = np.empty(shape, np.float32 if single else np.float64, order="F" if labels is None else "C")
    for item, end, count in zip(kept, np.cumsum(counts), counts, strict=True):
        clips[end - count : end] = np.asarray(features[item.id]).T
    return _Part(kept, clips, item_of, [labels[item.id] for item in kept] if labels else [], tuple(failures))


def _with_label(items: list[TaskItem], labels: Labels) -> tuple[list[TaskItem], list[tuple[str, str]]]:
    """Items that have a usable label, and the others as failures."""
    found = [item for item in items if item.id in labels]
    if not found:
        raise ValueError(f"a split must have items with both features and a label, got none of {len(items)}")
    return found, [(item.id, "no usable label") for item in items if item.id not in labels]


def _targets(task: Task, table: tuple[str, ...], labels: Sequence[Label]) -> np.ndarray:
    """Label positions, `len(table)` for a label that is not in it; tempi, (items,); or tags, (items, tags)."""
    if task.kind == "tempo":
        return np.array(labels, dtype=np.float64)
    place = {label: k for k, label in enumerate(table)}
    if task.kind != "multi-label":
        return np.array([place.get(str(label), len(table)) for label in labels])
    targets = np.zeros((len(labels), len(table)), dtype=np.int64)
    for row, tags in zip(targets, labels, strict=True):
        if isinstance(tags, KnownTags):
            row[:] = UNKNOWN
            row[[place[tag] for tag in tags.absent if tag in place]] = 0
        row[[place[tag] for tag in as_tags(tags) if tag in place]] = 1
    return targets


def _classes(task: Task, targets: np.ndarray) -> np.ndarray:
    """What a probe is fitted to: the targets, or the classes of tempi."""
    return nearest_class(targets) if task.kind == "tempo" else targets


def _widen(logits: np.ndarray, classes: np.ndarray, n: int) -> np.ndarray:
    """Move each column to its place in the label table; labels that training lacks get minus infinity."""
    wide = np.full((len(logits), n), -np.inf)
    wide[:, classes] = logits
    return wide


def _fit(
    task: Task, probe: Any, table: tuple[str, ...], train: _Part, valid: _Part, seeds: Sequence[int]
) -> Sequence[Any]:
    """Fit the probe for each seed; the grid of a probe of this package is selected by the main metric on validation items."""
    from sklearn.base import clone
    from sklearn.exceptions import ConvergenceWarning

    from m2l_bench.probes.estimator import FittedEstimator
    from m2l_bench.probes.selection import Probe, fit_seeds

    targets = _classes(task, _targets(task, table, train.labels))
    valid_targets = _targets(task, table, valid.labels)

    def scoring(_: np.ndarray, logits: np.ndarray, classes: np.ndarray) -> float:
        wide = _widen(valid.average(logits), classes, len(table) + 1)  # the last column: labels that training lacks
        if task.kind == "multi-label":
            wide = wide[:, :-1]
        return METRICS[task.main_metric].prepare(valid_targets, wide)(np.ones(len(wide)))

    held = (valid.clips, _classes(task, valid_targets)[valid.item_of])
    if not isinstance(probe, Probe):
        train_targets = targets[train.item_of]
        return [
            FittedEstimator(
                probe,
                train.clips,
                train_targets,
                seed,
                lambda fitted: scoring(held[1], fitted.logits(valid.clips), fitted.classes_),
            )
            for seed in seeds
        ]
    probes = clone(probe).set_params(scoring=scoring)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # reported in the result's note
        return fit_seeds(probes, train.clips, targets[train.item_of], validation=held, seeds=seeds)


def _score(
    task: Task, groups: np.ndarray, targets: np.ndarray, logits: np.ndarray, seed: int, validation_score: float
) -> SeedResult:
    prepared = {metric: METRICS[metric].prepare(targets, logits) for metric in task.metrics}
    return SeedResult(
        seed=seed,
        logits=logits,
        scores={metric: weighted(np.ones(len(logits))) for metric, weighted in prepared.items()},
        intervals={metric: METRICS[metric].interval.of(weighted, groups) for metric, weighted in prepared.items()},
        validation_score=validation_score,
    )


def _test_notes(task: Task, table: tuple[str, ...], targets: np.ndarray, unseen: list[str]) -> list[str]:
    notes = [task.caveat] if task.caveat else []
    if task.kind == "multi-label":
        absent = int((~((targets == 1).any(axis=0) & (targets == 0).any(axis=0))).sum())
        if absent:
            n_tags = targets.shape[1]
            notes.append(f"{absent} of {n_tags} tags are absent from (or on all of) the test split and left out.")
        if unknown := float((targets == UNKNOWN).mean()):
            notes.append(f"{unknown:.0%} of the pairs of a test item and a tag are unknown and left out.")
    if unseen:
        notes.append(f"{len(unseen)} labels of the test split do not occur in training: {', '.join(unseen)}.")
    if len(targets) < 10:
        notes.append(f"{len(targets)} test items: scores and intervals are rough.")
    positions = _classes(task, targets)
    n_items = np.bincount(positions, minlength=len(table)) if targets.ndim == 1 else (targets == 1).sum(axis=0)
    # Absent tags are named above; few data have all 24 keys, and tempi are no labels.
    fewest = {"single-label": 0, "tempo": 2}.get(task.kind, 1)
    if rare := [label for label, n in zip(table, n_items, strict=True) if fewest <= n < 2]:
        notes.append(f"Labels with fewer than 2 test items: {', '.join(rare)}.")
    return notes


def _training_notes(models: Sequence[Any], train: _Part, valid: _Part) -> tuple[str, ...]:
    notes = []
    if not all(model.converged_ for model in models):
        notes.append("The probe's training was stopped before it converged.")
    if edges := sorted({model.edge_ for model in models if model.edge_}):
        notes.append(f"The selected penalty is at the edge of the grid ({', '.join(edges)}).")
    for split, part in (("training", train), ("validation", valid)):
        if part.failures:
            notes.append(f"{len(part.failures)} {split} items were left out (no features or no usable label).")
    return tuple(notes)

"""The one entry point: features of a task's items, a probe and seeds in; scores and predictions out.

The order of events is the protocol. Training and validation labels are read; the probe's grid is fitted on training
clips and selected by the main metric on validation items; the test items are predicted; only then are the test labels
read. What comes out depends on the task, the features, the probe and the seed alone: each seed's part is the same
whether it is evaluated with others or by itself, so a run may be resumed at any seed.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from m2l_bench.results import joined_notes
from m2l_bench.tasks.base import Task, multi_hot
from m2l_bench.tasks.outcome import Result, SeedResult
from m2l_bench.tasks.scoring import METRICS, group_bootstrap
from m2l_bench.tasks.sources.source import Item, Labels

if TYPE_CHECKING:
    from m2l_bench.probes.selection import Probe


def evaluate(
    task: Task,
    features: Mapping[str, np.ndarray],
    probe: Probe,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    train_items: int | None = None,
) -> Result:
    """Probe frozen features on a task.

    Parameters
    ----------
    task : Task
    features : mapping of str to np.ndarray
        Item id -> (dim, clips), as :meth:`Task.pool` makes them. An item without features is a failure: left out of
        training or counted as failed in the test.
    probe : Probe
        Left as it is; its scoring is replaced by the task's main metric.
    seeds : sequence of int
    train_items : int, optional
        Train on so many items only, the labels in the same proportions; a larger choice holds every smaller one. The
        whole training split by default.

    Returns
    -------
    Result

    Raises
    ------
    LeakError
        If a group straddles splits.
    ValueError
        If a split has no item with features and a label, features differ in dimension, or the training split has fewer
        items than are asked for.
    """
    from sklearn.base import clone
    from sklearn.exceptions import ConvergenceWarning

    from m2l_bench.probes.selection import fit_seeds

    items = task.items()
    train = _part(task, items, features, "train").labelled(task.split_labels("train"))
    valid = _part(task, items, features, "valid").labelled(task.split_labels("valid"))
    table = task.labels or tuple(sorted({tag for label in train.labels for tag in _tags(label)}))
    if train_items is not None:
        train = train.chosen(train_items)
    targets, valid_targets = _targets(task, table, train.labels), _targets(task, table, valid.labels)
    main = METRICS[task.main_metric]

    def scoring(_: np.ndarray, logits: np.ndarray, classes: np.ndarray) -> float:
        wide = _widen(valid.average(logits), classes, len(table) + 1)  # the last column: labels training lacks
        if task.kind == "multi-label":
            wide = wide[:, :-1]
        return main.prepare(valid_targets, wide)(np.ones(len(wide)))

    held = (valid.clips, valid_targets[valid.item_of])
    probes = clone(probe).set_params(scoring=scoring)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the result's note says it, for good
        fitted = fit_seeds(probes, train.clips, targets[train.item_of], validation=held, seeds=seeds)

    test = _part(task, items, features, "test")
    logits = [test.average(_widen(model.logits(test.clips), model.classes_, len(table))) for model in fitted]
    # Everything is predicted: only now may the test labels be seen.
    return _score(task, type(probe).__name__, table, test, seeds, logits, fitted, train, valid)


@dataclass(frozen=True)
class _Part:
    """The clips of one split: (clips, dim), which item each belongs to, and the items that had to be left out."""

    items: list[Item]
    clips: np.ndarray
    item_of: np.ndarray
    labels: list[str | tuple[str, ...]]
    failures: tuple[tuple[str, str], ...]

    def average(self, logits: np.ndarray) -> np.ndarray:
        """(clips, labels) -> (items, labels)."""
        sums = np.zeros((len(self.items), logits.shape[1]))
        np.add.at(sums, self.item_of, logits)
        return sums / np.bincount(self.item_of, minlength=len(self.items))[:, None]

    def labelled(self, labels: Labels) -> _Part:
        """Only the items that bear a usable label, with it."""
        there = np.array([item.id in labels for item in self.items], dtype=bool)
        if not there.any():
            raise ValueError(f"no item of the split has both features and a label, of {len(self.items)}")
        kept = there[self.item_of]
        items = [item for item, keep in zip(self.items, there, strict=True) if keep]
        renumbered = (np.cumsum(there) - 1)[self.item_of[kept]]
        lost = [(item.id, "no usable label") for item, keep in zip(self.items, there, strict=True) if not keep]
        return _Part(items, self.clips[kept], renumbered, [labels[item.id] for item in items], (*self.failures, *lost))

    def chosen(self, n: int) -> _Part:
        """`n` of the labelled items, their labels in the proportions of all, in an order that the ids' hashes shuffle."""
        if not 1 <= n <= len(self.items):
            raise ValueError(f"train_items must be 1 to {len(self.items)}, got {n}")
        shuffled = sorted(self.items, key=lambda item: hashlib.sha256(item.id.encode()).digest())
        label_of: dict[str, Any] = {item.id: label for item, label in zip(self.items, self.labels, strict=True)}
        sizes, seen = Counter(self.labels), Counter[str | tuple[str, ...]]()
        share = {}  # of its label's items that have come when this one has
        for item in shuffled:
            label = label_of[item.id]
            seen[label] += 1
            share[item.id] = (seen[label] - 0.5) / sizes[label]
        names = sorted(share, key=lambda name: share[name])[:n]
        part = self.labelled({name: label_of[name] for name in names})
        return replace(part, failures=self.failures)  # what was not chosen did not fail


def _part(task: Task, items: Sequence[Item], features: Mapping[str, np.ndarray], split: str) -> _Part:
    planned = [item for item in items if item.split == split]
    kept = [item for item in planned if item.id in features]
    if not kept:
        raise ValueError(f"{task.name}: features must hold items of the {split} split, got none of {len(planned)}")
    arrays = [np.asarray(features[item.id], dtype=np.float64) for item in kept]
    dim = np.asarray(next(iter(features.values()))).shape[0]
    for item, array in zip(kept, arrays, strict=True):
        if array.ndim != 2 or array.shape[0] != dim or not array.shape[1]:
            raise ValueError(f"features of {item.id!r} must have shape ({dim}, clips), got {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(
                f"features of {item.id!r} must be finite, got {int((~np.isfinite(array)).sum())} that are not"
            )
    item_of = np.repeat(np.arange(len(kept)), [array.shape[1] for array in arrays])
    failures = tuple((item.id, "no features") for item in planned if item.id not in features)
    return _Part(kept, np.concatenate(arrays, axis=1).T, item_of, [], failures)


def _tags(label: str | tuple[str, ...]) -> tuple[str, ...]:
    return label if isinstance(label, tuple) else (label,)


def _targets(task: Task, table: tuple[str, ...], labels: Sequence[str | tuple[str, ...]]) -> np.ndarray:
    """Label positions, `len(table)` for one that is not in it; or tags, (items, tags)."""
    if task.kind == "multi-label":
        return multi_hot([_tags(label) for label in labels], table)
    place = {label: k for k, label in enumerate(table)}
    return np.array([place.get(str(label), len(table)) for label in labels])


def _widen(logits: np.ndarray, classes: np.ndarray, n: int) -> np.ndarray:
    """Put the columns where the label table has them; labels that training lacks get minus infinity."""
    wide = np.full((len(logits), n), -np.inf)
    wide[:, classes] = logits
    return wide


def _score(
    task: Task,
    probe: str,
    table: tuple[str, ...],
    predicted: _Part,
    seeds: Sequence[int],
    logits: list[np.ndarray],
    fitted: list[Probe],
    train: _Part,
    valid: _Part,
) -> Result:
    test_labels = task.split_labels("test")
    test = predicted.labelled(test_labels)
    place = {item.id: k for k, item in enumerate(predicted.items)}
    rows = [place[item.id] for item in test.items]
    strange = sorted({tag for label in test.labels for tag in _tags(label)}.difference(table))
    if task.kind != "multi-label":  # nothing can be right there, and it must count
        table = (*table, *strange)
    targets = _targets(task, table, test.labels)
    groups = np.array([item.group for item in test.items])
    results = []
    for seed, every, model in zip(seeds, logits, fitted, strict=True):
        own = np.full((len(rows), len(table)), -np.inf)
        own[:, : every.shape[1]] = every[rows]
        prepared = [METRICS[metric].prepare(targets, own) for metric in task.metrics]
        intervals = group_bootstrap(prepared, groups)
        results.append(
            SeedResult(
                seed=seed,
                logits=own,
                scores={m: p(np.ones(len(rows))) for m, p in zip(task.metrics, prepared, strict=True)},
                intervals={
                    m: (float(low), float(high)) for m, (low, high) in zip(task.metrics, intervals, strict=True)
                },
                validation_score=float(np.max(model.scores_)),
            )
        )
    return Result(
        task=task,
        probe=probe,
        labels=table,
        items=test.items,
        targets=targets,
        seeds=tuple(results),
        failures=test.failures,
        note=joined_notes(*_notes(task, table, targets, strange, fitted, train, valid)),
        data_hash=planned_hash(task, test_labels),
        n_train=len(train.items),
    )


def planned_hash(task: Task, labels: Labels) -> str:
    """Hash of the planned test items and their labels, 16 hexadecimal digits: whatever failed, it is the same data."""
    lines = [f"{item.id}\t{labels.get(item.id, '')}" for item in task.items() if item.split == "test"]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _notes(
    task: Task,
    table: tuple[str, ...],
    targets: np.ndarray,
    strange: list[str],
    fitted: list[Probe],
    train: _Part,
    valid: _Part,
) -> list[str]:
    notes = [task.caveat] if task.caveat else []
    if task.kind == "multi-label":
        absent = int(((targets == 0).all(axis=0) | (targets == 1).all(axis=0)).sum())
        if absent:
            notes.append(f"{absent} of {len(table)} tags are absent from (or on all of) the test split and left out.")
    if strange:
        notes.append(f"{len(strange)} labels of the test split do not occur in training: {', '.join(strange)}.")
    if not all(model.converged_ for model in fitted):
        notes.append("The probe's training was stopped before it converged.")
    for split, part in (("training", train), ("validation", valid)):
        if part.failures:
            notes.append(f"{len(part.failures)} {split} items were left out (no features or no usable label).")
    return notes

"""What an evaluation makes: fitted probes; scores with two kinds of uncertainty kept apart, predictions, confusion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from m2l_bench.tasks.annotation import Annotation
from m2l_bench.tasks.base import Task
from m2l_bench.tasks.bpm import nearest_class
from m2l_bench.tasks.intervals import group_contributions
from m2l_bench.tasks.scoring import METRICS
from m2l_bench.tasks.sources.source import TaskItem

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Probes that are fitted on the training items of a task, one a seed.

    Attributes
    ----------
    task : Task
    probe : str
        Its name.
    seeds : tuple of int
    models : tuple
        Fitted probes, in the order of the seeds.
    n_train : int
        Number of training items.
    notes : tuple of str
        Caveats of the training.
    """

    task: Task
    probe: str
    seeds: tuple[int, ...]
    models: tuple[Any, ...]
    n_train: int
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SeedScores:
    """The scores of one seed.

    Attributes
    ----------
    seed : int
    scores : mapping of str to float
        Metric -> score on the test split.
    intervals : mapping of str to (float, float)
        Metric -> 95 % interval over groups of test items, by the rule in the metric's card.
    validation_score : float
        Main metric on the validation split, of the grid point that was selected.
    """

    seed: int
    scores: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    validation_score: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Evaluation:
    """What the results of all kinds of tasks have.

    Attributes
    ----------
    task : Task
    probe : str
        Its name in tables.
    items : list of TaskItem
        The scored test items, by id.
    seeds : tuple of SeedScores
    failures : tuple of (str, str)
        Test items that could not be scored, and why.
    note : str
        Caveats that stand under the table.
    data_hash : str
        Of the planned items and their labels: results over different ones are never paired.
    n_train : int
        Number of items that the probe was trained on.
    """

    task: Task
    probe: str
    items: list[TaskItem]
    seeds: tuple[SeedScores, ...]
    failures: tuple[tuple[str, str], ...]
    note: str
    data_hash: str
    n_train: int

    def __repr__(self) -> str:
        scores = ", ".join(f"{metric} {self.mean(metric):.3f}" for metric in self.task.metrics)
        counts = f"{len(self.items)} test items, {len(self.failures)} failed, {len(self.seeds)} seeds"
        return f"{type(self).__name__}({self.task.name}, {self.probe}: {scores}; {counts})"

    def to_frame(self) -> pd.DataFrame:
        """Give a DataFrame with one row for each metric and seed.

        Returns
        -------
        pandas.DataFrame
            ``metric`` (text), ``seed`` (int64), and ``value``, ``ci_low``, ``ci_high`` (float64).
        """
        import pandas as pd

        rows = [
            (metric, seed.seed, seed.scores[metric], *seed.intervals[metric])
            for metric in self.task.metrics
            for seed in self.seeds
        ]
        return pd.DataFrame(rows, columns=["metric", "seed", "value", "ci_low", "ci_high"])

    def mean(self, metric: str) -> float:
        """Mean over seeds."""
        return float(np.mean([seed.scores[metric] for seed in self.seeds]))

    def spread(self, metric: str) -> float:
        """Standard deviation over seeds (n - 1), NaN of one seed; the intervals over items do not include it."""
        scores = [seed.scores[metric] for seed in self.seeds]
        return float(np.std(scores, ddof=1)) if len(scores) > 1 else float("nan")


@dataclass(frozen=True, kw_only=True)
class SeedResult(SeedScores):
    """The result of one seed on a task of labels.

    Attributes
    ----------
    logits : np.ndarray, (test items, labels)
        Minus infinity for a label that no training item has.
    """

    logits: np.ndarray


@dataclass(frozen=True, kw_only=True, repr=False)
class Result(Evaluation):
    """The result of a probe on a task of labels, for every seed.

    Attributes
    ----------
    labels : tuple of str
        Columns of logits.
    targets : np.ndarray
        Label positions (items,), tempi in bpm (items,), or tags (items, tags): 0, 1 and -1 (unknown).
    seeds : tuple of SeedResult
    """

    labels: tuple[str, ...]
    targets: np.ndarray
    seeds: tuple[SeedResult, ...]

    def confusion(self) -> np.ndarray:
        """Counts summed over seeds, (reference, predicted); of tags (tags, 2, 2), each absent then present, where known."""
        n = len(self.labels)
        if self.targets.ndim == 1:
            positions = nearest_class(self.targets) if self.task.kind == "tempo" else self.targets
            pairs = sum(np.bincount(positions * n + s.logits.argmax(axis=1), minlength=n * n) for s in self.seeds)
            return np.asarray(pairs).reshape(n, n)
        guesses = np.stack([seed.logits > 0 for seed in self.seeds]).astype(np.int64)
        cells = [[((self.targets == r) & (guesses == p)).sum(axis=(0, 1)) for p in (0, 1)] for r in (0, 1)]
        return np.asarray(cells).transpose(2, 0, 1)

    def item_values(self, metric: str, seed: SeedResult) -> np.ndarray:
        """The items' scores, or their groups' contributions to a score that no single item has; their mean is the score."""
        per_item = METRICS[metric].per_item
        if per_item is not None:
            return per_item(self.targets, seed.logits)
        weighted = METRICS[metric].prepare(self.targets, seed.logits)
        return group_contributions(weighted, np.array([item.group for item in self.items]))

    def names(self, target: np.ndarray) -> str:
        """The label of a position, the class of a tempo, or the tags that are there, separated by semicolons."""
        if self.targets.ndim == 1:
            return self.labels[int(nearest_class(target) if target.dtype.kind == "f" else target)]
        return ";".join(label for label, there in zip(self.labels, target, strict=True) if there > 0)

    def decide(self, logits: np.ndarray) -> np.ndarray:
        """The predicted label's position, or of each tag whether it is predicted."""
        return np.asarray(logits.argmax()) if self.targets.ndim == 1 else logits > 0


@dataclass(frozen=True, kw_only=True)
class TimeSeed(SeedScores):
    """The result of one seed on a task in time.

    Attributes
    ----------
    values : mapping of str to np.ndarray
        Metric -> score of each test track, NaN where it is not defined.
    estimates : tuple of Annotation
        Of the test tracks.
    threshold : float
        Selected on the validation tracks; NaN where there is none.
    """

    values: Mapping[str, np.ndarray]
    estimates: tuple[Annotation, ...]
    threshold: float


@dataclass(frozen=True, kw_only=True, repr=False)
class TimeResult(Evaluation):
    """The result of a probe on a task in time, for every seed.

    Attributes
    ----------
    references : tuple of Annotation
        Of the test tracks.
    seeds : tuple of TimeSeed
    """

    references: tuple[Annotation, ...]
    seeds: tuple[TimeSeed, ...]

    def item_values(self, metric: str, seed: TimeSeed) -> np.ndarray:
        """The tracks' scores; their mean, where they are defined, is the score."""
        return seed.values[metric]

"""Evaluation of a task in time: the latents of its tracks, a probe and seeds in; estimates and their scores out.

The order of steps is that of :mod:`m2l_bench.tasks.protocol`: training and validation annotations are read; the probe's grid
(and a threshold, where there is one) is selected by the main metric on validation tracks; the test tracks are estimated; only
then are the test annotations read.

Conventions
-----------
One rule for all encoders, so that a slow one is neither favoured nor held back:

- Latents of more than 50 frames a second are averaged onto the grid. A slower one emits K = ceil(50 / latent_rate) outputs for
  each frame, one for each grid step of its span, each with weights of its own: nothing is interpolated.
- Frame k is centred at (k + 0.5) / latent_rate + latent_offset seconds; ``latent_offset`` is the encoder's, 0 by default.
- The features of a frame are the frame, the mean of the frames in the 250 ms before it and of those in the 250 ms after it:
  context is equal in seconds. Where there is none, the frame itself stands for it.
- Every frame of the training tracks is an example; of more than :data:`MOST_FRAMES` grid frames (or :data:`MOST_VALUES`
  features) as many are drawn by the seed. Validation tracks are drawn, once, until they have as many frames.
- Selection compares estimates and annotations on the grid; test scores are mir_eval's, on the annotation as it is.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from m2l_bench.results import joined_notes
from m2l_bench.statistics import mean_interval
from m2l_bench.tasks.annotation import GRID, OUTPUTS, THRESHOLDS, Annotation, estimate, events, targets, tunable
from m2l_bench.tasks.frames import Frames, Track, frames_of, on_grid
from m2l_bench.tasks.outcome import Fitted, TimeResult, TimeSeed
from m2l_bench.tasks.protocol import planned_hash
from m2l_bench.tasks.sources.source import TaskItem
from m2l_bench.tasks.track_scores import CARDS, FEWEST_GROUPS, score

if TYPE_CHECKING:
    from m2l_bench.tasks.base import Task

MOST_FRAMES = 200_000
MOST_VALUES = 2**28  # float64: 2 GB
MOST_STEPS = 400  # of an epoch of the perceptron, after which the worse half of its grid stops: of up to 512 frames
MOST_EPOCHS, PATIENCE = 10, 5  # of the perceptron: of so many frames it needs no other regularisation
TOLERANCE = 1e-3  # of the linear probe: the loss is within 5e-7 of its minimum, and scores within about 0.001


def evaluate_in_time(
    task: Task,
    tracks: Callable[[str], Track],
    available: Sequence[str],
    probe: Any,
    *,
    seeds: Sequence[int] = (0, 1, 2),
) -> TimeResult:
    """Probe latents on a task in time.

    Parameters
    ----------
    task : Task
        Of one of the kinds of :mod:`m2l_bench.tasks.annotation`.
    tracks : callable
        Item id -> its latents, read when they are needed: one track is held at a time.
    available : sequence of str
        Ids of the items that have latents; others are left out of training, or counted as failed in the test.
    probe : Probe or scikit-learn classifier
        Not modified. Of a classifier a clone is fitted for each output of a frame; only the threshold is selected.
    seeds : sequence of int

    Returns
    -------
    TimeResult

    Raises
    ------
    LeakError
        If a group lies in two splits.
    ValueError
        If a split has no item with latents and an annotation, or a classifier cannot be fitted.
    """
    return fit_in_time(task, tracks, available, probe, seeds=seeds).test(tracks, available)


def fit_in_time(
    task: Task,
    tracks: Callable[[str], Track],
    available: Sequence[str],
    probe: Any,
    *,
    seeds: Sequence[int] = (0, 1, 2),
) -> FittedInTime:
    """Fit a probe for each seed, for tests on several latents of the test tracks; parameters as :func:`evaluate_in_time`."""
    items, there = task.items(), set(available)
    parts = {
        split: [item for item in items if item.split == split and item.id in there] for split in ("train", "valid")
    }
    annotations = {split: task.split_annotations(split) for split in parts}
    parts = {split: [item for item in part if item.id in annotations[split]] for split, part in parts.items()}
    for split, part in parts.items():
        if not part:
            raise ValueError(
                f"{task.name}: the {split} split must have tracks with latents and an annotation, got none"
            )
    held = _Held.of(task.kind, tracks, parts["valid"], annotations["valid"])
    models, drawn = _fit(task.kind, probe, tracks, parts["train"], annotations["train"], held, seeds)
    notes = []
    if len(held.frames) < len(parts["valid"]):
        notes.append(f"Selected on {len(held.frames)} of {len(parts['valid'])} validation tracks, drawn once.")
    if drawn:
        notes.append(f"Trained on {drawn[0]:,} of {drawn[1]:,} frames, drawn by the seed.")
    if not all(model.converged_ for model in models):
        notes.append("The probe's training was stopped before it converged.")
    return FittedInTime(
        task=task,
        probe=type(probe).__name__,
        seeds=tuple(seeds),
        models=tuple(models),
        decided=tuple(held.threshold(model) for model in models),
        n_train=len(parts["train"]),
        notes=tuple(notes),
    )


@dataclass(frozen=True, kw_only=True)
class FittedInTime(Fitted):
    """Probes of a task in time.

    Attributes
    ----------
    decided : tuple of (float, float)
        Of each: its score on the validation tracks and the threshold that gave it (NaN where there is none).
    """

    decided: tuple[tuple[float, float], ...]

    def test(self, tracks: Callable[[str], Track], available: Sequence[str]) -> TimeResult:
        """Estimate the test tracks from their latents, as in :func:`evaluate_in_time`, and only then read what is annotated."""
        task, there = self.task, set(available)
        planned = [item for item in task.items() if item.split == "test"]
        test = [item for item in planned if item.id in there]
        estimates: list[list[Annotation]] = [[] for _ in self.seeds]
        lengths = []
        for item in test:
            track = tracks(item.id)
            frames = frames_of(track)
            lengths.append(track.seconds)
            for found, model, (_, threshold) in zip(estimates, self.models, self.decided, strict=True):
                found.append(estimate(task.kind, on_grid(task.kind, model.logits(frames.features), frames), threshold))

        references = task.split_annotations("test")  # only now, after everything is estimated
        scored = [k for k, item in enumerate(test) if item.id in references]
        failures = [(item.id, "no latents") for item in planned if item.id not in there]
        failures += [(item.id, "no usable annotation") for item in test if item.id not in references]
        results = tuple(
            _score_seed(task, [test[k] for k in scored], references, [lengths[k] for k in scored],
                        [found[k] for k in scored], seed, threshold, validation)
            for seed, found, (validation, threshold) in zip(self.seeds, estimates, self.decided, strict=True)
        )  # fmt: skip
        notes = [task.caveat] if task.caveat else []
        n_groups = len({test[k].group for k in scored})
        if n_groups < FEWEST_GROUPS:
            notes.append(f"{n_groups} {task.group}s in the test: too few for an interval.")
        return TimeResult(
            task=task,
            probe=self.probe,
            items=[test[k] for k in scored],
            references=tuple(references[test[k].id] for k in scored),
            seeds=results,
            failures=tuple(failures),
            note=joined_notes(*notes, *self.notes),
            data_hash=planned_hash(task, references),
            n_train=self.n_train,
        )


@dataclass(frozen=True, kw_only=True)
class _Held:
    """The validation tracks: their frames one behind the other, and what is compared on the grid."""

    kind: str
    frames: list[Frames]
    references: list[Annotation]
    truth: list[np.ndarray]  # targets of every grid frame
    features: np.ndarray
    targets: np.ndarray

    @classmethod
    def of(
        cls,
        kind: str,
        tracks: Callable[[str], Track],
        items: Sequence[TaskItem],
        annotations: Mapping[str, Annotation],
    ) -> _Held:
        """Read tracks in a fixed random order until they have as many frames as there may be, or there are no more."""
        frames, references, left = [], [], 1.0
        for place in np.random.default_rng(0).permutation(len(items)):
            if left <= 0:
                break
            found = frames_of(tracks(items[place].id))
            frames.append(found)
            references.append(annotations[items[place].id])
            left -= max(found.starts.size / MOST_FRAMES, found.features.size / MOST_VALUES)
        return cls(
            kind=kind,
            frames=frames,
            references=references,
            truth=[
                targets(kind, reference, np.arange(len(f.places)) / GRID)
                for f, reference in zip(frames, references, strict=True)
            ],
            features=np.concatenate([f.features for f in frames]),
            targets=np.concatenate([_targets(kind, r, f) for r, f in zip(references, frames, strict=True)]),
        )

    def score(self, outputs: np.ndarray) -> float:
        """Outputs of all frames -> main metric, at the best threshold."""
        return self.best(outputs)[0]

    def threshold(self, model: Any) -> tuple[float, float]:
        """Score and threshold of a fitted probe."""
        return self.best(model.logits(self.features))

    def best(self, outputs: np.ndarray) -> tuple[float, float]:
        """Best score over the thresholds, and that threshold (NaN where there is none)."""
        ends = np.cumsum([len(f.features) for f in self.frames])[:-1]
        grids = [on_grid(self.kind, part, f) for part, f in zip(np.split(outputs, ends), self.frames, strict=True)]
        if not tunable(self.kind):
            return float(np.mean([_agreement(g, t) for g, t in zip(grids, self.truth, strict=True)])), float("nan")
        scores = [
            float(
                np.mean(
                    [self._f(g, t, r, threshold) for g, t, r in zip(grids, self.truth, self.references, strict=True)]
                )
            )
            for threshold in THRESHOLDS
        ]
        return max(scores), THRESHOLDS[int(np.argmax(scores))]

    def _f(self, grid: np.ndarray, truth: np.ndarray, reference: Annotation, threshold: float) -> float:
        if self.kind == "notes":
            found, right = grid >= threshold, truth > 0.5
            both = float((found & right).sum())
            total = float(found.sum() + right.sum())
            return 2 * both / total if total else 1.0
        window = 0.07 if self.kind == "beats" else 0.05
        return f_of_events(reference.starts, events(self.kind, grid[:, 0], threshold), window)


def f_of_events(given: np.ndarray, found: np.ndarray, window: float) -> float:
    """F measure of events, matched in the order of time, which finds as many pairs as can be.

    Examples
    --------
    >>> f_of_events(np.array([0.5, 1.0]), np.array([0.52, 2.0]), 0.07)
    0.5
    """
    if not len(given) or not len(found):
        return 0.0
    i = j = matched = 0
    while i < len(given) and j < len(found):
        if abs(given[i] - found[j]) <= window + 1e-9:
            matched, i, j = matched + 1, i + 1, j + 1
        elif given[i] < found[j]:
            i += 1
        else:
            j += 1
    return 2 * matched / (len(given) + len(found))


def _agreement(logits: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean(logits.argmax(1) == truth.argmax(1)))


def _targets(kind: str, annotation: Annotation, frames: Frames) -> np.ndarray:
    """(frames, K * size) for the outputs of each frame."""
    flat = targets(kind, annotation, frames.starts.ravel())
    return flat.reshape(len(frames.starts), -1)


def _fit(
    kind: str,
    probe: Any,
    tracks: Callable[[str], Track],
    items: Sequence[TaskItem],
    annotations: Mapping[str, Annotation],
    held: _Held,
    seeds: Sequence[int],
) -> tuple[list[Any], tuple[int, int] | None]:
    """Fitted probes by seed; and how many of how many grid frames they saw, where not all."""
    from sklearn.exceptions import ConvergenceWarning

    from m2l_bench.probes.estimator import FittedOutputs
    from m2l_bench.probes.selection import Probe, fit_outputs

    probe = for_frames(probe)
    softmaxes = held.frames[0].starts.shape[1] if OUTPUTS[kind].exclusive else 0
    found: list[Any] = []
    drawn = None
    rest = list(seeds)
    while rest:
        x, y, total = _examples(kind, tracks, items, annotations, rest[0])
        complete = len(x) == total
        now = rest if complete else rest[:1]
        if isinstance(probe, Probe):
            validation = held.features, held.targets
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # reported in the result's note
                found += fit_outputs(
                    probe, x, y, validation=validation, scoring=held.score, softmaxes=softmaxes, seeds=now
                )
        else:
            found += [FittedOutputs(probe, x, y, seed, softmaxes) for seed in now]
        per_frame = held.frames[0].starts.shape[1]
        drawn = None if complete else (len(x) * per_frame, total * per_frame)
        rest = rest[len(now) :]
    return found, drawn


def for_frames(probe: Any) -> Any:
    """The probe as it is fitted on frames, which are many and like their neighbours; a classifier stays as it is."""
    from sklearn.base import clone

    from m2l_bench.probes.linear import LinearProbe
    from m2l_bench.probes.mlp import MLPProbe

    if isinstance(probe, LinearProbe):
        return clone(probe).set_params(tol=max(probe.tol, TOLERANCE))
    if isinstance(probe, MLPProbe):
        return clone(probe).set_params(
            weight_decays=(0.0,),
            most_steps=MOST_STEPS,
            max_epochs=min(probe.max_epochs, MOST_EPOCHS),
            patience=min(probe.patience, PATIENCE),
        )
    return probe


def _examples(
    kind: str,
    tracks: Callable[[str], Track],
    items: Sequence[TaskItem],
    annotations: Mapping[str, Annotation],
    seed: int,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Features and targets of the training frames, or of as many as there may be; and how many there are.

    Tracks are read one after the other: those that come later may push out what came before (Vitter's algorithm R).
    """
    rng = np.random.default_rng(seed)
    parts: list[tuple[np.ndarray, np.ndarray]] = []  # until there are as many as there may be
    x, y = np.empty((0, 0)), np.empty((0, 0))
    most = total = 0
    for item in items:
        frames = frames_of(tracks(item.id))
        features, answers = frames.features, _targets(kind, annotations[item.id], frames)
        most = most or max(1, min(MOST_FRAMES // frames.starts.shape[1], MOST_VALUES // features.shape[1]))
        free = max(0, min(most - total, len(features)))
        if free:
            parts.append((features[:free], answers[:free]))
        if total < most <= total + free:
            x, y = map(np.concatenate, zip(*parts, strict=True))
        places = rng.integers(0, total + 1 + np.arange(free, len(features)))
        for row, place in zip(range(free, len(features)), places, strict=True):
            if place < most:
                x[place], y[place] = features[row], answers[row]
        total += len(features)
    if total < most:
        x, y = map(np.concatenate, zip(*parts, strict=True))
    return x, y, total


def _score_seed(
    task: Task,
    items: Sequence[TaskItem],
    references: Mapping[str, Annotation],
    lengths: Sequence[float],
    estimates: Sequence[Annotation],
    seed: int,
    threshold: float,
    validation_score: float,
) -> TimeSeed:
    rows = [
        score(task.kind, references[item.id], found, seconds)
        for item, found, seconds in zip(items, estimates, lengths, strict=True)
    ]
    values = {metric: np.array([row[metric] for row in rows]) for metric in task.metrics}
    groups = np.array([item.group for item in items])
    scores, intervals = {}, {}
    for metric, of_track in values.items():
        defined = ~np.isnan(of_track)
        scores[metric] = float(of_track[defined].mean()) if defined.any() else float("nan")
        intervals[metric] = float("nan"), float("nan")
        if len(np.unique(groups[defined])) >= FEWEST_GROUPS:
            low, high = mean_interval(of_track[defined], groups=groups[defined])
            most = math.inf if CARDS[metric].unit else 1.0  # times have no upper end, scores do
            intervals[metric] = max(0.0, low), min(most, high)
    return TimeSeed(
        seed=seed,
        values=values,
        scores=scores,
        intervals=intervals,
        estimates=tuple(estimates),
        threshold=threshold,
        validation_score=validation_score,
    )

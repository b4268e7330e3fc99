"""Tasks, and the protocol of each kind of task.

Conventions
-----------
A task is a declaration: the source of its items and labels, and its kind. The kind defines the protocol:

``single-label``  one label an item; accuracy (the main metric), macro F1
``key``           one of 24 keys; MIREX score (main), MIREX 2017 score, accuracy
``multi-label``   any number of tags, of which some may be unknown; ROC-AUC (main), average precision
``tempo``         a tempo, predicted as a class (:mod:`m2l_bench.tasks.bpm`); Accuracy1 (main), Accuracy2

and kinds of annotations in time (``beats``, ``onsets``, ``chords``, ``notes``, ``melody``), for which see
:mod:`m2l_bench.tasks.time`.

Features of an item of the first four have shape ``(dim, clips)``: its latents after :func:`pool`. Every clip is a training
example. The logits of an item's clips are averaged, and items are scored, both in validation and in the test.
See :mod:`m2l_bench.tasks.protocol` for the evaluation.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from m2l_bench.results import data_hash
from m2l_bench.tasks.annotation import Annotation
from m2l_bench.tasks.bpm import CLASSES, parse_tempo
from m2l_bench.tasks.sources.source import SPLITS, About, KnownTags, Label, Labels, Source, TaskItem
from m2l_bench.tasks.tonality import parse_key
from m2l_bench.tasks.track_scores import TIME_KINDS

KINDS: dict[str, tuple[str, ...]] = {
    "single-label": ("accuracy", "macro_f1"),
    "key": ("key_mirex", "key_mirex_2017", "accuracy"),
    "multi-label": ("roc_auc", "average_precision"),
    "tempo": ("tempo_accuracy1", "tempo_accuracy2"),
    **TIME_KINDS,
}
"""Kind -> its metrics, the main one first."""
POOLINGS = ("mean", "mean+std")
FRAMES = "frames"
_PARSERS: dict[str, Callable[[str], Label]] = {"key": parse_key, "tempo": parse_tempo}


class LeakError(ValueError):
    """An item or a group occurs in more than one split."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task: data, labels, protocol.

    Attributes
    ----------
    name : str
        ``question/dataset``, such as ``"key/tunes"``.
    kind : str
        A key of :data:`KINDS`.
    source : Source
    labels : tuple of str
        The label table; if empty, the labels of the training split.
    group : str
        Name of a group, one word.
    may_share : tuple of (str, str)
        Pairs of splits that may share groups, because the dataset's own splits do.
    pooling : str
        ``"mean"`` or ``"mean+std"`` over the frames of a clip.
    clip_seconds : float, optional
        Longest clip that is pooled as one; the whole item by default.
    summary : str
        What is predicted, in one line.
    caveat : str
        Limits of its numbers; printed under every table.
    """

    name: str
    kind: str
    source: Source
    labels: tuple[str, ...] = ()
    group: str = "track"
    may_share: tuple[tuple[str, str], ...] = ()
    pooling: str = "mean"
    clip_seconds: float | None = None
    summary: str = ""
    caveat: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, got {self.pooling!r}")
        if self.kind == "tempo" and self.labels != CLASSES:
            raise ValueError(f"labels of a tempo task must be m2l_bench.tasks.bpm.CLASSES, got {self.labels!r}")

    @property
    def about(self) -> About:
        """Description of the dataset."""
        return self.source.about

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of its metrics, the main one first."""
        return KINDS[self.kind]

    @property
    def in_time(self) -> bool:
        """Whether its labels are annotations in time."""
        return self.kind in TIME_KINDS

    @property
    def pooled_as(self) -> tuple[str, float | None]:
        """How an item's latents are kept: a pooling and the longest clip; or ``"frames"``, all of them."""
        return (FRAMES, None) if self.in_time else (self.pooling, self.clip_seconds)

    @property
    def main_metric(self) -> str:
        """The metric that selects the probe's hyperparameters."""
        return self.metrics[0]

    def items(self) -> list[TaskItem]:
        """List the items, sorted by id, and check their splits.

        Raises
        ------
        LeakError
            If an id occurs twice or a group lies in two splits.
        ValueError
            If a split is empty or has another name.
        """
        items = sorted(self.source.items())
        splits_of = defaultdict(set)
        for item in items:
            if item.split not in SPLITS:
                raise ValueError(
                    f"{self.name}: split must be one of {', '.join(SPLITS)}, got {item.split!r} of {item.id!r}"
                )
            splits_of[item.group].add(item.split)
        name, count = Counter(item.id for item in items).most_common(1)[0] if items else ("", 0)
        if count > 1:
            raise LeakError(f"{self.name}: each item must occur once, got {name!r} {count} times")
        allowed = [set(pair) for pair in self.may_share]
        torn = {name: sorted(found) for name, found in splits_of.items() if len(found) > 1 and found not in allowed}
        if torn:
            name, found = min(torn.items())
            raise LeakError(
                f"{self.name}: each {self.group} must lie in one split, got {len(torn)} that do not, such as {name!r} in "
                f"{' and '.join(found)}"
            )
        empty = [split for split in SPLITS if not any(item.split == split for item in items)]
        if empty:
            raise ValueError(f"{self.name}: every split must have items, got none in {' and '.join(empty)}")
        return items

    def split_labels(self, split: str) -> Labels:
        """Labels of one split, checked against the label table; keys in the spelling of ``tonality.KEYS``, tempi as numbers.

        Raises
        ------
        ValueError
            If a label is not in the table, is not a key in a key task, or not a tempo in a tempo task.
        """
        labels = self.source.labels(split)
        if parse := _PARSERS.get(self.kind):
            labels = {item: self._parsed(parse, item, label) for item, label in labels.items()}
        for item, label in labels.items():
            absent = label.absent if isinstance(label, KnownTags) else ()
            unknown = {*as_tags(label), *absent}.difference(self.labels)
            if self.labels and unknown:
                raise ValueError(
                    f"{self.name}: label of {item!r} must be one of {', '.join(self.labels)}, got {sorted(unknown)}"
                )
        return labels

    def split_annotations(self, split: str) -> dict[str, Annotation]:
        """Annotations of one split, by item; ValueError if a label is none, or the task is not in time."""
        labels = self.source.labels(split)
        wrong = [item for item, label in labels.items() if not isinstance(label, Annotation)]
        if wrong or not self.in_time:
            raise ValueError(f"{self.name}: label of {wrong[0] if wrong else split!r} must be an Annotation")
        return {item: label for item, label in labels.items() if isinstance(label, Annotation)}

    @cached_property
    def labels_hash(self) -> str:
        """Hash of the labels of all items, for the identity of results; 16 hexadecimal digits."""
        found = {split: self.source.labels(split) for split in SPLITS}
        return data_hash((item.id, str(found[item.split].get(item.id, ""))) for item in self.items())

    def _parsed(self, parse: Callable[[str], Label], item: str, label: Label) -> Label:
        try:
            return parse(str(label))
        except ValueError as error:
            raise ValueError(f"{self.name}: label of {item!r}: {error}") from error

    def pool(self, latents: np.ndarray, latent_rate: float) -> np.ndarray:
        """Pool an item's latents with the task's settings: (streams, dim, frames) -> (dim, clips); see :func:`pool`."""
        return pool(latents, latent_rate, pooling=self.pooling, clip_seconds=self.clip_seconds)

    def at(self, data_home: str | Path | None) -> Task:
        """Return the same task with its data in another folder."""
        return self if data_home is None else replace(self, source=replace(self.source, data_home=Path(data_home)))


def as_tags(label: Label) -> tuple[str, ...]:
    """Tags that are present: a label is its only tag; a tempo, which is a number, has none."""
    if isinstance(label, KnownTags):
        return label.present
    if isinstance(label, float):
        return ()
    return label if isinstance(label, tuple) else (str(label),)


def pool(
    latents: np.ndarray, latent_rate: float, *, pooling: str = "mean", clip_seconds: float | None = None
) -> np.ndarray:
    """Pool latents over time.

    Parameters
    ----------
    latents : np.ndarray, (streams, dim, frames)
        Streams are averaged.
    latent_rate : float
        Frames per second (Hz).
    pooling : {"mean", "mean+std"}
    clip_seconds : float, optional
        Cut the frames into the smallest number of nearly equal clips of at most this length; no frame is dropped.

    Returns
    -------
    np.ndarray, float64, (dim or 2 dim, clips)

    Examples
    --------
    >>> pool(np.ones((1, 64, 25)), 10.0, clip_seconds=1.0).shape
    (64, 3)
    """
    latents = np.asarray(latents, dtype=np.float64)
    if latents.ndim != 3 or 0 in latents.shape:
        raise ValueError(f"latents must be a non-empty array (streams, dim, frames), got shape {latents.shape}")
    frames = latents.mean(axis=0)
    n_clips = 1
    if clip_seconds is not None:
        n_clips = -(-frames.shape[1] // max(1, round(clip_seconds * latent_rate)))
    clips = np.array_split(frames, n_clips, axis=1)
    parts = [np.stack([clip.mean(axis=1) for clip in clips], axis=1)]
    if pooling == "mean+std":
        parts.append(np.stack([clip.std(axis=1) for clip in clips], axis=1))
    elif pooling not in POOLINGS:
        raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}")
    return np.concatenate(parts)

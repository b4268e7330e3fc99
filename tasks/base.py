"""What a task is, and the protocol that every task of a kind goes through.

Conventions
-----------
A task is a declaration: where its items come from, their labels, and of which kind it is. The kind owns the protocol:

``single-label``  one label an item; accuracy (the main metric), macro F1
``key``           one of 24 keys; MIREX score (main), MIREX 2017 score, accuracy
``multi-label``   any number of tags; ROC-AUC (main), average precision

Features of an item are ``(dim, clips)``: what :func:`pool` makes of its latents. Every clip is a training example; the
logits of an item's clips are averaged, and items are what is scored, in training's validation as in the test.
See :mod:`m2l_bench.tasks.protocol` for the one entry point.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from m2l_bench.tasks.sources.source import SPLITS, About, Item, Labels, Source
from m2l_bench.tasks.tonality import parse_key

KINDS: dict[str, tuple[str, ...]] = {
    "single-label": ("accuracy", "macro_f1"),
    "key": ("key_mirex", "key_mirex_2017", "accuracy"),
    "multi-label": ("roc_auc", "average_precision"),
}
"""Kind -> its metrics, the main one first."""
POOLINGS = ("mean", "mean+std")


class LeakError(ValueError):
    """Items that would let a probe see what it is tested on."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task: data, labels, protocol.

    Attributes
    ----------
    name : str
        ``kind-of-question/dataset``, such as ``"key/tunes"``.
    kind : str
        A key of :data:`KINDS`.
    source : Source
    labels : tuple of str
        The label table; empty where it is whatever the training labels are.
    group : str
        What a group is, in one word.
    may_share : tuple of (str, str)
        Pairs of splits that groups may straddle, because the dataset's own splits do.
    pooling : str
        ``"mean"`` or ``"mean+std"`` over the frames of a clip.
    clip_seconds : float, optional
        Longest clip that is pooled as one; the whole item by default.
    summary : str
        What it asks, in one line.
    caveat : str
        What its numbers do not mean; stands under every table.
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

    @property
    def about(self) -> About:
        """What stands on the dataset's label."""
        return self.source.about

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of its metrics, the main one first."""
        return KINDS[self.kind]

    @property
    def main_metric(self) -> str:
        """The metric by which grids are selected."""
        return self.metrics[0]

    def items(self) -> list[Item]:
        """Its items by id, checked.

        Raises
        ------
        LeakError
            If an id occurs twice or a group straddles splits.
        ValueError
            If a split is empty or has another name.
        """
        items = sorted(self.source.items())
        check_split(items, name=self.name, group=self.group, may_share=self.may_share)
        return items

    def split_labels(self, split: str) -> Labels:
        """The labels of one split, checked against the label table; keys in the spelling of ``tonality.KEYS``.

        Raises
        ------
        ValueError
            If a label is not in the table, or of a key task no key.
        """
        labels = self.source.labels(split)
        if self.kind == "key":
            labels = {item: self._key(item, label) for item, label in labels.items()}
        for item, given in labels.items():
            strange = (
                set(given if isinstance(given, tuple) else (given,)).difference(self.labels) if self.labels else ()
            )
            if strange:
                raise ValueError(
                    f"{self.name}: label of {item!r} must be one of {', '.join(self.labels)}, got {sorted(strange)}"
                )
        return labels

    def _key(self, item: str, label: str | tuple[str, ...]) -> str:
        try:
            return parse_key(str(label))
        except ValueError as error:
            raise ValueError(f"{self.name}: label of {item!r}: {error}") from error

    def pool(self, latents: np.ndarray, latent_rate: float) -> np.ndarray:
        """Pool an item's latents as this task does: (streams, dim, frames) -> (dim, clips); see :func:`pool`."""
        return pool(latents, latent_rate, pooling=self.pooling, clip_seconds=self.clip_seconds)

    def at(self, data_home: str | Path | None) -> Task:
        """The same task with its data in another folder."""
        if data_home is None:
            return self
        source: Any = self.source
        return replace(self, source=replace(source, data_home=Path(data_home)))


def check_split(
    items: list[Item], *, name: str, group: str = "track", may_share: tuple[tuple[str, str], ...] = ()
) -> None:
    """Refuse splits that leak; see :meth:`Task.items`."""
    counts: dict[str, int] = dict.fromkeys(SPLITS, 0)
    splits_of: dict[str, set[str]] = defaultdict(set)
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise LeakError(f"{name}: an item must occur once, got {item.id!r} more often")
        if item.split not in counts:
            raise ValueError(f"{name}: split must be one of {', '.join(SPLITS)}, got {item.split!r} of {item.id!r}")
        seen.add(item.id)
        counts[item.split] += 1
        splits_of[item.group].add(item.split)
    allowed = [frozenset(pair) for pair in may_share]
    torn = {label: sorted(splits) for label, splits in splits_of.items() if len(splits) > 1 and splits not in allowed}
    if torn:
        label, splits = min(torn.items())
        raise LeakError(
            f"{name}: a {group} must lie in one split, got {len(torn)} that do not, such as {label!r} in "
            f"{' and '.join(splits)}"
        )
    empty = [split for split, count in counts.items() if not count]
    if empty:
        raise ValueError(f"{name}: every split must have items, got none in {' and '.join(empty)}")


def pool(
    latents: np.ndarray, latent_rate: float, *, pooling: str = "mean", clip_seconds: float | None = None
) -> np.ndarray:
    """Pool latents over time.

    Parameters
    ----------
    latents : np.ndarray, (streams, dim, frames)
        Streams are averaged.
    latent_rate : float
        Frames a second, Hz.
    pooling : {"mean", "mean+std"}
    clip_seconds : float, optional
        Cut the frames into the fewest nearly equal clips that are no longer than this; no frame is dropped.

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


def multi_hot(labels: list[tuple[str, ...]], table: tuple[str, ...]) -> np.ndarray:
    """Tags -> 0 and 1, (items, tags); tags that the table lacks are left out."""
    place: Mapping[str, int] = {label: k for k, label in enumerate(table)}
    out = np.zeros((len(labels), len(table)), dtype=np.int64)
    for row, tags in enumerate(labels):
        out[row, [place[tag] for tag in tags if tag in place]] = 1
    return out

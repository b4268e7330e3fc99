"""A made-up task whose source records when labels are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from m2l_bench.tasks.base import Task
from m2l_bench.tasks.sources.source import About, Labels, TaskItem

ABOUT = About(name="made-up", version="1", licence="none", size="0 B", how="Make it up.", citation="-")


@dataclass
class MadeUp:
    """Items whose labels can be predicted from their features."""

    kind: str = "single-label"
    n: int = 150
    n_labels: int = 3
    noise: float = 1.0
    shuffle: bool = False
    unlabelled: tuple[str, ...] = ()
    events: list[str] = field(default_factory=list)
    about: About = ABOUT

    def __post_init__(self) -> None:
        rng = np.random.default_rng(5)
        self._y = rng.integers(self.n_labels, size=self.n)
        centres = 3 * np.eye(self.n_labels, 8)
        if self.kind == "multi-label":
            self._y = rng.random((self.n, self.n_labels)) < 0.4
            self._x = self._y @ centres + self.noise * rng.standard_normal((self.n, 8))
        else:
            self._x = centres[self._y] + self.noise * rng.standard_normal((self.n, 8))
        if self.shuffle:
            self._y = rng.permutation(self._y)

    def items(self) -> list[TaskItem]:
        splits = np.repeat(["train", "valid", "test"], [self.n - 2 * (self.n // 4), self.n // 4, self.n // 4])
        items = [
            TaskItem(f"i{k:03d}", Path(f"{k}.wav"), str(splits[k]), f"g{k // 2}-{splits[k]}") for k in range(self.n)
        ]
        return items[::-1]

    def label(self, k: int) -> str | tuple[str, ...]:
        if self.kind == "multi-label":
            return tuple(self.names()[j] for j in np.flatnonzero(self._y[k]))
        return self.names()[self._y[k]]

    def names(self) -> tuple[str, ...]:
        from m2l_bench.tasks.tonality import KEYS

        return KEYS[: self.n_labels] if self.kind == "key" else tuple("abcdefgh"[: self.n_labels])

    def labels(self, split: str) -> Labels:
        self.events.append(f"labels {split}")
        return {
            item.id: self.label(int(item.id[1:]))
            for item in self.items()
            if item.split == split and item.id not in self.unlabelled
        }

    def verify(self) -> None:
        return None

    def features(self, clips: int = 1) -> dict[str, np.ndarray]:
        return {f"i{k:03d}": np.repeat(self._x[k][:, None], clips, axis=1) for k in range(self.n)}


def task(source: MadeUp, **options: object) -> Task:
    """The task over a made-up source."""
    return Task(**{"name": "made/up", "kind": source.kind, "source": source, **options})

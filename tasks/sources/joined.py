"""Two datasets as one source: one gives the training (and validation) items, the other the test items."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from m2l_bench.tasks.sources.source import About, Item, Labels, Source


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Items of several sources, which must not share an id.

    Attributes
    ----------
    parts : tuple of (str, Source)
        Folder name below `data_home`, and the source.
    data_home : Path, optional
        Holds one folder a part.
    """

    parts: tuple[tuple[str, Any], ...]
    data_home: Path | None = None

    @property
    def about(self) -> About:
        """What they are, together."""
        told = [part.about for part in self._placed()]

        def both(name: str) -> str:
            return "; ".join(dict.fromkeys(getattr(about, name) for about in told))

        return About(**{name: both(name) for name in About.__dataclass_fields__})

    def items(self) -> list[Item]:
        """The items of all parts."""
        return [item for part in self._placed() for item in part.items()]

    def labels(self, split: str) -> Labels:
        """The labels of one split; a part without items in it is not asked."""
        found: dict[str, Any] = {}
        for part in self._placed():
            if any(item.split == split for item in part.items()):
                found.update(part.labels(split))
        return found

    def verify(self) -> None:
        """Check every part."""
        for part in self._placed():
            part.verify()

    def _placed(self) -> list[Source]:
        if self.data_home is None:
            return [part for _, part in self.parts]
        return [replace(part, data_home=self.data_home / name) for name, part in self.parts]

"""Two datasets as one source: one gives the training and validation items, the other the test items."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import chain

from m2l_bench.tasks.sources.source import About, Labels, Source, TaskItem


@dataclass(frozen=True, kw_only=True)
class Joined(Source):
    """Items of several sources, whose ids must differ; each lies in the folder `data_home` / its name.

    Attributes
    ----------
    parts : tuple of Source
    """

    parts: tuple[Source, ...]

    @property
    def about(self) -> About:
        """Descriptions of the parts, separated by semicolons."""
        parts = [asdict(part.about) for part in self.parts]
        return About(**{name: "; ".join(dict.fromkeys(part[name] for part in parts)) for name in parts[0]})

    def items(self) -> list[TaskItem]:
        """List the items of all parts."""
        return [item for part in self._placed for item in part.items()]

    def labels(self, split: str) -> Labels:
        """Labels of one split, of all parts."""
        return dict(chain.from_iterable(part.labels(split).items() for part in self._placed))

    @cached_property
    def _placed(self) -> list[Source]:
        if self.data_home is None:
            return list(self.parts)
        return [replace(part, data_home=self.data_home / part.about.name) for part in self.parts]

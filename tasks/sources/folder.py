"""The user's own music: a CSV beside the audio.

Conventions
-----------
Columns: ``path`` (relative to the CSV); then either ``label`` (one label an item), or ``key`` (a key an item, in any
spelling), or one column of 0 and 1 for each tag; and, where wanted, ``split`` (train, valid, test) and ``group``
(artist, album: what may not straddle splits). Without ``split``, groups are dealt out by a hash of their names,
70 / 10 / 20 %; without ``group``, every item is its own group, and nothing guards against one artist in two splits.
Items are named by their path, POSIX style; one that leads out of the CSV's folder is refused
(:mod:`m2l_bench.files.untrusted`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from m2l_bench.files.untrusted import inside
from m2l_bench.tasks.sources.source import About, Item, Labels, hashed_split, read_table

_SHARES = {"train": 0.7, "valid": 0.1, "test": 0.2}
_OWN = ("path", "split", "group")


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A CSV and the audio it names.

    Attributes
    ----------
    table : Path
    """

    table: Path

    @property
    def about(self) -> About:
        """The user's own."""
        return About(name=self.table.stem, version="-", licence="yours", size="-", how="It is yours.", citation="-")

    @property
    def kind(self) -> str:
        """The kind of task that its columns make."""
        columns = self._columns
        return "key" if "key" in columns else "single-label" if "label" in columns else "multi-label"

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the tag columns; none of other kinds."""
        return tuple(self._columns) if self.kind == "multi-label" else ()

    def items(self) -> list[Item]:
        """The items whose files exist; raises where one does not."""
        items = []
        for name, row in self._rows.items():
            path = inside(self.table.parent, name, source=self.table)
            if not path.is_file():
                raise ValueError(f"{self.table}: path must be a file beside it, got {name!r}")
            group = row.get("group") or name
            items.append(Item(name, path, row.get("split") or hashed_split(group, _SHARES), group))
        return items

    def labels(self, split: str) -> Labels:
        """Labels, keys or tags of one split."""
        names = [item.id for item in self.items() if item.split == split]
        if self.kind != "multi-label":
            column = "key" if self.kind == "key" else "label"
            return {name: self._rows[name][column] for name in names if self._rows[name][column]}
        return {name: tuple(tag for tag in self.tags if self._flag(name, tag)) for name in names}

    def verify(self) -> None:
        """Nothing to compare with; :meth:`items` checks that the files are there."""
        self.items()

    def _flag(self, name: str, tag: str) -> bool:
        value = self._rows[name][tag].strip()
        if value not in ("0", "1"):
            raise ValueError(f"{self.table}, {name}: {tag} must be 0 or 1, got {value!r}")
        return value == "1"

    @property
    def _columns(self) -> list[str]:
        columns = [name for name in next(iter(self._rows.values())) if name not in _OWN]
        if not columns or (len(columns) > 1 and {"label", "key"} & set(columns)):
            raise ValueError(f"{self.table}: must have a column label or key, or columns of tags, got {columns}")
        return columns

    @cached_property
    def _rows(self) -> dict[str, dict[str, str]]:
        if not self.table.is_file():
            raise ValueError(f"{self.table}: must be a CSV with the column path, nothing there")
        rows = read_table(self.table, required=("path",))
        if not rows:
            raise ValueError(f"{self.table}: must have items, got none")
        named = {str(PurePosixPath(row["path"].replace("\\", "/"))): row for row in rows}
        if len(named) != len(rows):
            raise ValueError(f"{self.table}: each path must stand once, got {len(rows) - len(named)} more often")
        return named

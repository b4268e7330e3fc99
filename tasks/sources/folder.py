"""The user's own music: a CSV beside the audio.

Conventions
-----------
Columns: ``path`` (relative to the CSV); then either ``label`` (one label per item), or ``key`` (one key per item, in any
spelling), or one column of 0 and 1 for each tag; optionally ``split`` (train, valid, test) and ``group`` (artist, album:
items of one group must lie in one split). Without ``split``, groups are assigned by a hash of their names, 70 / 10 / 20 %;
without ``group``, every item is its own group, and one artist may lie in two splits. Items are named by their path,
POSIX style; a path that leads out of the CSV's folder is refused (:mod:`m2l_bench.files.untrusted`). All cells are
checked when the table is read, before anything is encoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from m2l_bench.files.untrusted import inside
from m2l_bench.tasks.sources.source import SPLITS, About, Item, Labels, hashed_split, read_table
from m2l_bench.tasks.tonality import parse_key

_SHARES = {"train": 0.7, "valid": 0.1, "test": 0.2}
_OWN = ("path", "split", "group")


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """A CSV and the audio that it names.

    Attributes
    ----------
    table : Path
    """

    table: Path

    @property
    def about(self) -> About:
        """Description of the dataset."""
        return About(name=self.table.stem, version="-", licence="yours", size="-", how="It is yours.", citation="-")

    @property
    def kind(self) -> str:
        """Kind of task, from the columns."""
        columns = self._columns
        return "key" if "key" in columns else "single-label" if "label" in columns else "multi-label"

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the tag columns; empty for other kinds."""
        return tuple(self._columns) if self.kind == "multi-label" else ()

    def items(self) -> list[Item]:
        """List the items; ValueError if a file does not exist."""
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
        return {name: tuple(tag for tag in self.tags if self._rows[name][tag].strip() == "1") for name in names}

    def verify(self) -> None:
        """Check that the files exist; there are no checksums to compare with."""
        self.items()

    @property
    def _columns(self) -> list[str]:
        return [name for name in next(iter(self._rows.values())) if name not in _OWN]

    def _check(self, rows: list[dict[str, str]]) -> None:
        """Check every cell; the error names row (its line in the file) and column."""
        columns = [name for name in rows[0] if name not in _OWN]
        if not columns or (len(columns) > 1 and {"label", "key"} & set(columns)):
            raise ValueError(f"{self.table}: must have a column label or key, or columns of tags, got {columns}")
        for number, row in enumerate(rows, start=2):
            for column in columns:
                value = row[column].strip()
                try:
                    if column == "key" and value:
                        parse_key(value)
                    elif column not in ("label", "key") and value not in ("0", "1"):
                        raise ValueError(f"must be 0 or 1 (a tag), got {value!r}")
                except ValueError as error:
                    raise ValueError(f"{self.table}, row {number}, column {column}: {error}") from error
            if row.get("split") and row["split"] not in SPLITS:
                raise ValueError(
                    f"{self.table}, row {number}, column split: must be one of {', '.join(SPLITS)}, got {row['split']!r}"
                )

    @cached_property
    def _rows(self) -> dict[str, dict[str, str]]:
        if not self.table.is_file():
            raise ValueError(f"{self.table}: must be a CSV with the column path, no such file")
        rows = read_table(self.table, required=("path",))
        if not rows:
            raise ValueError(f"{self.table}: must have items, got none")
        self._check(rows)
        named = {str(PurePosixPath(row["path"].replace("\\", "/"))): row for row in rows}
        if len(named) != len(rows):
            raise ValueError(f"{self.table}: each path must occur once, got {len(rows) - len(named)} repetitions")
        return named

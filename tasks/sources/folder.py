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

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from m2l_bench.files.untrusted import inside
from m2l_bench.tasks.sources.source import SPLITS, About, Label, Source, TaskItem, hashed_split, read_table
from m2l_bench.tasks.tonality import parse_key

_NOT_LABELS = ("path", "split", "group")
_SHARES = {"train": 0.7, "valid": 0.1, "test": 0.2}


@dataclass(frozen=True, kw_only=True)
class LabelTable(Source):
    """A CSV and the audio that it names. ``data_home`` is not used.

    Attributes
    ----------
    table : Path
    """

    table: Path

    @property
    def about(self) -> About:
        """Description of the dataset."""
        return About(name=self.table.stem, version="-", licence="yours", size="-", how="-", citation="-")

    @property
    def kind(self) -> str:
        """Kind of task, from the columns."""
        return {"key": "key", "label": "single-label"}.get(self._columns[0], "multi-label")

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the tag columns; empty for other kinds."""
        return tuple(self._columns) if self.kind == "multi-label" else ()

    def read(self) -> Iterator[tuple[TaskItem, Label | None]]:
        """Yield the items; raise ValueError if a file does not exist."""
        for name, row in self._rows.items():
            path = inside(self.table.parent, name, source=self.table)
            if not path.is_file():
                raise ValueError(f"{self.table}: path must be a file beside it, got {name!r}")
            group = row.get("group") or name
            item = TaskItem(name, path, row.get("split") or hashed_split(group, _SHARES), group)
            tags = tuple(tag for tag in self.tags if row[tag].strip() == "1")
            yield item, tags if self.tags else row[self._columns[0]] or None

    @cached_property
    def _columns(self) -> list[str]:
        return [name for name in next(iter(self._rows.values())) if name not in _NOT_LABELS]

    @cached_property
    def _rows(self) -> dict[str, dict[str, str]]:
        if not self.table.is_file():
            raise ValueError(f"{self.table}: must be a CSV with the column path, no such file")
        rows = read_table(self.table, required=("path",))
        if not rows:
            raise ValueError(f"{self.table}: must have items, got none")
        columns = [name for name in rows[0] if name not in _NOT_LABELS]
        if not columns or (len(columns) > 1 and {"label", "key"} & set(columns)):
            raise ValueError(f"{self.table}: must have a column label or key, or columns of tags, got {columns}")
        for number, row in enumerate(rows, start=2):
            for column in (*columns, "split"):
                try:
                    _check_cell(column, row.get(column, ""))
                except ValueError as error:
                    raise ValueError(f"{self.table}, row {number}, column {column}: {error}") from error
        named = {str(PurePosixPath(row["path"].replace("\\", "/"))): row for row in rows}
        if len(named) != len(rows):
            raise ValueError(f"{self.table}: each path must occur once, got {len(rows) - len(named)} repetitions")
        return named


def _check_cell(column: str, text: str) -> None:
    value = text if column == "split" else text.strip()
    if column == "key":
        if value:
            parse_key(value)
    elif column == "split":
        if value and value not in SPLITS:
            raise ValueError(f"must be one of {', '.join(SPLITS)}, got {value!r}")
    elif column != "label" and value not in ("0", "1"):
        raise ValueError(f"must be 0 or 1 (a tag), got {value!r}")

"""The user's own music: a CSV beside the audio.

Conventions
-----------
Columns: ``path`` (relative to the CSV); then ``label`` (one label per item), or ``key`` (one key per item, in any spelling),
or one column of 0 and 1 for each tag; optionally ``split`` (train, valid, test) and ``group`` (artist, album: items of one
group must lie in one split). Other columns (artist, notes) are ignored, and named in the caveat of the task. Without
``group``, every item is its own group, and one artist may lie in two splits.

Items without ``split`` are assigned by group, 70 / 10 / 20 %, with the labels in the same proportions (see :func:`deal`).
Items are named by their path, POSIX style; a path that leads out of the CSV's folder is refused
(:mod:`m2l_bench.files.untrusted`). All cells are checked when the table is read, before anything is encoded.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from m2l_bench.files.untrusted import inside
from m2l_bench.tasks.sources.source import SPLITS, About, Label, Source, TaskItem, read_table
from m2l_bench.tasks.tonality import parse_key

_NOT_LABELS = ("path", "split", "group")
TEST_SHARE, VALID_SHARE = 0.2, 0.1


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

    @property
    def caveat(self) -> str:
        """The ignored columns, and how many items each split got, where they were assigned here."""
        ignored = [name for name in self._header if name not in (*_NOT_LABELS, *self._columns)]
        notes = [f"Ignored columns of {self.table.name}: {', '.join(ignored)}."] if ignored else []
        if self._dealt:
            counts = Counter(item.split for item in self.items())
            sizes = ", ".join(f"{counts[split]} {split}" for split in SPLITS)
            notes.append(f"Splits assigned by group, in the proportions of the labels: {sizes}.")
        return " ".join(notes)

    def read(self) -> Iterator[tuple[TaskItem, Label | None]]:
        """Yield the items; raise ValueError if a file does not exist."""
        for name, row in self._rows.items():
            path = inside(self.table.parent, name, source=self.table)
            if not path.is_file():
                raise ValueError(f"{self.table}: path must be a file beside it, got {name!r}")
            group = row.get("group") or name
            yield TaskItem(name, path, row.get("split") or self._dealt[group], group), self._label(row)

    def _label(self, row: Mapping[str, str]) -> str | tuple[str, ...] | None:
        if self.tags:
            return tuple(tag for tag in self.tags if row[tag].strip() == "1")
        return row[self._columns[0]] or None

    @cached_property
    def _dealt(self) -> dict[str, str]:
        """Group -> split, for the groups of items without one; of an item with several tags, the rarest counts."""
        rows = self._rows.items()
        n_items = Counter(tag for _, row in rows for tag in self._strata(row))
        groups: dict[str, Counter[str]] = defaultdict(Counter)
        for name, row in rows:
            if not row.get("split"):
                rarest = min(self._strata(row), key=lambda tag: (n_items[tag], tag))
                groups[row.get("group") or name][rarest] += 1
        return deal({group: max(sorted(counts), key=lambda tag: counts[tag]) for group, counts in groups.items()})

    def _strata(self, row: Mapping[str, str]) -> tuple[str, ...]:
        label = self._label(row)
        return label or ("",) if isinstance(label, tuple) else (label or "",)

    @cached_property
    def _header(self) -> list[str]:
        return list(next(iter(self._rows.values())))

    @cached_property
    def _columns(self) -> list[str]:
        """The columns with labels: ``label``, ``key``, or every column that has a 0 or 1."""
        return _label_columns(list(self._rows.values()))

    @cached_property
    def _rows(self) -> dict[str, dict[str, str]]:
        if not self.table.is_file():
            raise ValueError(f"{self.table}: must be a CSV with the column path, no such file")
        rows = read_table(self.table, required=("path",))
        if not rows:
            raise ValueError(f"{self.table}: must have items, got none")
        columns = _label_columns(rows)
        if not columns or {"label", "key"} <= set(rows[0]):
            others = [name for name in rows[0] if name not in _NOT_LABELS]
            raise ValueError(
                f"{self.table}: must have a column label or key, or columns of tags (0 and 1), got {others}"
            )
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


def deal(labels: Mapping[str, str]) -> dict[str, str]:
    """Assign groups to splits, 70 / 10 / 20 %, with the labels in the same proportions.

    Each group has a place among those of its label, which are ordered by a hash of their names. The fifth of all groups with
    the lowest places is the test split, the next tenth the validation split: labels of three groups or more are tested.

    Parameters
    ----------
    labels : mapping of str to str
        Group -> its label.

    Returns
    -------
    dict of str to str
        Group -> ``"train"``, ``"valid"`` or ``"test"``.

    Examples
    --------
    >>> Counter(deal({f"artist {n}": "ab"[n % 2] for n in range(40)}).values())
    Counter({'train': 28, 'test': 8, 'valid': 4})
    """

    def digest(group: str) -> bytes:
        return hashlib.sha256(group.encode()).digest()

    place: dict[str, float] = {}
    for label in set(labels.values()):
        groups = sorted((group for group in labels if labels[group] == label), key=digest)
        place |= {group: (k + 0.5) / len(groups) for k, group in enumerate(groups)}
    order = sorted(labels, key=lambda group: (place[group], digest(group)))
    n_test, n_valid = (max(1, round(share * len(order))) for share in (TEST_SHARE, VALID_SHARE))
    return {g: "test" if k < n_test else "valid" if k < n_test + n_valid else "train" for k, g in enumerate(order)}


def _label_columns(rows: list[dict[str, str]]) -> list[str]:
    """``label`` or ``key``, else every other column in which some cell is 0 or 1."""
    for name in ("label", "key"):
        if name in rows[0]:
            return [name]
    return [
        name for name in rows[0] if name not in _NOT_LABELS and any(row[name].strip() in ("0", "1") for row in rows)
    ]


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

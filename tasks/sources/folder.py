"""The user's own music: a CSV beside the audio.

Conventions
-----------
Columns: ``path`` (relative to the CSV); then ``label`` (one label per item), or ``key`` (one key per item, in any spelling),
or one column of 0 and 1 for each tag, or ``beats``, ``onsets``, ``chords``, ``notes`` or ``melody`` (an annotation file per
item, relative to the CSV: :mod:`m2l_bench.tasks.sources.annotation_files`); optionally ``split`` (train, valid, test) and
``group`` (artist, album: items of one group must lie in one split). Other columns (artist, and ``notes`` beside a label, which
are remarks) are ignored, and named in the caveat of the task. Without ``group``, every item is its own group, and one artist
may lie in two splits.

Items without ``split`` are assigned by group, 70 / 10 / 20 %, with the labels in the same proportions (see :func:`deal`);
annotations in time have no labels to share out. Items are named by their path, POSIX style; a path that leads out of the CSV's
folder is refused (:mod:`m2l_bench.files.untrusted`). All cells and annotation files are checked when they are read, before
anything is encoded.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from m2l_bench.files.untrusted import inside
from m2l_bench.tasks.annotation import OUTPUTS
from m2l_bench.tasks.sources.annotation_files import read_annotation
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
        return self._labelled[0]

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
            rule = "" if self._in_time else ", in the proportions of the labels"
            notes.append(f"Splits assigned by group{rule}: {sizes}.")
        return " ".join(notes)

    def read(self) -> Iterator[tuple[TaskItem, Label | None]]:
        """Yield the items; raise ValueError if a file does not exist."""
        for name, row in self._rows.items():
            path = inside(self.table.parent, name, source=self.table)
            if not path.is_file():
                raise ValueError(f"{self.table}: path must be a file beside it, got {name!r}")
            group = row.get("group") or name
            yield TaskItem(name, path, row.get("split") or self._dealt[group], group), self._label(row)

    @property
    def _in_time(self) -> bool:
        return self.kind in OUTPUTS

    def _label(self, row: Mapping[str, str]) -> Label | None:
        if self.tags:
            return tuple(tag for tag in self.tags if row[tag].strip() == "1")
        if self._in_time:
            path = self._annotated(row)
            return read_annotation(path, self.kind) if path else None
        return row[self._columns[0]] or None

    def _annotated(self, row: Mapping[str, str]) -> Path | None:
        """An item's annotation file; None if its cell is empty, ValueError if it does not exist."""
        name = row[self.kind].strip().replace("\\", "/")
        if not name:
            return None
        path = inside(self.table.parent, name, source=self.table)
        if not path.is_file():
            raise ValueError(
                f"{self.table}, column {self.kind}: must be a file beside the table, got {name!r} for {row['path']!r}"
            )
        return path

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
        if self._in_time:
            return ("",)
        label = self._label(row)
        return label or ("",) if isinstance(label, tuple) else (str(label or ""),)

    @cached_property
    def _header(self) -> list[str]:
        return list(next(iter(self._rows.values())))

    @cached_property
    def _labelled(self) -> tuple[str, list[str]]:
        """Kind of the labels, and their columns."""
        return next(iter(_label_columns(list(self._rows.values())).items()))

    @property
    def _columns(self) -> list[str]:
        return self._labelled[1]

    @cached_property
    def _rows(self) -> dict[str, dict[str, str]]:
        if not self.table.is_file():
            raise ValueError(f"{self.table}: must be a CSV with the column path, no such file")
        rows = read_table(self.table, required=("path",))
        if not rows:
            raise ValueError(f"{self.table}: must have items, got none")
        found = _label_columns(rows)
        if len(found) != 1:
            others = [name for name in rows[0] if name not in _NOT_LABELS]
            raise ValueError(
                f"{self.table}: must have a column label or key, or columns of tags (0 and 1), or one column of annotation "
                f"files ({', '.join(OUTPUTS)}), got {others}"
            )
        ((kind, columns),) = found.items()
        for number, row in enumerate(rows, start=2):
            for column in (*columns, "split"):
                try:
                    _check_cell("split" if column == "split" else kind, row.get(column, ""))
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


def _label_columns(rows: list[dict[str, str]]) -> dict[str, list[str]]:
    """Kind of labels -> its columns; a table should have one kind.

    A column is of tags if a cell is 0 or 1 and there is no ``label`` or ``key``, and of annotation files if it has the name of a
    kind in time and a cell is something else. Beside other labels, ``notes`` are remarks.
    """
    found = {kind: [name] for name, kind in (("label", "single-label"), ("key", "key")) if name in rows[0]}
    cells = {name: {row[name].strip() for row in rows} for name in rows[0] if name not in _NOT_LABELS}
    in_time = [kind for kind in OUTPUTS if cells.get(kind, set()) - {"", "0", "1"}]
    tags = [name for name in cells if cells[name] & {"0", "1"} and name not in in_time]
    if tags and not found:
        found["multi-label"] = tags
    return found | {kind: [kind] for kind in in_time if kind != "notes" or not found}


def _check_cell(kind: str, text: str) -> None:
    """Check a label of a kind, or a split."""
    value = text if kind == "split" else text.strip()
    if kind == "key":
        if value:
            parse_key(value)
    elif kind == "split":
        if value and value not in SPLITS:
            raise ValueError(f"must be one of {', '.join(SPLITS)}, got {value!r}")
    elif kind == "multi-label" and value not in ("0", "1"):
        raise ValueError(f"must be 0 or 1 (a tag), got {value!r}")

"""Base of the sources of items, and the rules that several sources share.

Conventions
-----------
A source lists items (audio file, split, group) without labels. Labels are read one split at a time, so that the test
labels are not read before the predictions exist. Splits are ``"train"``, ``"valid"`` and ``"test"``. All items of one
group (a tune, an artist, an album) must lie in one split.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from m2l_bench.tasks.annotation import Annotation

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class KnownTags:
    """Tags of an item that was annotated for some of the tags only: the others are unknown.

    Attributes
    ----------
    present, absent : tuple of str
    """

    present: tuple[str, ...]
    absent: tuple[str, ...]

    def __post_init__(self) -> None:
        if both := sorted(set(self.present) & set(self.absent)):
            raise ValueError(f"a tag must be present or absent, got both of {', '.join(both)}")
        if not self.present and not self.absent:
            raise ValueError("a tag must be present or absent, got none: an item without a known tag has no label")


Label = str | float | tuple[str, ...] | KnownTags | Annotation
"""One label (or key), a tempo in bpm, all tags of an item, its known tags, or what is annotated in time."""
Labels = Mapping[str, Label]
"""Item id -> label or tags; items without a usable label are left out."""


class MissingDataset(ValueError):
    """A dataset was not found; the message says how to get it, its size and its licence."""


class IncompleteSplit(UserWarning):
    """The items are not those of the published split; scores are not comparable with the papers."""


@dataclass(frozen=True, kw_only=True)
class About:
    """Description of a dataset.

    Attributes
    ----------
    name : str
    version : str
        Pinned.
    licence : str
        As stated by the authors.
    size : str
        Size of the download.
    how : str
        How to get it, one or two sentences.
    citation : str
        Author, title, year.
    """

    name: str
    version: str
    licence: str
    size: str
    how: str
    citation: str


@dataclass(frozen=True, order=True)
class TaskItem:
    """One item of a task: an audio file with its split and group.

    Attributes
    ----------
    id : str
        Unique in the task.
    path : Path
        Audio file.
    split : str
        ``"train"``, ``"valid"`` or ``"test"``.
    group : str
        Items of one group lie in one split and are left out together where an interval is made.
    """

    id: str
    path: Path
    split: str
    group: str


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A dataset in the user's folder. A subclass gives ``about``.

    Attributes
    ----------
    data_home : Path, optional
        Folder of the dataset; ``~/mir_datasets/NAME`` by default, as in mirdata.
    """

    data_home: Path | None = None

    @property
    def about(self) -> About:
        """Description of the dataset."""
        raise NotImplementedError

    @property
    def home(self) -> Path:
        """Folder of the dataset."""
        return Path.home() / "mir_datasets" / self.about.name if self.data_home is None else self.data_home

    def missing(self) -> MissingDataset:
        """Make the error of a dataset that was not found."""
        about = self.about
        return MissingDataset(
            f"{about.name} {about.version} must be in {self.home}, but it was not found there. {about.how} "
            f"Size: {about.size}. Licence: {about.licence}. Datasets are never downloaded automatically."
        )


@dataclass(frozen=True, kw_only=True)
class Source(Dataset):
    """Base class of the sources of items with labels: a dataset, or a part of one. A subclass gives ``about`` and `read`."""

    def read(self) -> Iterable[tuple[TaskItem, Label | None]]:
        """Yield all items with their labels; None for an item without a usable label."""
        raise NotImplementedError

    def items(self) -> list[TaskItem]:
        """List the items, without labels."""
        return [item for item, _ in self._entries]

    def labels(self, split: str) -> Labels:
        """Labels of the items of one split, by item id."""
        return {item.id: label for item, label in self._entries if item.split == split and label is not None}

    @cached_property
    def _entries(self) -> list[tuple[TaskItem, Label | None]]:
        return list(self.read())


def hashed_split(group: str, shares: Mapping[str, float]) -> str:
    """Assign a group to a split by a hash of its name: the split does not change when items are added.

    Parameters
    ----------
    group : str
    shares : mapping
        Split -> share; they sum to 1.

    Examples
    --------
    >>> hashed_split("some artist", {"train": 0.8, "valid": 0.2})
    'train'
    """
    place = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64
    for split, share in shares.items():
        place -= share
        if place < 0:
            return split
    return split


def read_table(path: Path, *, delimiter: str = ",", required: Sequence[str] = ()) -> list[dict[str, str]]:
    """Read a table with a header line (UTF-8).

    Raises
    ------
    ValueError
        If the file is not a table in UTF-8, a required column is missing, or a line has too few or too many fields.
    """
    rows = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter, strict=True)
            header = list(reader.fieldnames or [])
            if not set(required).issubset(header):
                got = ", ".join(header) or "none"
                raise ValueError(f"{path}: must have the columns {', '.join(required)}, got {got}")
            for row in reader:
                if None in row or None in row.values():
                    raise ValueError(f"{path}, line {reader.line_num}: must have {len(header)} fields")
                rows.append(row)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: must be a table in UTF-8 with fields separated by {delimiter!r} ({error})"
        ) from error
    return rows

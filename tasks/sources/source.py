"""What a source of items is, and the small rules that several sources share.

Conventions
-----------
A source knows items (audio file, split, group) and, apart from them, labels. Labels are asked for one split at a time,
so that those of the test split stay out of reach until the predictions exist. Splits are ``"train"``, ``"valid"`` and
``"test"``. Items of one group (a tune, an artist, an album) may not straddle splits.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

SPLITS = ("train", "valid", "test")
Labels = Mapping[str, str] | Mapping[str, tuple[str, ...]]
"""Item -> its label, or its tags; an item that bears no usable label is absent."""


class MissingDataset(ValueError):
    """A dataset that is not where it should be; the message says how to get it, its size and its licence."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What stands on a dataset's label.

    Attributes
    ----------
    name : str
    version : str
        Pinned.
    licence : str
        As its makers state it.
    size : str
        Of the download.
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
class Item:
    """One thing to predict a label of.

    Attributes
    ----------
    id : str
        Unique in the task.
    path : Path
        Its audio.
    split : str
        ``"train"``, ``"valid"`` or ``"test"``.
    group : str
        What may not straddle splits, and is drawn together by the bootstrap.
    """

    id: str
    path: Path
    split: str
    group: str


class Source(Protocol):
    """A dataset, or a part of one."""

    @property
    def about(self) -> About:
        """What it is."""

    def items(self) -> Sequence[Item]:
        """Its items, without labels."""

    def labels(self, split: str) -> Labels:
        """The labels of one split."""

    def verify(self) -> None:
        """Check the files against their checksums; raise ValueError where one differs."""


def missing(about: About, place: Path | str) -> MissingDataset:
    """The error of a dataset that is not there."""
    return MissingDataset(
        f"{about.name} {about.version} must lie in {place}, nothing usable there. {about.how} "
        f"Size: {about.size}. Licence: {about.licence}. Nothing is downloaded unasked."
    )


def default_home(name: str) -> Path:
    """Where a dataset is looked for when no folder is given: ``~/mir_datasets/NAME``, as mirdata has it."""
    return Path.home() / "mir_datasets" / name


def hashed_split(group: str, shares: Mapping[str, float]) -> str:
    """Deal a group to a split by its name alone: stable under additions, the same everywhere, no file needed.

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


def linked_groups(members: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Group items that share any member, directly or through others (two artists who once worked together).

    Parameters
    ----------
    members : mapping
        Item -> its members.

    Returns
    -------
    dict
        Item -> the name of its group: the first of all its members in alphabetical order; the item itself without any.

    Examples
    --------
    >>> linked_groups({"1": ["a", "b"], "2": ["b", "c"], "3": ["d"], "4": []})
    {'1': 'a', '2': 'a', '3': 'd', '4': '4'}
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    listed = {item: sorted(names) for item, names in members.items()}
    for names in listed.values():
        for other in names[1:]:
            low, high = sorted((root(names[0]), root(other)))
            parent[high] = low
    return {item: root(names[0]) if names else item for item, names in listed.items()}


def read_table(path: Path, *, delimiter: str = ",", required: Sequence[str] = ()) -> list[dict[str, str]]:
    """Read a table with a header line (UTF-8).

    Raises
    ------
    ValueError
        If it is not UTF-8 or no such table, a required column is missing, or a line has too few or too many fields.
    """
    try:
        return _read_table(path, delimiter, required)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: must be a table in UTF-8 with fields parted by {delimiter!r} ({error})") from error


def _read_table(path: Path, delimiter: str, required: Sequence[str]) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter, strict=True)
        header = list(reader.fieldnames or [])
        lacking = [name for name in required if name not in header]
        if lacking:
            raise ValueError(f"{path}: must have the columns {', '.join(required)}, got {', '.join(header) or 'none'}")
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(f"{path}, line {reader.line_num}: must have {len(header)} fields")
            rows.append(row)
    return rows


def ids_checksum(ids: Iterable[str]) -> str:
    """SHA-256 of sorted ids, one a line: the identity of a split."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()

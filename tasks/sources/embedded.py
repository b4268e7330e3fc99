"""The sets that ship with the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from m2l_bench.tasks.sources.source import About, Item, Labels


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """A set of :mod:`m2l_bench.assets`, one column of whose manifest is the label.

    Attributes
    ----------
    name : str
        Of the set, such as ``"key/tunes"``.
    column : str
        Of the manifest.
    about : About
    tags : bool
        Whether the column holds tags, separated by ``;``.
    data_home : Path, optional
        Not used: the data are part of the package.
    """

    name: str
    column: str
    about: About
    tags: bool = False
    data_home: Path | None = None

    def items(self) -> list[Item]:
        """Clips by path; those that bear no label of this task are not in it."""
        from m2l_bench import assets

        folder = assets.folder(self.name)
        return [Item(row["path"], folder / row["path"], row["split"], row["group"]) for row in self._rows()]

    def labels(self, split: str) -> Labels:
        """Of one split."""
        rows = [row for row in self._rows() if row["split"] == split]
        if self.tags:
            return {row["path"]: tuple(row[self.column].split(";")) for row in rows}
        return {row["path"]: row[self.column] for row in rows}

    def _rows(self) -> list[dict[str, str]]:
        from m2l_bench import assets

        return [row for row in assets.manifest(self.name) if row[self.column]]

    def verify(self) -> None:
        """Compare manifest and audio with their SHA-256."""
        from m2l_bench import assets

        assets.verify(self.name)


TUNES = About(
    name="tunes",
    version="1",
    licence="melodies: public domain (printed 1883 and 1903); sounds: see the licence beside the audio",
    size="ships with the package",
    how="It is part of the package.",
    citation="Ryan's Mammoth Collection, 1883; O'Neill, Music of Ireland, 1903; through the corpus of music21",
)
TONEJS = About(
    name="tonejs",
    version="npm tonejs-instrument-*-mp3 1.1.1 and 1.1.2",
    licence="CC BY 3.0",
    size="ships with the package",
    how="It is part of the package.",
    citation="Brosowsky, tonejs-instruments",
)

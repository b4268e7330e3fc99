"""Audio sets that ship with the package; a column of their manifest is the label."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from m2l_bench import assets
from m2l_bench.tasks.sources.source import About, Label, Source, TaskItem


@dataclass(frozen=True, kw_only=True)
class Embedded(Source):
    """A set of :mod:`m2l_bench.assets`. Clips with an empty label column are left out; ``data_home`` is not used.

    Attributes
    ----------
    column : str
        Column of the manifest with the label; tags are separated by ``;``.
    """

    column: str
    folder: ClassVar[str]

    def read(self) -> Iterator[tuple[TaskItem, Label]]:
        """Yield clips, by their path in the set."""
        folder = assets.folder(self.folder)
        for row in assets.manifest(self.folder):
            if label := row[self.column]:
                item = TaskItem(row["path"], folder / row["path"], row["split"], row["group"])
                yield item, tuple(label.split(";")) if self.column == "tags" else label

    def verify(self) -> None:
        """Check manifest and audio against their SHA-256."""
        assets.verify(self.folder)


class Tunes(Embedded):
    """Fiddle tunes, rendered with a synthesizer."""

    folder = "tunes"
    about = About(
        name="tunes",
        version="1",
        licence="melodies: public domain (printed 1883 and 1903); sounds: see the licence beside the audio",
        size="ships with the package",
        how="It is part of the package.",
        citation="Ryan's Mammoth Collection, 1883; O'Neill, Music of Ireland, 1903; through the corpus of music21",
    )


class ToneJs(Embedded):
    """Recorded notes of 20 instruments."""

    folder = "instrument/tonejs"
    about = About(
        name="tonejs",
        version="npm tonejs-instrument-*-mp3 1.1.1 and 1.1.2",
        licence="CC BY 3.0",
        size="ships with the package",
        how="It is part of the package.",
        citation="Brosowsky, tonejs-instruments",
    )

"""Audio sets that ship with the package; a column of their manifest is the label."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from m2l_bench import assets
from m2l_bench.tasks.annotation import Annotation, thinned
from m2l_bench.tasks.sources.source import About, Label, Source, TaskItem

SHIPPED = "ships with the package"
"""In place of the size of a download."""


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
        size=SHIPPED,
        how="It is part of the package.",
        citation="Ryan's Mammoth Collection, 1883; O'Neill, Music of Ireland, 1903; through the corpus of music21",
    )


@dataclass(frozen=True, kw_only=True)
class TunesInTime(Tunes):
    """Beats, onsets, chords or notes of the fiddle tunes, exact by construction, instead of a column of the manifest.

    Attributes
    ----------
    kind : str
        A kind of task in time.
    """

    kind: str
    column: str = ""

    def read(self) -> Iterator[tuple[TaskItem, Label]]:
        """Yield clips, by their path in the set."""
        folder = assets.folder(Tunes.folder)
        table = read_annotations(folder / "annotations.parquet", _ROWS[self.kind])
        for row in assets.manifest(Tunes.folder):
            found = table[row["path"]]
            if self.kind == "onsets":
                times = thinned(found.starts)
                found = Annotation(starts=times, ends=times)
            yield TaskItem(row["path"], folder / row["path"], row["split"], row["group"]), found


_ROWS = {"beats": "beat", "onsets": "note", "chords": "chord", "notes": "note"}  # kind of task -> kind of annotation


def read_annotations(path: Path, kind: str) -> dict[str, Annotation]:
    """One kind of annotation from a table with the columns ``path``, ``kind``, ``start``, ``duration`` and ``value``, by path."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, filters=[("kind", "=", kind)])
    names = np.array(table["path"].to_pylist())
    start, duration = (table[name].to_numpy().astype(np.float64).round(4) for name in ("start", "duration"))
    values = np.array(table["value"].to_pylist())
    edges = np.flatnonzero(np.append(True, names[1:] != names[:-1]))
    found = {}
    for first, last in zip(edges, [*edges[1:], len(names)], strict=True):
        part = slice(first, last)
        of_kind = values[part] if kind == "chord" else values[part].astype(float) if kind == "note" else np.empty(0)
        found[str(names[first])] = Annotation(
            starts=start[part], ends=(start[part] + duration[part]).round(4), values=of_kind
        )
    return found


class ToneJs(Embedded):
    """Recorded notes of 20 instruments."""

    folder = "instrument/tonejs"
    about = About(
        name="tonejs",
        version="npm tonejs-instrument-*-mp3 1.1.1 and 1.1.2",
        licence="CC BY 3.0",
        size=SHIPPED,
        how="It is part of the package.",
        citation="Brosowsky, tonejs-instruments",
    )

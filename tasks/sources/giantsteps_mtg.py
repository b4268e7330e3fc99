"""GiantSteps-MTG, 1,486 electronic dance tracks with keys: the usual training set of the GiantSteps key test.

Conventions
-----------
Layout, as published: ``annotations/annotations.txt`` (tab-separated columns ``ID``, ``MANUAL KEY``, ``C``)
and ``audio/ID.LOFI.mp3``. Only the 1,159 tracks with one key and the highest confidence (C = 2) are
used. One eighth of them, chosen by a hash of the track, is the validation split. There is no test split.
"""

from __future__ import annotations

from collections.abc import Iterator

from m2l_bench.files.untrusted import inside
from m2l_bench.tasks.sources.mirdata import beatport_id, one_key
from m2l_bench.tasks.sources.source import About, Label, Source, TaskItem, hashed_split, read_table


class GiantStepsMtg(Source):
    """Training and validation items with their keys."""

    about = About(
        name="giantsteps-mtg-key-dataset",
        version="fd7b8c5 of 2016-10-31",
        licence="none stated in its repository; the audio are previews of Beatport",
        size="1,486 two-minute MP3 files",
        how="Clone https://github.com/GiantSteps/giantsteps-mtg-key-dataset and run its audio_dl.sh.",
        citation="Faraldo, Tonality estimation in electronic dance music, 2018",
    )

    def read(self) -> Iterator[tuple[TaskItem, Label]]:
        """Yield the tracks with one confident key."""
        table = self.home / "annotations" / "annotations.txt"
        if not table.is_file():
            raise self.missing()
        for row in read_table(table, delimiter="\t", required=("ID", "MANUAL KEY", "C")):
            name, key = row["ID"], one_key(row["MANUAL KEY"])
            if row["C"] == "2" and key is not None:
                path = inside(self.home, f"audio/{name}.LOFI.mp3", source=self.home)
                split = hashed_split(name, {"train": 0.875, "valid": 0.125})
                yield TaskItem(f"mtg {name}", path, split, beatport_id(name)), key

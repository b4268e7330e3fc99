"""NSynth: 305,979 four-second notes of 1,006 instruments, in eleven families.

Conventions
-----------
Layout, as its json/wav archives unpack: ``nsynth-train``, ``nsynth-valid``, ``nsynth-test``, each with
``examples.json`` and ``audio/NOTE.wav``. The split is the dataset's own: no instrument of the training set occurs in
the others; validation and test may share theirs. The group is the instrument.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from m2l_bench.files.untrusted import inside, parse_json
from m2l_bench.tasks.sources.source import SPLITS, About, IncompleteSplit, Label, Source, TaskItem

FAMILIES = (
    "bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string", "synth_lead", "vocal",
)  # fmt: skip
PUBLISHED = {"train": 289_205, "valid": 12_678, "test": 4_096}


class NSynth(Source):
    """Notes and their instrument families."""

    about = About(
        name="nsynth",
        version="2017, json/wav",
        licence="CC BY 4.0",
        size="25 GB to download, 39 GB unpacked",
        how="From https://magenta.tensorflow.org/datasets/nsynth take the three json/wav archives and unpack them "
        "side by side.",
        citation="Engel et al., Neural audio synthesis of musical notes with WaveNet autoencoders, 2017",
    )

    def read(self) -> Iterator[tuple[TaskItem, Label]]:
        """Yield the notes, by name; warn where a split does not have the published number of them."""
        tables = {split: self.home / f"nsynth-{split}" / "examples.json" for split in SPLITS}
        if not all(table.is_file() for table in tables.values()):
            raise self.missing()
        notes = {split: _read_notes(table) for split, table in tables.items()}
        counts = [f"{split} {len(notes[split])} of {count}" for split, count in PUBLISHED.items()]
        if any(len(notes[split]) != count for split, count in PUBLISHED.items()):
            warnings.warn(f"{self.home}: not the published splits ({', '.join(counts)})", IncompleteSplit, stacklevel=5)
        for split, table in tables.items():
            for name, note in notes[split].items():
                path = inside(self.home, f"nsynth-{split}/audio/{name}.wav", source=table)
                yield TaskItem(name, path, split, note["instrument_str"]), note["instrument_family_str"]


def _read_notes(table: Path) -> dict[str, dict[str, Any]]:
    wanted = ("instrument_str", "instrument_family_str")
    try:
        notes = parse_json(table.read_text(encoding="utf-8"))
        if not all(isinstance(note[name], str) for note in notes.values() for name in wanted):
            raise TypeError("not text")
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{table}: must hold notes with {' and '.join(wanted)} in JSON ({error})") from error
    return notes

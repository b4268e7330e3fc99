"""NSynth: 305,979 four-second notes of 1,006 instruments, in eleven families.

Conventions
-----------
Layout, as its json/wav archives unpack: ``nsynth-train``, ``nsynth-valid``, ``nsynth-test``, each with
``examples.json`` and ``audio/NOTE.wav``. The split is the dataset's own: no instrument of the training set occurs in
the others; validation and test may share theirs. The group is the instrument.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from m2l_bench.files.untrusted import inside, parse_json
from m2l_bench.tasks.sources.source import SPLITS, About, Item, Labels, default_home, missing

FAMILIES = (
    "bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string", "synth_lead", "vocal",
)  # fmt: skip
PUBLISHED = {"train": 289_205, "valid": 12_678, "test": 4_096}
ABOUT = About(
    name="nsynth",
    version="2017, json/wav",
    licence="CC BY 4.0",
    size="25 GB to download, 39 GB unpacked",
    how="From https://magenta.tensorflow.org/datasets/nsynth take the three json/wav archives and unpack them "
    "side by side.",
    citation="Engel et al., Neural audio synthesis of musical notes with WaveNet autoencoders, 2017",
)


@dataclass(frozen=True, kw_only=True)
class NSynth:
    """Notes and their families."""

    data_home: Path | None = None
    about: About = ABOUT

    def items(self) -> list[Item]:
        """Notes by name."""
        return [
            Item(
                name,
                inside(self._home, f"nsynth-{split}/audio/{name}.wav", source=table),
                split,
                note["instrument_str"],
            )
            for split, table in self._tables.items()
            for name, note in self._notes[split].items()
        ]

    def labels(self, split: str) -> Labels:
        """Instrument families."""
        return {name: note["instrument_family_str"] for name, note in self._notes[split].items()}

    def verify(self) -> None:
        """Check the published number of notes and that each has its file; the dataset has no checksums a file."""
        for split, count in PUBLISHED.items():
            if len(self._notes[split]) != count:
                raise ValueError(f"nsynth: the {split} split must have {count} notes, got {len(self._notes[split])}")
        lost = [item.path for item in self.items() if not item.path.is_file()]
        if lost:
            raise ValueError(f"nsynth: {len(lost)} files missing, such as {lost[0]}")

    @property
    def _home(self) -> Path:
        return default_home(ABOUT.name) if self.data_home is None else self.data_home

    @property
    def _tables(self) -> dict[str, Path]:
        return {split: self._home / f"nsynth-{split}" / "examples.json" for split in SPLITS}

    @cached_property
    def _notes(self) -> dict[str, dict[str, dict[str, Any]]]:
        if not all(table.is_file() for table in self._tables.values()):
            raise missing(ABOUT, self._home)
        return {split: _read_notes(table) for split, table in self._tables.items()}


def _read_notes(table: Path) -> dict[str, dict[str, Any]]:
    wanted = ("instrument_str", "instrument_family_str")
    try:
        notes = parse_json(table.read_text(encoding="utf-8"))
        if not all(isinstance(note[name], str) for note in notes.values() for name in wanted):
            raise TypeError("not text")
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{table}: must hold notes with {' and '.join(wanted)} in JSON ({error})") from error
    return notes

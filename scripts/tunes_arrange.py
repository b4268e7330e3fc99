"""Arrange a melody for two to four instruments: chords, bass, doubling.

Conventions
-----------
Times are in quarter notes until `Arrangement.stems` turns them into seconds. Chords are triads above the key's tonic,
chosen unit by unit to hold the melody's notes: the accompaniment therefore stays within the labelled key, which makes
the key clearer than in the bare melody.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from fluidsynth import Note

# The tags: General MIDI programs, counted from 0.
PROGRAMS = {
    "accordion": 21,
    "banjo": 105,
    "bass": 32,
    "clarinet": 71,
    "flute": 73,
    "guitar": 25,
    "harp": 46,
    "piano": 0,
    "trumpet": 56,
    "violin": 40,
}
_CHORD_PLAYERS = ("accordion", "guitar", "harp", "piano", "banjo")
_SUSTAINED = ("accordion", "clarinet", "flute", "trumpet", "violin")
# Chord unit and beat, in quarter notes, for each printed metre.
UNITS = {"C|": 2.0, "C": 2.0, "4/4": 2.0, "2/4": 1.0, "3/4": 3.0, "6/8": 1.5, "9/8": 1.5}
BEATS = {"C|": 2.0, "C": 1.0, "4/4": 1.0, "2/4": 1.0, "3/4": 1.0, "6/8": 1.5, "9/8": 1.5}
# Where the chord players strike within a unit, as shares of it.
STROKES = {
    "C|": (0.5,),
    "C": (0.5,),
    "4/4": (0.5,),
    "2/4": (0.5,),
    "3/4": (1 / 3, 2 / 3),
    "6/8": (2 / 3,),
    "9/8": (2 / 3,),
}
# The percussion's strokes in a beat, as shares of it, by tune type, else by metre. The same two sounds for all: rhythm
# tells, not timbre. The first stroke is the strong one.
PERCUSSION = {
    "reel": (0.0, 0.25, 0.5, 0.75),
    "hornpipe": (0.0, 0.5, 5 / 6),
    "jig": (0.0, 1 / 3, 2 / 3),
    "slip jig": (0.0, 2 / 3),
    "strathspey": (0.0, 0.25),
    "C|": (0.0, 0.5),
    "C": (0.0, 0.5),
    "4/4": (0.0, 0.5),
    "2/4": (0.0, 0.5),
    "3/4": (0.0,),
    "6/8": (0.0, 2 / 3),
    "9/8": (0.0, 2 / 3),
}
_STRONG, _WEAK = (37, 100), (69, 80)  # side stick and cabasa of the drum kit: pitch, velocity
_MAJOR = {"I": (0, 4, 7), "IV": (5, 9, 0), "V": (7, 11, 2), "vi": (9, 0, 4), "ii": (2, 5, 9)}
_MINOR = {"i": (0, 3, 7), "iv": (5, 8, 0), "v": (7, 10, 2), "V": (7, 11, 2), "VII": (10, 2, 5), "III": (3, 7, 10)}
_FAVOUR = {"I": 0.35, "i": 0.35, "V": 0.15, "VII": 0.1, "IV": 0.1, "iv": 0.05}
_BASS_LOW, _CHORD_LOW = 36, 52


@dataclass(frozen=True)
class Arrangement:
    """A melody (transposed; quarter notes), its key and metre, and who plays which part."""

    melody: list[tuple[float, float, int]]
    tonic: int
    mode: str
    metre: str
    beats_per_minute: float
    parts: dict[str, str]  # instrument -> "melody", "doubling", "chords" or "bass"

    @property
    def per_quarter(self) -> float:
        """Seconds of a quarter note."""
        return 60 / self.beats_per_minute / BEATS[self.metre]

    def repeated(self, seconds: float) -> list[tuple[float, float, int]]:
        """The melody's notes that begin in the first `seconds`; a short tune starts again."""
        unit = UNITS[self.metre]
        total = unit * np.ceil(max(start + length for start, length, _ in self.melody) / unit)
        repeats = int(np.ceil(seconds / (total * self.per_quarter)))
        melody = [(start + r * total, length, pitch) for r in range(repeats) for start, length, pitch in self.melody]
        return [note for note in melody if note[0] * self.per_quarter < seconds]

    def chords(self, seconds: float) -> list[tuple[float, tuple[int, ...]]]:
        """Start (in quarter notes) and pitch classes, the root first, of the triad of each unit of time."""
        return harmonise(self.repeated(seconds), self.tonic, self.mode, UNITS[self.metre])

    def stems(self, seconds: float) -> dict[str, list[Note]]:
        """Write out each instrument's notes for the first `seconds`."""
        per_quarter, unit = self.per_quarter, UNITS[self.metre]
        melody, chords = self.repeated(seconds), self.chords(seconds)
        has_bass = "bass" in self.parts.values()
        written = {
            "melody": [(s, n * 0.92, p, 96 if s % BEATS[self.metre] == 0 else 80) for s, n, p in melody],
            "doubling": [(s, n * 0.92, p - 12, 92 if s % BEATS[self.metre] == 0 else 78) for s, n, p in melody],
            "bass": [(s, unit * 0.85, chord[0], 92) for s, chord in _voiced(chords, _BASS_LOW)],
        }
        return {
            name: [
                (s * per_quarter, n * per_quarter, p, v)
                for s, n, p, v in (written.get(part) or self._chords(name, chords, has_bass))
            ]
            for name, part in self.parts.items()
        }

    def percussion(self, tune_type: str, seconds: float) -> list[Note]:
        """Write out the percussion's strokes, which `tune_type` (or, where empty, the metre) decides."""
        beat = 60 / self.beats_per_minute
        strokes = PERCUSSION[tune_type or self.metre]
        times = [(n + share) * beat for n in range(int(seconds / beat) + 1) for share in strokes]
        return [(t, 0.1, *(_WEAK if i % len(strokes) else _STRONG)) for i, t in enumerate(times) if t < seconds]

    def _chords(self, player: str, chords: list[tuple[float, tuple[int, ...]]], has_bass: bool) -> list[Note]:
        """Strike or hold the chords; whoever accompanies without a bass also plays the root on the beat."""
        unit = UNITS[self.metre]
        notes: list[Note] = []
        for (start, chord), (_, low) in zip(_voiced(chords, _CHORD_LOW), _voiced(chords, _BASS_LOW + 7), strict=True):
            if not has_bass:
                notes.append((start, unit * 0.8, low[0], 84))
            if player in _SUSTAINED:
                voices = chord if player in _CHORD_PLAYERS else chord[1:2]
                notes += [(start, unit * 0.95, pitch, 70) for pitch in voices]
            else:
                notes += [(start + s * unit, unit * 0.4, p, 76) for s in STROKES[self.metre] for p in chord]
        return notes


def assign_parts(instruments: list[str]) -> dict[str, str]:
    """Give each instrument a part; the order of `instruments` decides who is preferred for the melody."""
    parts: dict[str, str] = {}
    rest = list(instruments)
    if "bass" in rest:
        parts["bass"] = "bass"
        rest.remove("bass")
    if len(rest) > 1:
        chords = next((name for name in reversed(rest) if name in _CHORD_PLAYERS), rest[-1])
        parts[chords] = "chords"
        rest.remove(chords)
    parts.update(zip(rest, ("melody", "doubling", "bass"), strict=False))
    return parts


def harmonise(
    melody: list[tuple[float, float, int]], tonic: int, mode: str, unit: float
) -> list[tuple[float, tuple[int, ...]]]:
    """Choose a triad for each unit of time: the one that holds most of the melody, tonic first, changes favoured."""
    triads = _MAJOR if mode == "major" else _MINOR
    chords: list[tuple[float, tuple[int, ...]]] = []
    end = max(start + length for start, length, _ in melody)
    for index in range(int(np.ceil(end / unit))):
        held = np.zeros(12)
        for start, length, pitch in melody:
            overlap = min(start + length, (index + 1) * unit) - max(start, index * unit)
            held[(pitch - tonic) % 12] += max(overlap, 0.0) / unit
        score = {
            name: held[list(triad)].sum() + _FAVOUR.get(name, 0.0) + (name in "iI") * (index == 0)
            for name, triad in triads.items()
        }
        best = triads[max(score, key=score.__getitem__)]
        chords.append((index * unit, tuple((pc + tonic) % 12 for pc in best)))
    return chords


def _voiced(chords: list[tuple[float, tuple[int, ...]]], low: int) -> list[tuple[float, tuple[int, ...]]]:
    """Place each pitch class in the octave from `low` on; the root stays first."""
    return [(start, tuple(low + (pc - low) % 12 for pc in chord)) for start, chord in chords]

"""Annotation files of the user's own music: one for each track, as text.

Conventions
-----------
Fields are separated by whitespace or one comma; blank lines and lines that begin with ``#`` are skipped. Times are in seconds
from the first sample and in order; what is annotated at one time alone (``beats``, ``melody``) is annotated once.

========== ====================== ==============================================================================================
kind       a line                 constraint
========== ====================== ==============================================================================================
``beats``  ``time [anything]``    such as the beat's number in the bar, which is ignored
``onsets`` ``time [anything]``    onsets within 0.03 s of the one before are left out: a chord is one onset
``chords`` ``start end label``    Harte's spelling, as mir_eval reads it; no overlap; a gap is no chord (``N``)
``notes``  ``onset offset pitch`` MIDI, 0 to 127 (16 to 111 are scored), fractions allowed; notes may overlap
``melody`` ``time frequency``     Hz; 0 or less: unvoiced
========== ====================== ==============================================================================================

mir_eval's own readers refuse blank lines and let unordered times pass with a warning, and are therefore not used.

References
----------
Harte, Sandler, Abdallah, Gómez, Symbolic representation of musical chords, ISMIR 2005.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from m2l_bench.tasks.annotation import Annotation, thinned

LATEST = 30_000.0  # seconds: mir_eval refuses later events; milliseconds or samples are found out by it
_FIELDS = {
    "beats": ("time", "[anything]"),
    "onsets": ("time", "[anything]"),
    "chords": ("start", "end", "label"),
    "notes": ("onset", "offset", "pitch"),
    "melody": ("time", "frequency"),
}
_ONCE = ("beats", "melody")  # kinds whose times increase; others may repeat one
_SEPARATOR = re.compile(r"\s*,\s*|\s+")

Row = tuple[float, float, float | str]
"""Start, end, value; the value is 0 where there is none."""


def read_annotation(path: Path, kind: str) -> Annotation:
    """Read the annotation file of a track.

    Parameters
    ----------
    path : Path
    kind : {"beats", "onsets", "chords", "notes", "melody"}

    Returns
    -------
    Annotation

    Raises
    ------
    ValueError
        If the file cannot be read or has no line, or a line breaks a constraint; the message names file, line, constraint and
        value.
    """
    rows: list[Row] = []
    try:
        for number, line in _lines(path):
            try:
                row = _row(kind, line)
                _check_order(kind, row, rows[-1] if rows else None)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
            if kind == "chords" and rows and row[0] > rows[-1][1]:
                rows.append((rows[-1][1], row[0], "N"))
            rows.append(row)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: must be a readable text file in UTF-8 ({error})") from error
    if not rows:
        raise ValueError(f"{path}: must have a line `{' '.join(_FIELDS[kind])}`, got none")
    starts, ends = (np.array([row[column] for row in rows], np.float64) for column in (0, 1))
    if kind == "onsets":
        starts = thinned(starts)
    if kind in ("beats", "onsets"):
        return Annotation(starts=starts, ends=starts)
    values = np.array([row[2] for row in rows])
    return Annotation(starts=starts, ends=starts if kind == "melody" else ends, values=values)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbers and text of the lines that are not blank and no comments."""
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            text = line.strip()
            if text and not text.startswith("#"):
                yield number, text


def _row(kind: str, line: str) -> Row:
    names = _FIELDS[kind]
    # A chord's label may hold commas: C:maj(9,11)
    fields = _SEPARATOR.split(line, maxsplit=2 if kind == "chords" else 0)
    fewest = sum(not name.startswith("[") for name in names)
    if not fewest <= len(fields) <= len(names):
        raise ValueError(f"must be `{' '.join(names)}`, separated by whitespace or commas, got {line[:80]!r}")
    start = _number(names[0], fields[0], least=0.0, most=LATEST)
    if kind in ("beats", "onsets"):
        return start, start, 0.0
    if kind == "melody":
        return start, start, max(0.0, _number("frequency", fields[1]))
    end = _number(names[1], fields[1], least=0.0, most=LATEST)
    if end <= start:
        raise ValueError(f"{names[1]} must be after {names[0]} ({fields[0]}), got {fields[1]}")
    if kind == "chords":
        _check_chord(fields[2])
        return start, end, fields[2]
    return start, end, _number("pitch", fields[2], least=0.0, most=127.0)


def _number(name: str, text: str, *, least: float = -np.inf, most: float = np.inf) -> float:
    unit = {"pitch": " (MIDI)", "frequency": " (Hz)"}.get(name, " (seconds)")
    bounds = f" from {least:g} to {most:g}" if np.isfinite(most) else ""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value) or not least <= value <= most:
        raise ValueError(f"{name} must be a number{bounds}{unit}, got {text[:80]!r}")
    return value


def _check_order(kind: str, row: Row, before: Row | None) -> None:
    if before is None:
        return
    name = _FIELDS[kind][0]
    if kind == "chords" and row[0] < before[1]:
        raise ValueError(f"{name} must not be before the end of the chord before ({before[1]:.10g}), got {row[0]:.10g}")
    if row[0] < before[0] or (kind in _ONCE and row[0] == before[0]):
        constraint = "must be after" if kind in _ONCE else "must not be before"
        raise ValueError(f"{name} {constraint} that of the line before ({before[0]:.10g}), got {row[0]:.10g}")


@lru_cache(maxsize=4096)
def _check_chord(label: str) -> None:
    import mir_eval

    try:
        mir_eval.chord.encode(label)
    except mir_eval.chord.InvalidChordException:
        raise ValueError(
            f"label must be a chord in Harte's spelling, such as Bb:min7 or N, got {label[:80]!r}"
        ) from None

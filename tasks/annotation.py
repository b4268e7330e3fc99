"""Annotations of one track in time, targets on a grid made from them, and estimates made from a probe's outputs.

Conventions
-----------
Times are in seconds from the first sample. The grid has :data:`GRID` frames a second; frame g covers ``[g, g + 1) / GRID`` and is
centred in it. Annotations are never rounded to it: targets are, and estimates lie on it.

Kinds, what a probe learns of a grid frame, and how its outputs are read:

``beats``   whether a beat lies in it (1), or in a neighbour (0.5); local maxima above a threshold, 0.2 s apart at least
``onsets``  the same of onsets, which are 0.03 s apart at least, in the annotation and in the estimate
``chords``  one of 25 chords (12 major, 12 minor, none), the one that fills most of it; the largest output, then runs shorter than
            0.25 s join the longer neighbour
``notes``   which of 88 pitches (MIDI 21 to 108) sound at its centre; those above a threshold
``melody``  one of these pitches, or none; the largest output
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

GRID = 50  # frames a second
PITCHES = np.arange(21, 109)  # MIDI
ROOTS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
CHORDS = (*(f"{root}:{quality}" for quality in ("maj", "min") for root in ROOTS), "N")
THRESHOLDS = tuple(np.round(np.arange(0.05, 1.0, 0.05), 2))
_APART = {"beats": 0.2, "onsets": 0.03}  # seconds
_SHORTEST_CHORD = 0.25  # seconds

TimeKind = Literal["beats", "onsets", "chords", "notes", "melody"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Annotation:
    """What is annotated in one track, in the order of time.

    Attributes
    ----------
    starts, ends : np.ndarray, float64, (n,)
        Seconds; equal for beats and onsets.
    values : np.ndarray, (n,)
        Chords in Harte's spelling, MIDI pitches of notes, Hz of a melody (0: none); empty for beats and onsets.
    """

    starts: np.ndarray
    ends: np.ndarray
    values: np.ndarray = field(default_factory=lambda: np.empty(0))

    def __str__(self) -> str:
        """One line of text, exactly: start, end and value of each, where they are not empty; separated by semicolons."""
        columns = [self.starts] if np.array_equal(self.starts, self.ends) else [self.starts, self.ends]
        columns += [self.values] if len(self.values) else []
        texts = [[str(value).removesuffix(".0") for value in column.tolist()] for column in columns]
        return ";".join(",".join(row) for row in zip(*texts, strict=True))

    @classmethod
    def parse(cls, kind: str, text: str) -> Annotation:
        """Read what :meth:`__str__` wrote of an annotation of a kind.

        Examples
        --------
        >>> chord = Annotation(starts=np.array([0.0]), ends=np.array([1.5]), values=np.array(["A:min"]))
        >>> Annotation.parse("chords", str(chord)) == chord, str(chord)
        (True, '0,1.5,A:min')
        """
        rows = [row.split(",", 2) for row in text.split(";") if row]  # a chord may hold commas: C:maj(9,11)
        starts = np.array([float(row[0]) for row in rows])
        ends = np.array([float(row[1]) for row in rows]) if kind in ("chords", "notes") else starts
        if kind in _APART:
            return cls(starts=starts, ends=ends)
        values = [row[-1] for row in rows]
        return cls(starts=starts, ends=ends, values=np.array(values if kind == "chords" else list(map(float, values))))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Annotation):
            return NotImplemented
        pairs = zip(self.__dict__.values(), other.__dict__.values(), strict=True)
        return all(np.array_equal(mine, theirs) for mine, theirs in pairs)


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a probe gives for a grid frame.

    Attributes
    ----------
    size : int
        Numbers a frame.
    exclusive : bool
        One softmax, else sigmoids.
    """

    size: int
    exclusive: bool


OUTPUTS: dict[str, Output] = {
    "beats": Output(size=1, exclusive=False),
    "onsets": Output(size=1, exclusive=False),
    "chords": Output(size=len(CHORDS), exclusive=True),
    "notes": Output(size=len(PITCHES), exclusive=False),
    "melody": Output(size=len(PITCHES) + 1, exclusive=True),
}


def targets(kind: str, annotation: Annotation, starts: np.ndarray) -> np.ndarray:
    """Targets of frames of one grid step that begin anywhere.

    Parameters
    ----------
    kind : str
    annotation : Annotation
    starts : np.ndarray, (frames,)
        Where the frames begin, in seconds.

    Returns
    -------
    np.ndarray, float32, (frames, size)
        0 to 1; one-hot where outputs exclude each other.

    Examples
    --------
    >>> beats = Annotation(starts=np.array([0.05]), ends=np.array([0.05]))
    >>> targets("beats", beats, np.arange(5) / GRID).ravel()
    array([0. , 0.5, 1. , 0.5, 0. ], dtype=float32)
    """
    size, step = OUTPUTS[kind].size, 1 / GRID
    made = np.zeros((len(starts), size), np.float32)
    if kind in _APART:
        for value, side in ((0.5, step), (1.0, 0.0)):
            first = np.searchsorted(annotation.starts, starts - side - 1e-9)
            made[np.searchsorted(annotation.starts, starts + step + side - 1e-9) > first] = value
    elif kind == "notes":
        centres = starts + step / 2
        for start, end, pitch in zip(annotation.starts, annotation.ends, annotation.values, strict=True):
            column = round(float(pitch)) - int(PITCHES[0])
            if 0 <= column < size:
                made[(centres >= start) & (centres < end), column] = 1.0
    else:
        made[np.arange(len(starts)), _labels(kind, annotation, starts)] = 1.0
    return made


def _labels(kind: str, annotation: Annotation, starts: np.ndarray) -> np.ndarray:
    """Columns of what excludes the rest, (frames,): of chords the longest in a frame, of a melody the one at its centre."""
    none = OUTPUTS[kind].size - 1
    step = 1 / GRID
    if kind == "melody":
        place = np.searchsorted(annotation.starts, starts + step / 2, side="right") - 1
        pitch = np.append(pitch_of(annotation.values), none)  # place -1, before the first value: none
        return np.where(place >= 0, pitch[place], none).astype(int)
    columns = np.array([chord_column(str(label)) for label in annotation.values], int)
    overlap = np.zeros((len(starts), none + 1))
    overlap[:, none] = step
    for start, end, column in zip(annotation.starts, annotation.ends, columns, strict=True):
        inside = slice(np.searchsorted(starts, start - step), np.searchsorted(starts, end))
        share = np.minimum(starts[inside] + step, end) - np.maximum(starts[inside], start)
        overlap[inside, column] += np.maximum(share, 0.0)
        overlap[inside, none] -= np.maximum(share, 0.0) * (column != none)
    return overlap.argmax(1)


def pitch_of(frequency: np.ndarray) -> np.ndarray:
    """Columns of :data:`PITCHES` for frequencies in Hz, ``len(PITCHES)`` where there is none or it is out of their range."""
    frequency = np.asarray(frequency, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        column = np.round(69 + 12 * np.log2(frequency / 440)) - PITCHES[0]
    return np.where((frequency > 0) & (column >= 0) & (column < len(PITCHES)), column, len(PITCHES)).astype(int)


def frequency_of(pitch: np.ndarray) -> np.ndarray:
    """Hz of MIDI pitches."""
    return np.asarray(440 * 2 ** ((np.asarray(pitch, float) - 69) / 12))


def chord_column(label: str) -> int:
    """Column of :data:`CHORDS` for a chord in Harte's spelling, by its root and third; none for N, X and what has no third.

    Examples
    --------
    >>> CHORDS[chord_column("Bb:min7")], CHORDS[chord_column("D")], CHORDS[chord_column("N")], CHORDS[chord_column("C:sus4")]
    ('A#:min', 'D:maj', 'N', 'N')
    """
    import mir_eval

    root, intervals, _ = mir_eval.chord.encode(label)
    if root < 0 or not (intervals[3] or intervals[4]):
        return len(CHORDS) - 1
    return int(root) + 12 * bool(intervals[3] and not intervals[4])


def tunable(kind: str) -> bool:
    """Whether estimates depend on a threshold."""
    return not OUTPUTS[kind].exclusive


def events(kind: str, probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """Beats or onsets from probabilities on the grid, (frames,): centres of local maxima, the highest first where they crowd."""
    p = np.asarray(probabilities, float)
    padded = np.concatenate([[-1.0], p, [-1.0]])
    peaks = np.flatnonzero((p >= threshold) & (p >= padded[:-2]) & (p > padded[2:]))
    apart = _APART[kind] * GRID - 1e-9
    kept = np.zeros(len(p), bool)
    reach = int(np.ceil(apart))
    for peak in peaks[np.argsort(-p[peaks], kind="stable")]:
        near = np.flatnonzero(kept[max(0, peak - reach) : peak + reach + 1]) + max(0, peak - reach)
        if not len(near) or np.abs(near - peak).min() >= apart:
            kept[peak] = True
    return (np.flatnonzero(kept) + 0.5) / GRID


def chord_runs(columns: np.ndarray) -> Annotation:
    """Chords from a column of :data:`CHORDS` for each grid frame; runs that are too short join the longer neighbour."""
    columns = np.asarray(columns).copy()
    while True:
        edges = np.flatnonzero(np.diff(columns)) + 1
        first, last = np.concatenate([[0], edges]), np.concatenate([edges, [len(columns)]])
        lengths = last - first
        if len(lengths) == 1 or lengths.min() >= _SHORTEST_CHORD * GRID:
            break
        run = int(lengths.argmin())
        neighbours = [n for n in (run - 1, run + 1) if 0 <= n < len(lengths)]
        longer = max(neighbours, key=lambda n: lengths[n])
        columns[first[run] : last[run]] = columns[first[longer]]
    labels = np.array([CHORDS[columns[place]] for place in first])
    return Annotation(starts=first / GRID, ends=last / GRID, values=labels)


def thinned(times: Sequence[float] | np.ndarray, apart: float = _APART["onsets"]) -> np.ndarray:
    """Onsets without those that follow another within `apart` seconds: a chord is one onset.

    Examples
    --------
    >>> thinned([0.0, 0.01, 0.5, 0.52, 0.54])
    array([0.  , 0.5 , 0.54])
    """
    kept: list[float] = []
    for time in np.sort(np.asarray(times, float)):
        if not kept or time - kept[-1] >= apart - 1e-9:
            kept.append(float(time))
    return np.array(kept)


def estimate(kind: str, grid: np.ndarray, threshold: float) -> Annotation:
    """What a probe's outputs on the grid say."""
    if kind == "chords":
        return chord_runs(grid.argmax(1))
    if kind in ("beats", "onsets"):
        times = events(kind, grid[:, 0], threshold)
        return Annotation(starts=times, ends=times)
    begins = np.arange(len(grid)) / GRID
    if kind == "melody":
        column = grid.argmax(1)
        voiced = column < len(PITCHES)
        pitch = np.where(voiced, PITCHES[np.minimum(column, len(PITCHES) - 1)], 0)
        centres = begins + 0.5 / GRID
        return Annotation(starts=centres, ends=centres, values=np.where(voiced, frequency_of(pitch), 0.0))
    # Neighbouring frames of a pitch are one note.
    there = np.pad(grid >= threshold, [(1, 1), (0, 0)]).astype(np.int8)
    column, first = np.nonzero(np.diff(there, axis=0).T == 1)
    _, last = np.nonzero(np.diff(there, axis=0).T == -1)
    order = np.lexsort((column, first))
    first, last, column = first[order], last[order], column[order]
    return Annotation(starts=first / GRID, ends=last / GRID, values=PITCHES[column].astype(float))

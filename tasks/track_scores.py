"""Scores of one track's estimates in time, by mir_eval on the annotation as it is.

Conventions
-----------
Estimates are :class:`~m2l_bench.tasks.annotation.Annotation` of the same kind as the reference. An estimate with nothing in it
scores 0, as mir_eval has it. A score that is not defined (the timing of beats of which none was found) is NaN.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import numpy as np

from m2l_bench.cards import Card
from m2l_bench.tasks.annotation import Annotation, frequency_of

LONG = 20.0  # seconds: of a longer track, beats of the first 5 s are not counted, as in MIREX
_STEP = 0.01  # seconds: how finely notes and melodies are compared
_FINE = 0.02  # seconds
LOWEST, HIGHEST = 16.0, 111.0  # MIDI: mir_eval refuses frequencies below 20 and above 5000 Hz
FEWEST_GROUPS = 10  # of an interval: with fewer, resampling says nothing

Scores = Mapping[str, float]


def score(kind: str, reference: Annotation, estimate: Annotation, seconds: float) -> dict[str, float]:
    """Scores of a track of `seconds`, by metric."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mir_eval warns of empty estimates, which score 0
        return _SCORES[kind](reference, estimate, seconds)


def _beats(reference: Annotation, estimate: Annotation, seconds: float) -> dict[str, float]:
    import mir_eval

    given, found = reference.starts, estimate.starts
    if seconds > LONG:
        given, found = mir_eval.beat.trim_beats(given), mir_eval.beat.trim_beats(found)
    _, cmlt, _, amlt = mir_eval.beat.continuity(given, found) if len(given) > 1 and len(found) > 1 else [0.0] * 4
    return {
        "beat_f": mir_eval.beat.f_measure(given, found),
        "beat_f_20ms": mir_eval.beat.f_measure(given, found, f_measure_threshold=_FINE),
        "beat_timing": _timing(given, found, 0.07),
        "beat_cemgil": mir_eval.beat.cemgil(given, found)[0] if len(found) and len(given) else 0.0,
        "beat_cmlt": float(cmlt),
        "beat_amlt": float(amlt),
    }


def _onsets(reference: Annotation, estimate: Annotation, seconds: float) -> dict[str, float]:
    import mir_eval

    given, found = reference.starts, estimate.starts
    return {
        "onset_f": mir_eval.onset.f_measure(given, found)[0],
        "onset_f_20ms": mir_eval.onset.f_measure(given, found, window=_FINE)[0],
        "onset_timing": _timing(given, found, 0.05),
    }


def _timing(given: np.ndarray, found: np.ndarray, window: float) -> float:
    """Median absolute deviation of the matched events, in ms; NaN where none is matched."""
    import mir_eval

    pairs = mir_eval.util.match_events(given, found, window)
    deviations = [abs(given[i] - found[j]) for i, j in pairs]
    return 1000 * float(np.median(deviations)) if deviations else float("nan")


def _chords(reference: Annotation, estimate: Annotation, seconds: float) -> dict[str, float]:
    import mir_eval

    weights, expected, labels = aligned_chords(reference, estimate)
    return {
        f"chord_{name}": float(mir_eval.chord.weighted_accuracy(compare(expected, labels), weights))
        for name, compare in (
            ("majmin", mir_eval.chord.majmin),
            ("root", mir_eval.chord.root),
            ("thirds", mir_eval.chord.thirds),
            ("mirex", mir_eval.chord.mirex),
        )
    }


def aligned_chords(reference: Annotation, estimate: Annotation) -> tuple[np.ndarray, list[str], list[str]]:
    """Durations (s) of the stretches in which neither changes, within the reference, and the labels of both in each."""
    import mir_eval

    given, found = (np.stack([a.starts, a.ends], 1) for a in (reference, estimate))
    expected, labels = ([str(label) for label in a.values] for a in (reference, estimate))
    found, labels = mir_eval.util.adjust_intervals(found, labels, given.min(), given.max(), "N", "N")
    intervals, expected, labels = mir_eval.util.merge_labeled_intervals(given, expected, found, labels)
    return mir_eval.util.intervals_to_durations(intervals), expected, labels


def _notes(reference: Annotation, estimate: Annotation, seconds: float) -> dict[str, float]:
    import mir_eval

    times = np.arange(0, seconds, _STEP)
    given, found = sounding(reference, times), sounding(estimate, times)
    precision, recall, accuracy, *rest = mir_eval.multipitch.metrics(times, given, times, found)
    chroma_precision, chroma_recall = rest[4], rest[5]
    return {
        "note_f": _harmonic(precision, recall),
        "note_accuracy": float(accuracy),
        "note_chroma_f": _harmonic(chroma_precision, chroma_recall),
    }


def sounding(notes: Annotation, times: np.ndarray) -> list[np.ndarray]:
    """Frequencies (Hz) that sound at each time, of those that mir_eval compares."""
    first = np.searchsorted(times, notes.starts - 1e-9)
    last = np.searchsorted(times, notes.ends - 1e-9)
    pitches: list[set[float]] = [set() for _ in times]
    heard = (notes.values >= LOWEST) & (notes.values <= HIGHEST)
    for a, b, pitch in zip(first[heard], last[heard], notes.values[heard], strict=True):
        for place in range(a, b):
            pitches[place].add(float(pitch))
    return [frequency_of(np.array(sorted(found))) for found in pitches]


def _harmonic(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _melody(reference: Annotation, estimate: Annotation, seconds: float) -> dict[str, float]:
    import mir_eval

    found = mir_eval.melody.evaluate(reference.starts, reference.values, estimate.starts, estimate.values)
    return {
        "melody_accuracy": float(found["Overall Accuracy"]),
        "melody_pitch": float(found["Raw Pitch Accuracy"]),
        "melody_chroma": float(found["Raw Chroma Accuracy"]),
    }


_SCORES: dict[str, Callable[[Annotation, Annotation, float], dict[str, float]]] = {
    "beats": _beats,
    "onsets": _onsets,
    "chords": _chords,
    "notes": _notes,
    "melody": _melody,
}


def _card(name: str, title: str, formula: str, source: str, *, unit: str = "", higher: bool = True) -> Card:
    return Card(
        name=name,
        title=title,
        unit=unit,
        higher_is_better=higher,
        formula=formula,
        rate_rule="none: scored on predictions; latents are brought to 50 frames a second",
        channel_rule="latents are averaged over the streams (channels)",
        constants={"interval": "95 %, mean over tracks, groups of tracks as units (docs/statistics.md)"},
        source=source,
        version=1,
    )


_TRIM = f"mir_eval.beat; in tracks of more than {LONG:g} s without the first 5 s, in shorter ones all; mean over tracks"
_CHORD = "mir_eval.chord: share of the time with the right chord by the rule {}, of the time that it applies to; mean over tracks"
CARDS: dict[str, Card] = {
    card.name: card
    for card in (
        _card("beat_f", "beat F", f"F measure at +-70 ms, {_TRIM}", "Davies, Degara, Plumbley 2009"),
        _card("beat_f_20ms", "beat F at 20 ms", f"F measure at +-20 ms, {_TRIM}", "mir_eval"),
        _card(
            "beat_timing",
            "beat timing error",
            f"median of |estimate - reference| of the beats matched within 70 ms, {_TRIM} with matches",
            "-",
            unit="ms",
            higher=False,
        ),
        _card("beat_cemgil", "Cemgil's score", f"Gaussian of 40 ms around each beat, {_TRIM}", "Cemgil et al. 2001"),
        _card("beat_cmlt", "CMLt", f"beats in continuity, the annotated level, {_TRIM}", "Klapuri et al. 2006"),
        _card("beat_amlt", "AMLt", f"as CMLt, other metrical levels allowed, {_TRIM}", "Klapuri et al. 2006"),
        _card("onset_f", "onset F", "F measure at +-50 ms, mir_eval.onset; mean over tracks", "Böck et al. 2012"),
        _card("onset_f_20ms", "onset F at 20 ms", "F measure at +-20 ms, mir_eval.onset; mean over tracks", "mir_eval"),
        _card(
            "onset_timing",
            "onset timing error",
            "median of |estimate - reference| of the onsets matched within 50 ms; mean over tracks with matches",
            "-",
            unit="ms",
            higher=False,
        ),
        _card("chord_majmin", "chord majmin", _CHORD.format("majmin"), "Pauwels, Peeters 2013"),
        _card("chord_root", "chord roots", _CHORD.format("root"), "Pauwels, Peeters 2013"),
        _card("chord_thirds", "chord thirds", _CHORD.format("thirds"), "Pauwels, Peeters 2013"),
        _card("chord_mirex", "chord MIREX", _CHORD.format("mirex, three notes in common"), "MIREX 2010"),
        _card(
            "note_f",
            "note F",
            "harmonic mean of precision and recall of the pitches at every 10 ms (+-50 cents), mir_eval.multipitch; mean over "
            "tracks",
            "Bay, Ehmann, Downie 2009",
        ),
        _card("note_accuracy", "note accuracy", "TP / (TP + FP + FN), as note F; mean over tracks", "Bay et al. 2009"),
        _card("note_chroma_f", "note F, chroma", "as note F, octaves ignored; mean over tracks", "Bay et al. 2009"),
        _card(
            "melody_accuracy",
            "melody accuracy",
            "share of the time whose voicing, and pitch where voiced (+-50 cents), is right, mir_eval.melody; mean over tracks",
            "Salamon et al. 2014",
        ),
        _card(
            "melody_pitch",
            "raw pitch",
            "as melody accuracy, of the voiced time; mean over tracks",
            "Salamon et al. 2014",
        ),
        _card("melody_chroma", "raw chroma", "as raw pitch, octaves ignored; mean over tracks", "Salamon et al. 2014"),
    )
}
TIME_KINDS: dict[str, tuple[str, ...]] = {
    kind: tuple(name for name in CARDS if name.startswith(prefix))
    for kind, prefix in (
        ("beats", "beat_"),
        ("onsets", "onset_"),
        ("chords", "chord_"),
        ("notes", "note_"),
        ("melody", "melody_"),
    )
}
"""Kind -> its metrics, the main one first."""

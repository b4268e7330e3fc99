"""Beats, onsets, chords, notes: annotations in time."""

from __future__ import annotations

from m2l_bench.tasks.base import Task
from m2l_bench.tasks.sources.embedded import TunesInTime

_RENDERED = "Rendered by a synthesizer, with a click on each beat; clips begin on a beat: easier than recorded music."

TASKS = (
    Task(
        name="beat/tunes",
        kind="beats",
        source=TunesInTime(kind="beats"),
        group="tune",
        summary="beats of rendered fiddle tunes",
        caveat=_RENDERED,
    ),
    Task(
        name="onset/tunes",
        kind="onsets",
        source=TunesInTime(kind="onsets"),
        group="tune",
        summary="onsets of the notes of rendered fiddle tunes, percussion left out",
        caveat=_RENDERED,
    ),
    Task(
        name="chord/tunes",
        kind="chords",
        source=TunesInTime(kind="chords"),
        group="tune",
        summary="major and minor triads of the accompaniment of rendered fiddle tunes",
        caveat=f"{_RENDERED} A clip without a chord player has a chord's root and melody alone.",
    ),
    Task(
        name="notes/tunes",
        kind="notes",
        source=TunesInTime(kind="notes"),
        group="tune",
        summary="pitches that sound in rendered fiddle tunes",
        caveat="Rendered by a synthesizer; a note's end is where its key is released.",
    ),
)

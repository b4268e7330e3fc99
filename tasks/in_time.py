"""Beats, onsets, chords, notes: annotations in time."""

from __future__ import annotations

from m2l_bench.tasks.base import Task
from m2l_bench.tasks.sources.embedded import TunesInTime
from m2l_bench.tasks.sources.mirdata_in_time import Ballroom, Beatles, GtzanBeats, GuitarSet, Maestro, MedleyMelody

_RENDERED = "Rendered by a synthesizer, with a click on each beat; clips begin on a beat: easier than recorded music."
_ONE_PLAYER = (
    "The test is one player's; all players play the same 30 lead sheets, in the same keys and at the same tempi."
)

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
    Task(
        name="beat/guitarset",
        kind="beats",
        source=GuitarSet(kind="beats"),
        group="performance",
        summary="beats of a solo guitar, recorded with a microphone; split by player",
        caveat=f"{_ONE_PLAYER} Beats are those of the click that the players followed.",
    ),
    Task(
        name="chord/guitarset",
        kind="chords",
        source=GuitarSet(kind="chords"),
        group="performance",
        summary="chords of the lead sheet, of a guitar that accompanies; split by player",
        caveat=f"{_ONE_PLAYER} Chords are those that were asked for, not those that were played.",
    ),
    Task(
        name="notes/guitarset",
        kind="notes",
        source=GuitarSet(kind="notes"),
        group="performance",
        summary="pitches that sound on the six strings of a guitar, recorded with a microphone; split by player",
        caveat=_ONE_PLAYER,
    ),
    Task(
        name="beat/gtzan",
        kind="beats",
        source=GtzanBeats(),
        summary="beats of ten genres, fault-filtered split (Kereliuk et al. 2015) without jazz.00054",
    ),
    Task(
        name="beat/ballroom",
        kind="beats",
        source=Ballroom(),
        group="album",
        summary="beats of ballroom dances without the 13 known replicas, split by album",
        caveat="Steady tempi of strict dances; introductions without music are not annotated.",
    ),
    Task(
        name="notes/maestro",
        kind="notes",
        source=Maestro(),
        group="piece",
        summary="pitches that sound in piano performances, the dataset's own split",
        caveat="A note ends where its key is released; what the sustain pedal holds beyond counts as silent.",
    ),
    Task(
        name="chord/beatles",
        kind="chords",
        source=Beatles(),
        group="song",
        summary="chords of songs of the Beatles, split by album",
        caveat="One band. The audio is the user's own: other masterings are shifted against the annotations.",
    ),
    Task(
        name="melody/medleydb",
        kind="melody",
        source=MedleyMelody(),
        group="artist",
        summary="pitch of the predominant source of multi-track songs (second definition), split by artist",
        caveat="20 test songs.",
    ),
)

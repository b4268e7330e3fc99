"""Tagging: which of many tags apply."""

from __future__ import annotations

from m2l_bench.tasks.base import Task
from m2l_bench.tasks.sources.embedded import Tunes
from m2l_bench.tasks.sources.magnatagatune import TAGS, MagnaTagATune
from m2l_bench.tasks.sources.mirdata import JamendoMoodTheme

TASKS = (
    Task(
        name="tagging/tunes",
        kind="multi-label",
        source=Tunes(column="tags"),
        group="tune",
        summary="which 2 to 4 instruments of a fixed list play, in rendered fiddle tunes",
        caveat="Rendered by a synthesizer: the tags are General MIDI programs, not tags given by listeners.",
    ),
    Task(
        name="tagging/magnatagatune",
        kind="multi-label",
        source=MagnaTagATune(),
        labels=TAGS,
        group="album",
        summary="the 50 most frequent tags of a listening game",
        caveat="62 % of the test clips share their artist with training; musicnn was trained on this training set.",
    ),
    Task(
        name="tagging/mtg-jamendo-moodtheme",
        kind="multi-label",
        source=JamendoMoodTheme(),
        group="artist",
        summary="mood and theme of whole tracks, split 0",
    ),
)

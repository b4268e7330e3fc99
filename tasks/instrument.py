"""Instrument and pitch of notes, solos and mixtures."""

from __future__ import annotations

from m2l_bench.tasks.base import Task
from m2l_bench.tasks.sources.embedded import ToneJs
from m2l_bench.tasks.sources.mirdata import Irmas, MedleySolos, OpenMic, TinySol, TinySolPitch
from m2l_bench.tasks.sources.nsynth import FAMILIES, NSynth

_IRMAS = ("cel", "cla", "flu", "gac", "gel", "org", "pia", "sax", "tru", "vio", "voi")
_OPENMIC = (
    *("accordion", "banjo", "bass", "cello", "clarinet", "cymbals", "drums", "flute", "guitar", "mallet_percussion"),
    *("mandolin", "organ", "piano", "saxophone", "synthesizer", "trombone", "trumpet", "ukulele", "violin", "voice"),
)
_FOLDS = "One of five folds: report the mean over tinysol:0 to tinysol:4, as its authors request."

TASKS = (
    Task(
        name="instrument/tonejs",
        kind="single-label",
        source=ToneJs(column="instrument"),
        group="recording",
        summary="which of 20 instruments plays a recorded note",
        caveat="One recording set per instrument: a probe can recognise the recording set instead of the instrument.",
    ),
    Task(
        name="pitch/tonejs",
        kind="single-label",
        source=ToneJs(column="pitch_class"),
        group="recording",
        summary="pitch class of a recorded note of 20 instruments",
        caveat="A few hundred notes, one recording set per instrument.",
    ),
    Task(
        name="instrument/medley-solos-db",
        kind="single-label",
        source=MedleySolos(),
        group="song",
        summary="which of 8 instruments plays a solo",
    ),
    Task(
        name="instrument/irmas",
        kind="multi-label",
        source=Irmas(),
        labels=_IRMAS,
        group="song",
        summary="predominant instruments: trained on one per clip, tested on any number",
    ),
    Task(
        name="instrument/openmic2018",
        kind="multi-label",
        source=OpenMic(),
        labels=_OPENMIC,
        group="artist",
        may_share=(("test", "train"), ("test", "valid")),
        summary="which of 20 instruments play in a clip, where that was annotated",
        caveat="Each clip was annotated for a few of the 20 instruments, which were not drawn at random.",
    ),
    Task(
        name="instrument/nsynth",
        kind="single-label",
        source=NSynth(),
        labels=FAMILIES,
        group="instrument",
        may_share=(("test", "valid"),),
        summary="instrument family of a note (11 families)",
        caveat="Validation and test share their instruments in this dataset's own split.",
    ),
    *(
        Task(
            name=f"{question}/tinysol" + (f":{fold}" if fold else ""),
            kind="single-label",
            source=source(fold=fold),
            group="note",
            summary=f"{summary}, fold {fold}",
            caveat=_FOLDS,
        )
        for question, source, summary in (
            ("instrument", TinySol, "which of 14 instruments plays a note"),
            ("pitch", TinySolPitch, "pitch class of a note of 14 instruments"),
        )
        for fold in range(5)
    ),
)

"""Instrument and pitch of notes, solos and mixtures."""

from __future__ import annotations

from m2l_bench.tasks.base import Task
from m2l_bench.tasks.sources.embedded import TONEJS, Embedded
from m2l_bench.tasks.sources.mirdata import Mirdata
from m2l_bench.tasks.sources.nsynth import FAMILIES, NSynth

_IRMAS = ("cel", "cla", "flu", "gac", "gel", "org", "pia", "sax", "tru", "vio", "voi")
_FOLDS = "One of five folds: report the mean over tinysol:0 to tinysol:4, as its authors ask."

TASKS = {
    task.name: task
    for task in (
        Task(
            name="instrument/tonejs",
            kind="single-label",
            source=Embedded(name="instrument/tonejs", column="instrument", about=TONEJS),
            group="recording",
            summary="which of 20 instruments plays a recorded note",
            caveat="One recorded source an instrument: it asks which recording set a note is from.",
        ),
        Task(
            name="pitch/tonejs",
            kind="single-label",
            source=Embedded(name="pitch/tonejs", column="pitch_class", about=TONEJS),
            group="recording",
            summary="pitch class of a recorded note of 20 instruments",
            caveat="A few hundred notes of one recorded source an instrument.",
        ),
        Task(
            name="instrument/medley-solos-db",
            kind="single-label",
            source=Mirdata(dataset="medley_solos_db"),
            group="song",
            summary="which of 8 instruments plays a solo",
        ),
        Task(
            name="instrument/irmas",
            kind="multi-label",
            source=Mirdata(dataset="irmas"),
            labels=_IRMAS,
            group="song",
            summary="predominant instruments: trained on one a clip, tested on any number",
        ),
        Task(
            name="instrument/nsynth",
            kind="single-label",
            source=NSynth(),
            labels=FAMILIES,
            group="instrument",
            may_share=(("test", "valid"),),
            summary="which of 11 instrument families a note is of",
            caveat="Validation and test share their instruments in this dataset's own split.",
        ),
        *(
            Task(
                name=f"{what}/tinysol" + (f":{fold}" if fold else ""),
                kind="single-label",
                source=Mirdata(dataset="tinysol", what=what, fold=fold),
                group="note",
                summary=summary + (f", fold {fold}" if fold else ", fold 0"),
                caveat=_FOLDS,
            )
            for what, summary in (
                ("instrument", "which of 14 instruments plays a note"),
                ("pitch", "pitch class of a note of 14 instruments"),
            )
            for fold in range(5)
        ),
    )
}

"""Tempo of whole tracks."""

from __future__ import annotations

from m2l_bench.tasks.base import Task
from m2l_bench.tasks.bpm import CLASSES
from m2l_bench.tasks.sources.mirdata import GiantStepsTempo

TASKS = (
    Task(
        name="tempo/giantsteps",
        kind="tempo",
        source=GiantStepsTempo(),
        labels=CLASSES,
        group="recording",
        summary="tempo of electronic dance music",
        caveat="Latents are averaged over time: style may tell the tempo. Trained on 6 of the dataset's 10 folds, tested on 2: "
        "published figures are of all tracks, with training on others.",
    ),
)

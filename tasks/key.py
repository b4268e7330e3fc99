"""Key: which of the 24 major and minor keys."""

from __future__ import annotations

from m2l_bench.tasks.base import Task
from m2l_bench.tasks.sources.embedded import TUNES, Embedded
from m2l_bench.tasks.sources.giantsteps_mtg import GiantStepsMtg
from m2l_bench.tasks.sources.joined import Joined
from m2l_bench.tasks.sources.mirdata import Mirdata
from m2l_bench.tasks.tonality import KEYS

TASKS = {
    task.name: task
    for task in (
        Task(
            name="key/tunes",
            kind="key",
            source=Embedded(name="key/tunes", column="key", about=TUNES),
            labels=KEYS,
            group="tune",
            summary="key of rendered fiddle tunes, transposed so that every tonic is as frequent",
            caveat="Rendered with a synthesizer, accompanied within the key: easier than recorded music.",
        ),
        Task(
            name="key/giantsteps",
            kind="key",
            source=Joined(
                parts=(
                    ("giantsteps-mtg-key-dataset", GiantStepsMtg()),
                    ("giantsteps_key", Mirdata(dataset="giantsteps_key", only="test")),
                )
            ),
            labels=KEYS,
            group="recording",
            summary="key of electronic dance music: trained on GiantSteps-MTG, tested on GiantSteps",
        ),
        Task(
            name="key/beatport",
            kind="key",
            source=Mirdata(dataset="beatport_key"),
            labels=KEYS,
            group="artist",
            summary="key of electronic dance music, tracks with a single key",
            caveat="The split is ours (by artist, hashed): no other paper's figures are on it.",
        ),
    )
}

"""Key: which of the 24 major and minor keys."""

from __future__ import annotations

from m2l_bench.tasks.base import Task
from m2l_bench.tasks.sources.embedded import Tunes
from m2l_bench.tasks.sources.giantsteps_mtg import GiantStepsMtg
from m2l_bench.tasks.sources.joined import Joined
from m2l_bench.tasks.sources.mirdata import BeatportKey, GiantStepsKey
from m2l_bench.tasks.tonality import KEYS

TASKS = (
    Task(
        name="key/tunes",
        kind="key",
        source=Tunes(column="key"),
        labels=KEYS,
        group="tune",
        summary="key of rendered fiddle tunes, transposed so that all tonics are equally frequent",
        caveat="Rendered by a synthesizer with chords of the labelled key: easier than recorded music.",
    ),
    Task(
        name="key/giantsteps",
        kind="key",
        source=Joined(parts=(GiantStepsMtg(), GiantStepsKey())),
        labels=KEYS,
        group="recording",
        summary="key of electronic dance music: trained on GiantSteps-MTG, tested on GiantSteps",
    ),
    Task(
        name="key/beatport",
        kind="key",
        source=BeatportKey(),
        labels=KEYS,
        group="artist",
        summary="key of electronic dance music, tracks with a single key",
        caveat="The split is our own (by artist, hashed): published figures use other splits.",
    ),
)

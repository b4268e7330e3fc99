"""Genre: one label an item."""

from __future__ import annotations

from m2l_bench.tasks.base import Task
from m2l_bench.tasks.sources.embedded import Tunes
from m2l_bench.tasks.sources.gtzan import Gtzan

_GTZAN = ("blues", "classical", "country", "disco", "hip-hop", "jazz", "metal", "pop", "reggae", "rock")
TASKS = (
    Task(
        name="genre/tunes",
        kind="single-label",
        source=Tunes(column="genre"),
        group="tune",
        summary="type of rendered fiddle tunes: reel, hornpipe, jig, strathspey, ...",
        caveat="Rendered by a synthesizer: tune types differ in rhythm and metre only, not in timbre or production.",
    ),
    Task(
        name="genre/gtzan",
        kind="single-label",
        source=Gtzan(),
        labels=_GTZAN,
        summary="ten genres, fault-filtered split of 930 tracks (Kereliuk et al. 2015)",
    ),
)

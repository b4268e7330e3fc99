"""Numbers of one system's latents over the files of a dataset: scale, effective rank, smoothness."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce
from typing import ClassVar

import numpy as np

from m2l_bench.latent import sheet
from m2l_bench.latent.moments import Moments, moments
from m2l_bench.suite.jobs import identity
from m2l_bench.suite.jobs.latents import LATENTS, STD, StoredFiles
from m2l_bench.suite.steps import Read
from m2l_bench.suite.store import Outcome, Store

SPECTRUM, LAGS, SMOOTHNESS = "spectrum", "lags", "smoothness"  # names of arrays


@dataclass(frozen=True, kw_only=True)
class SheetJob:
    """The numbers of :func:`m2l_bench.latent.sheet.numbers` for one system and dataset.

    Its outcome has ``numbers`` and ``intervals``, by the name of the card (no interval of a single file).
    Its arrays, float64, are what figures show: ``std`` of each dimension, ``spectrum`` (share of each principal component in
    the variance, falling), and ``smoothness``, the step between frames, at ``lags`` in seconds.

    Attributes
    ----------
    label : str
        The system's name in the tables.
    latents : tuple of str
        Identities of the jobs that kept the latents.
    """

    label: str
    latents: tuple[str, ...]

    kind: ClassVar[str] = "sheet"
    batch: ClassVar[int] = 1
    item: ClassVar[None] = None

    @cached_property
    def id(self) -> str:
        """SHA-256 of everything the outcome depends on."""
        return identity(self.kind, latents=self.latents, cards={name: card.hash for name, card in sheet.CARDS.items()})

    def failed(self, reason: str) -> Outcome:
        """No number."""
        return Outcome({"numbers": {}, "intervals": {}}, reason=reason)

    def run(self, store: Store, read: Read | None) -> Outcome:
        """Sum up the files, then leave out each."""
        if not self.latents:
            return self.failed("there are no latents")
        files = StoredFiles(store, self.latents, lambda found: moments(found.arrays[LATENTS], found.value["rate"]))
        total = reduce(Moments.__add__, files)
        lags, steps = sheet.smoothness(total)
        value = {"numbers": sheet.numbers(total), "intervals": sheet.intervals(files) if len(files) > 1 else {}}
        arrays = {STD: sheet.scale(total).std, SPECTRUM: sheet.spectrum(total), LAGS: lags, SMOOTHNESS: steps}
        return Outcome(value, {name: np.asarray(array, dtype=np.float64) for name, array in arrays.items()})

"""Reconstruct one file with one system and keep the audio, for the listening page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from m2l_bench.suite.data import AudioItem
from m2l_bench.suite.jobs import FileJob, identity
from m2l_bench.suite.steps import Read
from m2l_bench.suite.store import Outcome, Store
from m2l_bench.systems.apply import reconstruct

# What a listening page can hold; of a longer file the beginning is kept.
LONGEST = 30.0  # seconds


@dataclass(frozen=True, kw_only=True)
class ClipJob(FileJob):
    """Reconstruct one file; its outcome has the array ``audio``, float32 (channels, samples).

    Attributes
    ----------
    max_length_difference : float
        As in :class:`~m2l_bench.suite.jobs.reconstruct.Scoring`.
    """

    max_length_difference: float = 0.0

    kind: ClassVar[str] = "clip"
    batch: ClassVar[int] = 1

    @cached_property
    def id(self) -> str:
        """SHA-256 of everything the outcome depends on."""
        return identity(
            self.kind,
            fingerprint=self.fingerprint,
            item=(self.item.stem, self.item.sha256),
            max_length_difference=self.max_length_difference,
            longest=LONGEST,
        )

    def run(self, store: Store, read: Read | None) -> Outcome:
        """Reconstruct and cut."""
        assert read is not None
        reference, rate = read()
        system, allowed = self.spec.load(), self.max_length_difference
        estimate, _ = reconstruct(system, reference, rate, self.item.stem, max_length_difference=allowed)
        return Outcome(arrays={"audio": estimate[:, : round(LONGEST * rate)].astype(np.float32)})


def read_clips(
    jobs: Sequence[ClipJob], store: Store
) -> Iterator[tuple[AudioItem, int, np.ndarray, dict[str, np.ndarray]]]:
    """Each file with its reference and every system's reconstruction, all cut to the shortest.

    Parameters
    ----------
    jobs : sequence of ClipJob
        Finished.
    store : Store

    Yields
    ------
    item : AudioItem
    sample_rate : int
        Hz.
    reference : np.ndarray, float32, (channels, samples)
    estimates : dict of str to np.ndarray
        Label -> (channels, samples); a system that failed is absent.
    """
    by_item: dict[AudioItem, list[ClipJob]] = {}
    for job in jobs:
        by_item.setdefault(job.item, []).append(job)
    for item, of_item in by_item.items():
        reference, rate = item.load(longest=LONGEST)
        found = {job.label: store.get(job.id) for job in of_item}
        estimates = {label: outcome.arrays["audio"] for label, outcome in found.items() if outcome and outcome.arrays}
        shortest = min([reference.shape[-1], *(estimate.shape[-1] for estimate in estimates.values())])
        yield item, rate, reference[:, :shortest], {name: audio[:, :shortest] for name, audio in estimates.items()}

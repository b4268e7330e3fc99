"""The clips that people will listen to: made again, once scores have said which ones are worth hearing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from m2l_bench import audio as audio_io
from m2l_bench.latents import LatentKey, latent_key
from m2l_bench.results import Item
from m2l_bench.suite.data import AudioItem
from m2l_bench.suite.engine import Outcome, Workspace, failure_reason
from m2l_bench.suite.jobs import SystemSpec, identity
from m2l_bench.systems.apply import reconstruct

# What a listening page can hold; a longer file is heard from its beginning.
LONGEST = 30.0  # seconds
WRITTEN = "written"


@dataclass(frozen=True, kw_only=True)
class ClipJob:
    """Reconstruct one file with one system and keep the audio.

    Attributes
    ----------
    system : SystemSpec
    fingerprint : str
    item : AudioItem
    max_length_difference : float
        As in :class:`~m2l_bench.suite.jobs.ReconstructJob`.
    """

    system: SystemSpec
    fingerprint: str
    item: AudioItem
    max_length_difference: float = 0.0

    @property
    def label(self) -> str:
        """The system's name in the tables."""
        return self.system.label

    kind: ClassVar[str] = "clip"

    @cached_property
    def id(self) -> str:
        """SHA-256 of everything the outcome depends on."""
        return identity(
            self.kind,
            fingerprint=self.fingerprint,
            item=(self.item.id, self.item.sha256),
            max_length_difference=self.max_length_difference,
            longest=LONGEST,
        )

    def kept(self, outcome: Outcome) -> list[LatentKey]:
        """The audio."""
        return [] if outcome.failures else [self._key()]

    def failed(self, reason: str) -> Outcome:
        """The reason."""
        return Outcome([replace(self._blank(), reason=reason)])

    def run(self, workspace: Workspace) -> Outcome:
        """One record: written, or why not."""
        # As in scoring: a system may be anybody's code.
        try:
            reference, rate = audio_io.load(self.item.path)
            estimate, _ = reconstruct(
                self.system.load(),
                reference,
                rate,
                self.item.stem,
                max_length_difference=self.max_length_difference,
            )
            workspace.latents.put(self._key(), estimate[None, :, : round(LONGEST * rate)])
        except Exception as error:
            return self.failed(failure_reason(error))
        return Outcome([self._blank()])

    def _blank(self) -> Item:
        return Item(
            system=self.label, fingerprint=self.fingerprint, dataset="", metric=WRITTEN, card="", item=self.item.id
        )

    def audio(self, workspace: Workspace) -> np.ndarray:
        """What was kept: float32 (channels, samples); KeyError where nothing was."""
        return workspace.latents.get(self._key())[0]

    def _key(self) -> LatentKey:
        return latent_key(
            self.item.sha256, self.fingerprint, {"clip": self.item.stem, "cut": self.max_length_difference}
        )


def heard(
    jobs: Sequence[ClipJob], workspace: Workspace
) -> Iterator[tuple[AudioItem, int, np.ndarray, dict[str, np.ndarray]]]:
    """Each file with its reference and what every system made of it, all cut to the shortest.

    Parameters
    ----------
    jobs : sequence of ClipJob
        Finished.
    workspace : Workspace

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
        header = audio_io.info(item.path)
        length = min(header.n_samples, round(LONGEST * header.sample_rate))
        reference, rate = audio_io.load(item.path, n_samples=length)
        estimates = {}
        for job in of_item:
            try:
                estimates[job.label] = job.audio(workspace)
            except KeyError:  # it failed here, and the scores say why
                continue
        shortest = min([reference.shape[-1], *(estimate.shape[-1] for estimate in estimates.values())])
        yield item, rate, reference[:, :shortest], {name: audio[:, :shortest] for name, audio in estimates.items()}

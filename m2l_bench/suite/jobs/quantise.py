"""Quantise the latents of one file as a coder says that was fitted on other files, decode them, and score the pair."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, cast

import numpy as np

from m2l_bench import audio
from m2l_bench.audio import AudioError
from m2l_bench.latent.equivariance import AutoencoderSystem
from m2l_bench.latent.rate import BIT_RATE, LatentCoder, fit_coder
from m2l_bench.suite.jobs import FileJob, identity
from m2l_bench.suite.jobs.latents import LATENTS, StoredFiles
from m2l_bench.suite.jobs.reconstruct import Scoring
from m2l_bench.suite.steps import Read
from m2l_bench.suite.store import Outcome, Store, require


@dataclass(frozen=True, kw_only=True)
class CoderJob:
    """Fit a quantiser and its entropy model on some files of a dataset.

    The arrays of its outcome are those of a :class:`m2l_bench.latent.rate.LatentCoder`, float64; the frequencies of all
    dimensions stand one after the other, ``lengths`` of them each.

    Attributes
    ----------
    label : str
        The system's name in the tables.
    latents : tuple of str
        Identities of the jobs that kept the latents of these files.
    step : float
        In standard deviations of each dimension.
    """

    label: str
    latents: tuple[str, ...]
    step: float

    kind: ClassVar[str] = "coder"
    batch: ClassVar[int] = 1
    item: ClassVar[None] = None

    @cached_property
    def id(self) -> str:
        """SHA-256 of everything the outcome depends on."""
        return identity(self.kind, latents=self.latents, step=self.step, card=BIT_RATE.hash)

    def failed(self, reason: str) -> Outcome:
        """No coder."""
        return Outcome(reason=reason)

    def run(self, store: Store, read: Read | None) -> Outcome:
        """Fit."""
        if not self.latents:
            return self.failed("there are no other files to fit the entropy model on")
        coder = fit_coder(StoredFiles(store, self.latents, lambda found: found.arrays[LATENTS]), self.step)
        arrays = {
            "mean": coder.mean,
            "width": coder.width,
            "first": coder.first,
            "lengths": np.array([len(several) for several in coder.frequencies]),
            "frequencies": np.concatenate(coder.frequencies),
        }
        return Outcome(arrays={name: array.astype(np.float64) for name, array in arrays.items()})


def _stored_coder(store: Store, key: str) -> LatentCoder:
    found = require(store, key)
    if found.reason:
        raise ValueError(found.reason)
    arrays = found.arrays
    first, lengths, frequencies = (arrays[name].astype(np.int64) for name in ("first", "lengths", "frequencies"))
    split = np.split(frequencies, np.cumsum(lengths)[:-1])
    return LatentCoder(arrays["mean"], arrays["width"], first, tuple(split))


@dataclass(frozen=True, kw_only=True)
class QuantiseJob(FileJob):
    """Decode one file's latents as they are after quantisation, and score the pair.

    Its outcome is that of a :class:`m2l_bench.suite.jobs.reconstruct.ReconstructJob`, with ``latent_bit_rate`` among the
    scores.

    Attributes
    ----------
    scoring : Scoring
        What is measured of the pair.
    latents, coder : str
        Identities of the jobs that kept the latents, and the coder.
    """

    scoring: Scoring
    latents: str
    coder: str

    kind: ClassVar[str] = "quantise"
    batch: ClassVar[int] = 8

    @property
    def id(self) -> str:
        """SHA-256 of everything the outcome depends on."""
        return identity(self.kind, scoring=self.scoring.id, latents=self.latents, coder=self.coder)

    def failed(self, reason: str) -> Outcome:
        """Every metric, with the reason."""
        outcome = self.scoring.failed(reason)
        scores = {**outcome.value["scores"], BIT_RATE.name: reason}
        return Outcome({**outcome.value, "scores": scores}, reason=reason)

    def run(self, store: Store, read: Read | None) -> Outcome:
        """Code, decode, score."""
        assert read is not None
        system, coder = cast(AutoencoderSystem, self.spec.load()), _stored_coder(store, self.coder)
        reference, rate = read()
        channels, n_samples = reference.shape
        latents, kbps = coder.code(require(store, self.latents).arrays[LATENTS], n_samples / rate)
        own = system.sample_rate or rate
        decoded = np.asarray(system.decode(latents, max(1, round(n_samples * own / rate))))
        estimate = audio.resample(decoded, own, rate, n_samples=n_samples)
        if estimate.shape != reference.shape or not np.isfinite(estimate).all():
            raise AudioError(f"decoded audio must be finite and have {channels} channels, got shape {decoded.shape}")
        return self.scoring.score(reference, estimate, rate, {BIT_RATE.name: kbps})

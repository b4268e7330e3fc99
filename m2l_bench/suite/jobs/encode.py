"""Encode one file with one system and keep its latents, pooled as a task asks.

Tasks that share audio and pooling share the outcome, and every probe reads it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from m2l_bench.suite.jobs import FileJob, identity
from m2l_bench.suite.steps import Finish, Read
from m2l_bench.suite.store import Outcome, Store
from m2l_bench.systems.apply import encode, encode_batch, latent_offset
from m2l_bench.systems.base import System
from m2l_bench.tasks.base import FRAMES, pool

PooledAs = tuple[str, float | None]
"""How an item's latents are kept: :attr:`m2l_bench.tasks.base.Task.pooled_as`."""
POOLED = "pooled"  # name of the array


@dataclass(frozen=True, kw_only=True)
class EncodeJob(FileJob):
    """Encode one file and keep its latents: ``pooled``, float32 (dim, clips), or (dim, frames) of a task in time.

    The outcome of a task in time also has ``rate`` (frames a second), ``seconds`` of the audio, and the encoder's ``offset``.

    Attributes
    ----------
    pooling : str
    clip_seconds : float or None
        As the task says; see :func:`m2l_bench.tasks.base.pool`.
    """

    pooling: str
    clip_seconds: float | None

    kind: ClassVar[str] = "encode"
    batch: ClassVar[int] = 32  # notes and clips of a task are short

    @property
    def id(self) -> str:
        """SHA-256 of everything the outcome depends on."""
        content = self.item.sha256 or self.item.path
        return identity(self.kind, audio=content, system=self.fingerprint, pooling=[self.pooling, self.clip_seconds])

    def run(self, store: Store, read: Read | None) -> Outcome:
        """Encode and pool."""
        assert read is not None
        return self.start(*read())()

    @property
    def takes_batches(self) -> bool:
        """Whether the system encodes several files at once."""
        return hasattr(self.spec.load(), "encode_batch")

    def start(self, signal: np.ndarray, rate: int) -> Finish:
        """Encode the file."""
        return partial(self._kept, *encode(self.spec.load(), signal, rate), signal.shape[-1] / rate)

    def start_batch(self, jobs: Sequence[EncodeJob], signals: Sequence[np.ndarray], rate: int) -> list[Finish]:
        """Encode several files at once."""
        several = encode_batch(self.spec.load(), signals, rate)
        return [
            partial(job._kept, latents, latent_rate, signal.shape[-1] / rate)
            for job, signal, (latents, latent_rate) in zip(jobs, signals, several, strict=True)
        ]

    def _kept(self, latents: np.ndarray, latent_rate: float, seconds: float) -> Outcome:
        facts, kept = keep(self.spec.load(), latents, latent_rate, seconds, (self.pooling, self.clip_seconds))
        return Outcome(facts, {POOLED: kept})


def keep(
    encoder: System, latents: np.ndarray, latent_rate: float, seconds: float, pooled_as: PooledAs
) -> tuple[dict[str, Any], np.ndarray]:
    """What is kept of an item's latents: the facts that a task in time needs (else none), and the array, float32."""
    pooling, clip_seconds = pooled_as
    if pooling == FRAMES:
        facts = {"rate": latent_rate, "seconds": seconds, "offset": latent_offset(encoder)}
        return facts, latents.mean(axis=0, dtype="float64").astype("float32")
    return {}, pool(latents, latent_rate, pooling=pooling, clip_seconds=clip_seconds).astype("float32")

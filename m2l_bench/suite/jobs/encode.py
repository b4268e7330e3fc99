"""Encode one file with one system and keep its latents, pooled as a task asks.

Tasks that share audio and pooling share the outcome, and every probe reads it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from m2l_bench.suite.data import AudioItem, Read
from m2l_bench.suite.engine import failure_reason
from m2l_bench.suite.jobs import identity
from m2l_bench.suite.store import Outcome, Store
from m2l_bench.suite.suite import SystemSpec
from m2l_bench.systems.apply import encode
from m2l_bench.tasks.base import pool


@dataclass(frozen=True, kw_only=True)
class EncodeJob:
    """Encode one file and keep its pooled latents: the array ``pooled``, float32 (dim, clips).

    Attributes
    ----------
    spec : SystemSpec
    fingerprint : str
    item : AudioItem
    pooling : str
    clip_seconds : float or None
        As the task says; see :func:`m2l_bench.tasks.base.pool`.
    """

    spec: SystemSpec
    fingerprint: str
    item: AudioItem
    pooling: str
    clip_seconds: float | None

    kind: ClassVar[str] = "encode"
    batch: ClassVar[int] = 32  # notes and clips of a task are short

    @property
    def label(self) -> str:
        """The system's name in the tables."""
        return self.spec.label

    @property
    def path(self) -> str:
        """The audio file."""
        return self.item.path

    @property
    def id(self) -> str:
        """SHA-256 of everything the outcome depends on."""
        content = self.item.sha256 or self.item.path
        return identity(self.kind, audio=content, system=self.fingerprint, pooling=[self.pooling, self.clip_seconds])

    def failed(self, reason: str) -> Outcome:
        """The reason."""
        return Outcome(reason=reason)

    def run(self, store: Store, read: Read | None) -> Outcome:
        """Encode and pool."""
        # Decoding or a system that may be anybody's code: what it raises becomes this item's reason.
        try:
            assert read is not None
            latents, latent_rate = encode(self.spec.load(), *read())
            pooled = pool(latents, latent_rate, pooling=self.pooling, clip_seconds=self.clip_seconds)
        except Exception as error:
            return self.failed(failure_reason(error))
        return Outcome(arrays={"pooled": pooled.astype("float32")})

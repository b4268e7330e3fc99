"""Any autoencoder's own latents as an embedding: EnCodec, DAC, Music2Latent, ...

Conventions
-----------
Each latent frame of each stream is one vector. An autoencoder should not be judged through its own latents: they are
blind to what it drops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class LatentSystem(Protocol):
    """What is asked of a system: a name, its rates, and ``encode``."""

    name: str
    sample_rate: int | None
    fingerprint: str
    latent_dim: int
    latent_rate: float

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """(channels, samples) -> (streams, latent_dim, frames)."""


class Latents:
    """A system's latent frames as an embedding.

    Parameters
    ----------
    system : LatentSystem
        Must have a sample rate of its own.
    """

    def __init__(self, system: LatentSystem) -> None:
        if system.sample_rate is None:
            raise ValueError(f"system must have a sample rate of its own, got {system.name} without one")
        self.system = system
        self.name = f"latents:{system.name}"
        self.sample_rate = system.sample_rate
        self.window = self.hop = round(system.sample_rate / system.latent_rate)
        self.dim = system.latent_dim
        self.fingerprint = system.fingerprint

    def embed(self, audios: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Files (channels, samples) -> (streams * frames, latent_dim); each file is encoded alone."""
        return [self._embed(audio) for audio in audios]

    def _embed(self, audio: np.ndarray) -> np.ndarray:
        if audio.shape[-1] < self.window:
            return np.empty((0, self.dim), np.float32)
        latents = np.asarray(self.system.encode(audio), dtype=np.float32)  # (streams, dim, frames)
        return np.ascontiguousarray(latents.transpose(0, 2, 1).reshape(-1, self.dim))

"""Autoencoders whose latent space is known exactly."""

from __future__ import annotations

import numpy as np
import pytest


class Orthonormal:
    """Each block of 8 samples, rotated: linear, orthonormal, of full rank."""

    name, seed, fingerprint, sample_rate = "orthonormal", 0, "0" * 16, 8000
    latent_dim, latent_rate = 8, 1000.0

    def __init__(self) -> None:
        self.basis = np.linalg.qr(np.random.default_rng(0).standard_normal((8, 8)))[0]

    def encode(self, audio: np.ndarray) -> np.ndarray:
        padded = np.pad(audio, [(0, 0), (0, -audio.shape[-1] % 8)])
        return np.swapaxes(padded.reshape(len(audio), -1, 8) @ self.basis, 1, 2).astype(np.float32)

    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        blocks = np.swapaxes(latents, 1, 2) @ self.basis.T
        return blocks.reshape(len(latents), -1)[:, :n_samples].astype(np.float32)

    def reconstruct(self, audio: np.ndarray) -> np.ndarray:
        return self.decode(self.encode(audio), audio.shape[-1])


class Truncated(Orthonormal):
    """The first 4 of the 8 coefficients: linear, but no longer equivariant within a block."""

    latent_dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.basis = self.basis[:, :4]


class Constant(Orthonormal):
    """The same latents, and silence, whatever the audio."""

    def encode(self, audio: np.ndarray) -> np.ndarray:
        return np.full_like(super().encode(audio), 0.3)

    def decode(self, latents: np.ndarray, n_samples: int) -> np.ndarray:
        return np.zeros((len(latents), n_samples), np.float32)


@pytest.fixture
def orthonormal() -> Orthonormal:
    return Orthonormal()


@pytest.fixture
def truncated() -> Truncated:
    return Truncated()


@pytest.fixture
def constant() -> Constant:
    return Constant()

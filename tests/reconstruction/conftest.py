"""Signals that the reconstruction tests share. Any of them can be rebuilt from its lines here."""

from __future__ import annotations

import numpy as np
import pytest

RATE = 44_100


def plucked_chord(n_samples: int, channels: int, seed: int) -> np.ndarray:
    """Decaying harmonics over a faint noise floor, a different balance in each channel; float32 (channels, samples)."""
    rng = np.random.default_rng(seed)
    t = np.arange(n_samples) / RATE
    signal = 1e-4 * rng.standard_normal((channels, n_samples))
    for pitch in (110.0, 164.8, 277.2):
        for k in range(1, 40):
            gains = rng.uniform(0.2, 1.0, (channels, 1)) / k**1.2
            signal += 0.15 * gains * np.exp(-k * t) * np.sin(2 * np.pi * (k * pitch * t + rng.uniform()))
    return signal.astype(np.float32)


def coded_version(music: np.ndarray) -> np.ndarray:
    """A saturated, dulled and noisy copy; float32, the same shape."""
    rng = np.random.default_rng(1)
    dulled = np.tanh(1.5 * music.astype(np.float64)) / 1.5
    dulled[:, 1:] = 0.6 * dulled[:, 1:] + 0.4 * dulled[:, :-1]
    return (dulled + 3e-3 * rng.standard_normal(music.shape)).astype(np.float32)


@pytest.fixture(scope="session")
def music() -> np.ndarray:
    """One second of a stereo chord, (2, 44100)."""
    return plucked_chord(RATE, 2, seed=0)


@pytest.fixture(scope="session")
def coded(music: np.ndarray) -> np.ndarray:
    """The chord after something like a codec, (2, 44100)."""
    return coded_version(music)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)

"""Weights, noise and test music made from names alone, equal wherever NumPy runs: shared by recorders and tests.

Conventions
-----------
Golden files hold outputs only; the 28 to 185 million weights behind them are made here from the weight's name.
"""

from __future__ import annotations

import zlib

import numpy as np


def weight(group: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A random weight that depends on its name and shape alone, scaled so that activations keep their size.

    Kernels are given as stored by either library; the fan-in is taken as elements / largest of the two channel axes.
    """
    rng = np.random.default_rng(zlib.crc32(f"{group}:{name}".encode()))
    draw = rng.standard_normal(shape, dtype=np.float32)
    if len(shape) < 2:
        return draw * np.float32(0.1)
    return draw * np.float32(1.4 / np.sqrt(draw.size / max(shape[-1], shape[0])))


def wave(length: int) -> np.ndarray:
    """A fixed pattern in place of a noise draw, so that what noise layers add can be compared. (length,) float32."""
    return np.sin(1.7 * np.arange(length)).astype(np.float32)


def music(channels: int, n_samples: int, *, seed: int = 7) -> np.ndarray:
    """Decaying tones over a little noise: (channels, n_samples) float32, peak about 0.6."""
    rng = np.random.default_rng(seed)
    time = np.arange(n_samples) / 44100
    tones = rng.uniform(60, 4000, (channels, 6))
    mix = np.sin(2 * np.pi * tones[..., None] * time).sum(1) * np.exp(-((time * 4) % 1.0) * 3)
    return (0.1 * mix + 0.01 * rng.standard_normal((channels, n_samples))).astype(np.float32)

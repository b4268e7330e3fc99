"""Powers of two, mirrored ends and placed noise for Moûsai's windows.

Conventions
-----------
Time is the last axis. Where the windows of a long recording lie, and how they are joined, is as for Music2Latent.
"""

from __future__ import annotations

import numpy as np

_NOISE_BLOCK = 4096


def next_power_of_two(n: int) -> int:
    """Smallest power of two that is at least ``n``.

    Examples
    --------
    >>> [next_power_of_two(n) for n in (1, 2, 3, 1024, 1025)]
    [1, 2, 4, 1024, 2048]
    """
    return 1 << (n - 1).bit_length()


def mirror_to(x: np.ndarray, length: int) -> np.ndarray:
    """Extend the end with the mirror image, as often as needed, to ``length``.

    Mirrored music keeps the level and the spectrum of the recording, which silence would not: normalisation layers see
    the whole window.

    Examples
    --------
    >>> mirror_to(np.array([1, 2, 3]), 8)
    array([1, 2, 3, 3, 2, 1, 1, 2])
    """
    missing = length - x.shape[-1]
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)], mode="symmetric") if missing > 0 else x


def noise_at(start: int, length: int, *, seed: int) -> np.ndarray:
    """Normal noise that depends on the seed and the absolute place alone: (2, length) float32."""
    first, last = start // _NOISE_BLOCK, (start + length - 1) // _NOISE_BLOCK
    blocks = [
        np.random.default_rng((seed, block)).standard_normal((2, _NOISE_BLOCK), dtype=np.float32)
        for block in range(first, last + 1)
    ]
    offset = start - first * _NOISE_BLOCK
    return np.concatenate(blocks, -1)[:, offset : offset + length]

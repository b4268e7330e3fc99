"""Any length through a network that takes powers of two: mirrored ends, overlapping windows, linear cross-fades.

Conventions
-----------
Time is the last axis. Windows have one length; they start a window less the overlap apart, except the last, which ends
where the recording ends and so may overlap more.
"""

from __future__ import annotations

from collections.abc import Callable

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
    """Go on at the end with the mirror image, as often as needed, to ``length``.

    Mirrored music keeps the level and the spectrum of the recording, which silence would not: normalisation layers see
    the whole window.

    Examples
    --------
    >>> mirror_to(np.array([1, 2, 3]), 8)
    array([1, 2, 3, 3, 2, 1, 1, 2])
    """
    missing = length - x.shape[-1]
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)], mode="symmetric") if missing > 0 else x


def starts(length: int, window: int, overlap: int) -> list[int]:
    """Where the windows over ``length >= window`` begin.

    Examples
    --------
    >>> starts(20, 8, 2)
    [0, 6, 12]
    >>> starts(21, 8, 2)
    [0, 6, 12, 13]
    """
    return [*range(0, length - window, window - overlap), length - window]


def fade(window: int, overlap: int, *, rises: bool, falls: bool) -> np.ndarray:
    """Weights of one window: 1, with straight ramps of ``overlap`` values at the sides that touch another window."""
    weights = np.ones(window, np.float32)
    ramp = ((np.arange(overlap) + 0.5) / overlap).astype(np.float32)
    if rises:
        weights[:overlap] = ramp
    if falls:
        weights[window - overlap :] *= ramp[::-1]
    return weights


def cross_fade(
    function: Callable[[int], np.ndarray], length: int, window: int, overlap: int, shape: tuple[int, ...]
) -> np.ndarray:
    """Join ``function(start)``, of shape (*shape, window), over ``length`` values: the mean weighted by the fades."""
    out = np.zeros((*shape, length), np.float32)
    total = np.zeros(length, np.float32)
    for start in starts(length, window, overlap):
        weights = fade(window, overlap, rises=start > 0, falls=start + window < length)
        out[..., start : start + window] += weights * function(start)
        total[start : start + window] += weights
    out /= total
    return out


def noise_at(start: int, length: int, *, seed: int) -> np.ndarray:
    """Normal noise that depends on the seed and the absolute place alone: (2, length) float32."""
    first, last = start // _NOISE_BLOCK, (start + length - 1) // _NOISE_BLOCK
    blocks = [
        np.random.default_rng((seed, block)).standard_normal((2, _NOISE_BLOCK), dtype=np.float32)
        for block in range(first, last + 1)
    ]
    offset = start - first * _NOISE_BLOCK
    return np.concatenate(blocks, -1)[:, offset : offset + length]

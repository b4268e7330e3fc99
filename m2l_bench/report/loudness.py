"""Integrated loudness of a clip, so that systems are listened to at one level.

Conventions
-----------
Audio is ``(channels, samples)``; all channels weigh 1 (front channels). Loudness is in LUFS.

References
----------
ITU-R BS.1770-5, "Algorithms to measure audio programme loudness and true-peak audio level", 2023.
"""

from __future__ import annotations

import math

import numpy as np

BLOCK = 0.4  # seconds; a clip that is shorter is one block
STEP = 0.1
ABSOLUTE_GATE = -70.0
RELATIVE_GATE = -10.0


def loudness(audio: np.ndarray, sample_rate: int) -> float:
    """Gated integrated loudness.

    Parameters
    ----------
    audio : np.ndarray of float, shape (channels, samples)
    sample_rate : int
        Hz.

    Returns
    -------
    float
        LUFS, ``-0.691 + 10 log10(sum over channels of the mean square after K-weighting)`` over the blocks that pass
        both gates; minus infinity where none does (silence).

    Raises
    ------
    ValueError
        If the audio is not (channels, samples) with at least one sample.

    Examples
    --------
    >>> import numpy as np
    >>> sine = np.sin(2 * np.pi * 997 * np.arange(96000) / 48000)[None]
    >>> round(loudness(sine, 48000), 2)  # the standard's own check
    -3.01
    """
    from scipy.signal import sosfilt

    if audio.ndim != 2 or audio.shape[-1] < 1:
        raise ValueError(f"audio must have shape (channels, samples), got {audio.shape}")
    weighted = sosfilt(_k_weighting(sample_rate), audio.astype(np.float64), axis=-1)
    block = min(round(BLOCK * sample_rate), audio.shape[-1])
    starts = np.arange(0, audio.shape[-1] - block + 1, max(1, round(STEP * sample_rate)))
    sums = np.concatenate([[0.0], np.cumsum(np.sum(weighted**2, axis=0))])
    power = np.maximum((sums[starts + block] - sums[starts]) / block, 0.0)  # (blocks,)
    power = power[power > 10 ** ((ABSOLUTE_GATE + 0.691) / 10)]
    if not power.size:
        return -math.inf
    power = power[power > power.mean() * 10 ** (RELATIVE_GATE / 10)]
    return float(-0.691 + 10 * np.log10(power.mean()))


def _k_weighting(sample_rate: int) -> np.ndarray:
    """The two filters of the standard (head, then high-pass), carried from 48 kHz to any rate; shape (2, 6).

    The analogue prototypes behind the standard's 48 kHz table: a high shelf of 4 dB at 1682 Hz and a high-pass at 38 Hz.
    """
    from scipy.signal import bilinear

    def digital(numerator: list[float], frequency: float, q: float) -> list[float]:
        warped = math.tan(math.pi * frequency / sample_rate)
        b, a = bilinear(numerator, [1, 1 / q, 1], fs=1 / (2 * warped))
        return [*b, *a]

    high, q = 10 ** (3.999843853973347 / 20), 0.7071752369554196
    head = digital([high, high**0.4996667741545416 / q, 1], 1681.974450955533, q)
    cut = digital([1, 0, 0], 38.13547087602444, 0.5003270373238773)
    return np.array([head, [1, -2, 1, *cut[3:]]])  # the standard leaves the gain of the second filter out

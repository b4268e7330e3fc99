"""Loudness and true peak of programme material, after ITU-R BS.1770.

Conventions
-----------
Audio is ``(channels, samples)``, full scale 1.0, at any sample rate. Every channel weighs 1, as the standard has it for front
channels: right for mono and stereo.

References
----------
ITU-R BS.1770-5, "Algorithms to measure audio programme loudness and true-peak audio level", 2023; BS.1770-4 (2015) defines both
numbers alike.
"""

from __future__ import annotations

import math

import numpy as np
import soxr

BLOCK, STEP = 0.4, 0.1  # seconds; audio that is shorter than a block is one block
ABSOLUTE_GATE, RELATIVE_GATE = -70.0, -10.0  # LUFS, and LU below the mean of the blocks that are left
OVERSAMPLING = 4
_CHUNK = 1 << 18  # samples that are oversampled at once


def loudness(audio: np.ndarray, sample_rate: int) -> float:
    """Gated integrated loudness (ITU-R BS.1770-5), all channels weighing 1 (front channels).

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

    References
    ----------
    ITU-R BS.1770-5, "Algorithms to measure audio programme loudness and true-peak audio level", 2023.

    Examples
    --------
    >>> import numpy as np
    >>> sine = np.sin(2 * np.pi * 997 * np.arange(96000) / 48000)[None]
    >>> round(loudness(sine, 48000), 2)  # the standard's own check
    -3.01
    """
    from scipy.signal import sosfilt

    _check(audio)
    block = min(round(BLOCK * sample_rate), audio.shape[-1])
    starts = np.arange(0, audio.shape[-1] - block + 1, max(1, round(STEP * sample_rate)))
    sums = np.zeros(audio.shape[-1] + 1)
    for channel in audio:  # one at a time, so that float64 copies stay small
        sums[1:] += sosfilt(_k_weighting(sample_rate), channel.astype(np.float64)) ** 2
    np.cumsum(sums, out=sums)
    power = np.maximum((sums[starts + block] - sums[starts]) / block, 0.0)  # (blocks,)
    power = power[power > 10 ** ((ABSOLUTE_GATE + 0.691) / 10)]
    if not power.size:
        return -math.inf
    power = power[power > power.mean() * 10 ** (RELATIVE_GATE / 10)]
    return float(-0.691 + 10 * np.log10(power.mean()))


def true_peak(audio: np.ndarray) -> float:
    """True peak: the largest magnitude between the samples too, of all channels.

    Parameters
    ----------
    audio : np.ndarray of float, shape (channels, samples)
        At any rate: the oversampling counts in samples.

    Returns
    -------
    float
        ``20 log10 max |x|`` in dB relative to full scale (dBTP), x the audio at four times its rate (soxr VHQ, in place of the
        standard's short filter, which it allows); minus infinity for silence.

    Raises
    ------
    ValueError
        If the audio is not (channels, samples) with at least one sample.

    References
    ----------
    ITU-R BS.1770-5, annex 2.

    Examples
    --------
    >>> import numpy as np
    >>> tone = np.sin(np.pi / 2 * np.arange(48000) + np.pi / 4) * np.hanning(48000)  # every sample misses the peak by 3 dB
    >>> print(f"{20 * np.log10(tone.max()):.2f} {true_peak(0.5 * tone[None]):.2f}")
    -3.01 -6.02
    """
    _check(audio)
    peak = 0.0
    for channel in audio:
        stream = soxr.ResampleStream(1, OVERSAMPLING, 1, dtype="float64", quality="VHQ")
        for start in range(0, len(channel), _CHUNK):
            part = channel[start : start + _CHUNK].astype(np.float64)
            finer = stream.resample_chunk(part, last=start + _CHUNK >= len(channel))
            peak = max(peak, float(np.abs(finer).max(initial=0.0)))
    return 20.0 * math.log10(peak) if peak else -math.inf


def _check(audio: np.ndarray) -> None:
    if audio.ndim != 2 or audio.shape[-1] < 1:
        raise ValueError(f"audio must have shape (channels, samples), got {audio.shape}")


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

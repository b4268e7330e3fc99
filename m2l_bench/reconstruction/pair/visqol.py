"""ViSQOL in audio mode: perceptual similarity of an estimate to its reference, as MOS-LQO.

Conventions
-----------
Reference first (the score is not symmetric). Channels that are silent in the reference are left out
(:func:`~m2l_bench.reconstruction.checks.silent_channels`); the others are averaged and resampled to 48 kHz (soxr VHQ). The
scale runs from 1 to about 4.73, which an exact copy scores. The package `visqol-python` computes the score with the
support-vector model that it ships. It returns 4.73 for a silent reference and NaN for a silent estimate; both raise
:class:`Unscorable` here.

References
----------
Chinen, Lim, Skoglund, Gureev, O'Gorman, Hines, "ViSQOL v3: An Open Source Production Ready Objective Speech and Audio
Metric", QoMEX 2020.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np

from m2l_bench.audio import resample
from m2l_bench.reconstruction.checks import Unscorable, check_pair, scored_channels

SAMPLE_RATE = 48000
SHORTEST = 1.0  # seconds; ViSQOL compares several patches of 0.6 s


def visqol(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """ViSQOL score of one pair.

    Parameters
    ----------
    reference, estimate : np.ndarray, (channels, samples)
        One shape.
    sample_rate : int
        Hz, of both.

    Returns
    -------
    float
        MOS-LQO, in [1, 4.74); higher is better.

    Raises
    ------
    Unscorable
        If either is silent or not finite, or the pair is shorter than 1 s.
    ValueError
        If shapes differ, or a signal is not floating point.
    ImportError
        Without visqol-python: ``pip install 'm2l-bench[visqol]'``.

    References
    ----------
    Chinen et al., 2020, section 3.
    """
    reference, estimate = check_pair(reference, estimate)
    if reference.shape[1] < SHORTEST * sample_rate:
        raise Unscorable(
            f"too short for ViSQOL: must last {SHORTEST:.0f} s, lasts {reference.shape[1] / sample_rate:.2f} s"
        )
    reference, estimate = scored_channels(reference, estimate)
    signals = [
        _prepared(name, audio, sample_rate) for name, audio in (("reference", reference), ("estimate", estimate))
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy warns inside the package where a part of a signal is silent
        score = float(_api().measure_from_arrays(*signals, SAMPLE_RATE).moslqo)
    if not np.isfinite(score):
        raise Unscorable(f"ViSQOL returned {score}")
    return score


def _prepared(name: str, audio: np.ndarray, sample_rate: int) -> np.ndarray:
    signal = audio.mean(axis=0)
    if not signal.any():
        raise Unscorable(f"{name} is silent")
    return resample(signal, sample_rate, SAMPLE_RATE).astype(np.float64)


@lru_cache(maxsize=1)
def _api() -> Any:
    try:
        from visqol import VisqolApi
    except ImportError as error:
        raise ImportError("ViSQOL needs visqol-python: pip install 'm2l-bench[visqol]'") from error
    api = VisqolApi()
    api.create(mode="audio")
    return api

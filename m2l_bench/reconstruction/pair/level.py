"""Level of a reconstruction: change of the loudness, and of the true peak.

Conventions
-----------
Signals are ``(channels, samples)``, the reference first; all channels give one number. A change is the estimate less the
reference, positive where the estimate is louder; an error is its absolute value, lower is better, 0 is right. Measured by
:mod:`m2l_bench.loudness`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from m2l_bench.loudness import ABSOLUTE_GATE, BLOCK, loudness, true_peak
from m2l_bench.reconstruction.checks import Unscorable, require_samples

MIN_SAMPLES = 2  # of the true peak; the loudness needs a block


def loudness_change(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Integrated loudness of the estimate less that of the reference.

    Parameters
    ----------
    reference, estimate : np.ndarray of float, shape (channels, samples)
        Finite, at least 0.4 s.
    sample_rate : int
        Hz.

    Returns
    -------
    float
        LU (a LU is a decibel). Each side is gated by itself.

    Raises
    ------
    Unscorable
        If the signals are too short, or one has no block above -70 LUFS.

    References
    ----------
    ITU-R BS.1770-4, "Algorithms to measure audio programme loudness and true-peak audio level", 2015.

    Examples
    --------
    >>> noise = 0.1 * np.random.default_rng(0).standard_normal((2, 44100))
    >>> round(loudness_change(noise, 0.5 * noise, 44100), 6)
    -6.0206
    """
    require_samples(reference, round(BLOCK * sample_rate))
    levels = []
    for name, signal in (("reference", reference), ("estimate", estimate)):
        levels.append(loudness(signal, sample_rate))
        if not math.isfinite(levels[-1]):
            raise Unscorable(f"{name} has no loudness: no block of {BLOCK} s is above {ABSOLUTE_GATE:.0f} LUFS")
    return levels[1] - levels[0]


def true_peak_change(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """True peak of the estimate less that of the reference.

    Parameters
    ----------
    reference, estimate : np.ndarray of float, shape (channels, samples)
        Finite, at least 2 samples.
    sample_rate : int
        Hz. Not used: the oversampling counts in samples.

    Returns
    -------
    float
        dB. The true peak of a side is that of its loudest channel.

    Raises
    ------
    Unscorable
        If the signals are too short, or every sample of one is 0.

    References
    ----------
    ITU-R BS.1770-4, annex 2, 2015.

    Examples
    --------
    >>> noise = np.random.default_rng(0).standard_normal((2, 44100))
    >>> round(true_peak_change(noise, 2.0 * noise, 44100), 6)
    6.0206
    """
    require_samples(reference, MIN_SAMPLES)
    levels = []
    for name, signal in (("reference", reference), ("estimate", estimate)):
        levels.append(true_peak(signal))
        if not math.isfinite(levels[-1]):
            raise Unscorable(f"{name} is silent: no true peak")
    return levels[1] - levels[0]


_CHANGES = {"loudness": loudness_change, "true_peak": true_peak_change}


def scores(
    reference: np.ndarray, estimate: np.ndarray, sample_rate: int, names: Sequence[str]
) -> dict[str, float | Unscorable]:
    """Changes and errors of loudness and true peak of a checked pair, by name; each level is measured once."""
    changes: dict[str, float | Unscorable] = {}
    for quantity in dict.fromkeys(name.rpartition("_")[0] for name in names):
        try:
            changes[quantity] = _CHANGES[quantity](reference, estimate, sample_rate)
        except Unscorable as reason:
            changes[quantity] = reason
    found: dict[str, float | Unscorable] = {}
    for name in names:
        quantity, _, form = name.rpartition("_")
        change = changes[quantity]
        found[name] = abs(change) if form == "error" and not isinstance(change, Unscorable) else change
    return found

"""Scale-invariant signal-to-distortion ratio (SI-SDR), in decibels.

Conventions
-----------
Signals are ``(..., samples)``, the reference first; higher is better. Computed in float64 on signals made zero-mean
over time, each channel alone; channels that are silent in the reference are not scored
(:func:`~m2l_bench.reconstruction.checks.silent_channels`). An exact copy (up to a gain) scores 100.0 dB, never infinity.
audiotools and auraloss return the negative, as a loss.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from m2l_bench.reconstruction.checks import by_channel, check_pair, is_silent, require_samples, require_sound

LIMIT = 100.0  # dB; reached by float32 copies; keeps the mean over tracks finite
MIN_SAMPLES = 2


def si_sdr(reference: ArrayLike, estimate: ArrayLike, sample_rate: int | None = None) -> np.ndarray | float:
    """Scale-invariant signal-to-distortion ratio of each channel.

    Parameters
    ----------
    reference, estimate : array_like of float, shape (..., samples)
        At least 2 samples; the axis before the last has the channels of one recording.
    sample_rate : int, optional
        Hz. Not used; accepted so that all distances have one signature.

    Returns
    -------
    float or np.ndarray of float64, shape (...)
        dB in [-100, 100]: ``10 log10(|s|^2 / |e - s|^2)`` with ``s = (<e, r> / <r, r>) r``, where r and e are the
        reference and the estimate less their means over time. NaN where the reference is silent (constant, or 60 dB
        below its loudest channel), else -100 where the estimate is constant.

    Raises
    ------
    ValueError
        If the shapes differ, or a signal is not floating point.
    Unscorable
        If a signal is too short or not finite.

    References
    ----------
    J. Le Roux, S. Wisdom, H. Erdogan, J. R. Hershey: "SDR - half-baked or well done?", ICASSP 2019, equation 4.

    Examples
    --------
    >>> import numpy as np
    >>> r = np.array([1.0, -1.0, 1.0, -1.0])
    >>> round(si_sdr(r, 0.5 * r + np.array([0.05, 0.05, -0.05, -0.05])), 6)
    20.0
    """
    return by_channel(ratio, *check_pair(reference, estimate, min_samples=MIN_SAMPLES))


def score(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Mean SI-SDR over the channels of a checked pair; Unscorable if a channel of the reference is constant."""
    require_samples(reference, MIN_SAMPLES)
    require_sound(reference, "reference")
    return float(np.mean([ratio(r, e) for r, e in zip(reference, estimate, strict=True)]))


def ratio(reference: np.ndarray, estimate: np.ndarray) -> float:
    """SI-SDR of one checked channel ``(samples,)`` whose reference is not constant; see :func:`si_sdr`."""
    if is_silent(estimate):
        return -LIMIT
    r = reference.astype(np.float64)
    e = estimate.astype(np.float64)
    r -= r.mean()
    e -= e.mean()
    scale = (e @ r) / (r @ r)
    r *= scale  # now the target s
    e -= r  # now the residual e - s, sample by sample: a difference of energies would lose precision
    with np.errstate(divide="ignore"):
        decibels = 10.0 * (np.log10(r @ r) - np.log10(e @ e)) if scale else -LIMIT
    return float(np.clip(decibels, -LIMIT, LIMIT))

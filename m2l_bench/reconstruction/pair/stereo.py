"""Mid and side of a stereo pair: SI-SDR of either, and the width.

Metrics that treat each channel alone do not notice that a codec narrows, widens or empties the stereo image.

Conventions
-----------
Signals are ``(2, samples)``: left, right; the reference first. The mid is ``M = (L + R) / 2``, the side ``S = (L - R) / 2``;
energies are about the mean. Swapping the channels of both signals changes nothing. A reference that is mono (one channel, one
channel beside a silent one, or a side more than 60 dB below the mid) has no image to preserve: it is not scored, which is no
failure.
"""

from __future__ import annotations

import numpy as np

from m2l_bench.reconstruction.checks import (
    SILENT_DB,
    SILENT_RATIO,
    Undefined,
    Unscorable,
    energy,
    is_silent,
    require_samples,
)
from m2l_bench.reconstruction.pair import si_sdr

LIMIT = SILENT_DB  # dB; of a width, to either side: a mono estimate would have minus infinity
MIN_SAMPLES = 2
_MONO = "mono, no stereo scores"


def mid_side(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mid and side of a signal (2, samples), each (samples,).

    Raises
    ------
    Undefined
        If the signal has another number of channels.

    Examples
    --------
    >>> [channel.tolist() for channel in mid_side(np.array([[1.0, 0.5], [0.0, 0.5]]))]
    [[0.5, 0.5], [0.5, 0.0]]
    """
    if len(signal) != 2:
        summary = _MONO if len(signal) == 1 else f"{len(signal)} channels, no stereo scores"
        raise Undefined(f"needs 2 channels that are not silent, got {len(signal)}", summary)
    left, right = signal
    return (left + right) / 2, (left - right) / 2


def require_side(signal: np.ndarray, name: str) -> None:
    """Raise Undefined if a signal (channels, samples) is mono; `name` says which it is."""
    mid, side = map(energy, mid_side(signal))
    if not side > SILENT_RATIO * mid:
        raise Undefined(f"{name} is mono: its side is more than {SILENT_DB:.0f} dB below its mid", _MONO)


def si_sdr_mid(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """SI-SDR of the mid.

    Parameters
    ----------
    reference, estimate : np.ndarray of float, shape (2, samples)
        Finite, at least 2 samples.
    sample_rate : int
        Hz. Not used.

    Returns
    -------
    float
        dB in [-100, 100], higher is better: SI-SDR of ``(L + R) / 2``; -100 where the estimate's is constant.

    Raises
    ------
    Unscorable
        If the reference is too short; :class:`Undefined` if it is mono, or its mid more than 60 dB below its side.

    References
    ----------
    J. Le Roux, S. Wisdom, H. Erdogan, J. R. Hershey: "SDR - half-baked or well done?", ICASSP 2019, equation 4.

    Examples
    --------
    >>> noise = np.random.default_rng(0).standard_normal((2, 8000))
    >>> si_sdr_mid(noise, noise[::-1], 44100)
    100.0
    """
    _require_stereo(reference)
    mid, side = mid_side(reference)
    if not energy(mid) > SILENT_RATIO * energy(side):
        raise Undefined(f"reference has no mid: it is more than {SILENT_DB:.0f} dB below the side", "no mid to score")
    return si_sdr.ratio(mid, mid_side(estimate)[0])


def si_sdr_side(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """SI-SDR of the side.

    Parameters
    ----------
    reference, estimate : np.ndarray of float, shape (2, samples)
        Finite, at least 2 samples.
    sample_rate : int
        Hz. Not used.

    Returns
    -------
    float
        dB in [-100, 100], higher is better: SI-SDR of ``(L - R) / 2``; -100 where the estimate's is constant (a mono estimate).
        Swapped channels score 100: the side is then inverted, which no SI-SDR notices; the panning error does.

    Raises
    ------
    Unscorable
        If the reference is too short; :class:`Undefined` if it is mono.

    References
    ----------
    J. Le Roux, S. Wisdom, H. Erdogan, J. R. Hershey: "SDR - half-baked or well done?", ICASSP 2019, equation 4.

    Examples
    --------
    >>> noise = np.random.default_rng(0).standard_normal((2, 8000))
    >>> si_sdr_side(noise, np.repeat(noise.mean(axis=0, keepdims=True), 2, axis=0), 44100)
    -100.0
    """
    _require_stereo(reference)
    return si_sdr.ratio(mid_side(reference)[1], mid_side(estimate)[1])


def width_change(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Width of the estimate less that of the reference.

    Parameters
    ----------
    reference, estimate : np.ndarray of float, shape (2, samples)
        Finite, at least 2 samples.
    sample_rate : int
        Hz. Not used.

    Returns
    -------
    float
        dB in [-120, 120]; negative where the estimate is narrower, 0 is right. The width is
        ``10 log10(E_S / E_M)``, limited to [-60, 60] dB, with the energies of side and mid.

    Raises
    ------
    Unscorable
        If the reference is too short, or the estimate is constant; :class:`Undefined` if the reference is mono.

    Examples
    --------
    >>> noise = np.random.default_rng(0).standard_normal((2, 8000))
    >>> mid, side = mid_side(noise)
    >>> round(width_change(noise, np.stack([mid + 0.5 * side, mid - 0.5 * side]), 44100), 6)
    -6.0206
    """
    _require_stereo(reference)
    if is_silent(estimate).all():
        raise Unscorable("estimate is silent: no width")
    return _width(estimate) - _width(reference)


def width_error(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Absolute value of :func:`width_change`: dB in [0, 120], lower is better."""
    return abs(width_change(reference, estimate, sample_rate))


def _require_stereo(reference: np.ndarray) -> None:
    require_samples(reference, MIN_SAMPLES)
    require_side(reference, "reference")


def _width(signal: np.ndarray) -> float:
    mid, side = map(energy, mid_side(signal))
    with np.errstate(divide="ignore"):
        return float(np.clip(10.0 * (np.log10(side) - np.log10(mid)), -LIMIT, LIMIT))

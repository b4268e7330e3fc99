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

from collections.abc import Sequence

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
    _require_side(_Split(signal), name)


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
    return _si_sdr_mid(*_split_pair(reference, estimate))


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
    return _si_sdr_side(*_split_pair(reference, estimate))


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
    return _width_change(*_split_pair(reference, estimate))


def width_error(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Absolute value of :func:`width_change`: dB in [0, 120], lower is better."""
    return abs(width_change(reference, estimate, sample_rate))


def scores(
    reference: np.ndarray, estimate: np.ndarray, sample_rate: int, names: Sequence[str]
) -> dict[str, float | Unscorable]:
    """Scores of mid, side and width of a checked pair, by name; mid and side are computed once."""
    sides = _split_pair(reference, estimate)
    found: dict[str, float | Unscorable] = {}
    for name in names:
        try:
            found[name] = _SCORES[name](*sides)
        except Unscorable as reason:
            found[name] = reason
    return found


class _Split:
    """Mid and side of a signal (2, samples), each with its energy."""

    def __init__(self, signal: np.ndarray) -> None:
        self.constant = bool(is_silent(signal).all())
        self.mid, self.side = mid_side(signal)
        self.mid_energy, self.side_energy = energy(self.mid), energy(self.side)

    def width(self) -> float:
        with np.errstate(divide="ignore"):
            ratio = np.log10(self.side_energy) - np.log10(self.mid_energy)
        return float(np.clip(10.0 * ratio, -LIMIT, LIMIT))


def _split_pair(reference: np.ndarray, estimate: np.ndarray) -> tuple[_Split, _Split]:
    require_samples(reference, MIN_SAMPLES)
    split = _Split(reference)
    _require_side(split, "reference")
    return split, _Split(estimate)


def _require_side(split: _Split, name: str) -> None:
    if not split.side_energy > SILENT_RATIO * split.mid_energy:
        raise Undefined(f"{name} is mono: its side is more than {SILENT_DB:.0f} dB below its mid", _MONO)


def _si_sdr_mid(reference: _Split, estimate: _Split) -> float:
    if not reference.mid_energy > SILENT_RATIO * reference.side_energy:
        raise Undefined(f"reference has no mid: it is more than {SILENT_DB:.0f} dB below the side", "no mid to score")
    return si_sdr.ratio(reference.mid, estimate.mid)


def _si_sdr_side(reference: _Split, estimate: _Split) -> float:
    return si_sdr.ratio(reference.side, estimate.side)


def _width_change(reference: _Split, estimate: _Split) -> float:
    if estimate.constant:
        raise Unscorable("estimate is silent: no width")
    return estimate.width() - reference.width()


_SCORES = {
    "si_sdr_mid": _si_sdr_mid,
    "si_sdr_side": _si_sdr_side,
    "width_change": _width_change,
    "width_error": lambda reference, estimate: abs(_width_change(reference, estimate)),
}

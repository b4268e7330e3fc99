"""Lag, gain and polarity of an estimate against its reference, and SI-SDR once the lag is undone.

A codec whose output is 22 samples late loses 11 dB of SI-SDR without sounding worse; these numbers show such a delay.

Conventions
-----------
Signals are ``(..., samples)``, the reference first; all leading dimensions are channels of one recording. One lag,
gain and polarity describe all channels of a pair. A positive lag means that the estimate is late:
``estimate[t + lag] ~ a reference[t]``; it may be a fraction of a sample. Undoing the lag drops the |lag| samples at either
end that have no counterpart; means are taken over the remaining samples. A fraction is undone by a phase shift, which rings
at the ends of the signal: 64 more samples are dropped at either end.

Two signals that have nothing to do with each other, or are further apart than 50 ms, also have a largest correlation. It is
told from a true one by the correlation at lags between 50 ms and 1 s, which shows what the music's own periods and chance
give: see :func:`align`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import scipy  # its parts are loaded when they are used

from m2l_bench.reconstruction.checks import Undefined, Unscorable, is_silent, require_samples
from m2l_bench.reconstruction.pair import si_sdr

MAX_LAG = 0.05  # seconds, to either side
BEYOND = 1.0  # seconds; lags from MAX_LAG to here show what chance gives
FACTOR = 1.15  # by which a peak must exceed the largest coefficient beyond ...
SURE = 0.5  # ... up to this coefficient; above it the factor would refuse a copy of a steady tone
TIE = 1e-9  # correlations this close (relative) count as equal, so that rounding does not choose between them
ROUNDED = 1e-3  # samples; a lag this close to an integer is that integer, so that nothing is filtered for it
DECIMALS = 9  # of a lag in samples, so that rounding in sums does not show
RINGING = 64  # samples dropped at either end after a phase shift; the ringing falls with the distance
WINDOW = 1 << 14  # samples of a window of the cross-spectrum
_SEGMENT = 1 << 17  # samples of the reference per transform of the correlation


@dataclass(frozen=True)
class Alignment:
    """Lag, gain and polarity of an estimate against its reference.

    Attributes
    ----------
    lag : float
        Samples; positive where the estimate is late.
    gain : float
        dB; 20 log10 |a| of the least-squares factor a.
    polarity : int
        1, or -1 where the estimate is inverted: the sign of a.
    """

    lag: float
    gain: float
    polarity: int


def align(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> Alignment:
    """Estimate lag, gain and polarity of a checked pair.

    Parameters
    ----------
    reference, estimate : np.ndarray of float, shape (channels, samples)
        At least :func:`min_samples` samples: just over 100 ms, for a lag of +-50 ms.
    sample_rate : int
        Hz.

    Returns
    -------
    Alignment
        The lag is k + d. The integer k within +-50 ms has the largest ``|sum_c sum_t r_c[t] e_c[t + k]|`` over channels c,
        where r and e have zero mean over time; of equal peaks the one nearest 0 counts, then the positive. The sum is not
        normalised: channels and passages are weighted by their energy. The fraction d within +-1 has the largest
        ``|Re sum_f S(f) exp(2 pi i f d)|``, the same correlation between the samples; S is the cross-spectrum with k undone,
        summed over channels and overlapping Hann windows of 16384 samples. With the lag undone and means removed again,
        ``a = sum_c <e_c, r_c> / sum_c <r_c, r_c>``.

    Raises
    ------
    Unscorable
        If a signal is constant in all channels, or the peak's coefficient (the sum over ``|r| |e|``) is not above chance:
        ``max(b, min(1.15 b, 0.5))``, where b is the largest coefficient at lags from 50 ms to 1 s on either side.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(0).standard_normal((1, 8000))
    >>> align(noise, -0.5 * np.roll(noise, 3), 44100)
    Alignment(lag=3.0, gain=-6.02..., polarity=-1)
    """
    return _aligned(reference, estimate, sample_rate)[0]


def scores(
    reference: np.ndarray, estimate: np.ndarray, sample_rate: int, names: Sequence[str]
) -> dict[str, float | Unscorable]:
    """Lag, gain, polarity and SI-SDR with the lag undone, of a checked pair ``(channels, samples)``, by name.

    Gain and polarity are not undone, because SI-SDR does not depend on them. A constant estimate has no lag, gain or
    polarity; its SI-SDR is -100 dB at any lag. Raises Unscorable where there is no lag: nothing is then defined.
    """
    require_samples(reference, min_samples(sample_rate))
    found: dict[str, float | Unscorable]
    if is_silent(estimate).all():
        found = dict.fromkeys(names, Unscorable("estimate is silent: no lag, gain or polarity"))
        return found | ({"si_sdr_aligned": -si_sdr.LIMIT} if "si_sdr_aligned" in names else {})
    alignment, pair = _aligned(reference, estimate, sample_rate)
    found = {name: float(value) for name, value in asdict(alignment).items()}
    if "si_sdr_aligned" in names:
        try:
            found["si_sdr_aligned"] = si_sdr.score(*pair, sample_rate)
        except Unscorable as reason:
            found["si_sdr_aligned"] = reason
    return {name: found[name] for name in names}


def min_samples(sample_rate: int) -> int:
    """Smallest number of samples that has lags of +-50 ms, and some left once the ends are dropped."""
    return 2 * (round(MAX_LAG * sample_rate) + RINGING) + 1


def undo_lag(reference: np.ndarray, estimate: np.ndarray, lag: float) -> tuple[np.ndarray, np.ndarray]:
    """Parts of ``(..., samples)`` signals that overlap once the lag is undone.

    An integer lag gives views. For a fraction, the estimate is shifted by the phase of its spectrum, and 64 more samples are
    dropped at either end.
    """
    whole = round(lag)
    late, early = max(whole, 0), max(-whole, 0)
    first, last = 0, reference.shape[-1] - abs(whole)
    if lag != whole:
        estimate = _earlier(estimate, lag - whole)
        first, last = first + RINGING, last - RINGING
    return reference[..., early + first : early + last], estimate[..., late + first : late + last]


def cross_correlation(reference: np.ndarray, estimate: np.ndarray, max_lag: int) -> np.ndarray:
    """Cross-correlation summed over channels, for lags from -max_lag to max_lag.

    Parameters
    ----------
    reference, estimate : np.ndarray, shape (channels, samples)
    max_lag : int
        Samples, less than the signals' length.

    Returns
    -------
    np.ndarray of float64, shape (2 * max_lag + 1,)
        ``c[max_lag + k] = sum_c sum_t r_c[t] e_c[t + k]``, each channel less its mean, 0 beyond the ends.
    """
    n_fft = scipy.fft.next_fast_len(min(_SEGMENT, reference.shape[-1]) + 2 * max_lag, real=True)
    step = n_fft - 2 * max_lag
    spectrum = np.zeros(n_fft // 2 + 1, dtype=np.complex128)
    for r, e in zip(reference, estimate, strict=True):
        r = _zero_mean(r)
        e = np.pad(_zero_mean(e), max_lag)
        # A segment of the reference against the estimate max_lag further to either side: one short transform each.
        for start in range(0, r.shape[-1], step):
            segment = scipy.fft.rfft(r[start : start + step], n_fft)
            spectrum += segment.conj() * scipy.fft.rfft(e[start : start + n_fft], n_fft)
    return scipy.fft.irfft(spectrum, n_fft)[: 2 * max_lag + 1]


def _aligned(
    reference: np.ndarray, estimate: np.ndarray, sample_rate: int
) -> tuple[Alignment, tuple[np.ndarray, np.ndarray]]:
    """The alignment of a pair, and the pair with the lag undone."""
    for name, signal in (("reference", reference), ("estimate", estimate)):
        if is_silent(signal).all():
            raise Unscorable(f"{name} is silent: no lag, gain or polarity")
    lag = _lag(reference, estimate, sample_rate)
    pair = undo_lag(reference, estimate, lag)
    product = energy = 0.0
    for r, e in zip(*pair, strict=True):
        r, e = _zero_mean(r), _zero_mean(e)
        product += e @ r
        energy += r @ r
    if not product:
        raise Unscorable("estimate is uncorrelated with the reference: no gain or polarity")
    return Alignment(lag, float(20.0 * np.log10(abs(product) / energy)), 1 if product > 0 else -1), pair


def _lag(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    near = round(MAX_LAG * sample_rate)
    far = min(round(BEYOND * sample_rate), reference.shape[-1] - 1)
    correlation = cross_correlation(reference, estimate, far)
    size = np.abs(correlation) / np.sqrt(_energy(reference) * _energy(estimate))
    whole = _best_lag(size[far - near : far + near + 1])
    peak, beyond = size[far + whole], max(size[: far - near].max(), size[far + near + 1 :].max())
    chance = max(beyond, min(FACTOR * beyond, SURE))
    if not peak > chance:
        raise Undefined(
            f"no lag within {1000 * MAX_LAG:.0f} ms: the correlation's peak {peak:.3g} is not above chance {chance:.3g}",
            "no lag above chance, hence no lag, gain, polarity and aligned SI-SDR",
        )
    lag = round(
        whole + _fraction(*undo_lag(reference, estimate, whole), sign=np.sign(correlation[far + whole])), DECIMALS
    )
    return float(round(lag)) if abs(lag - round(lag)) < ROUNDED else lag


def _best_lag(size: np.ndarray) -> int:
    lags = np.flatnonzero(size >= (1.0 - TIE) * size.max()) - len(size) // 2
    return int(min(lags, key=lambda lag: (abs(lag), -lag)))


def _fraction(reference: np.ndarray, estimate: np.ndarray, *, sign: float) -> float:
    """Fraction of a sample by which an estimate ``(channels, samples)``, aligned to a sample, is late."""
    from scipy.optimize import minimize_scalar  # imported here: every worker would wait for it

    spectrum = sign * _cross_spectrum(reference, estimate)
    omega = np.linspace(0.0, np.pi, len(spectrum))

    def undone(delay: float) -> np.ndarray:
        return spectrum * np.exp(1j * omega * delay)

    delay = minimize_scalar(
        lambda delay: -undone(delay).real.sum(), bounds=(-1.0, 1.0), method="bounded", options={"xatol": ROUNDED}
    ).x
    # The search only comes near the maximum, where the function is flat; Newton's method finds the zero of its slope.
    for _ in range(3):
        found = undone(delay)
        curvature = -(omega**2 @ found.real)
        if not curvature < 0.0:
            return 0.0
        delay += float(omega @ found.imag / curvature)
    return delay if abs(delay) < 1.0 else 0.0


def _cross_spectrum(reference: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """``conj(R) E`` summed over channels and windows, of one even length.

    Both sides have the same window, whose slope then moves the peak to neither side; the ends of a signal that is merely cut
    off would.
    """
    n = reference.shape[-1]
    size = min(WINDOW, n - n % 2)
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(size) / size)  # periodic Hann
    spectrum = np.zeros(size // 2 + 1, dtype=np.complex128)
    for r, e in zip(reference, estimate, strict=True):
        r, e = _zero_mean(r), _zero_mean(e)
        for start in (*range(0, n - size, size // 2), n - size):
            windowed = (scipy.fft.rfft(window * x[start : start + size]) for x in (r, e))
            spectrum += next(windowed).conj() * next(windowed)
    return spectrum


def _earlier(signal: np.ndarray, delay: float) -> np.ndarray:
    """A signal ``(..., samples)`` moved ahead by a fraction of a sample; one channel at a time."""
    n = signal.shape[-1]
    n_fft = scipy.fft.next_fast_len(n + 2 * RINGING, real=True)
    shift = np.exp(2j * np.pi * delay * np.arange(n_fft // 2 + 1) / n_fft)
    moved = np.empty_like(signal)
    for index in np.ndindex(signal.shape[:-1]):
        mean = signal[index].mean(dtype=np.float64)  # an offset would ring at the ends
        spectrum = scipy.fft.rfft(signal[index] - mean, n_fft)
        spectrum *= shift
        moved[index] = scipy.fft.irfft(spectrum, n_fft)[:n] + mean
    return moved


def _energy(signal: np.ndarray) -> float:
    return float(sum(x @ x for x in map(_zero_mean, signal)))


def _zero_mean(signal: np.ndarray) -> np.ndarray:
    signal = signal.astype(np.float64)
    signal -= signal.mean()
    return signal

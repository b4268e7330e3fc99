"""Lag, gain and polarity of an estimate against its reference, and SI-SDR once the lag is undone.

A codec whose output is 22 samples late loses 11 dB of SI-SDR without sounding worse; these numbers show such a delay.

Conventions
-----------
Signals are ``(..., samples)``, the reference first; all leading dimensions are channels of one recording. One lag,
gain and polarity describe all channels of a pair. A positive lag means that the estimate is late:
``estimate[t + lag] ~ a reference[t]``. Undoing the lag drops the |lag| samples at either end that have no counterpart;
nothing is padded, and means are taken over the remaining samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import scipy.fft

from m2l_bench.reconstruction.checks import Unscorable, is_silent, require_samples
from m2l_bench.reconstruction.pair import si_sdr

MAX_LAG = 0.05  # seconds, to either side
TIE = 1e-9  # correlations this close (relative) count as equal, so that rounding does not choose between them
_SEGMENT = 1 << 15  # samples of the reference per transform


@dataclass(frozen=True)
class Alignment:
    """Lag, gain and polarity of an estimate against its reference.

    Attributes
    ----------
    lag : int
        Samples; positive where the estimate is late.
    gain : float
        dB; 20 log10 |a| of the least-squares factor a.
    polarity : int
        1, or -1 where the estimate is inverted: the sign of a.
    """

    lag: int
    gain: float
    polarity: int


def align(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> Alignment:
    """Estimate lag, gain and polarity of a checked pair.

    Parameters
    ----------
    reference, estimate : np.ndarray of float, shape (channels, samples)
        Just over 100 ms at least, for a lag of +-50 ms.
    sample_rate : int
        Hz.

    Returns
    -------
    Alignment
        The lag within +-50 ms with the largest ``|sum_c sum_t r_c[t] e_c[t + lag]|`` over channels c, where r and e
        have zero mean over time; of equal peaks the one nearest 0 counts, then the positive. The sum is not
        normalised: channels and passages are weighted by their energy. With the lag undone and
        means removed again, ``a = sum_c <e_c, r_c> / sum_c <r_c, r_c>``.

    Raises
    ------
    Unscorable
        If a signal is silent in all channels, or the two are uncorrelated.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(0).standard_normal((1, 8000))
    >>> align(noise, -0.5 * np.roll(noise, 3), 44100)
    Alignment(lag=3, gain=-6.02..., polarity=-1)
    """
    for name, signal in (("reference", reference), ("estimate", estimate)):
        if is_silent(signal).all():
            raise Unscorable(f"{name} is silent: no lag, gain or polarity")
    lag = _best_lag(cross_correlation(reference, estimate, round(MAX_LAG * sample_rate)))
    product = energy = 0.0
    for r, e in zip(*undo_lag(reference, estimate, lag), strict=True):
        r, e = _zero_mean(r), _zero_mean(e)
        product += e @ r
        energy += r @ r
    if not product:
        raise Unscorable("estimate is uncorrelated with the reference: no gain or polarity")
    return Alignment(lag, float(20.0 * np.log10(abs(product) / energy)), 1 if product > 0 else -1)


def scores(
    reference: np.ndarray, estimate: np.ndarray, sample_rate: int, names: Sequence[str]
) -> dict[str, float | Unscorable]:
    """Lag, gain, polarity and SI-SDR with the lag undone, of a checked pair ``(channels, samples)``, by name.

    Gain and polarity are not undone, because SI-SDR does not depend on them. An estimate that is silent or uncorrelated
    has no lag, gain or polarity; its SI-SDR is taken at lag 0.
    """
    require_samples(reference, 2 * round(MAX_LAG * sample_rate) + 1)
    found: dict[str, float | Unscorable]
    lag = 0
    try:
        alignment = align(reference, estimate, sample_rate)
        lag = alignment.lag
        found = {name: float(value) for name, value in asdict(alignment).items()}
    except Unscorable as reason:
        found = dict.fromkeys(("lag", "gain", "polarity"), reason)
    if "si_sdr_aligned" in names:
        try:
            found["si_sdr_aligned"] = si_sdr.score(*undo_lag(reference, estimate, lag), sample_rate)
        except Unscorable as reason:
            found["si_sdr_aligned"] = reason
    return {name: found[name] for name in names}


def undo_lag(reference: np.ndarray, estimate: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Views of the parts of ``(..., samples)`` signals that overlap once the lag is undone."""
    kept = reference.shape[-1] - abs(lag)
    late, early = max(lag, 0), max(-lag, 0)
    return reference[..., early : early + kept], estimate[..., late : late + kept]


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
    n_fft = scipy.fft.next_fast_len(_SEGMENT + 2 * max_lag, real=True)
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


def _best_lag(correlation: np.ndarray) -> int:
    size = np.abs(correlation)
    lags = np.flatnonzero(size >= (1.0 - TIE) * size.max()) - len(size) // 2
    return int(min(lags, key=lambda lag: (abs(lag), -lag)))


def _zero_mean(signal: np.ndarray) -> np.ndarray:
    signal = signal.astype(np.float64)
    signal -= signal.mean()
    return signal

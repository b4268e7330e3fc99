"""Multi-resolution STFT distance: spectral convergence plus log magnitude (lower is better).

Conventions
-----------
Signals are ``(..., samples)``, the reference first, each channel alone; channels that are silent in the reference are not
scored (:func:`~m2l_bench.reconstruction.checks.silent_channels`). Spectra as in
:mod:`m2l_bench.reconstruction.pair.spectra`. Hops and windows are in samples, so the number depends on the sample rate at
which the pair is given. The three resolutions and all constants are those of auraloss's
``MultiResolutionSTFTLoss``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from m2l_bench.reconstruction.checks import by_channel, check_pair, check_sample_rate, require_samples
from m2l_bench.reconstruction.pair.spectra import spectra

RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))  # n_fft, hop, window
MIN_POWER = 1e-8  # powers are raised to this
MIN_SAMPLES = max(n_fft for n_fft, _, _ in RESOLUTIONS) // 2 + 1  # can be reflected by n_fft / 2


def stft_distance(reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> np.ndarray | float:
    """Multi-resolution STFT distance of each channel.

    Parameters
    ----------
    reference, estimate : array_like of float, shape (..., samples)
        At least 1025 samples; the axis before the last has the channels of one recording.
    sample_rate : int
        Hz. It must be positive; windows are in samples, so it does not enter the number.

    Returns
    -------
    float or np.ndarray of float64, shape (...)
        At least 0; 0.0 exactly for an exact copy. The mean over three resolutions of
        ``||R - E||_F / ||R||_F + mean|ln R - ln E|``, where R and E are magnitudes ``sqrt(max(|X|^2, 1e-8))``. NaN
        where the reference is silent (constant, or 60 dB below its loudest channel).

    Raises
    ------
    ValueError
        If the shapes differ, a signal is not floating point, or the rate is not positive.
    Unscorable
        If a signal is too short or not finite.

    References
    ----------
    R. Yamamoto, E. Song, J.-M. Kim: "Parallel WaveGAN", ICASSP 2020, equations 4 to 7.
    C. J. Steinmetz, J. D. Reiss: "auraloss: Audio focused loss functions in PyTorch", DMRN+15, 2020.

    Examples
    --------
    >>> import numpy as np
    >>> tone = np.sin(0.1 * np.arange(4096))
    >>> stft_distance(tone, tone, 44100), round(stft_distance(tone, 0.5 * tone, 44100), 2) > 0.5
    (0.0, True)
    """
    check_sample_rate(sample_rate)
    return by_channel(distance, *check_pair(reference, estimate, min_samples=MIN_SAMPLES))


def score(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Mean distance over the channels of a checked pair."""
    require_samples(reference, MIN_SAMPLES)
    return float(np.mean([distance(r, e) for r, e in zip(reference, estimate, strict=True)]))


def distance(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Distance of one checked channel ``(samples,)``; see :func:`stft_distance`."""
    return float(np.mean([_at_resolution(reference, estimate, *resolution) for resolution in RESOLUTIONS]))


def _at_resolution(reference: np.ndarray, estimate: np.ndarray, n_fft: int, hop: int, window: int) -> float:
    error = energy = log_difference = 0.0
    n_bins = 0
    floor = np.full(n_fft // 2 + 1, MIN_POWER)  # NumPy compares with a row faster than with a number
    for block in spectra((reference, estimate), n_fft=n_fft, hop_length=hop, window_length=window):
        r, e = (np.maximum(spectrum.power, floor, out=spectrum.power).ravel() for spectrum in block)
        n_bins += r.size
        energy += r.sum()
        ratio = np.divide(e, r, out=e)
        logs = np.log(ratio)
        log_difference += 0.5 * np.abs(logs, out=logs).sum()
        # (|R| - |E|)^2 = |R|^2 (1 - |E| / |R|)^2: one square root a bin instead of two
        np.sqrt(ratio, out=ratio)
        ratio -= 1.0
        error += r @ np.square(ratio, out=ratio)
    return np.sqrt(error / energy) + log_difference / n_bins

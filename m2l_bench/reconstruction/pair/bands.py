"""Bands about as wide as the ear's, and which of them a signal fills: shared by the metrics of phase and coherence.

Conventions
-----------
Bin k of a transform of n_fft samples, k > 0, belongs to band ``floor(21.4 log10(1 + 0.00437 f))``, f = k sample_rate / n_fft in
Hz: the number of equivalent rectangular bandwidths (ERB) below f. Bands without a bin do not exist.

References
----------
B. R. Glasberg, B. C. J. Moore: "Derivation of auditory filter shapes from notched-noise data", Hearing Research 47, 1990.
"""

from __future__ import annotations

import numpy as np

from m2l_bench.reconstruction.checks import SILENT_DB, SILENT_RATIO

N_FFT = 2048
MIN_SAMPLES = N_FFT // 2 + 1  # can be reflected by n_fft / 2
RULE = (
    "1 ERB: bin of frequency f (Hz, above 0) in band floor(21.4 log10(1 + 0.00437 f)); a band more than "
    f"{SILENT_DB:.0f} dB below the reference's strongest is left out, one more than {SILENT_DB:.0f} dB below the reference's has "
    "coherence 0 in the estimate"
)
"""The rule in words, for cards."""


def erb_sums(bins: np.ndarray, sample_rate: int) -> np.ndarray:
    """Sum over the bins of each band: (..., n_fft // 2 + 1) -> (..., bands).

    Examples
    --------
    >>> erb_sums(np.ones(1025), 44100)[[0, 1, 2, -2]].tolist()  # bins of 21.5 Hz
    [1.0, 1.0, 2.0, 100.0]
    """
    frequencies = np.linspace(0.0, sample_rate / 2, bins.shape[-1])[1:]
    band = np.floor(21.4 * np.log10(1.0 + 0.00437 * frequencies))
    starts = np.unique(band, return_index=True)[1]
    return np.asarray(np.add.reduceat(bins[..., 1:], starts, axis=-1))


def filled(reference: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which bands count, and in which of them the estimate has anything, from the energies (bands,) of both."""
    return reference > SILENT_RATIO * reference.max(), estimate > SILENT_RATIO * reference

"""Phase coherence: whether a reconstruction preserves the phases or makes them up (higher is better).

Conventions
-----------
Signals are ``(channels, samples)``, the reference first, each channel alone. Spectra as in
:mod:`m2l_bench.reconstruction.pair.spectra`, windows of 2048 samples every 512; bands as in
:mod:`m2l_bench.reconstruction.pair.bands`. Windows are in samples, so the number depends on the sample rate at which the pair is
given. A gain, the polarity and any phase that is constant in a band change nothing. The lag is not undone: a delay of d seconds
turns the phase within a band of width B by 2 pi B d, so that 1 ms lowers the coherence of all but the lowest bands.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from m2l_bench.reconstruction.checks import require_samples
from m2l_bench.reconstruction.pair.bands import MIN_SAMPLES, N_FFT, erb_sums, filled
from m2l_bench.reconstruction.pair.spectra import Spectrum, cross_sum, take


def phase_coherence(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Phase coherence of a checked pair, the mean over channels.

    Parameters
    ----------
    reference, estimate : np.ndarray of float, shape (channels, samples)
        Finite, at least 1025 samples, no channel of the reference constant.
    sample_rate : int
        Hz.

    Returns
    -------
    float
        In [0, 1]; 1 where phases are preserved. The mean over bands of ``|sum X Y*| / sum |X| |Y|``, sums over the frames and
        bins of the band, X and Y the spectra of reference and estimate. Phases that are made up give about ``1 / sqrt(n)``, n
        the number of independent cells of a band: not 0 in a short signal. 0 in a band of the estimate that is more than
        60 dB below the reference's. Bands of the reference more than 60 dB below its strongest are left out.

    Raises
    ------
    Unscorable
        If the signals are too short.

    Examples
    --------
    >>> noise, other = np.random.default_rng(0).standard_normal((2, 1, 44100))
    >>> round(phase_coherence(noise, -0.5 * noise, 44100), 6), phase_coherence(noise, other, 44100) < 0.2
    (1.0, True)
    """
    return take([Phase(reference, estimate, sample_rate, ["phase_coherence"])], reference, estimate)["phase_coherence"]


class Phase:
    """The sums of :func:`phase_coherence`: a :class:`~m2l_bench.reconstruction.pair.spectra.Measure`."""

    windows = (N_FFT,)

    def __init__(self, reference: np.ndarray, estimate: np.ndarray, sample_rate: int, names: Sequence[str]) -> None:
        require_samples(reference, MIN_SAMPLES)
        self.sample_rate = sample_rate
        shape = len(reference), N_FFT // 2 + 1
        self.cross = np.zeros(shape, dtype=np.complex128)
        self.sizes = np.zeros((3, *shape))

    def add(self, window: int, reference: Sequence[Spectrum], estimate: Sequence[Spectrum]) -> None:
        """Add a block of frames of every channel."""
        for channel, (x, y) in enumerate(zip(reference, estimate, strict=True)):
            self.cross[channel] += cross_sum(x, y)
            left, right = x.magnitude, y.magnitude
            self.sizes[:, channel] += [
                np.sum(product, axis=0) for product in (left * right, left * left, right * right)
            ]

    def scores(self) -> dict[str, float]:
        """The mean over channels."""
        coherent = np.abs(erb_sums(self.cross, self.sample_rate))
        products, *energies = erb_sums(self.sizes, self.sample_rate)
        values = []
        for channel in range(len(coherent)):
            counted, there = filled(*(energy[channel] for energy in energies))
            size = np.where(there, products[channel], 0.0)
            ratio = np.divide(coherent[channel], size, out=np.zeros_like(size), where=size > 0.0)
            values.append(ratio[counted].mean())
        return {"phase_coherence": float(np.mean(values))}

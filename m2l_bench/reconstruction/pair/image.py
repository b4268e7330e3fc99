"""Stereo image of a reconstruction over time and frequency: error of the panning, and of the channels' coherence.

Conventions
-----------
Signals are ``(2, samples)``: left, right; the reference first. Spectra as in :mod:`m2l_bench.reconstruction.pair.spectra`,
windows of 2048 samples every 512; bands as in :mod:`m2l_bench.reconstruction.pair.bands`. Windows are in samples, so the
numbers depend on the sample rate at which the pair is given. A mono reference is not scored, as in
:mod:`m2l_bench.reconstruction.pair.stereo`. Neither number depends on the gain that both channels have in common.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from m2l_bench.reconstruction.checks import Unscorable, is_silent, require_samples
from m2l_bench.reconstruction.pair.bands import MIN_SAMPLES, N_FFT, erb_sums, filled
from m2l_bench.reconstruction.pair.spectra import Spectrum, cross_sum
from m2l_bench.reconstruction.pair.stereo import require_side


class Image:
    """Panning error and error of the interchannel coherence: a :class:`~m2l_bench.reconstruction.pair.spectra.Measure`.

    ``panning_error``, in [0, 2], lower is better: ``sum w |P_e - P_r| / sum w`` over bins and frames, with the panning
    ``P = (|L| - |R|) / (|L| + |R|)``, -1 (right) to 1 (left), 0 where both are 0, and ``w = |L_r|^2 + |R_r|^2``.
    ``interchannel_coherence_error``, in [0, 1], lower is better: ``mean |C_e - C_r|`` over bands, with
    ``C = |sum L R*| / sqrt(sum |L|^2 sum |R|^2)``, sums over the frames and bins of the band; 0 where one channel is
    empty or the estimate's band is more than 60 dB below the reference's. Bands of the reference more than 60 dB below its
    strongest are left out.

    Parameters
    ----------
    reference, estimate : np.ndarray of float, shape (2, samples)
        Finite, at least 1025 samples.
    sample_rate : int
        Hz.
    names : sequence of {"panning_error", "interchannel_coherence_error"}

    Raises
    ------
    Unscorable
        If the reference is too short, or the estimate is constant;
        :class:`~m2l_bench.reconstruction.checks.Undefined` if the reference is mono.

    References
    ----------
    J. Breebaart, S. van de Par, A. Kohlrausch, E. Schuijers: "Parametric coding of stereo audio", EURASIP Journal on Applied
    Signal Processing, 2005 (the coherence of the channels in a band).

    Examples
    --------
    >>> from m2l_bench.reconstruction.pair.spectra import take
    >>> left = np.random.default_rng(0).standard_normal(8000)
    >>> pair = np.stack([left, 0.5 * left]), np.stack([0.5 * left, left])  # panning 1/3 and -1/3, both coherent
    >>> image = Image(*pair, 44100, ["panning_error", "interchannel_coherence_error"])
    >>> [round(score, 6) for score in take([image], *pair).values()]
    [0.666667, 0.0]
    """

    windows = (N_FFT,)

    def __init__(self, reference: np.ndarray, estimate: np.ndarray, sample_rate: int, names: Sequence[str]) -> None:
        require_samples(reference, MIN_SAMPLES)
        require_side(reference, "reference")
        if is_silent(estimate).all():
            raise Unscorable("estimate is silent: no stereo image")
        self.sample_rate = sample_rate
        self.names = names
        self.difference = self.weight = 0.0
        self.products = _Products(), _Products()

    def add(self, window: int, reference: Sequence[Spectrum], estimate: Sequence[Spectrum]) -> None:
        """Add a block of frames of both channels."""
        if "panning_error" in self.names:
            weights = reference[0].power + reference[1].power
            self.difference += float(weights.ravel() @ np.abs(_panning(*estimate) - _panning(*reference)).ravel())
            self.weight += float(weights.sum())
        if "interchannel_coherence_error" in self.names:
            for products, side in zip(self.products, (reference, estimate), strict=True):
                products.add(*side)

    def scores(self) -> dict[str, float]:
        """The named scores."""
        found = {}
        if "panning_error" in self.names:
            found["panning_error"] = self.difference / self.weight if self.weight else 0.0
        if "interchannel_coherence_error" in self.names:
            energies, coherences = zip(
                *(products.of_bands(self.sample_rate) for products in self.products), strict=True
            )
            counted, there = filled(*energies)
            error = np.abs(np.where(there, coherences[1], 0.0) - coherences[0])[counted].mean()
            found["interchannel_coherence_error"] = float(error)
        return found


class _Products:
    """Sums over frames of the products of two channels, (bins,)."""

    def __init__(self) -> None:
        bins = N_FFT // 2 + 1
        self.cross = np.zeros(bins, dtype=np.complex128)
        self.energies = np.zeros((2, bins))

    def add(self, left: Spectrum, right: Spectrum) -> None:
        """Add a block of frames."""
        self.cross += cross_sum(left, right)
        self.energies += [side.power.sum(axis=0) for side in (left, right)]

    def of_bands(self, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        """Energy and coherence of each band."""
        left, right = erb_sums(self.energies, sample_rate)
        cross, size = np.abs(erb_sums(self.cross, sample_rate)), np.sqrt(left * right)
        return left + right, np.divide(cross, size, out=np.zeros_like(size), where=size > 0.0)


def _panning(left: Spectrum, right: Spectrum) -> np.ndarray:
    total = left.magnitude + right.magnitude
    np.maximum(
        total, np.finfo(np.float64).tiny, out=total
    )  # 0 / tiny is 0; faster than to leave out the cells where it is 0
    difference = left.magnitude - right.magnitude
    difference /= total
    return difference

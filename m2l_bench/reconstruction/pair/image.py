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
from m2l_bench.reconstruction.pair.bands import HOP, MIN_SAMPLES, N_FFT, erb_sums, filled
from m2l_bench.reconstruction.pair.spectra import spectra
from m2l_bench.reconstruction.pair.stereo import require_side


def scores(
    reference: np.ndarray, estimate: np.ndarray, sample_rate: int, names: Sequence[str]
) -> dict[str, float | Unscorable]:
    """Panning error and error of the interchannel coherence of a pair, by name, from one STFT.

    Parameters
    ----------
    reference, estimate : np.ndarray of float, shape (2, samples)
        Finite, at least 1025 samples.
    sample_rate : int
        Hz.
    names : sequence of {"panning_error", "interchannel_coherence_error"}

    Returns
    -------
    dict of str to float
        ``panning_error``, in [0, 2], lower is better: ``sum w |P_e - P_r| / sum w`` over bins and frames, with the panning
        ``P = (|L| - |R|) / (|L| + |R|)``, -1 (right) to 1 (left), 0 where both are 0, and ``w = |L_r|^2 + |R_r|^2``.
        ``interchannel_coherence_error``, in [0, 1], lower is better: ``mean |C_e - C_r|`` over bands, with
        ``C = |sum L R*| / sqrt(sum |L|^2 sum |R|^2)``, sums over the frames and bins of the band; 0 where one channel is
        empty or the estimate's band is more than 60 dB below the reference's. Bands of the reference more than 60 dB below its
        strongest are left out.

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
    >>> left = np.random.default_rng(0).standard_normal(8000)
    >>> pair = np.stack([left, 0.5 * left]), np.stack([0.5 * left, left])  # panning 1/3 and -1/3, both coherent
    >>> [round(score, 6) for score in scores(*pair, 44100, ["panning_error", "interchannel_coherence_error"]).values()]
    [0.666667, 0.0]
    """
    require_samples(reference, MIN_SAMPLES)
    require_side(reference, "reference")
    if is_silent(estimate).all():
        raise Unscorable("estimate is silent: no stereo image")
    difference = weight = 0.0
    sides = _Products(), _Products()
    for left, right, other_left, other_right in spectra((*reference, *estimate), n_fft=N_FFT, hop_length=HOP):
        powers = sides[0].add(left, right)
        sides[1].add(other_left, other_right)
        if "panning_error" in names:
            difference += float(
                powers.ravel() @ np.abs(_panning(other_left, other_right) - _panning(left, right)).ravel()
            )
            weight += float(powers.sum())
    reference_energy, reference_coherence = sides[0].of_bands(sample_rate)
    estimate_energy, estimate_coherence = sides[1].of_bands(sample_rate)
    counted, there = filled(reference_energy, estimate_energy)
    error = np.abs(np.where(there, estimate_coherence, 0.0) - reference_coherence)[counted].mean()
    found = {"panning_error": difference / weight if weight else 0.0, "interchannel_coherence_error": float(error)}
    return {name: found[name] for name in names}


class _Products:
    """Sums over frames of the products of two channels, (bins,)."""

    def __init__(self) -> None:
        bins = N_FFT // 2 + 1
        self.cross = np.zeros(bins, dtype=np.complex128)
        self.energies = np.zeros((2, bins))

    def add(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Add a block of frames (frames, bins); returns its ``|L|^2 + |R|^2``."""
        powers = [x.real**2 + x.imag**2 for x in (left, right)]
        self.cross += np.sum(left * right.conj(), axis=0)
        self.energies += [power.sum(axis=0) for power in powers]
        return np.asarray(powers[0] + powers[1])

    def of_bands(self, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        """Energy and coherence of each band."""
        left, right = erb_sums(self.energies, sample_rate)
        cross, size = np.abs(erb_sums(self.cross, sample_rate)), np.sqrt(left * right)
        return left + right, np.divide(cross, size, out=np.zeros_like(size), where=size > 0.0)


def _panning(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    left, right = np.abs(left), np.abs(right)
    total = left + right
    return np.divide(left - right, total, out=np.zeros_like(total), where=total > 0.0)

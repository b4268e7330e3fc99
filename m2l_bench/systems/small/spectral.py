"""Distances of spectra at several resolutions: training losses of the families.

Conventions
-----------
Audio is ``(..., samples)``; distances are one number a signal, ``(...)``. At each resolution frames overlap by three
quarters under a periodic Hann window, centred, with silence around the signal.

References
----------
Yamamoto, Song and Kim, "Parallel WaveGAN", ICASSP 2020, eq. 3-6 (several resolutions, relative norms).
Kumar et al., "High-Fidelity Audio Compression with Improved RVQGAN", NeurIPS 2023, section 3.4 (multi-scale mel).
"""

from __future__ import annotations

import torch
from torch import Tensor

from m2l_bench.systems.mousai.network import mel_bands

SIZES = (2048, 1024, 512, 256, 128)  # samples of a frame
MEL_BANDS = {32: 5, 64: 10, 128: 20, 256: 40, 512: 80, 1024: 160, 2048: 320}  # samples of a frame -> bands
PHASE = 0.3  # weight of phase-sensitive distances beside the mel distance
_FLOOR = 1e-5  # magnitude below which mel bands are silent
_QUIET = 1e-4  # root mean square magnitude below which distances are absolute: relative ones are unbounded near silence


def spectrum(audio: Tensor, size: int) -> Tensor:
    """Complex spectrum (..., bins, frames), in units in which a full-scale sinusoid has magnitude about 1/2."""
    window = torch.hann_window(size, dtype=audio.dtype, device=audio.device)
    flat = audio.reshape(-1, audio.shape[-1])
    frames = torch.stft(flat, size, size // 4, window=window, pad_mode="constant", return_complex=True)
    return (frames / window.sum()).unflatten(0, audio.shape[:-1])


def complex_distance(estimate: Tensor, reference: Tensor) -> Tensor:
    """Relative distance of complex spectra, mean over the resolutions; sensitive to magnitude and phase.

    Returns
    -------
    Tensor, (...)
        ``||Y - X|| / ||Y||`` with a floor of 1e-4 under the root mean square of ``Y``; 1 for silence.
    """
    total = estimate.new_zeros(estimate.shape[:-1])
    for size in SIZES:
        x, y = spectrum(estimate, size), spectrum(reference, size)
        total = total + _level(_magnitude(y - x)) / _level(_magnitude(y)).clamp_min(_QUIET)
    return total / len(SIZES)


def mel_distance(estimate: Tensor, reference: Tensor, sample_rate: int) -> Tensor:
    """Mean absolute difference of log10 mel magnitudes, summed over seven resolutions (32 to 2,048 samples)."""
    total = estimate.new_zeros(estimate.shape[:-1])
    for size, bands in MEL_BANDS.items():
        filters = mel_bands(size // 2 + 1, bands, sample_rate).to(estimate).T
        x, y = (
            (filters @ _magnitude(spectrum(signal, size))).clamp_min(_FLOOR).log10() for signal in (estimate, reference)
        )
        total = total + (y - x).abs().mean((-2, -1))
    return total


def _magnitude(x: Tensor) -> Tensor:
    """|x|, floored, with a finite gradient at 0."""
    return (torch.view_as_real(x).square().sum(-1) + _FLOOR**2).sqrt()


def _level(x: Tensor) -> Tensor:
    """Root mean square over bins and frames."""
    return x.square().mean((-2, -1)).sqrt()

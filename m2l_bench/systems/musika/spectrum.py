"""Musika's way between waveform and log spectrogram.

Conventions
-----------
Frames are 4 hops long, Hann-windowed (periodic), with no padding at the ends: frame ``t`` covers the samples
``[t * hop, (t + 4) * hop)``. Log magnitudes are ``(10 log10(max(1e-10, |X|^2)) + 25) / 75``: silence is -1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

OVERLAP = 4
_MEAN_DB, _SCALE_DB = -25.0, 75.0


def log_spectrogram(wave: Tensor, hop: int) -> Tensor:
    """Waveforms (batch, samples) -> (batch, 2 hop + 1, frames), frames = samples // hop - 3."""
    window = torch.hann_window(OVERLAP * hop, dtype=wave.dtype, device=wave.device)
    spectrum = torch.stft(wave, OVERLAP * hop, hop, window=window, center=False, return_complex=True)
    return (10 * torch.log10(spectrum.abs().square().clamp_min(1e-10)) - _MEAN_DB) / _SCALE_DB


def waveform(magnitude: Tensor, phase: Tensor) -> Tensor:
    """Log magnitude and phase / pi, each (batch, 2 hop + 1, frames) -> (batch, (frames + 3) * hop).

    Overlap-add of windowed inverse transforms, divided by the sum of squared windows inside (3 / 2); the first and last
    three hops lack frames and fade.
    """
    hop = (magnitude.shape[-2] - 1) // 2
    amplitude = torch.sqrt(10 ** ((_SCALE_DB * magnitude + _MEAN_DB) / 10) + 1e-7)
    frames = torch.fft.irfft(torch.polar(amplitude, math.pi * phase), OVERLAP * hop, dim=-2)
    window = torch.hann_window(OVERLAP * hop, dtype=frames.dtype, device=frames.device)
    parts = (frames * (window / 1.5)[:, None]).unflatten(-2, (OVERLAP, hop))  # (batch, 4, hop, frames)
    out = parts.new_zeros(*parts.shape[:-3], parts.shape[-1] + OVERLAP - 1, hop)
    for shift in range(OVERLAP):
        out[..., shift : shift + parts.shape[-1], :] += parts[..., shift, :, :].transpose(-1, -2)
    return out.flatten(-2)

"""Inputs of Moûsai's encoders: magnitudes (v2) or log mel bands (v3).

Conventions
-----------
``(batch, channels, samples)`` -> ``(batch, channels, bins, samples / hop)``, for sample counts that ``hop`` divides.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MagnitudeSpectrum(nn.Module):
    """Magnitudes of a centred short-time Fourier transform over the root of the window's length; no logarithm."""

    def __init__(self, fft_size: int, hop: int) -> None:
        super().__init__()
        self.bins = fft_size // 2 + 1
        self.fft_size, self.hop = fft_size, hop
        self.register_buffer("window", torch.hann_window(fft_size))
        self.window: Tensor

    def forward(self, audio: Tensor) -> Tensor:
        size, flat = self.fft_size, audio.flatten(0, 1)
        spectrum = torch.stft(flat, size, self.hop, window=self.window, normalized=True, return_complex=True)
        return spectrum.abs().unflatten(0, audio.shape[:2])


class MelSpectrum(nn.Module):
    """Logarithm of mel band magnitudes (not powers), floored at 1e-5.

    That the published v3 takes the logarithm is inferred from the class it is built from (whose options are raw, scaled
    and logarithmic), not proven: the file holds window and bands, but no trace of it.
    """

    def __init__(self, fft_size: int, hop: int, bands: int, sample_rate: int) -> None:
        super().__init__()
        self.bins = bands
        self.fft_size, self.hop = fft_size, hop
        self.register_buffer("window", torch.hann_window(fft_size))
        self.register_buffer("bands", mel_bands(fft_size // 2 + 1, bands, sample_rate))
        self.window: Tensor
        self.bands: Tensor

    def forward(self, audio: Tensor) -> Tensor:
        size, padding = self.fft_size, (self.fft_size - self.hop) // 2
        flat = F.pad(audio, (padding, padding), mode="reflect").flatten(0, 1)
        spectrum = torch.stft(flat, size, self.hop, window=self.window, center=False, return_complex=True)
        mel = self.bands.T @ spectrum.abs()
        return mel.clamp_min(1e-5).log().unflatten(0, audio.shape[:2])


def mel_bands(n_bins: int, n_bands: int, sample_rate: int) -> Tensor:
    """Triangles of height 1, equally spaced on the HTK mel scale from 0 to half the sample rate. (n_bins, n_bands)."""
    bins = torch.linspace(0, sample_rate // 2, n_bins)
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    corners = 700 * (10 ** (torch.linspace(0, top, n_bands + 2) / 2595) - 1)
    widths = corners.diff()
    rising = (bins[:, None] - corners[:-2]) / widths[:-1]
    falling = (corners[2:] - bins[:, None]) / widths[1:]
    return torch.minimum(rising, falling).clamp_min(0)

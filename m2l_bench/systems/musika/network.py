"""Musika's four networks, with the layer widths of the 44.1 kHz version, and its log spectrogram.

Conventions
-----------
Tensors are ``(batch, channels, time)``. Spectrograms have ``2 * hop + 1`` bins (hop 256 in the published model). Their frames
are 4 hops long, Hann-windowed (periodic), with no padding at the ends: frame ``t`` covers the samples
``[t * hop, (t + 4) * hop)``. Log magnitudes are ``(10 log10(max(1e-10, |X|^2)) + 25) / 75``: silence is -1. All
layers scale with ``width``, which is the hop in the published model: the first encoder's output has ``width // 4`` channels, one
value a frame. Each network lists its layers in the order in which the original creates them (``convs``, ``ups``,
``noise_scales``): so weights find them.

The noise layers act at inference: each adds ``scale * noise``, one draw per time step shared by all channels. Decoders
therefore take ``noise(layer, length)``, which returns a tensor that broadcasts to ``(batch, 1, length)``.

References
----------
Pasini and Schlüter, "Musika! Fast Infinite Waveform Music Generation", ISMIR 2022.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Noise = Callable[[int, int], Tensor]

OVERLAP = 4
_MEAN_DB, _SCALE_DB = -25.0, 75.0
FRAMES_PER_LATENT = 16
LATENTS_PER_WINDOW = 4
FRAMES_PER_WINDOW = FRAMES_PER_LATENT * LATENTS_PER_WINDOW


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


def by_windows(network: Callable[[Tensor], Tensor], x: Tensor, length: int) -> Tensor:
    """Apply a network to each window of `length`, on its own: (batch, in, n * length) -> (batch, out, n * output length)."""
    windows = x.unflatten(-1, (-1, length)).transpose(1, 2)  # (batch, n, in, length)
    return network(windows.flatten(0, 1)).unflatten(0, windows.shape[:2]).transpose(1, 2).flatten(-2)


def _up(channels_in: int, channels_out: int) -> nn.ConvTranspose1d:
    """Twice as long; TensorFlow's 'same' padding crops one value at either end."""
    return nn.ConvTranspose1d(channels_in, channels_out, 4, stride=2, padding=1)


class _Stack(nn.Module):
    """Convolutions with SiLU between them and tanh at the end."""

    convs: nn.ModuleList

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs[:-1]:
            x = F.silu(conv(x))
        return torch.tanh(self.convs[-1](x))


class Encoder(_Stack):
    """Log spectrogram (batch, 2 hop + 1, frames) -> (batch, width / 4, frames), each frame on its own."""

    def __init__(self, hop: int, width: int) -> None:
        super().__init__()
        widths = [2 * hop + 1, *[4 * width] * 5, width // 4]
        self.convs = nn.ModuleList(nn.Conv1d(a, b, 1) for a, b in pairwise(widths))


class LatentEncoder(_Stack):
    """Windows of 16 frames (batch, width / 4, 16) -> one latent each (batch, latent_dim, 1)."""

    def __init__(self, width: int, latent_dim: int) -> None:
        super().__init__()
        wide = width + width // 2
        self.convs = nn.ModuleList(
            [
                nn.Conv1d(width // 4, width, 3, padding=1),
                nn.Conv1d(width, wide, 3, stride=2),
                nn.Conv1d(wide, wide, 3, padding=1),
                nn.Conv1d(wide, 2 * width, 3, stride=2),
                nn.Conv1d(2 * width, 2 * width, 3, padding=1),
                nn.Conv1d(2 * width, 3 * width, 3),
                nn.Conv1d(3 * width, 3 * width, 1),
                nn.Conv1d(3 * width, latent_dim, 1),
            ]
        )


class LatentDecoder(nn.Module):
    """Windows of 4 latents (batch, latent_dim, 4) -> (batch, width / 4, 64).

    Attributes
    ----------
    noise_lengths : tuple of int
        Time steps of each layer's noise.
    """

    noise_lengths = (4, 8, 8, 16, 16, 32, 64)

    def __init__(self, width: int, latent_dim: int) -> None:
        super().__init__()
        half = width // 2
        self.convs = nn.ModuleList(
            [
                nn.Conv1d(latent_dim, 3 * width, 3, padding=1),
                nn.Conv1d(2 * width + half, 2 * width + half, 3, padding=1),
                nn.Conv1d(2 * width, 2 * width, 3, padding=1),
                nn.Conv1d(width, width // 4, 1),
            ]
        )
        widths = [3 * width, 2 * width + half, 2 * width, width + half, width]
        self.ups = nn.ModuleList(_up(a, b) for a, b in pairwise(widths))
        self.noise_scales = nn.Parameter(torch.zeros(7))

    def forward(self, x: Tensor, noise: Noise) -> Tensor:
        (first, second, third, out), ups = self.convs, self.ups
        for layer, step in enumerate([first, ups[0], second, ups[1], third, ups[2], ups[3]]):
            x = step(x)
            x = F.silu(x + self.noise_scales[layer] * noise(layer, x.shape[-1]))
        return out(x)


class Decoder(nn.Module):
    """Windows (batch, width / 4, 64) -> log magnitude and phase / pi, one after the other: (batch, 2 (2 hop + 1), 64) in [-1, 1].

    A small U-Net: its way up branches after the first step, into one path for each of the two.

    Attributes
    ----------
    noise_lengths : tuple of int
        Time steps of each layer's noise.
    """

    noise_lengths = (64, 32, 16, 8, 16, 32, 64, 32, 64)

    def __init__(self, hop: int, width: int) -> None:
        super().__init__()
        widths = [width // 4, 3 * width, 3 * width, 2 * width, width]
        self.convs = nn.ModuleList(
            [
                nn.Conv1d(widths[0], widths[1], 3, padding=1),
                *[nn.Conv1d(a, b, 3, stride=2) for a, b in pairwise(widths[1:])],
                nn.Conv1d(3 * width, 2 * hop + 1, 1),
                nn.Conv1d(3 * width, 2 * hop + 1, 1),
            ]
        )
        self.ups = nn.ModuleList(_up(a * width, b * width) for a, b in ((1, 2), (2, 3), (3, 3), (2, 3), (3, 3)))
        self.noise_scales = nn.Parameter(torch.zeros(9))

    def forward(self, x: Tensor, noise: Noise) -> Tensor:
        def step(layer: int, x: Tensor) -> Tensor:
            x = self.convs[layer](x) if layer < 4 else self.ups[layer - 4](x)
            return F.silu(x + self.noise_scales[layer] * noise(layer, x.shape[-1]))

        # TensorFlow pads stride-2 'same' convolutions on the right only.
        down_0 = step(0, x)
        down_1 = step(1, F.pad(down_0, (0, 1)))
        down_2 = step(2, F.pad(down_1, (0, 1)))
        up_2 = step(4, step(3, F.pad(down_2, (0, 1))))
        up_1 = step(5, up_2 + down_2)
        up_0 = step(6, up_1 + down_1)
        phase = step(8, step(7, up_2) + up_1)
        magnitude_head, phase_head = self.convs[4:]
        return torch.cat([magnitude_head(up_0 + down_0), phase_head(phase + up_0)], 1).clamp(-1, 1)

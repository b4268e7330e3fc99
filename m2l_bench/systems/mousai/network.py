"""Moûsai's two networks: an encoder of spectrograms, and a diffusion U-Net that decodes from noise.

Conventions
-----------
Audio is ``(batch, audio_channels, samples)``, latents ``(batch, latent_dim, samples / factor)`` in (-1, 1); the published
models have 2 channels at 48 kHz and 32 dimensions. The U-Net works on a learned transform of the waveform (``window``
samples every ``stride``), level by level: each level downsamples by a factor, runs its blocks, the level below, and its
blocks again, upsamples, and adds its input. Latents enter at one level, concatenated with the activations of equal
length. Sample counts must be multiples of what the levels divide by; the published models take powers of two.

Spectra are ``(batch, channels, bins, samples / hop)``: magnitudes (v2) or logarithms of mel bands (v3).

Group normalisation runs over the whole length, so that a result depends on everything in the same window.

References
----------
Schneider, Kamal, Jin and Schölkopf, "Moûsai: Efficient Text-to-Music Diffusion Models", ACL 2024.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_GROUPS = 8


@dataclass(frozen=True)
class Config:
    """Sizes of the networks; the published ones are in :data:`VERSIONS`."""

    audio_channels: int = 2
    # transform
    filters: int = 128
    window: int = 64
    stride: int = 64
    # U-Net, one entry per level
    channels: tuple[int, ...] = (256, 512, 512, 512, 1024, 1024, 1024)
    factors: tuple[int, ...] = (1, 2, 2, 2, 2, 2, 2)
    blocks: tuple[int, ...] = (1, 2, 2, 2, 2, 2, 2)
    latent_level: int = 4
    features: int = 1024
    # encoder
    mel_bands: int | None = None
    fft_size: int = 1023
    hop: int = 256
    encoder_channels: int = 512
    encoder_factors: tuple[int, ...] = (2, 2)
    encoder_blocks: tuple[int, ...] = (4, 8)
    latent_dim: int = 32
    sample_rate: int = 48000

    @property
    def samples_per_latent(self) -> int:
        return self.hop * prod(self.encoder_factors)

    @property
    def shortest(self) -> int:
        """Fewest samples that every level can divide and every reflection can fill."""
        reflected = self.fft_size // 2 if self.mel_bands is None else (self.fft_size - self.hop) // 2
        return max(self.stride * prod(self.factors), self.samples_per_latent, 1 << reflected.bit_length())


VERSIONS = {
    "v2": Config(),
    "v3": Config(
        stride=32,
        channels=(256, 512, 512, 512, 512),
        factors=(1, 2, 2, 2, 2),
        blocks=(1, 2, 2, 2, 4),
        mel_bands=80,
        fft_size=1024,
        encoder_factors=(2,),
        encoder_blocks=(12,),
    ),
}


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


class Residual(nn.Module):
    """x + two times (group normalisation, SiLU, convolution of 3)."""

    def __init__(self, channels_in: int, channels: int, *, groups: int = _GROUPS) -> None:
        super().__init__()
        self.norm_1 = nn.GroupNorm(groups, channels_in)
        self.conv_1 = nn.Conv1d(channels_in, channels, 3, padding=1)
        self.norm_2 = nn.GroupNorm(groups, channels)
        self.conv_2 = nn.Conv1d(channels, channels, 3, padding=1)
        self.project = nn.Conv1d(channels_in, channels, 1) if channels_in != channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_1(F.silu(self.norm_1(x)))
        return self.project(x) + self.conv_2(F.silu(self.norm_2(h)))


class Encoder(nn.Module):
    """Audio (batch, audio_channels, samples) -> latents (batch, latent_dim, samples / factor)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.encoder_channels
        self.spectrum = (
            MagnitudeSpectrum(config.fft_size, config.hop)
            if config.mel_bands is None
            else MelSpectrum(config.fft_size, config.hop, config.mel_bands, config.sample_rate)
        )
        self.first = Residual(config.audio_channels * self.spectrum.bins, width, groups=1)
        self.downs = nn.ModuleList(
            nn.Conv1d(width, width, 2 * factor + 1, stride=factor, padding=factor) for factor in config.encoder_factors
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(*(Residual(width, width) for _ in range(count))) for count in config.encoder_blocks
        )
        self.last = nn.Conv1d(width, config.latent_dim, 1)

    def forward(self, audio: Tensor) -> Tensor:
        return self.latents(self.spectrum(audio).flatten(1, 2))

    def latents(self, spectrum: Tensor) -> Tensor:
        """(batch, audio_channels * bins, frames) -> (batch, latent_dim, samples / factor)."""
        x = self.first(spectrum)
        for down, blocks in zip(self.downs, self.blocks, strict=True):
            x = blocks(down(x))
        return torch.tanh(self.last(x))


class Conditioned(nn.Module):
    """A residual block, then scale and shift by the noise level, then (at one level) the latents."""

    def __init__(self, channels: int, features: int, latent_dim: int) -> None:
        super().__init__()
        self.residual = Residual(channels, channels)
        self.modulate = nn.Linear(features, 2 * channels)
        self.inject = nn.Conv1d(channels + latent_dim, channels, 1) if latent_dim else None

    def forward(self, x: Tensor, features: Tensor, latents: Tensor) -> Tensor:
        x = self.residual(x)
        scale, shift = self.modulate(F.silu(features))[..., None].chunk(2, 1)
        x = F.layer_norm(x.transpose(1, 2), x.shape[1:2], eps=1e-6).transpose(1, 2) * (1 + scale) + shift
        return x if self.inject is None else x + self.inject(torch.cat([x, latents], 1))


class Level(nn.Module):
    """One level of the U-Net and all below it."""

    def __init__(self, config: Config, depth: int, channels_in: int) -> None:
        super().__init__()
        channels, factor = config.channels[depth], config.factors[depth]
        latent_dim = config.latent_dim if depth == config.latent_level else 0

        def blocks() -> nn.ModuleList:
            return nn.ModuleList(
                Conditioned(channels, config.features, latent_dim) for _ in range(config.blocks[depth])
            )

        self.factor = factor
        self.down = nn.Conv1d(channels_in, channels, factor, stride=factor)
        self.blocks_down = blocks()
        self.inner = Level(config, depth + 1, channels) if depth + 1 < len(config.channels) else None
        self.blocks_up = blocks()
        self.up = nn.Conv1d(channels, channels_in, 3, padding=1)
        self.gate = nn.Linear(config.features, channels_in)

    def forward(self, x: Tensor, features: Tensor, latents: Tensor) -> Tensor:
        h = self.down(x)
        for block in self.blocks_down:
            h = block(h, features, latents)
        if self.inner is not None:
            h = self.inner(h, features, latents)
        for block in self.blocks_up:
            h = block(h, features, latents)
        h = self.up(h.repeat_interleave(self.factor, -1))
        return x + self.gate(F.silu(features))[..., None] * h


class UNet(nn.Module):
    """Noisy audio, its noise level (batch,) in [0, 1] and latents -> its velocity, (batch, audio_channels, samples)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        channels, window, stride = config.audio_channels, config.window, config.stride
        width = channels * config.filters
        padding = (window - stride) // 2
        self.analysis = nn.Conv1d(channels, width, window, stride, padding, padding_mode="reflect", bias=False)
        self.synthesis = nn.ConvTranspose1d(width, channels, window, stride, padding, bias=False)
        self.frequencies = nn.Parameter(torch.randn(128))
        self.embed = nn.Linear(257, config.features)
        self.mix = nn.Linear(config.features, config.features)
        self.top = Level(config, 0, width)

    def forward(self, x: Tensor, sigma: Tensor, latents: Tensor) -> Tensor:
        angles = 2 * math.pi * sigma[:, None] * self.frequencies
        features = F.gelu(self.embed(torch.cat([sigma[:, None], angles.sin(), angles.cos()], 1)))
        for _ in range(2):  # one layer, twice: the original repeats the same module
            features = F.gelu(self.mix(features))
        return self.synthesis(self.top(self.analysis(x), features, latents))


class Network(nn.Module):
    """Both networks and the sampler."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.unet = UNet(config)

    def decode(self, latents: Tensor, noise: Tensor, num_steps: int) -> Tensor:
        """Latents and noise (batch, audio_channels, samples) -> audio, by :func:`sample`."""
        return sample(self.unet, latents, noise, num_steps)


def sample(unet: Callable[[Tensor, Tensor, Tensor], Tensor], latents: Tensor, noise: Tensor, num_steps: int) -> Tensor:
    """Deterministic DDIM from noise (batch, audio_channels, samples) to audio, in equal steps of the noise level from 1 to 0.

    With ``alpha, beta = cos, sin(pi sigma / 2)`` and velocity ``v``, each step estimates
    ``x = alpha y - beta v`` and ``e = beta y + alpha v`` and goes to ``alpha' x + beta' e``.
    """
    sigmas = torch.linspace(1, 0, num_steps + 1, device=noise.device)
    alphas, betas = torch.cos(sigmas * math.pi / 2), torch.sin(sigmas * math.pi / 2)
    y = noise
    for i in range(num_steps):
        v = unet(y, sigmas[i].expand(len(y)), latents)
        x, e = alphas[i] * y - betas[i] * v, betas[i] * y + alphas[i] * v
        y = alphas[i + 1] * x + betas[i + 1] * e
    return y

"""EAR-VAE2's networks: two-dimensional convolutions over complex spectra, and a refiner of magnitudes and phases.

Conventions
-----------
Audio is ``(batch, 2, samples)`` at 48 kHz, latents are ``(batch, latent_dim, frames)``; a latent frame has 1,920 samples.
Spectra have frames of 960 samples (Hann) every 480 and 480 bins, without the highest one (24 kHz); frame n is centred on
sample ``480 n``. Feature maps are ``(batch, channels, frames, bins)``. Both channels go through the same layers, and are
joined where the latents are made. Modules have the names that they have in the published state dict.

References
----------
Wang, Dai and Xu, "Fourier is Frontier: Frequency-Aware Autoencoding for High-Fidelity Music Reconstruction", 2026,
arXiv:2608.19843. Code: github.com/Eps-Acoustic-Revolution-Lab/EAR_VAE2, Apache-2.0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

_WINDOW, _STEP = 960, 480  # samples
_BINS = _WINDOW // 2
# From the spectrum down: stride in (time, frequency), bins above it, channels above and below in units of `channels`.
_LEVELS = (
    ((1, 2), 480, 1, 2),
    ((1, 2), 240, 2, 2),
    ((1, 3), 120, 2, 4),
    ((1, 2), 40, 4, 4),
    ((1, 2), 20, 4, 4),
    ((2, 2), 10, 4, 8),
    ((2, 1), 5, 8, 8),
)
_DEEP, _DEEP_BINS = 8, 5  # channels, in the same units, and bins below all levels
_BANDS = (30, 50, 400)  # bins up to 1.5 kHz, to 4 kHz, and above
_LEAST = 1e-8  # magnitude


@dataclass(frozen=True)
class Config:
    """Sizes, by default the published ones."""

    channels: int = 64
    decoder_channels: int = 128
    latent_dim: int = 128
    refiner_channels: int = 256
    refiner_inner: int = 1024
    refiner_layers: int = 12


class SnakeBeta(nn.Module):
    """x + sin(alpha x)^2 / beta, with an alpha and a beta for each bin or each channel, stored as logarithms.

    Parameters
    ----------
    size : int
    axis : {-1, -2}
        Axis of the bins in maps, -1, or of the channels in sequences, -2.
    """

    def __init__(self, size: int, axis: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(size))
        self.beta = nn.Parameter(torch.zeros(size))
        self.shape = (size,) + (1,) * (-1 - axis)

    def forward(self, x: Tensor) -> Tensor:
        alpha, beta = self.alpha.exp().view(self.shape), self.beta.exp().view(self.shape)
        return x + torch.sin(x * alpha) ** 2 / (beta + 1e-9)


class Down(nn.Module):
    """Two convolutions, the second with a stride in (time, frequency), and a shortcut of averages."""

    def __init__(self, channels_in: int, channels: int, stride: tuple[int, int], bins: int) -> None:
        super().__init__()
        kernel = _kernel(stride)
        padding = ((kernel[0] - 1) // 2, (kernel[1] - 1) // 2)
        self.stride = stride
        self.act = SnakeBeta(bins, -1)
        self.conv1 = weight_norm(nn.Conv2d(channels_in, channels_in, 3, padding=1))
        self.conv2 = weight_norm(nn.Conv2d(channels_in, channels, kernel, stride, padding))
        self.projection = weight_norm(nn.Conv2d(channels_in, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        shortcut: Tensor = self.projection(F.avg_pool2d(x, self.stride))
        return self.conv2(self.act(self.conv1(self.act(x)))) + shortcut


class Up(nn.Module):
    """Two convolutions, the second transposed with a stride in (time, frequency), and a shortcut of repeated values."""

    def __init__(self, channels_in: int, channels: int, stride: tuple[int, int], bins: int) -> None:
        super().__init__()
        kernel = _kernel(stride)
        padding = ((kernel[0] - stride[0]) // 2, (kernel[1] - stride[1]) // 2)
        self.stride = [float(factor) for factor in stride]
        self.act = SnakeBeta(bins, -1)
        self.conv1 = weight_norm(nn.Conv2d(channels_in, channels, 3, padding=1))
        self.transposed_conv = weight_norm(nn.ConvTranspose2d(channels, channels, kernel, stride, padding))
        self.projection = weight_norm(nn.Conv2d(channels_in, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        shortcut: Tensor = self.projection(F.interpolate(x, scale_factor=self.stride, mode="nearest"))
        h = self.transposed_conv(self.act(self.conv1(self.act(x))))
        return h[..., : shortcut.shape[-1]] + shortcut  # a stride of 3 makes one bin too many


def _kernel(stride: tuple[int, int]) -> tuple[int, int]:
    return max(3, 2 * stride[0]), max(3, 2 * stride[1])


class Bottleneck(nn.Module):
    """Two layers applied to each frame, and a shortcut: (batch, channels, frames)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        inner = max(channels_in, channels)
        self.act = SnakeBeta(channels_in, -2)
        self.conv1 = weight_norm(nn.Conv1d(channels_in, inner, 1))
        self.act2 = SnakeBeta(inner, -2)
        self.conv2 = weight_norm(nn.Conv1d(inner, channels, 1))
        self.shortcut = weight_norm(nn.Conv1d(channels_in, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.act2(self.conv1(self.act(x)))) + self.shortcut(x)


class Encoder(nn.Module):
    """Spectra (batch, 2, 2, frames, bins), of channels and real and imaginary part, -> (batch, dim, frames / 4)."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        deep = _DEEP * channels
        self.input_conv = weight_norm(nn.Conv2d(2, channels, 7, padding=3))
        self.encoder_stream = nn.Sequential(
            *(Down(above * channels, below * channels, stride, bins) for stride, bins, above, below in _LEVELS)
        )
        self.post_concat_block = Down(2 * deep, deep, (1, 1), _DEEP_BINS)
        self.bottleneck_block = Bottleneck(_DEEP_BINS * deep, dim)

    def forward(self, spectra: Tensor) -> Tensor:
        streams = [self.encoder_stream(self.input_conv(spectrum)) for spectrum in spectra.unbind(1)]
        joined = self.post_concat_block(torch.cat(streams, 1))
        latents: Tensor = self.bottleneck_block(joined.transpose(2, 3).flatten(1, 2))
        return latents


class Decoder(nn.Module):
    """Latents (batch, dim, frames / 4) -> spectra (batch, 2, 2, frames, bins)."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        deep = _DEEP * channels
        self.bottleneck_block = Bottleneck(dim, _DEEP_BINS * deep)
        self.pre_split_block = Up(deep, 2 * deep, (1, 1), _DEEP_BINS)
        self.decoder_stream = nn.Sequential(
            *(
                Up(below * channels, above * channels, stride, bins // stride[1])
                for stride, bins, above, below in reversed(_LEVELS)
            )
        )
        self.output_conv = weight_norm(nn.Conv2d(channels, 2, 7, padding=3))

    def forward(self, latents: Tensor) -> Tensor:
        split = self.bottleneck_block(latents).unflatten(1, (-1, _DEEP_BINS)).transpose(2, 3)
        streams = self.pre_split_block(split).chunk(2, 1)
        return torch.stack([self.output_conv(self.decoder_stream(stream)) for stream in streams], 1)


class ConvNeXt(nn.Module):
    """x + scaled layers (convolution in time, norm, two linear layers): (batch, frames, channels)."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, inner)
        self.pwconv2 = nn.Linear(inner, channels)
        self.gamma = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.dwconv(x.transpose(1, 2)).transpose(1, 2))
        return x + self.gamma * self.pwconv2(F.gelu(self.pwconv1(h)))


class Refiner(nn.Module):
    """Correct phases in the low band, magnitudes in the high one, both between, and add the highest bin.

    Complex spectra (batch, 480, frames) -> (batch, 481, frames).
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        channels = config.refiner_channels
        low, middle, high = _BANDS
        self.sizes = [low, middle, middle, high, 1, 1]
        self.embed = nn.Conv1d(2 * _BINS, channels, 7, padding=3)
        self.norm = nn.LayerNorm(channels, eps=1e-5)
        self.convnext = nn.Sequential(*(ConvNeXt(channels, config.refiner_inner) for _ in range(config.refiner_layers)))
        self.final_norm = nn.LayerNorm(channels, eps=1e-5)
        self.out = nn.Linear(channels, sum(self.sizes))

    def forward(self, spectrum: Tensor) -> Tensor:
        h = self.embed(torch.cat([spectrum.real, spectrum.imag], 1)).transpose(1, 2)
        h = self.out(self.final_norm(self.convnext(self.norm(h)))).transpose(1, 2)
        turn_low, change_middle, turn_middle, change_high, real, imaginary = h.split(self.sizes, 1)
        low, middle, high = spectrum.abs().split(_BANDS, 1)
        phase_low, phase_middle, phase_high = spectrum.angle().split(_BANDS, 1)
        bands = [
            torch.polar(low, phase_low + turn_low),
            torch.polar((middle + change_middle).clamp_min(_LEAST), phase_middle + turn_middle),
            torch.polar((high + change_high).clamp_min(_LEAST), phase_high),
            torch.complex(real, imaginary),
        ]
        return torch.cat(bands, 1)


class Network(nn.Module):
    """Encoder, decoder and refiner.

    Latent frame j depends on samples of the frames j - 7 to j + 7, and decoded frame j on latents from j - 18 to j + 18. In
    steps of the spectrum (four to a latent), the sides of the decoder are: 1 for the overlapping windows, 39 of the refiner
    (13 kernels of 7), 3 of the last kernel, 10 of five levels; the two levels with a stride in time and the block before
    them make up the rest. The authors code long files in pieces that overlap by 16 latents, 8 to a side: enough for their
    encoder, not for their decoder. Here every frame has all that it depends on.

    Attributes
    ----------
    sample_rate, latent_dim, hop : int
    encoder_context, decoder_context : int
        Frames on either side that the convolutions need.
    tail : int
        Samples of silence that the end of a file must be followed by. The last half window of a file lies under one
        falling window alone, by which the inverse transform divides: what is decoded there can take any size.
    """

    sample_rate, hop, tail = 48000, 4 * _STEP, _STEP
    encoder_context, decoder_context = 7, 18

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.latent_dim = config.latent_dim
        self.register_buffer("window", torch.hann_window(_WINDOW))
        self.window: Tensor
        self.encoder = Encoder(config.channels, 2 * config.latent_dim)  # the mean and the scale of the posterior
        self.decoder = Decoder(config.decoder_channels, config.latent_dim)
        self.refiner = Refiner(config)

    def encode(self, wave: Tensor) -> Tensor:
        """(batch, 2, whole frames of samples) -> the mean of the posterior, (batch, latent_dim, frames)."""
        padded = F.pad(wave, (_WINDOW // 2, _STEP // 2)).flatten(0, 1)
        spectrum = torch.stft(padded, _WINDOW, _STEP, window=self.window, center=False, return_complex=True)
        parts = torch.view_as_real(spectrum[:, :_BINS])  # (batch * 2, bins, frames, 2)
        mean: Tensor = self.encoder(parts.permute(0, 3, 2, 1).unflatten(0, wave.shape[:2])).chunk(2, 1)[0]
        return mean

    def attend(self, z: Tensor) -> Tensor:
        """Return the latents as they are: nothing sees the whole file here."""
        return z

    def decode(self, z: Tensor) -> Tensor:
        """(batch, latent_dim, frames) -> (batch, 2, samples)."""
        parts = self.decoder(z).flatten(0, 1).permute(0, 3, 2, 1)  # (batch * 2, bins, frames, 2)
        spectrum = self.refiner(torch.view_as_complex(parts.contiguous()))
        wave = torch.istft(spectrum, _WINDOW, _STEP, window=self.window, length=z.shape[-1] * self.hop)
        return wave.unflatten(0, (-1, 2))

    def published_names(self) -> dict[str, str]:
        """Names in the state dict -> those in the published file."""
        return {name: name for name in self.state_dict()}

"""Music2Latent's network: encoder, decoder and the consistency U-Net.

Conventions
-----------
Public maps are ``(B, C, F, T)``: batch, channels, frequency rows, time frames; T of a spectrogram is a multiple of
``config.time_downsampling``. Codes are ``(B, latent_dim, L)`` in [-1, 1], the encoder's tanh, *not* divided by
``config.latent_scale``. Inside, time stands before frequency (see :mod:`m2l_bench.music2latent.layers`); swapping the
two is a view and costs nothing.

References
----------
Pasini, Lattner, Fazekas, "Music2Latent: Consistency Autoencoders for Latent Audio Compression", ISMIR 2024, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from m2l_bench.music2latent.config import PUBLISHED, Config
from m2l_bench.music2latent.consistency import c_in, c_out, c_skip
from m2l_bench.music2latent.layers import (
    Downsample,
    ResBlock,
    Upsample,
    activate,
    added,
    pointwise,
    scaled,
    zeroed,
)
from m2l_bench.music2latent.norm import GroupNorm

COMPLEX = 2  # channels of a spectrogram: real and imaginary part


class Encoder(nn.Module):
    """Spectrogram to code: one ResBlock a level going down, then 1-D blocks at the latents' rate."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        widths, last = config.widths, config.widths[-1]
        self.conv_in = nn.Conv2d(COMPLEX, widths[0], 3, padding=1)
        self.gain = nn.Parameter(torch.ones(config.bins))
        self.levels = nn.ModuleList(
            _blocks(count, previous, width, _heads(config, level))
            for level, (count, previous, width) in enumerate(
                zip(config.encoder_blocks, (widths[0], *widths[:-1]), widths, strict=True)
            )
        )
        self.downs = nn.ModuleList(
            Downsample(width, width, frequency_only=frequency_only, normalize=True)
            for width, frequency_only in zip(widths[:-1], config.frequency_only, strict=True)
        )
        self.norm_features = GroupNorm(last)
        self.project = nn.Conv1d(config.features_dim, config.bottleneck_width, 1)
        self.bottleneck = _bottleneck(config)
        self.norm_out = GroupNorm(config.bottleneck_width)
        self.conv_out = nn.Conv1d(config.bottleneck_width, config.latent_dim, 1)

    def features(self, x: Tensor) -> Tensor:
        """(B, 2, T, F) -> (B, features_dim, L), channel-major: channel c, row k lies at ``c * rows + k``."""
        x = scaled(self.conv_in(x), self.gain)
        for level, blocks in enumerate(self.levels):
            x = blocks(x)
            if level < len(self.downs):
                x = self.downs[level](x)
        x = self.norm_features(x)  # (B, C, L, rows)
        return x.transpose(2, 3).reshape(x.shape[0], -1, x.shape[2])

    def forward(self, x: Tensor) -> Tensor:
        x = self.bottleneck(self.project(self.features(x)))
        return torch.tanh(self.conv_out(activate(self.norm_out(x))))


class Decoder(nn.Module):
    """Code to pyramid: 1-D blocks at the latents' rate, then one ResBlock a level going up; every map is kept."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.rows = config.bins // config.frequency_downsampling
        self.conv_in = nn.Conv1d(config.latent_dim, config.bottleneck_width, 1)
        self.bottleneck = _bottleneck(
            config, embedding_width=config.embedding_width if config.unused_embedding else None
        )
        for block in self.bottleneck.children():
            block.get_submodule("embedding").requires_grad_(False)  # held for the published files' sake, never fed
        self.project = nn.Conv1d(config.bottleneck_width, config.features_dim, 1)
        self.levels = nn.ModuleList(
            _blocks(count, width, width, _heads(config, level))
            for level, (count, width) in enumerate(zip(config.encoder_blocks, config.widths, strict=True))
        )
        self.ups = _upsamplers(config)

    def forward(self, latents: Tensor) -> list[Tensor]:
        x = self.project(self.bottleneck(self.conv_in(latents)))
        x = x.unflatten(1, (self.rows, -1)).permute(0, 2, 3, 1)  # group k of channels is frequency row k
        x = x.contiguous(memory_format=torch.channels_last)
        pyramid = []
        for level in reversed(range(len(self.levels))):
            x = self.levels[level](x)
            pyramid.append(x)
            if level:
                x = self.ups[level - 1](x)
        return pyramid[::-1]


class UNet(nn.Module):
    """The raw network inside the consistency function, conditioned on a noise level and a pyramid."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        widths, width = config.widths, config.embedding_width
        self.embedding_width = width
        self.embed = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.scale_in = _frequency_scaling(width, config.bins)
        self.scale_out = _frequency_scaling(width, config.bins)
        self.conv_in = nn.Conv2d(COMPLEX, widths[0], 3, padding=1)
        self.down_levels = nn.ModuleList(_conditioned(config, level) for level in range(len(widths)))
        self.up_levels = nn.ModuleList(_conditioned(config, level) for level in range(len(widths)))
        self.down_cross = nn.ModuleList(_cross(config, level) for level in range(len(widths)))
        self.up_cross = nn.ModuleList(_cross(config, level) for level in range(len(widths)))
        self.downs = nn.ModuleList(
            Downsample(upper, lower, frequency_only=frequency_only, normalize=False)
            for (upper, lower), frequency_only in zip(pairwise(widths), config.frequency_only, strict=True)
        )
        self.ups = _upsamplers(config)
        self.cross_out = nn.Conv2d(widths[0], widths[0], 1)
        self.norm_out = GroupNorm(widths[0])
        self.conv_out = zeroed(nn.Conv2d(widths[0], COMPLEX, 3, padding=1))

    def forward(self, x: Tensor, sigma: Tensor, pyramid: Sequence[Tensor]) -> Tensor:
        sinusoid = _sinusoid(sigma.log() / 4, self.embedding_width)
        embedding = self.embed(sinusoid)
        x = scaled(self.conv_in(x), (1 + self.scale_in(sinusoid))[:, None, None, :])
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.down_levels):
            for cross, block in _pairs(self.down_cross[level], blocks):
                x = block(_joined(cross, pyramid[level], x), embedding)
                skips.append(x)
            if level < len(self.downs):
                x = self.downs[level](x)
        for level in reversed(range(len(self.up_levels))):
            for cross, block in _pairs(self.up_cross[level], self.up_levels[level]):
                x = block(_joined(cross, pyramid[level], x, skips.pop()), embedding)
            if level:
                x = self.ups[level - 1](x)
        x = activate(self.norm_out(_joined(self.cross_out, pyramid[0], x)))
        return self.conv_out(scaled(x, (1 + self.scale_out(sinusoid))[:, None, None, :]))


class Music2LatentNetwork(nn.Module):
    """Encoder, decoder and consistency U-Net: everything that has weights.

    Parameters
    ----------
    config : Config

    Examples
    --------
    >>> small = Config(window=256, hop=64, width=16, bottleneck_width=32)
    >>> network = Music2LatentNetwork(small)
    >>> code = network.encode(torch.zeros(1, 2, 128, 16))
    >>> code.shape, network.pyramid(code)[0].shape
    (torch.Size([1, 64, 2]), torch.Size([1, 16, 128, 16]))
    """

    def __init__(self, config: Config = PUBLISHED) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.unet = UNet(config)
        self.arrange()

    def arrange(self) -> None:
        """Lay 2-D kernels out channels-last, as the maps are; wanted again where tensors were put in, not copied in."""
        for parameter in self.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def encode(self, x: Tensor) -> Tensor:
        """Spectrogram (B, 2, F, T) -> code (B, latent_dim, L) in [-1, 1]."""
        return self.encoder(_inside(x))

    def features(self, x: Tensor) -> Tensor:
        """Spectrogram (B, 2, F, T) -> features (B, features_dim, L), the map before the encoder's bottleneck."""
        return self.encoder.features(_inside(x))

    def pyramid(self, latents: Tensor) -> list[Tensor]:
        """Code (B, latent_dim, L) -> maps (B, widths[level], F / ..., T / ...) of every level, the finest first."""
        return [level.transpose(2, 3) for level in self.decoder(latents)]

    def denoise(self, x: Tensor, sigma: Tensor, pyramid: Sequence[Tensor]) -> Tensor:
        """The consistency function.

        Parameters
        ----------
        x : Tensor, (B, 2, F, T)
            Noisy spectrogram: clean + sigma * standard normal.
        sigma : Tensor, (B,)
        pyramid : sequence of Tensor
            What :meth:`pyramid` gives.

        Returns
        -------
        Tensor, (B, 2, F, T)
            Estimate of the clean spectrogram: ``c_skip x + c_out unet(c_in x, sigma, pyramid)``.
        """
        config, level = self.config, sigma[:, None, None, None]
        raw = self.unet(_inside(c_in(level, config) * x), sigma, [_inside(each) for each in pyramid]).transpose(2, 3)
        return c_skip(level, config) * x + c_out(level, config) * raw.to(x.dtype)


def _inside(x: Tensor) -> Tensor:
    return x.transpose(2, 3).contiguous(memory_format=torch.channels_last)


def _heads(config: Config, level: int) -> int | None:
    return config.heads if config.attention[level] else None


def _blocks(count: int, width_in: int, width_out: int, heads: int | None) -> nn.Sequential:
    return nn.Sequential(*(ResBlock(width_in if i == 0 else width_out, width_out, heads=heads) for i in range(count)))


def _bottleneck(config: Config, *, embedding_width: int | None = None) -> nn.Sequential:
    width, count = config.bottleneck_width, config.bottleneck_blocks
    return nn.Sequential(*(ResBlock(width, width, dimensions=1, embedding_width=embedding_width) for _ in range(count)))


def _conditioned(config: Config, level: int) -> nn.ModuleList:
    width, heads = config.widths[level], _heads(config, level)
    return nn.ModuleList(
        ResBlock(width, width, embedding_width=config.embedding_width, heads=heads) for _ in range(config.blocks[level])
    )


def _cross(config: Config, level: int) -> nn.ModuleList:
    width = config.widths[level]
    return nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(config.blocks[level]))


def _upsamplers(config: Config) -> nn.ModuleList:
    return nn.ModuleList(
        Upsample(lower, upper, frequency_only=frequency_only)
        for (upper, lower), frequency_only in zip(pairwise(config.widths), config.frequency_only, strict=True)
    )


def _frequency_scaling(width: int, bins: int) -> nn.Sequential:
    hidden = (nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
    return nn.Sequential(*hidden, zeroed(nn.Linear(width, bins)))


def _sinusoid(x: Tensor, width: int) -> Tensor:
    """(B,) -> (B, width): sines, then cosines, of frequencies from 1 down to 1/10000."""
    half = width // 2
    exponents = torch.arange(half, dtype=torch.float32, device=x.device) / (half - 1)
    angles = x[:, None] * (1 / 10000) ** exponents
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _joined(cross: nn.Module, level: Tensor, x: Tensor, skip: Tensor | None = None) -> Tensor:
    """Sum of x, the skip and the pyramid's level through its 1x1 convolution, over the root of their number.

    Nobody else holds x if there is a skip.
    """
    total = x if skip is None else added(x, skip)  # first, so that one gradient is scaled and not two
    scale = 1 / math.sqrt(2 if skip is None else 3)
    return added(pointwise(cross, level, scale=scale), total, alpha=scale)


def _pairs(first: nn.Module, second: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    return zip(first.children(), second.children(), strict=True)

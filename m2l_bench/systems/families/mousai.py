"""mousai-style: Moûsai's diffusion magnitude autoencoder, smaller, on single channels.

The published v2's encoder of magnitude spectra and its U-Net with other sizes: 64 values per 4,096 samples in place of
32 per 1,024 sample pairs, so that the ratio is 64 here too.

Conventions
-----------
As :mod:`~m2l_bench.systems.families.base` says. ``sigma`` in [0, 1] is the noise level; the noisy signal is
``cos(pi sigma / 2) audio + sin(pi sigma / 2) noise``, where the audio is made 5 times louder first: about the noise's level.
The original does without; a short training would learn little but the noise.

References
----------
Schneider, Kamal, Jin and Schölkopf, "Moûsai: Efficient Text-to-Music Diffusion Models", ACL 2024.
Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models", ICLR 2022, appendix D (v).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import prod

from torch import Tensor

from m2l_bench.systems.families.base import FamilyConfig, FamilyLoss, FamilyNetwork
from m2l_bench.systems.mousai.network import Config, Network
from m2l_bench.training.objective import Losses

GAIN = 5.0


@dataclass(frozen=True, kw_only=True)
class MousaiStyleConfig(FamilyConfig):
    """Sizes; the names are those of :class:`m2l_bench.systems.mousai.network.Config`.

    Attributes
    ----------
    num_steps : int
        Steps of the sampler.
    """

    filters: int = 64
    stride: int = 64
    channels: tuple[int, ...] = (64, 64, 96, 96, 128, 128, 128)
    factors: tuple[int, ...] = (1, 2, 2, 2, 2, 2, 2)
    blocks: tuple[int, ...] = (1, 1, 1, 1, 1, 1, 1)
    features: int = 128
    fft_size: int = 1023
    hop: int = 256
    encoder_channels: int = 96
    encoder_factors: tuple[int, ...] = (2, 2, 2, 2)
    encoder_blocks: tuple[int, ...] = (1, 1, 1, 1)
    num_steps: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if not len(self.channels) == len(self.factors) == len(self.blocks):
            raise ValueError(f"channels, factors and blocks must be equally many, got {self.channels}, {self.factors}")
        if len(self.encoder_factors) != len(self.encoder_blocks):
            raise ValueError(f"encoder_blocks must be {len(self.encoder_factors)}, got {self.encoder_blocks}")
        if any(width % 8 for width in (*self.channels, self.encoder_channels)):
            raise ValueError(f"channels must be multiples of 8, got {self.channels} and {self.encoder_channels}")
        if self.stride * prod(self.factors) != self.samples_per_latent:
            raise ValueError(
                f"the last level must have the latents' rate, one value per {self.samples_per_latent} samples,"
                f" got {self.stride * prod(self.factors)}"
            )

    @property
    def samples_per_latent(self) -> int:
        return self.hop * prod(self.encoder_factors)

    @property
    def network(self) -> Config:
        """The same sizes as Moûsai's own network takes them; latents enter at the last level."""
        return Config(
            audio_channels=1,
            filters=self.filters,
            window=self.stride,
            stride=self.stride,
            channels=self.channels,
            factors=self.factors,
            blocks=self.blocks,
            latent_level=len(self.channels) - 1,
            features=self.features,
            fft_size=self.fft_size,
            hop=self.hop,
            encoder_channels=self.encoder_channels,
            encoder_factors=self.encoder_factors,
            encoder_blocks=self.encoder_blocks,
            latent_dim=self.latent_dim,
            sample_rate=self.sample_rate,
        )


class MousaiStyle(FamilyNetwork):
    """Magnitude spectrum -> latents; noise and latents -> audio, by 20 steps of the sampler."""

    config: MousaiStyleConfig

    def __init__(self, config: MousaiStyleConfig) -> None:
        super().__init__()
        self.config = config
        self.net = Network(config.network)

    def encode(self, audio: Tensor) -> Tensor:
        return self.net.encoder(GAIN * audio[:, None])

    def decode(self, latents: Tensor, noise: Tensor) -> Tensor:
        return self.net.decode(latents, noise[:, None], self.config.num_steps)[:, 0].float() / GAIN


class MousaiLoss(FamilyLoss):
    """Mean squared error of the velocity, ``cos(pi sigma / 2) noise - sin(pi sigma / 2) audio``; sigma is uniform."""

    network: MousaiStyle

    def forward(self, audio: Tensor, uniforms: Tensor, noise: Tensor, progress: float) -> Losses:
        sigma = uniforms[:, 0].to(audio.dtype)
        alpha, beta = (sigma[:, None] * (math.pi / 2)).cos(), (sigma[:, None] * (math.pi / 2)).sin()
        latents, loud = self.network.encode(audio), GAIN * audio
        estimate = self.network.net.unet((alpha * loud + beta * noise)[:, None], sigma, latents)[:, 0]
        velocity = alpha * noise - beta * loud
        return Losses((estimate.float() - velocity).square().mean(-1), sigma)

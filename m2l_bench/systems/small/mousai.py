"""mousai-style: Moûsai's diffusion magnitude autoencoder, smaller, on single channels.

The published v2's encoder of magnitude spectra and its U-Net with other sizes: 64 values per 4,096 samples in place of
32 per 1,024 sample pairs, so that the ratio is 64 here too.

Three things are added, without which a short training ignores the latents: they enter at the deepest level, every
level scales what comes from below by a gate that starts near 0, and so nothing of them arrives. The gates start open; the
encoder takes logarithms, which do not saturate its tanh; and the network also learns to make sound of latents
and noise in one step, first of all crops, then of half of them.

Conventions
-----------
As :mod:`~m2l_bench.systems.small.family` says. ``sigma`` in [0, 1] is the noise level; the noisy signal is
``cos(pi sigma / 2) audio + sin(pi sigma / 2) noise``, where the audio is made 5 times louder first: about the noise's level.
The original does without; a short training would learn little but the noise. The warm-up's one step is the sampler's from
``sigma = 1`` to 0: ``audio = -velocity``.

References
----------
Schneider, Kamal, Jin and Schölkopf, "Moûsai: Efficient Text-to-Music Diffusion Models", ACL 2024.
Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models", ICLR 2022, appendix D (v).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from math import prod

import torch
from torch import Tensor

from m2l_bench.systems.mousai.network import Conditioned, Config, Level, MagnitudeSpectrum, Network
from m2l_bench.systems.small.family import FamilyConfig, FamilyLoss, FamilyNetwork
from m2l_bench.systems.small.spectral import mel_distance
from m2l_bench.training.objective import Losses

GAIN = 5.0


@dataclass(frozen=True, kw_only=True)
class MousaiStyleConfig(FamilyConfig):
    """Sizes; the names are those of :class:`m2l_bench.systems.mousai.network.Config`.

    Attributes
    ----------
    num_steps : int
        Steps of the sampler. The warm-up trains one; with more, a briefly trained model leaves noise in silent bands.
    """

    filters: int = 64
    stride: int = 64
    channels: tuple[int, ...] = (64, 96, 128, 128)
    factors: tuple[int, ...] = (1, 4, 4, 4)
    blocks: tuple[int, ...] = (1, 1, 1, 1)
    features: int = 128
    fft_size: int = 1023
    hop: int = 256
    encoder_channels: int = 96
    encoder_factors: tuple[int, ...] = (2, 2, 2, 2)
    encoder_blocks: tuple[int, ...] = (1, 1, 1, 1)
    num_steps: int = 1

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
        sizes = {name: size for name, size in asdict(self).items() if name != "num_steps"}
        return Config(audio_channels=1, window=self.stride, latent_level=len(self.channels) - 1, **sizes)


class MousaiStyle(FamilyNetwork):
    """Magnitude spectrum -> latents; noise and latents -> audio, by `num_steps` of the sampler."""

    starts_from_noise = True
    config: MousaiStyleConfig

    def __init__(self, config: MousaiStyleConfig) -> None:
        super().__init__(config)
        self.net = Network(config.network)
        self.net.encoder.spectrum = _LogSpectrum(config.fft_size, config.hop)
        _open(self.net)

    def encode(self, audio: Tensor) -> Tensor:
        return self.net.encoder(GAIN * audio[:, None])

    def synthesise(self, latents: Tensor, noise: Tensor) -> Tensor:
        return self.net.decode(latents, noise[:, None], self.config.num_steps)[:, 0].float() / GAIN


class MousaiLoss(FamilyLoss):
    """A warm-up of one-step decoding, then that and diffusion, each for half of the crops."""

    network: MousaiStyle
    stages = {"warm_up": 0.0, "velocity": 1.0}  # noqa: RUF012 (a constant)

    def forward(self, audio: Tensor, uniforms: Tensor, noise: Tensor, progress: float) -> Losses:
        """Of the warm-up: mel distances of one-step decoding from noise, at the highest noise level. Of diffusion: mean squared
        error of the velocity, ``cos(pi sigma / 2) noise - sin(pi sigma / 2) audio``; sigma is uniform. At the end of a
        training, where it is measured, diffusion alone."""
        share = 1.0 if progress < self.first_stage else 0.5 if progress < 1 else 0.0
        warm_up = uniforms[:, 1] < share
        sigma = torch.where(warm_up, 1.0, uniforms[:, 0]).to(audio.dtype)
        loud = GAIN * audio
        alpha, beta = (sigma[:, None] * (math.pi / 2)).cos(), (sigma[:, None] * (math.pi / 2)).sin()
        noisy = (alpha * loud + beta * noise)[:, None]
        estimate = self.network.net.unet(noisy, sigma, self.network.encode(audio))[:, 0].float()
        loss = (estimate - (alpha * noise - beta * loud)).square().mean(-1)
        if warm_up.any():
            distance = mel_distance(-estimate[warm_up] / GAIN, audio[warm_up], self.network.config.sample_rate)
            loss = loss.masked_scatter(warm_up, distance)
        return Losses(loss, sigma)


class _LogSpectrum(MagnitudeSpectrum):
    """Logarithms of one plus a hundred times the magnitudes, halved: about as large as the network's own activations."""

    def forward(self, audio: Tensor) -> Tensor:
        return (1 + 100 * super().forward(audio)).log() / 2


def _open(net: Network) -> None:
    """Let the latents reach the output at the start: by measurement, changing them then changes it by a third of its size."""
    with torch.no_grad():
        net.encoder.last.weight.mul_(3)
        for module in net.unet.modules():
            if isinstance(module, Level):
                module.gate.bias.fill_(1)
                module.up.weight.mul_(math.sqrt(3))  # PyTorch's start takes two thirds of a signal's variance
            elif isinstance(module, Conditioned) and module.inject is not None:
                module.inject.weight[:, -net.config.latent_dim :].mul_(2)

"""dac-style: DAC's network with small sizes, trained with the multi-scale mel loss and the quantiser's losses.

The parts, and the names of their weights, are those of transformers' ``DacModel``, and so are the results; a recipe may
add discriminators, of complex spectra alone (:mod:`~m2l_bench.systems.small.adversarial`).

Conventions
-----------
As :mod:`~m2l_bench.systems.small.family` says. Latents are the quantised ones: ``latent_dim`` values a frame that
``n_codebooks`` codes of ``log2(codebook_size)`` bits say whole.

References
----------
Kumar, Seetharaman, Luebs, Kumar and Kumar, "High-Fidelity Audio Compression with Improved RVQGAN", NeurIPS 2023.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from m2l_bench.systems.small.adversarial import in_training
from m2l_bench.systems.small.family import FamilyConfig, FamilyLoss, FamilyNetwork, inside, without_noise
from m2l_bench.systems.small.spectral import mel_distance
from m2l_bench.training.objective import Losses

# Weights of the published recipe.
_MEL, _COMMITMENT, _CODEBOOK = 15.0, 0.25, 1.0


@dataclass(frozen=True, kw_only=True)
class DacStyleConfig(FamilyConfig):
    """Sizes; the names are those of transformers' ``DacConfig``.

    Attributes
    ----------
    downsampling_ratios : tuple of int
        Even; their product is the samples per latent.
    encoder_hidden_size : int
        Channels at the waveform's rate; each level has twice as many.
    decoder_hidden_size : int
        Channels at the latents' rate; each level has half as many.
    n_codebooks, codebook_size, codebook_dim : int
    """

    downsampling_ratios: tuple[int, ...] = (8, 8, 8, 8)
    encoder_hidden_size: int = 8
    decoder_hidden_size: int = 192
    n_codebooks: int = 16
    codebook_size: int = 256
    codebook_dim: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(ratio % 2 for ratio in self.downsampling_ratios):
            raise ValueError(f"downsampling_ratios must be even, got {self.downsampling_ratios}")
        if self.codebook_size & (self.codebook_size - 1) or self.codebook_size < 2:
            raise ValueError(f"codebook_size must be a power of two of at least 2, got {self.codebook_size}")

    @property
    def samples_per_latent(self) -> int:
        return prod(self.downsampling_ratios)

    @property
    def bits_per_code(self) -> int:
        """Bits of one code."""
        return self.codebook_size.bit_length() - 1


class DacStyle(FamilyNetwork):
    """Waveform -> quantised latents -> waveform."""

    config: DacStyleConfig

    def __init__(self, config: DacStyleConfig) -> None:
        super().__init__(config)
        self.encoder, self.quantizer, self.decoder = _encoder(config), _ResidualQuantizer(config), _decoder(config)

    def encode(self, audio: Tensor) -> Tensor:
        return self.quantizer(self.unquantised(audio)).latents

    def synthesise(self, latents: Tensor, noise: Tensor) -> Tensor:
        return self.decoder(latents)[:, 0].float()

    def unquantised(self, audio: Tensor) -> Tensor:
        """(batch, frames * samples_per_latent) -> what is quantised, (batch, latent_dim, frames)."""
        return self.encoder(audio[:, None])

    def quantise(self, latents: Tensor) -> Tensor:
        """(batch, latent_dim, frames) -> codes, whole numbers (batch, n_codebooks, frames)."""
        return self.quantizer(latents).codes

    def from_codes(self, codes: Tensor) -> Tensor:
        """(batch, n_codebooks, frames) -> quantised latents."""
        return self.quantizer.from_codes(codes)


class Quantised(NamedTuple):
    """Result of the residual quantiser, with its two losses summed over the codebooks."""

    latents: Tensor  # (batch, latent_dim, frames)
    codes: Tensor  # whole numbers (batch, n_codebooks, frames)
    commitment: Tensor  # ()
    codebook: Tensor  # ()


class _Snake(nn.Module):
    """x + sin(alpha x)^2 / alpha, with an alpha for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.alpha + 1e-9).reciprocal() * torch.sin(self.alpha * x).pow(2)


class _Residual(nn.Sequential):
    def __init__(self, channels: int, dilation: int) -> None:
        layers = {
            "snake1": _Snake(channels),
            "conv1": nn.Conv1d(channels, channels, 7, dilation=dilation, padding=3 * dilation),
            "snake2": _Snake(channels),
            "conv2": nn.Conv1d(channels, channels, 1),
        }
        super().__init__(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def _units(channels: int) -> dict[str, nn.Module]:
    """Three residual units, at the higher rate of a change of rate."""
    return {f"res_unit{number}": _Residual(channels, dilation) for number, dilation in ((1, 1), (2, 3), (3, 9))}


def _down(channels: int, stride: int) -> nn.Module:
    layers = {**_units(channels), "snake1": _Snake(channels)}
    layers["conv1"] = nn.Conv1d(channels, 2 * channels, 2 * stride, stride=stride, padding=stride // 2)
    return nn.Sequential(OrderedDict(layers))


class _Up(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.res_unit1, self.res_unit2, self.res_unit3 = _units(after).values()
        self.snake1 = _Snake(before)
        self.conv_t1 = nn.ConvTranspose1d(before, after, 2 * stride, stride=stride, padding=stride // 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.res_unit3(self.res_unit2(self.res_unit1(self.conv_t1(self.snake1(x)))))


def _encoder(config: DacStyleConfig) -> nn.Module:
    width, ratios = config.encoder_hidden_size, config.downsampling_ratios
    layers = {
        "conv1": nn.Conv1d(1, width, 7, padding=3),
        "block": nn.Sequential(*[_down(width * 2**level, ratio) for level, ratio in enumerate(ratios)]),
        "snake1": _Snake(width * 2 ** len(ratios)),
        "conv2": nn.Conv1d(width * 2 ** len(ratios), config.latent_dim, 3, padding=1),
    }
    return nn.Sequential(OrderedDict(layers))


def _decoder(config: DacStyleConfig) -> nn.Module:
    ratios = config.downsampling_ratios[::-1]
    widths = [config.decoder_hidden_size // 2**level for level in range(len(ratios) + 1)]
    levels = zip(pairwise(widths), ratios, strict=True)
    layers = {
        "conv1": nn.Conv1d(config.latent_dim, widths[0], 7, padding=3),
        "block": nn.Sequential(*[_Up(before, after, ratio) for (before, after), ratio in levels]),
        "snake1": _Snake(widths[-1]),
        "conv2": nn.Conv1d(widths[-1], 1, 7, padding=3),
        "tanh": nn.Tanh(),
    }
    return nn.Sequential(OrderedDict(layers))


class _Quantizer(nn.Module):
    """One codebook: the nearest code by cosine similarity, in a space of few dimensions."""

    def __init__(self, config: DacStyleConfig) -> None:
        super().__init__()
        self.in_proj = nn.Conv1d(config.latent_dim, config.codebook_dim, 1)
        self.out_proj = nn.Conv1d(config.codebook_dim, config.latent_dim, 1)
        self.codebook = nn.Embedding(config.codebook_size, config.codebook_dim)

    def forward(self, x: Tensor) -> Quantised:
        projected = self.in_proj(x)
        codes = self.nearest(projected)
        chosen = self.codebook(codes).transpose(1, 2)  # (batch, codebook_dim, frames)
        commitment, codebook = F.mse_loss(projected, chosen.detach()), F.mse_loss(chosen, projected.detach())
        through = projected + (chosen - projected).detach()  # the gradient passes by the choice
        return Quantised(self.out_proj(through), codes, commitment, codebook)

    def from_codes(self, codes: Tensor) -> Tensor:
        """(batch, frames) -> (batch, latent_dim, frames)."""
        return self.out_proj(self.codebook(codes).transpose(1, 2))

    def nearest(self, projected: Tensor) -> Tensor:
        """(batch, codebook_dim, frames) -> codes, (batch, frames)."""
        points = F.normalize(projected.transpose(1, 2).reshape(-1, projected.shape[1]))
        book = F.normalize(self.codebook.weight)
        distance = points.pow(2).sum(1, keepdim=True) - 2 * points @ book.t()
        return (-distance + book.pow(2).sum(1)).argmax(1).reshape(len(projected), -1)


class _ResidualQuantizer(nn.Module):
    """Codebooks one after the other, each for what those before it left."""

    def __init__(self, config: DacStyleConfig) -> None:
        super().__init__()
        self.quantizers = nn.ModuleList(_Quantizer(config) for _ in range(config.n_codebooks))

    def forward(self, x: Tensor) -> Quantised:
        steps = []
        for quantizer in self.quantizers:
            steps.append(quantizer(x))
            x = x - steps[-1].latents
        latents, codes, commitment, codebook = zip(*steps, strict=True)
        return Quantised(_total(latents), torch.stack(codes, 1), _total(commitment), _total(codebook))

    def from_codes(self, codes: Tensor) -> Tensor:
        """(batch, n_codebooks, frames) -> quantised latents, (batch, latent_dim, frames)."""
        books = zip(self.quantizers, codes.unbind(1), strict=True)
        return _total([cast(_Quantizer, book).from_codes(code) for book, code in books])


def _total(parts: Sequence[Tensor]) -> Tensor:
    return sum(parts[1:], start=parts[0])  # in the codebooks' order: sums of floats depend on it


class DacLoss(FamilyLoss):
    """15 times the mel distance, a quarter of the commitment loss, the codebooks' loss, and the adversarial one if asked for."""

    network: DacStyle

    def forward(self, audio: Tensor, uniforms: Tensor, noise: Tensor, progress: float) -> Losses:
        latents, _, commitment, codebook = self.network.quantizer(self.network.unquantised(audio))
        estimate = self.network.decode(latents, audio.new_zeros(()))
        x, y = inside(self.network, estimate, audio)
        mel = mel_distance(x, y, self.network.config.sample_rate)
        loss = _MEL * mel + _COMMITMENT * commitment + _CODEBOOK * codebook
        return without_noise(loss + in_training(self.adversarial, x, y))

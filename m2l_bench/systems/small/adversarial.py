"""Adversarial training: discriminators of complex spectra at several resolutions.

Both sides learn in one update: the discriminators' weights are constant where the network is told what they say, and the
network's output is constant where they are told what is real, so that one sum of losses has the gradients of both.

Conventions
-----------
Audio is ``(batch, samples)``; every loss is one number a crop, summed over the resolutions. A discriminator sees real and
imaginary parts whose magnitudes are 10 times their 0.3rd power, so that quiet bins count and all are about 1, and gives one
score a patch: 1 for music, 0 for what the network made of it.

References
----------
Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017, eq. 2 with a = 0, b = c = 1.
Kumar et al., "High-Fidelity Audio Compression with Improved RVQGAN", NeurIPS 2023, section 3.3 (complex spectra at several
resolutions; feature matching).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from m2l_bench.systems.small.spectral import spectrum

SIZES = (2048, 1024, 512)  # samples of a frame
_SLOPE = 0.1  # of the leaky rectifiers
_POWER, _GAIN = 0.3, 10.0  # compression of magnitudes, so that all are about 1
_FLOOR = 1e-5  # magnitude below which a bin is silent
_LAYERS = 4


class AdversarialLoss(nn.Module):
    """A discriminator for each resolution, and the losses of both sides.

    Parameters
    ----------
    width : int
        Channels of the discriminators' layers.
    weight : float
        Of the network's loss: how far the scores of its output are from 1.
    features : float
        Of feature matching: the mean absolute difference between the discriminators' inner maps of output and music, summed
        over their layers.
    """

    def __init__(self, *, width: int, weight: float, features: float) -> None:
        super().__init__()
        self.weight, self.features = weight, features
        self.discriminators = nn.ModuleList(Discriminator(width) for _ in SIZES)

    def forward(self, estimate: Tensor, reference: Tensor) -> Tensor:
        """The network's loss and the discriminators' own, added: (batch, samples) twice -> (batch,)."""
        total = estimate.new_zeros(len(estimate))
        for size, discriminator in zip(SIZES, self.discriminators, strict=True):
            made, music = compressed(estimate, size), compressed(reference, size)
            constant = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
            *inner, score = functional_call(discriminator, constant, (made,))
            both = discriminator(torch.cat([music, made.detach()]))
            *known, _ = (part[: len(music)].detach() for part in both)
            distance = sum((_mean((ours - theirs).abs()) for ours, theirs in zip(inner, known, strict=True)), total * 0)
            total = total + self.weight * _mean((1 - score).square()) + self.features * distance
            of_music, of_made = both[-1].split(len(music))
            total = total + _mean((1 - of_music).square()) + _mean(of_made.square())
        return total


class Discriminator(nn.Module):
    """Convolutions over frequency and time that halve frequency four times, and a score for each place left.

    Parameters
    ----------
    width : int
        Channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [2] + [width] * _LAYERS
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, (9, 3), stride=(2, 1), padding=(4, 1)) for before, after in pairwise(widths)
        )
        self.score = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(batch, 2, bins, frames) -> the map behind each layer, and the scores."""
        maps = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), _SLOPE)
            maps.append(x)
        return [*maps, self.score(x)]


def in_training(adversarial: AdversarialLoss | None, estimate: Tensor, reference: Tensor) -> Tensor:
    """Adversarial part of each crop's loss, (batch,): 0 without discriminators and in validation."""
    if adversarial is None or not torch.is_grad_enabled():
        return estimate.new_zeros(len(estimate))
    return adversarial(estimate, reference)


def compressed(audio: Tensor, size: int) -> Tensor:
    """Input of a discriminator: (batch, samples) -> (batch, 2, bins, frames)."""
    parts = torch.view_as_real(spectrum(audio, size)).movedim(-1, 1)
    return _GAIN * parts * (parts.square().sum(1, keepdim=True) + _FLOOR**2).pow((_POWER - 1) / 2)


def _mean(x: Tensor) -> Tensor:
    return x.flatten(1).mean(1)

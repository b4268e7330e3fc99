"""The consistency-training objective: which noise levels are compared, and how far apart two estimates are.

Conventions
-----------
``u`` in [0, 1] is a position on the grid of noise levels (:func:`~m2l_bench.music2latent.consistency.sigma_grid`),
``sigma`` the noise level there. Tensors of levels are ``(B,)``, spectrograms ``(B, 2, F, T)``; a distance is one number
a sample. Nothing here draws random numbers: uniform and normal numbers are arguments.

References
----------
Song, Dhariwal, "Improved Techniques for Training Consistency Models", ICLR 2024, sections 3.3 (pseudo-Huber),
3.5 (weight, noise levels).
Pasini, Lattner, Fazekas, "Music2Latent: Consistency Autoencoders for Latent Audio Compression", ISMIR 2024, section 3.4
(step schedule).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from m2l_bench.music2latent.config import Config
from m2l_bench.music2latent.consistency import sigma_grid
from m2l_bench.music2latent.network import Music2LatentNetwork
from m2l_bench.training.objective import Losses

HUBER = 0.00054  # c / sqrt(D) of the pseudo-Huber distance


def cumulative_weights(config: Config, *, mean: float = -1.1, std: float = 2.0, bins: int = 10_000) -> Tensor:
    """Probability that a position lies in one of equal bins of [0, 1] or below it.

    Parameters
    ----------
    config : Config
    mean, std : float
        Of the normal weight in ln sigma.
    bins : int

    Returns
    -------
    Tensor, float64, (bins,)
        Cumulative sums, the last 1, of the weights ``exp(-((ln sigma(i / bins) - mean) / std)^2 / 2)``. A weight is
        *not* divided by the density of ln sigma on the grid, so ln sigma itself is not normal: as u ~ sigma^(1/rho),
        its mode lies std^2 / rho above `mean`.
    """
    u = torch.arange(bins, dtype=torch.float64) / bins
    z = (sigma_grid(u, config).log() - mean) / std
    weights = torch.exp(-(z**2) / 2)
    cumulative = weights.cumsum(0) / weights.sum()
    cumulative[-1] = 1.0
    return cumulative


def positions(uniforms: Tensor, cumulative: Tensor) -> Tensor:
    """Positions u in (0, 1] from pairs of uniform numbers.

    Parameters
    ----------
    uniforms : Tensor, (B, 2), in [0, 1)
        One number picks the bin, the other the position in it.
    cumulative : Tensor, (bins,)
        See :func:`cumulative_weights`.

    Returns
    -------
    Tensor, (B,), float64
        ``(i + 1 - jitter) / bins``; never 0, where the two noise levels of a pair would coincide.
    """
    uniforms = uniforms.double()
    index = torch.searchsorted(cumulative, uniforms[:, 0].contiguous(), right=True).clamp_max(len(cumulative) - 1)
    return (index + 1 - uniforms[:, 1]) / len(cumulative)


def step_size(progress: float, *, start_exponent: float = 1.0, end_exponent: float = 3.0) -> float:
    """Distance in u between the two noise levels of a pair, falling exponentially over the training.

    Parameters
    ----------
    progress : float
        Step over the number of steps, in [0, 1].

    Returns
    -------
    float
        ``0.1^(start + (end - start) progress)``; from 0.1 to 0.001 with the published exponents 1 and 3.

    Examples
    --------
    >>> [round(step_size(p), 6) for p in (0.0, 0.5, 1.0)]
    [0.1, 0.01, 0.001]
    """
    return 0.1 ** (start_exponent + (end_exponent - start_exponent) * min(max(progress, 0.0), 1.0))


def pseudo_huber(estimate: Tensor, target: Tensor) -> Tensor:
    """Pseudo-Huber distance of each sample.

    Parameters
    ----------
    estimate, target : Tensor, (B, ...)

    Returns
    -------
    Tensor, (B,)
        ``sqrt(||estimate - target||^2 + c^2) - c`` over all D values of a sample, ``c = 0.00054 sqrt(D)``.

    Examples
    --------
    >>> pseudo_huber(torch.ones(1, 4), torch.zeros(1, 4))
    tensor([1.9989])
    """
    squared = (estimate - target).flatten(1).square().sum(1)
    c = HUBER * estimate[0].numel() ** 0.5
    return (squared + c**2).sqrt() - c


class ConsistencyLoss(nn.Module):
    """Weighted distance between the estimates at two neighbouring noise levels, one number a sample.

    A module of its own, so that a wrapper for many processes sees one forward call.

    Parameters
    ----------
    network : Music2LatentNetwork
    """

    def __init__(self, network: Music2LatentNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, noise: Tensor, u: Tensor, dt: float) -> Losses:
        """Compare ``f(x + sigma z, sigma)`` with ``sg f(x + sigma' z, sigma')``, ``u' = max(u - dt, 0)``.

        Parameters
        ----------
        x, noise : Tensor, (B, 2, F, T)
            Clean spectrogram, and the standard normal noise z that both levels share.
        u : Tensor, (B,)
        dt : float

        Returns
        -------
        Losses
            ``pseudo_huber / (sigma - sigma')``. The teacher is the network itself without gradient; it shares the
            student's latents, hence its pyramid.
        """
        config = self.network.config
        upper = sigma_grid(u.double(), config)
        lower = sigma_grid((u.double() - dt).clamp_min(0), config)
        weight = (1 / (upper - lower)).to(x.dtype)
        sigma, sigma_lower = upper.to(x.dtype), lower.to(x.dtype)
        pyramid = self.network.pyramid(self.network.encode(x))
        with torch.no_grad():
            target = self.network.denoise(x + sigma_lower[:, None, None, None] * noise, sigma_lower, pyramid)
        estimate = self.network.denoise(x + sigma[:, None, None, None] * noise, sigma, pyramid)
        return Losses(weight * pseudo_huber(estimate.float(), target.float()), sigma)

"""The consistency function's scalings, its grid of noise levels, and the sampler.

Conventions
-----------
``sigma`` is a noise level in units of the representation's amplitude, between ``sigma_min`` (clean) and ``sigma_max``;
a tensor of shape ``(B,)`` or a float. ``u`` in [0, 1] is a position on the grid of noise levels.

References
----------
Song, Dhariwal, Chen, Sutskever, "Consistency Models", ICML 2023, appendix C (scalings), algorithm 1 (sampler).
Karras, Aittala, Aila, Laine, "Elucidating the Design Space of Diffusion-Based Generative Models", NeurIPS 2022,
eq. 5 (grid).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import Tensor

from m2l_bench.music2latent.config import PUBLISHED, Config

Level = TypeVar("Level", float, Tensor)


def c_skip(sigma: Level, config: Config = PUBLISHED) -> Level:
    """Weight of the noisy input: sigma_data^2 / ((sigma - sigma_min)^2 + sigma_data^2); 1 at sigma_min."""
    return config.sigma_data**2 / ((sigma - config.sigma_min) ** 2 + config.sigma_data**2)


def c_out(sigma: Level, config: Config = PUBLISHED) -> Level:
    """Weight of the network: sigma_data (sigma - sigma_min) / sqrt(sigma_data^2 + sigma^2); 0 at sigma_min."""
    return config.sigma_data * (sigma - config.sigma_min) / (config.sigma_data**2 + sigma**2) ** 0.5


def c_in(sigma: Level, config: Config = PUBLISHED) -> Level:
    """Scale of the network's input: 1 / sqrt(sigma^2 + sigma_data^2)."""
    return 1 / (sigma**2 + config.sigma_data**2) ** 0.5


def sigma_grid(u: Level, config: Config = PUBLISHED) -> Level:
    """Noise level at a position of the grid.

    Parameters
    ----------
    u : float or Tensor
        Position in [0, 1].
    config : Config

    Returns
    -------
    float or Tensor
        ``(sigma_min^(1/rho) + u (sigma_max^(1/rho) - sigma_min^(1/rho)))^rho``.

    Examples
    --------
    >>> round(sigma_grid(0.0), 6), round(sigma_grid(1.0), 6)
    (0.002, 80.0)
    """
    low, high = config.sigma_min ** (1 / config.rho), config.sigma_max ** (1 / config.rho)
    return (low + u * (high - low)) ** config.rho


def sampling_levels(num_steps: int, config: Config = PUBLISHED) -> list[float]:
    """Noise levels of a sampler of `num_steps` steps, falling from sigma_max: the grid at u = 1, 1 - 1/K, ..., 1/K.

    Examples
    --------
    >>> sampling_levels(1)
    [80.0]
    """
    return [config.sigma_max, *(sigma_grid(1 - step / num_steps, config) for step in range(1, num_steps))]


def sample(
    denoise: Callable[[Tensor, float], Tensor],
    noise: Callable[[int], Tensor],
    levels: Sequence[float],
    *,
    sigma_min: float = 0.002,
) -> Tensor:
    """Draw a sample from a consistency model in ``len(levels)`` steps.

    Parameters
    ----------
    denoise : callable
        ``denoise(x, sigma)`` -> estimate of the clean sample, of x's shape.
    noise : callable
        ``noise(step)`` -> standard-normal tensor of the sample's shape; called once a step.
    levels : sequence of float
        Falling noise levels, such as :func:`sampling_levels`.
    sigma_min : float

    Returns
    -------
    Tensor
        The last estimate: ``x_k = x0_(k-1) + sqrt(sigma_k^2 - sigma_min^2) z_k``, ``x0_k = denoise(x_k, sigma_k)``,
        from ``x_0 = sigma_0 z_0``.
    """
    estimate = denoise(levels[0] * noise(0), levels[0])
    for step, sigma in enumerate(levels[1:], start=1):
        estimate = denoise(estimate + (sigma**2 - sigma_min**2) ** 0.5 * noise(step), sigma)
    return estimate

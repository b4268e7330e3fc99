"""Gaussian noise that depends only on a seed and an absolute position.

Conventions
-----------
Noise is standard normal, float32, ``(2, F, T)``. Every latent frame of every stream has its own block, drawn
from a counter-based generator keyed by (seed, step of the sampler, stream) at counter = latent frame: any piece of it
can be drawn alone, in any order and on any device, and is the same piece.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from m2l_bench.music2latent.config import Config


def positional_noise(config: Config, *, seed: int, step: int, stream: int, start: int, n_latents: int) -> Tensor:
    """Draw the noise of some latent frames.

    Parameters
    ----------
    config : Config
    seed : int
        At least 0.
    step : int
        Step of the sampler, from 0.
    stream : int
        Channel.
    start, n_latents : int
        First latent frame, counted from the beginning of the file, and how many.

    Returns
    -------
    Tensor, float32, (2, F, T)
        T = ``n_latents * config.time_downsampling``; on the CPU.

    Examples
    --------
    >>> draw = lambda start, n: positional_noise(Config(), seed=0, step=0, stream=1, start=start, n_latents=n)
    >>> bool((draw(0, 3)[..., 8:] == draw(1, 2)).all())
    True
    """
    key = np.random.SeedSequence([seed, step, stream]).generate_state(2, np.uint64)
    drawn = np.empty((n_latents, config.time_downsampling, config.bins, 2), dtype=np.float32)
    for j in range(n_latents):
        generator = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, start + j]))
        generator.standard_normal(out=drawn[j], dtype=np.float32)
    return torch.from_numpy(drawn).flatten(0, 1).permute(2, 1, 0)  # in memory (T, F, 2), as the networks want it

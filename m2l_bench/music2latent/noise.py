"""Gaussian noise that depends only on a seed and an absolute position.

Conventions
-----------
Noise is standard normal, float32, ``(streams, 2, F, T)``. Every latent frame of every stream has its own block, drawn
from a counter-based generator keyed by (seed, step of the sampler, stream) at counter = latent frame: any piece of it
can be drawn alone, in any order and on any device, and is the same piece.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from m2l_bench.music2latent.config import Config


def positional_noise(
    config: Config, *, seed: int, step: int, streams: Iterable[int], start: int, n_latents: int
) -> Tensor:
    """Draw the noise of some latent frames.

    Parameters
    ----------
    config : Config
    seed : int
        At least 0.
    step : int
        Step of the sampler, from 0.
    streams : iterable of int
        Which streams (channels).
    start, n_latents : int
        First latent frame, counted from the beginning of the file, and how many.

    Returns
    -------
    Tensor, float32, (streams, 2, F, T)
        T = ``n_latents * config.time_downsampling``; on the CPU.

    Examples
    --------
    >>> draw = lambda start, n: positional_noise(Config(), seed=0, step=0, streams=[1], start=start, n_latents=n)
    >>> bool((draw(0, 3)[..., 8:] == draw(1, 2)).all())
    True
    """
    key = [np.random.SeedSequence([seed, step, stream]).generate_state(2, np.uint64) for stream in streams]
    shape = (config.time_downsampling, config.bins, 2)
    drawn = np.empty((len(key), n_latents, *shape), dtype=np.float32)
    for i, stream_key in enumerate(key):
        for j in range(n_latents):
            generator = np.random.Generator(np.random.Philox(key=stream_key, counter=[0, 0, 0, start + j]))
            generator.standard_normal(out=drawn[i, j], dtype=np.float32)
    return torch.from_numpy(drawn).flatten(1, 2).permute(0, 3, 2, 1)  # in memory (T, F, 2), as the networks want it

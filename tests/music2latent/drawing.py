"""Random weights by name, so that no parameter that starts as zero or one can hide a fault."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from m2l_bench.music2latent.config import Config
from m2l_bench.music2latent.keys import published_names


def drawn_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Redraw every tensor from its name: kernels of unit gain, the rest around what it was initialised to."""
    return {name: _drawn(name, tensor) for name, tensor in state.items()}


def to_published(state: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """Our tensors under the authors' names and in their layout: the inverse of ``from_published``."""
    published = {}
    for ours, theirs in published_names(config).items():
        tensor = state[ours]
        if ours == "encoder.gain":
            tensor = tensor.reshape(1, 1, -1, 1)
        elif tensor.ndim == 4:
            tensor = tensor.transpose(2, 3).contiguous()
        published[theirs] = tensor
    return published


def _drawn(name: str, tensor: Tensor) -> Tensor:
    rng = np.random.Generator(np.random.Philox(zlib.crc32(name.encode())))
    uniform = torch.from_numpy(rng.random(tuple(tensor.shape), dtype=np.float32) * 2 - 1)
    if tensor.ndim > 1 and "gain" not in name:
        return uniform * math.sqrt(3 / tensor[0].numel())
    starts_at_one = "gain" in name or ("norm" in name and name.endswith("weight"))
    return 0.3 * uniform + (1.0 if starts_at_one else 0.0)


def golden_audio() -> np.ndarray:
    """Two latent frames of noise and a sweep, (1, 9728), float32."""
    rng = np.random.Generator(np.random.Philox(1))
    time = np.arange(9728) / 44100
    return (0.2 * np.sin(2e4 * time**2 * 10) + 0.1 * (rng.random((1, 9728)) * 2 - 1)).astype(np.float32)


def golden_noise() -> np.ndarray:
    """A start of the sampler for it, (1, 2, 1024, 16): uniform of unit variance, as steady across NumPy's versions."""
    return (np.random.Generator(np.random.Philox(2)).random((1, 2, 1024, 16), dtype=np.float32) * 2 - 1) * np.float32(
        3**0.5
    )

"""The interface between a family and the trainer: network, losses and reconstruction of held-out excerpts.

Conventions
-----------
Crops and excerpts are single channels at the family's sample rate, ``(batch, samples)`` and ``(samples,)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from m2l_bench.training.crops import Crops, Examples


class Losses(NamedTuple):
    """One loss a crop and the noise level it was measured at (0 for none), both (B,)."""

    loss: Tensor
    sigma: Tensor


class Objective(Protocol):
    """A network and its training loss."""

    @property
    def network(self) -> nn.Module:
        """The network, whose tensors are averaged and exported. Modules named ``...encoder`` are the encoder."""

    @property
    def loss(self) -> nn.Module:
        """Module that holds ``network`` and everything else that is trained with it; its forward call takes the values of
        :meth:`inputs` and returns :class:`Losses`."""

    @property
    def has_stages(self) -> bool:
        """Whether some weights get no gradient for a part of the training."""

    def begin(self, crops: Crops) -> int:
        """Prepare the weights, before the first step of a training; returns how many crops were trained on."""

    def inputs(self, examples: Examples, progress: float) -> tuple[Any, ...]:
        """Arguments of the loss for a batch on the network's device; `progress` is step over number of steps."""

    def measure(self, excerpts: Tensor) -> dict[str, float]:
        """Numbers by name over held-out excerpts (clips, samples); the same ones for the same weights."""

    def reconstruct(self, excerpt: Tensor) -> np.ndarray:
        """Encode and decode: (samples,) -> (samples,)."""


def fixed_noise(shape: Sequence[int], seed: int, number: int) -> Tensor:
    """Normal noise that depends on the seed and the excerpt's number alone: two validations differ by weights only."""
    random = np.random.default_rng((seed, number))
    return torch.from_numpy(random.standard_normal(tuple(shape), dtype=np.float32))

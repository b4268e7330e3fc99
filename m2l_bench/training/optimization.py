"""Learning rate and averaged weights over a training.

Conventions
-----------
A step is one update of the weights, counted from 0 before the first.

References
----------
Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", ICLR 2020 (RAdam, the optimiser).
Loshchilov, Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, eq. 5 (cosine).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def learning_rate(step: int, *, steps: int, peak: float, final: float, warm_up: int) -> float:
    """Learning rate of a step: a straight line up to `peak` over `warm_up` steps, then half a cosine down to `final`.

    Examples
    --------
    >>> [round(learning_rate(s, steps=100, peak=1.0, final=0.0, warm_up=10), 3) for s in (0, 9, 10, 55, 100)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    if step < warm_up:
        return peak * (step + 1) / warm_up
    progress = min(1.0, (step - warm_up) / max(1, steps - warm_up))
    return final + (peak - final) * (1 + math.cos(math.pi * progress)) / 2


def ema_decay(updates: int, *, limit: float = 0.9999) -> float:
    """Decay of the averaged weights after `updates` updates: ``min(limit, (1 + n) / (10 + n))``.

    Examples
    --------
    >>> ema_decay(0), ema_decay(10**7)
    (0.1, 0.9999)
    """
    return min(limit, (1 + updates) / (10 + updates))


class AveragedWeights:
    """Exponential moving average of a module's tensors, updated once a step.

    Parameters
    ----------
    module : nn.Module
        Its current tensors are the average's start.
    limit : float
        Decay after the warm-up.
    """

    def __init__(self, module: nn.Module, *, limit: float = 0.9999) -> None:
        self.limit = limit
        self.updates = 0
        self.tensors = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    def update(self, module: nn.Module) -> None:
        """``average = d average + (1 - d) current`` with ``d = ema_decay(updates)``."""
        weight = 1 - ema_decay(self.updates, limit=self.limit)
        current = module.state_dict()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.tensors.values()), [current[name] for name in self.tensors], weight)
        self.updates += 1

    def load(self, tensors: Mapping[str, Tensor], updates: int) -> None:
        """Go on from a saved average."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])
        self.updates = updates

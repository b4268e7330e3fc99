"""GroupNorm whose gradient on a CPU is taken by whole frames.

PyTorch's own gradient of a channels-last map goes through it a frequency row at a time, and a row of 8 to 64 channels is
short: it takes up to three times as long as the passes below, which take a time frame's rows at once. The forward pass is
PyTorch's.

Conventions
-----------
Maps are ``(B, C, T, F)`` in channels-last memory: (B, T, F, C). A *frame* is what lies under one (b, t): F C values.

References
----------
Wu, He, "Group Normalization", ECCV 2018, eq. 1 and 2.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_FEW = 1024  # positions of a map up to which PyTorch's own gradient is the faster one
_ENOUGH = 64  # channels that fill a processor's vectors


class GroupNorm(nn.GroupNorm):
    """GroupNorm of min(width / 4, 32) groups.

    Parameters
    ----------
    width : int
        Channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__(min(width // 4, 32), width)

    def forward(self, x: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and _by_frames(x)):
            return super().forward(x)
        y: Tensor = _Normalized.apply(x, self.weight, self.bias, self.num_groups, self.eps)
        return y


def _by_frames(x: Tensor) -> bool:
    return (
        x.ndim == 4
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.shape[2] * x.shape[3] > _FEW
        and x.is_contiguous(memory_format=torch.channels_last)
    )


class _Normalized(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        batch, width, frames, rows = x.shape
        y, mean, rstd = torch.native_group_norm(x, weight, bias, batch, width, frames * rows, groups, eps)
        context.save_for_backward(x, weight, mean, rstd)
        return y

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # With z = (x - mean) / std over a group's n values and g = weight * gradient,
        # dx = (g - mean(g) - z mean(g z)) / std: a sum of gradient, x and a constant, each times one number a channel.
        x, weight, mean, rstd = context.saved_tensors
        batch, width, frames, rows = x.shape
        groups = mean.shape[1]
        gradient = gradient.contiguous(memory_format=torch.channels_last)

        def of_group(sums: Tensor) -> Tensor:
            means = (sums * weight).view(batch, groups, -1).sum(2) / (frames * rows * (width // groups))
            return of_channel(means)

        def of_channel(values: Tensor) -> Tensor:
            return values.repeat_interleave(width // groups, dim=1)

        def over_frame(values: Tensor) -> Tensor:
            return values[:, None].expand(batch, rows, width).reshape(batch, 1, rows * width)

        mean, rstd = of_channel(mean), of_channel(rstd)
        sums, products = _channel_sums(gradient, x)
        products = (products - mean * sums) * rstd
        slope = -rstd.square() * of_group(products)
        constant = -rstd * of_group(sums) - slope * mean
        dx = torch.addcmul(over_frame(constant), _frames(x), over_frame(slope))
        dx.addcmul_(_frames(gradient), over_frame(rstd * weight))
        dx = dx.view(batch, frames, rows, width).permute(0, 3, 1, 2)
        return dx, products.sum(0), sums.sum(0), None, None


def _frames(x: Tensor) -> Tensor:
    """(B, C, T, F) -> (B, T, F C), as it lies in memory."""
    return x.permute(0, 2, 3, 1).flatten(2)


def _channel_sums(gradient: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of `gradient` and of ``gradient * x`` over each sample's positions: (B, C) both.

    They are what the gradient of a batch normalisation of each sample adds up, with mean 0 and variance 1, which PyTorch
    does in one pass. Narrow maps are taken for wider ones of fewer positions, of which channels are then summed.
    """
    batch, width, frames, rows = x.shape
    beside = math.gcd(frames * rows, max(1, _ENOUGH // width))
    shape = (batch, frames * rows // beside, beside * width)
    one, zero = x.new_ones(beside * width), x.new_zeros(beside * width)
    sums = []
    for sample in zip(gradient.permute(0, 2, 3, 1).reshape(shape), x.permute(0, 2, 3, 1).reshape(shape), strict=True):
        g, v = (part.T[None, :, :, None] for part in sample)  # (1, channels, positions, 1), channels-last as it lies
        _, products, plain = torch.ops.aten.native_batch_norm_backward(
            g, v, one, None, None, zero, one, True, 0.0, [False, True, True]
        )
        sums.append(torch.stack([plain, products]))
    both = torch.stack(sums, dim=1).view(2, batch, beside, width).sum(2)
    return both[0], both[1]

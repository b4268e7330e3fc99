"""The blocks that Music2Latent's networks are made of.

Conventions
-----------
Maps inside the networks are ``(B, C, T, F)``, time before frequency, in PyTorch's channels-last memory format: in
memory they are (B, T, F, C). One time frame's frequency rows are then neighbours, so that attention over frequency is a
view and not a copy, and an STFT's complex frames are such a map as they lie. Kernels are (out, in, time, frequency).
1-D maps are ``(B, C, L)``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from m2l_bench.music2latent import winograd
from m2l_bench.music2latent.norm import GroupNorm

_LARGE = (
    2**18
)  # values of a 1-D kernel from which a product beats PyTorch's convolution of a few values, which copies it
_NARROW = 16  # columns from which a matrix product runs at the machine's rate


def zeroed(module: nn.Module) -> nn.Module:
    """Set a module's parameters to zero, so that its branch starts as nothing."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def activate(x: Tensor) -> Tensor:
    """SiLU of a value that nobody else holds."""
    # In place only where autograd would not have to keep a copy.
    return functional.silu(x, inplace=not torch.is_grad_enabled())


def scaled(x: Tensor, factor: Tensor) -> Tensor:
    """The product of a value that nobody else holds."""
    return x * factor if torch.is_grad_enabled() else x.mul_(factor)


def added(x: Tensor, other: Tensor, *, alpha: float = 1.0) -> Tensor:
    """``x + alpha other`` of an x that nobody else holds and that may be a view."""
    # In training not in place: the gradient of a view written into is copied whole, once for each such sum.
    return x.add(other, alpha=alpha) if torch.is_grad_enabled() else x.add_(other, alpha=alpha)


def pointwise(conv: nn.Module, x: Tensor, *, scale: float = 1.0) -> Tensor:
    """Convolution of kernel 1, times `scale`: as the matrix product that it is, in the layout at hand."""
    weight: Tensor = conv.get_parameter("weight").flatten(1)
    bias: Tensor = conv.get_parameter("bias")
    if scale != 1:
        weight, bias = weight * scale, bias * scale
    rows = x.movedim(1, -1)
    beside = math.gcd(rows.shape[-2], max(1, _NARROW // len(bias)))
    if beside == 1 or not rows.is_contiguous():
        return functional.linear(rows, weight, bias).movedim(-1, 1)
    # Products of few columns are slow out of proportion: neighbours are taken for one row of a block-diagonal product.
    wide = functional.linear(
        rows.unflatten(-2, (-1, beside)).flatten(-2),
        torch.block_diag(*[weight] * beside),
        bias.repeat(beside),
    )
    return wide.unflatten(-1, (beside, -1)).flatten(-3, -2).movedim(-1, 1)


class FrequencyAttention(nn.Module):
    """Multi-head self-attention in which each time frame is its own sequence of F tokens; pre-norm, residual.

    Memory therefore grows with F squared but not with T squared.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = GroupNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = zeroed(nn.Linear(width, width))
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, width, frames, rows = x.shape
        tokens = self.norm(x).permute(0, 2, 3, 1).reshape(batch * frames, rows, width)
        qkv = self.qkv(tokens).view(batch * frames, rows, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B T, heads, F, width / heads)
        mixed = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)
        out = self.out(mixed.reshape(batch, frames, rows, width))
        return added(out.permute(0, 3, 1, 2), x)


class ResBlock(nn.Module):
    """GroupNorm, SiLU, conv; the noise embedding; GroupNorm, SiLU, conv (zero at first); residual; attention.

    Parameters
    ----------
    width_in, width_out : int
        Where they differ, a 1x1 convolution carries the residual.
    dimensions : int
        2 for maps, 1 for sequences.
    embedding_width : int, optional
        Channels of the noise embedding, for blocks that take one.
    heads : int, optional
        Heads of the attention, for blocks that have one.
    """

    def __init__(
        self,
        width_in: int,
        width_out: int,
        *,
        dimensions: int = 2,
        embedding_width: int | None = None,
        heads: int | None = None,
    ) -> None:
        super().__init__()
        conv = nn.Conv2d if dimensions == 2 else nn.Conv1d
        self.norm1 = GroupNorm(width_in)
        self.conv1 = conv(width_in, width_out, 3, padding=1)
        self.embedding = zeroed(nn.Linear(embedding_width, width_out)) if embedding_width else nn.Identity()
        self.norm2 = GroupNorm(width_out)
        self.conv2 = zeroed(conv(width_out, width_out, 3, padding=1))
        self.residual = conv(width_in, width_out, 1) if width_in != width_out else None
        self.attention = FrequencyAttention(width_out, heads) if heads else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        # What a convolution returns may be added to in place: its gradient does not need it.
        y = self._first(self.norm1(x), embedding)
        y = _activated(self.conv2, self.norm2(y))
        return self.attention(y.add_(x if self.residual is None else pointwise(self.residual, x)))

    def _first(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        if embedding is None:
            return _activated(self.conv1, x)
        shift = self.embedding(embedding)
        if len(shift) == 1:  # one noise level: it is part of the bias, and the map is not gone through once more
            return _activated(self.conv1, x, shift[0])
        return _activated(self.conv1, x).add_(shift[:, :, None, None])


def _activated(conv: nn.Module, x: Tensor, shift: Tensor | None = None) -> Tensor:
    """Convolution of kernel 3, and its bias plus `shift`, of the SiLU of a value that nobody else holds."""
    weight: Tensor = conv.get_parameter("weight")
    bias: Tensor = conv.get_parameter("bias")
    if shift is not None:
        bias = bias + shift
    if winograd.pays(x, weight):
        return winograd.convolve(x, weight, bias)
    if weight.ndim == 4:
        return functional.conv2d(activate(x), weight, bias, padding=1)
    if weight.numel() >= _LARGE and not torch.is_grad_enabled():
        return _unfolded(activate(x), weight, bias)
    return functional.conv1d(activate(x), weight, bias, padding=1)


def _unfolded(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolution of kernel 3 over sequences (B, C, L), as the matrix product that it is."""
    seen = functional.pad(x, (1, 1)).unfold(2, 3, 1).transpose(1, 2).flatten(2)
    return functional.linear(seen, weight.flatten(1), bias).transpose(1, 2)


class Downsample(nn.Module):
    """Strided convolution: by 4 in frequency alone (kernel 5), or by 2 both ways (kernel 3 x 3)."""

    def __init__(self, width_in: int, width_out: int, *, frequency_only: bool, normalize: bool) -> None:
        super().__init__()
        self.norm = GroupNorm(width_in) if normalize else nn.Identity()
        if frequency_only:
            self.conv = nn.Conv2d(width_in, width_out, (1, 5), stride=(1, 4), padding=(0, 2))
        else:
            self.conv = nn.Conv2d(width_in, width_out, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x))


class Upsample(nn.Module):
    """Nearest-neighbour upsampling, then a convolution: by 4 in frequency (kernel 5), or by 2 both ways (3 x 3).

    Both are done at once. Repeating each value r times and convolving with a kernel w of k taps is a transposed
    convolution of stride r whose kernel is w, reversed, convolved with r ones: each output then needs
    ceil((r + k - 1) / r) products an axis and not k: 2.25 times fewer in the 3 x 3 case, 2.5 times in the other.
    """

    def __init__(self, width_in: int, width_out: int, *, frequency_only: bool) -> None:
        super().__init__()
        self.frequency_only = frequency_only
        kernel, padding = ((1, 5), (0, 2)) if frequency_only else ((3, 3), (1, 1))
        self.conv = nn.Conv2d(width_in, width_out, kernel, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.conv.weight.flip(2, 3).transpose(0, 1)
        if self.frequency_only:
            kernel = _box(kernel, (1, 4))
            return functional.conv_transpose2d(x, kernel, self.conv.bias, stride=(1, 4), padding=(0, 2))
        return functional.conv_transpose2d(x, _box(kernel, (2, 2)), self.conv.bias, stride=2, padding=1)


def _box(kernel: Tensor, repeats: tuple[int, int]) -> Tensor:
    """Convolve each kernel with a box of ones, in full: (..., k1 + r1 - 1, k2 + r2 - 1)."""
    for skipped, repeat in (([], repeats[1]), ([0, 0], repeats[0])):
        shifted = [functional.pad(kernel, [*skipped, shift, repeat - 1 - shift]) for shift in range(repeat)]
        kernel = torch.stack(shifted).sum(0)
    return kernel

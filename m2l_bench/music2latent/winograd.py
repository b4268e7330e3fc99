"""A 3x3 convolution with a quarter of the products, for inference on a CPU.

Of a map's tile of 6 x 6 values and a kernel of 3 x 3, both transformed, the product value by value is the transform of 4 x 4
outputs: 36 products where the sum itself takes 144. The transforms are sums of a few terms with small factors. With many
channels they cost little beside the products, which are 36 matrix products of channels.

Rounding errors are about six times those of the sum: 5e-6 of the largest output.

Conventions
-----------
Maps are ``(B, C, T, F)`` in channels-last memory: (B, T, F, C). Transforms go along the first axis of their argument.

References
----------
Lavin, Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, section 4.3: F(4x4, 3x3).
Winograd, "Arithmetic Complexity of Computations", SIAM 1980.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_TILE = 4  # outputs of a tile, each way
_SEEN = _TILE + 2  # values that they depend on
_CHANNELS = 64, 128  # from which the products outweigh the transforms, in one thread and in more
_PRODUCTS = 2**26  # positions x channels x channels, from which they outweigh the kernel's transform and the calls
# Bytes of transformed tiles for each thread, which stay in a processor's cache; at least as many as of kernels.
_BYTES = 2**21
# Rows are the polynomials' values at 0, 1, -1, 2, -2 and infinity, over the factors that the other transforms leave out.
_KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)


def pays(x: Tensor, weight: Tensor) -> bool:
    """Whether :func:`convolve` is the faster way, in inference, where no gradient is asked for."""
    return (
        x.ndim == 4
        and torch.is_inference_mode_enabled()
        and weight.shape[2:] == (3, 3)
        and min(weight.shape[:2]) >= _CHANNELS[torch.get_num_threads() > 1]
        and weight[..., 0, 0].numel() * x.shape[2] * x.shape[3] >= _PRODUCTS
        and x.shape[3] % _TILE == 0
        and x.device.type == "cpu"
        and x.dtype == torch.float32
    )


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolution of the SiLU of a map with a 3x3 kernel, zeros around it.

    Parameters
    ----------
    x : Tensor, (B, C, T, F)
        Channels-last, before the SiLU; F a multiple of 4.
    weight : Tensor, (O, C, 3, 3)
    bias : Tensor, (O,)

    Returns
    -------
    Tensor, (B, O, T, F)
        Channels-last.
    """
    batch, channels, frames, rows = x.shape
    outputs = len(weight)
    kernels = _transformed_kernels(weight)
    down, across = -(-frames // _TILE), rows // _TILE
    y = x.new_empty(batch, down, _TILE, across, _TILE, outputs)
    bytes_of_row = 4 * _SEEN**2 * across * (channels + outputs)
    at_once = torch.get_num_threads() * max(_BYTES, 4 * kernels.numel())
    step = min(down, -(-at_once // bytes_of_row))  # rows of tiles
    room = _Room(x)
    for source, target in zip(x.permute(0, 2, 3, 1), y, strict=True):
        for first in range(0, down, step):
            count = min(step, down - first)
            padded = room("padded", _TILE * count + 2, rows + 2, channels)
            _fill_padded(source, _TILE * first - 1, padded)
            tiles = room("tiles", _SEEN, count, rows + 2, channels)
            _transform_input(_strided(padded, count), tiles, room)
            both = room("both", _SEEN, _SEEN, count, across, channels)
            _transform_input(_strided(tiles.movedim(2, 0), across), both.movedim(3, 1), room)
            products = room("products", _SEEN**2, count * across, outputs)
            torch.bmm(both.view(_SEEN**2, count * across, channels), kernels, out=products)
            products[_SEEN + 1] += bias  # the value at (1, 1) is in all of a tile's outputs once
            half = room("half", _TILE, _SEEN, count, across, outputs)
            _transform_output(products.view(_SEEN, *half.shape[1:]).unbind(), half, room)
            _transform_output(half.unbind(1), target[first : first + count].permute(1, 3, 0, 2, 4), room)
    whole = y.view(batch, _TILE * down, rows, outputs)[:, :frames].permute(0, 3, 1, 2)
    return whole.contiguous(memory_format=torch.channels_last)


class _Room:
    """Memory that is used again for each part of a map: to ask the system for it takes as long as to fill it."""

    def __init__(self, like: Tensor) -> None:
        self._like, self._held = like, dict[str, Tensor]()

    def __call__(self, name: str, *shape: int) -> Tensor:
        """A tensor of any content."""
        size = math.prod(shape)
        if name not in self._held or self._held[name].numel() < size:
            self._held[name] = self._like.new_empty(size)
        return self._held[name][:size].view(shape)


def _fill_padded(x: Tensor, begin: int, out: Tensor) -> None:
    """The SiLU of a map's frames (frames, rows, channels) from `begin` on, with zeros around the map."""
    given, offset = x[max(begin, 0) : begin + len(out)], max(-begin, 0)
    out[:offset].zero_()
    out[offset + len(given) :].zero_()
    out[:, 0].zero_()
    out[:, -1].zero_()
    torch.ops.aten.silu.out(given, out=out[offset : offset + len(given), 1:-1])


def _strided(x: Tensor, count: int) -> list[Tensor]:
    """Along the first axis, the values that each tile sees first, second, and so on."""
    return [x[offset : offset + _TILE * count - _TILE + 1 : _TILE] for offset in range(_SEEN)]


def _transformed_kernels(weight: Tensor) -> Tensor:
    """(O, C, 3, 3) -> (36, C, O), the index along frequency before that along time."""
    points = weight.new_tensor(_KERNEL)
    both = torch.einsum("tp,fq->ftpq", points, points).reshape(_SEEN**2, 9)
    return (both @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(_SEEN**2, weight.shape[1], len(weight))


def _transform_input(x: Sequence[Tensor], out: Tensor, room: _Room) -> None:
    """Six sums of six values, whose factors are:

    4 0 -5 0 1 0; 0 -4 -4 1 1 0; 0 4 -4 -1 1 0; 0 -2 -1 2 1 0; 0 2 -1 -2 1 0; 0 4 0 -5 0 1.
    """
    even, odd = room("pair", 2, *x[0].shape)
    y = out.unbind()
    torch.add(x[4], x[2], alpha=-4, out=even)
    torch.add(x[3], x[1], alpha=-4, out=odd)
    torch.add(even, odd, out=y[1])
    torch.sub(even, odd, out=y[2])
    torch.sub(x[4], x[2], out=even)
    torch.sub(x[3], x[1], out=odd)
    torch.add(even, odd, alpha=2, out=y[3])
    torch.sub(even, odd, alpha=2, out=y[4])
    torch.add(even, torch.sub(x[2], x[0], out=y[0]), alpha=-4, out=y[0])
    torch.sub(x[5], x[3], out=y[5]).add_(odd, alpha=-4)


def _transform_output(x: Sequence[Tensor], out: Tensor, room: _Room) -> None:
    """Four sums of six values, whose factors are:

    1 1 1 1 1 0; 0 1 -1 2 -2 0; 0 1 1 4 4 0; 0 1 -1 8 -8 1. Overwrites x.
    """
    ones, twos = room("pair", 2, *x[0].shape)
    y = out.unbind()
    torch.add(x[1], x[2], out=ones)
    torch.add(x[3], x[4], out=twos)
    torch.sub(x[1], x[2], out=x[1])
    torch.sub(x[3], x[4], out=x[3])
    torch.add(x[0].add_(ones), twos, out=y[0])
    torch.add(x[1], x[3], alpha=2, out=y[1])
    torch.add(ones, twos, alpha=4, out=y[2])
    torch.add(x[1].add_(x[5]), x[3], alpha=8, out=y[3])

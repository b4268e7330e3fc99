"""Layers that compute in another way than PyTorch's own: the same numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from m2l_bench.music2latent.layers import ResBlock, pointwise
from m2l_bench.music2latent.norm import GroupNorm


def drawn(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return x.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(2, 8, 16, 128), (3, 12, 37, 41), (2, 64, 20, 64), (1, 256, 33, 64)])
def test_gradient_of_group_norm(shape: tuple[int, int, int, int]) -> None:
    norm = GroupNorm(shape[1])
    nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(1))
    nn.init.normal_(norm.bias, generator=torch.Generator().manual_seed(2))
    x = (3 * drawn(shape, 3) + 1).requires_grad_()
    towards = torch.randn(shape, generator=torch.Generator().manual_seed(4))  # not channels-last: what comes may be any
    inputs = (x, norm.weight, norm.bias)
    y = norm(x)
    assert type(y.grad_fn).__name__ == "_NormalizedBackward"
    exact = nn.functional.group_norm(x.double(), norm.num_groups, norm.weight.double(), norm.bias.double())
    for got, expected in zip(
        torch.autograd.grad(y, inputs, towards), torch.autograd.grad(exact, inputs, towards.double()), strict=True
    ):
        scale = float(expected.abs().max())
        torch.testing.assert_close(got / scale, expected / scale, atol=5e-6, rtol=0)


@pytest.mark.parametrize("shape", [(2, 8, 4, 16), (2, 8, 2000)])
def test_small_maps_and_sequences_are_pytorchs(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(5)).requires_grad_()
    assert type(GroupNorm(8)(x).grad_fn).__name__ == "NativeGroupNormBackward0"


@pytest.mark.parametrize(
    ("width_in", "width_out", "rows"), [(8, 8, 32), (4, 8, 12), (8, 8, 7), (64, 32, 16), (2, 3, 9)]
)
def test_pointwise_is_a_convolution(width_in: int, width_out: int, rows: int) -> None:
    conv = nn.Conv2d(width_in, width_out, 1)
    x = drawn((2, width_in, 5, rows), 6).requires_grad_()
    towards = torch.randn((2, width_out, 5, rows), generator=torch.Generator().manual_seed(7))
    got, expected = pointwise(conv, x, scale=0.5), 0.5 * conv(x)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)
    inputs = (x, conv.weight, conv.bias)
    for mine, theirs in zip(
        torch.autograd.grad(got, inputs, towards), torch.autograd.grad(expected, inputs, towards), strict=True
    ):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 11])
def test_large_kernels_of_sequences(length: int) -> None:
    """In inference they are matrix products."""
    torch.manual_seed(0)
    block = ResBlock(320, 320, dimensions=1)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.03)
    x = torch.randn(2, 320, length)
    expected = block(x).detach()
    with torch.inference_mode(), torch.profiler.profile() as profile:
        found = block(x)
    assert not any("conv1d" in event.key for event in profile.key_averages())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

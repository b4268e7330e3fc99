"""The fast 3x3 convolution against PyTorch's in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from m2l_bench.music2latent import winograd
from m2l_bench.music2latent.layers import ResBlock

FAR = 2e-5  # of the largest output: four times what is documented


def maps(batch: int, channels: int, frames: int, rows: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, channels, frames, rows, generator=generator)
    return x.contiguous(memory_format=torch.channels_last)


def kernels(outputs: int, channels: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(outputs, channels, 3, 3, generator=generator) / (3 * channels**0.5)
    return weight, torch.randn(outputs, generator=generator)


def direct(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.conv2d(functional.silu(x.double()), weight.double(), bias.double(), padding=1)


@pytest.mark.parametrize(
    "shape", [(1, 8, 4, 4), (1, 8, 1, 4), (1, 8, 3, 8), (1, 12, 22, 64), (3, 8, 9, 12), (2, 5, 17, 20)]
)
def test_equals_the_convolution_of_the_silu(shape: tuple[int, int, int, int]) -> None:
    x = maps(*shape)
    weight, bias = kernels(7, shape[1])
    with torch.inference_mode():
        found = winograd.convolve(x, weight, bias)
    expected = direct(x, weight, bias)
    assert found.shape == expected.shape
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert (found - expected).abs().max() < FAR * expected.abs().max()


def test_channels_last_kernels_and_views_of_maps() -> None:
    x = maps(1, 8, 12, 16)[:, :, 1:-2]
    weight, bias = kernels(8, 8)
    with torch.inference_mode():
        found = winograd.convolve(x, weight.contiguous(memory_format=torch.channels_last), bias)
    assert (found - direct(x, weight, bias)).abs().max() < FAR


def test_identity_and_shift() -> None:
    """A kernel of a single one gives the map itself, or the map moved by one with zeros from outside."""
    x = maps(1, 4, 10, 8)
    with torch.inference_mode():
        for t, f in ((1, 1), (0, 1), (1, 2), (2, 0)):
            weight = torch.zeros(4, 4, 3, 3)
            weight[range(4), range(4), t, f] = 1
            moved = functional.pad(functional.silu(x), (1, 1, 1, 1))[:, :, t : t + 10, f : f + 8]
            torch.testing.assert_close(winograd.convolve(x, weight, torch.zeros(4)), moved, rtol=0, atol=1e-5)


def test_parts_make_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """How much of a map is transformed at once does not matter."""
    x = maps(2, 2, 126, 16)
    weight, bias = kernels(2, 2)
    with torch.inference_mode():
        whole = winograd.convolve(x, weight, bias)
        for size in (1, 5_000, 2**30):
            monkeypatch.setattr(winograd, "_BYTES", size)
            torch.testing.assert_close(winograd.convolve(x, weight, bias), whole, rtol=1e-5, atol=1e-5)


def test_does_not_change_its_input() -> None:
    x = maps(1, 8, 8, 8)
    before = x.clone()
    with torch.inference_mode():
        winograd.convolve(x, *kernels(8, 8))
    assert torch.equal(x, before)


def test_pays_only_in_inference_with_many_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    x, weight = maps(1, 128, 64, 64), kernels(128, 128)[0]
    assert not winograd.pays(x, weight)
    with torch.no_grad():
        assert not winograd.pays(x, weight)
    with torch.inference_mode():
        assert winograd.pays(x, weight)
        assert not winograd.pays(x[:, :, :63], weight)
        assert not winograd.pays(maps(1, 128, 128, 66), weight)
        assert not winograd.pays(x, weight[:, :, :1])
        assert not winograd.pays(x, weight[:64])
        assert not winograd.pays(x.double(), weight)
        assert not winograd.pays(x.to("meta"), weight)
        assert not winograd.pays(x[:, :, 0], weight[..., 0])
        monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
        assert winograd.pays(maps(1, 64, 128, 128), weight[:64, :64])
        assert not winograd.pays(maps(1, 32, 256, 256), weight[:, :32])


def test_a_block_is_the_same_with_and_without() -> None:
    torch.manual_seed(0)
    block = ResBlock(128, 128, embedding_width=8)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    x = maps(1, 128, 66, 64)
    for embedding in (None, torch.randn(1, 8)):
        with torch.no_grad():
            expected = block.double()(x.double(), None if embedding is None else embedding.double())
        block.float()
        with torch.inference_mode():
            assert winograd.pays(x, block.conv1.weight)
            found = block(x, embedding)
        assert (found - expected).abs().max() < FAR * expected.abs().max()

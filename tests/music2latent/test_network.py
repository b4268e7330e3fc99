"""The network's structure: boundary condition, exact algebra, configurations."""

from __future__ import annotations

import json

import pytest
import torch
from drawing import drawn_state
from torch import nn

from m2l_bench.music2latent.config import PUBLISHED, Config
from m2l_bench.music2latent.consistency import c_in, c_out, c_skip, sample, sampling_levels, sigma_grid
from m2l_bench.music2latent.layers import Upsample
from m2l_bench.music2latent.network import Music2LatentNetwork


def test_identity_at_the_lowest_level(tiny_network: Music2LatentNetwork) -> None:
    x = torch.randn(2, 2, 32, 16, generator=torch.Generator().manual_seed(0))
    pyramid = tiny_network.pyramid(torch.zeros(2, 8, 2))
    assert float((tiny_network.denoise(x, torch.full((2,), 0.002), pyramid) - x).abs().max()) <= 1e-6
    assert float((tiny_network.denoise(x, torch.full((2,), 0.1), pyramid) - x).abs().max()) > 1e-3


def test_scalings_at_known_levels() -> None:
    assert (c_skip(0.002), c_out(0.002)) == (1.0, 0.0)
    assert c_in(0.0) == 2.0
    assert c_skip(0.502) == pytest.approx(0.5)
    assert c_out(1e6) == pytest.approx(0.5, rel=1e-6)


def test_levels_fall_along_the_grid() -> None:
    levels = sampling_levels(4)
    assert levels[0] == 80.0 and levels == sorted(levels, reverse=True)
    assert levels[2] == pytest.approx(sigma_grid(0.5))


def test_sampler_adds_the_noise_that_a_level_lacks() -> None:
    steps: list[int] = []

    def noise(step: int) -> torch.Tensor:
        steps.append(step)
        return torch.ones(1)

    got = sample(lambda x, sigma: x / sigma, noise, [80.0, 3.0])
    assert steps == [0, 1]
    assert float(got) == pytest.approx((1 + (9 - 0.002**2) ** 0.5) / 3)


@pytest.mark.parametrize("frequency_only", [True, False])
def test_upsampling_is_repetition_and_convolution(frequency_only: bool) -> None:
    layer = Upsample(6, 5, frequency_only=frequency_only)
    x = torch.randn(2, 6, 3, 7, generator=torch.Generator().manual_seed(1))
    repeated = nn.functional.interpolate(x, scale_factor=(1, 4) if frequency_only else (2, 2), mode="nearest")
    torch.testing.assert_close(layer(x), layer.conv(repeated), atol=1e-5, rtol=1e-5)


def test_gradients_reach_every_parameter(tiny: Config) -> None:
    network = Music2LatentNetwork(tiny)
    network.load_state_dict(drawn_state(network.state_dict()))
    x = torch.randn(2, 2, 32, 16, generator=torch.Generator().manual_seed(2))
    network.denoise(x, torch.tensor([0.5, 20.0]), network.pyramid(network.encode(x))).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_same_with_and_without_gradients(tiny_network: Music2LatentNetwork) -> None:
    x = torch.randn(1, 2, 32, 16, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        fast = tiny_network.encode(x)
    torch.testing.assert_close(tiny_network.encode(x.requires_grad_()).detach(), fast.clone(), atol=1e-6, rtol=1e-5)


def test_a_channel_is_coded_alone(tiny_network: Music2LatentNetwork) -> None:
    x = torch.randn(3, 2, 32, 16, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(tiny_network.encode(x)[1:2], tiny_network.encode(x[1:2]), atol=1e-5, rtol=1e-5)


def test_config_survives_json(tiny: Config) -> None:
    for config in (PUBLISHED, tiny):
        assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_config_says_what_it_is() -> None:
    assert PUBLISHED.latent_rate == pytest.approx(10.7666, abs=1e-4)
    assert (PUBLISHED.bins, PUBLISHED.time_downsampling, PUBLISHED.frequency_downsampling) == (1024, 8, 32)
    assert PUBLISHED.widths == (64, 128, 256, 256, 256)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"blocks": (1, 1)}, r"blocks must have one entry a level \(5\)"),
        ({"frequency_only": (True,)}, "frequency_only must have 4 entries"),
        ({"width": 6}, "width must split into"),
        ({"heads": 3}, "width must be a multiple of heads"),
        ({"window": 2000}, r"window must be a multiple of 2 \* hop"),
        ({"window": 96, "hop": 48}, "window must divide into the levels, got 96"),
        ({"embedding_width": 15}, "embedding_width must be even"),
        ({"sigma_min": 0.0}, "sigma_min must be a positive number"),
        ({"bottleneck_blocks": 0}, "bottleneck_blocks must be whole, at least 1 and at most 256, got 0"),
        ({"multipliers": (0, 1, 1, 1, 1)}, "multipliers must be whole, at least 1 and at most 64"),
    ],
)
def test_config_refuses_what_is_no_model(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config.from_dict({**PUBLISHED.to_dict(), **values})


def test_config_refuses_unknown_keys() -> None:
    with pytest.raises(ValueError, match=r"config must hold known keys only \(.*\), got depth"):
        Config.from_dict({"depth": 3})

"""The unit-variance start: the latents' signal arrives, the function's shape does not change."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_training import MODEL, tiny_recipe
from torch.nn import functional

from m2l_bench.music2latent.config import Config
from m2l_bench.music2latent.network import Music2LatentNetwork
from m2l_bench.systems.small.recipes import train
from m2l_bench.training.music2latent.initialisation import give_unit_variance
from m2l_bench.training.state import checkpoints


def _spread(x: torch.Tensor) -> float:
    return float((x - x.mean((0, -1), keepdim=True)).std())


def test_the_signal_of_the_latents_arrives_at_every_cross_connection() -> None:
    torch.manual_seed(0)
    network = Music2LatentNetwork(Config.from_dict(MODEL))
    x = torch.randn(8, 2, 64, 8)

    def scales() -> list[float]:
        with torch.no_grad():
            pyramid = network.pyramid(network.encode(x))
            sides = (network.unet.down_cross, network.unet.up_cross)
            return [
                _spread(functional.conv2d(pyramid[level], conv.weight.transpose(2, 3)))
                for side in sides
                for level, convs in enumerate(side)
                for conv in convs
            ]

    assert max(scales()) < 0.2
    give_unit_variance(network, x)
    assert scales() == pytest.approx([1.0] * 6, rel=1e-3)
    with torch.no_grad():
        code = network.encode(x)
    assert 0.3 < _spread(code) < 0.6
    assert float((code.abs() > 0.99).float().mean()) < 0.02


def test_a_training_may_start_so(pieces: Path, tmp_path: Path) -> None:
    states = []
    for name in ("one", "two"):
        recipe = tiny_recipe(pieces, optimization={"steps": 2, "warm_up": 1, "unit_variance": True})
        train(recipe, tmp_path / name, progress=False)
        states.append(load_file(checkpoints(tmp_path / name / "checkpoints")[-1] / "state.safetensors"))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    plain = train(tiny_recipe(pieces, optimization={"steps": 2, "warm_up": 1}), tmp_path / "three", progress=False)
    assert not torch.equal(states[0]["average.decoder.project.weight"], load_file(plain)["decoder.project.weight"])

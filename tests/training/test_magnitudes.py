"""The warm-up on magnitudes: latents predict magnitudes, the U-Net stays unchanged, and a training can start with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_training import MODEL, RATE, chord, tiny_recipe

from m2l_bench.music2latent.config import Config
from m2l_bench.music2latent.network import Music2LatentNetwork
from m2l_bench.music2latent.representation import to_spectrogram
from m2l_bench.systems.small.recipes import train
from m2l_bench.training.music2latent.initialisation import give_unit_variance
from m2l_bench.training.music2latent.magnitudes import MagnitudeLoss, teach
from m2l_bench.training.state import checkpoints, read_json


def _spectrograms() -> torch.Tensor:
    audio = np.concatenate([chord(0.15, seed) for seed in range(4)])
    return to_spectrogram(torch.from_numpy(audio), Config.from_dict(MODEL))


def _taught(steps: int) -> tuple[Music2LatentNetwork, MagnitudeLoss, torch.Tensor]:
    torch.manual_seed(0)
    network, x = Music2LatentNetwork(Config.from_dict(MODEL)), _spectrograms()
    give_unit_variance(network, x)
    objective = MagnitudeLoss(network, x)
    teach(objective, lambda step: x, steps=steps, peak=3e-3)
    return network, objective, x


def test_latents_come_to_carry_magnitudes() -> None:
    network, objective, x = _taught(100)
    with torch.no_grad():
        own = float(objective(x))
        constant = float(_taught(0)[1](x))
        encode = network.encode
        network.encode = lambda x: encode(x).roll(1, 0)  # type: ignore[method-assign]
        other = float(objective(x))
    assert own < 0.7 * constant
    assert other > 1.3 * own


def test_the_unet_is_left_alone() -> None:
    taught, fresh = _taught(3)[0].state_dict(), _taught(0)[0].state_dict()
    changed = {name.split(".")[0] for name in fresh if not torch.equal(taught[name], fresh[name])}
    assert changed == {"encoder", "decoder"}


def test_the_loss_is_in_standard_deviations_of_each_bin() -> None:
    """A reading of zero is the mean: its error is the mean absolute deviation, 0.798 for normal log magnitudes."""
    torch.manual_seed(0)
    network = Music2LatentNetwork(Config.from_dict(MODEL))
    level = torch.randn(200, 64, 8) * torch.linspace(0.2, 3, 64)[:, None] - 2
    x = torch.stack([level.exp(), torch.zeros_like(level)], 1)
    objective = MagnitudeLoss(network, x)
    objective.floor = 0.0
    objective.mean, objective.deviation = level.mean((0, 2))[:, None], level.std((0, 2))[:, None]
    with torch.no_grad():
        objective.head.weight.zero_(), objective.head.bias.zero_()
        assert float(objective(x)) == pytest.approx((2 / np.pi) ** 0.5, rel=0.01)


def test_a_training_may_start_so(pieces: Path, tmp_path: Path) -> None:
    optimization = {"steps": 2, "warm_up": 1, "batch": 2, "magnitude_steps": 3}
    for name in ("one", "two"):
        train(tiny_recipe(pieces, optimization=optimization), tmp_path / name, progress=False)
    one, two = (checkpoints(tmp_path / name / "checkpoints")[-1] for name in ("one", "two"))
    states = [load_file(path / "state.safetensors") for path in (one, two)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    seconds = 5 * 2 * tiny_recipe(pieces).crop_samples / RATE
    assert read_json(one)["totals"]["audio_seconds"] == pytest.approx(seconds)

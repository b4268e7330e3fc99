"""Held-out excerpts and what is measured on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import RATE, tiny_recipe

from m2l_bench import audio as audio_io
from m2l_bench.systems.small.recipes import objective_of
from m2l_bench.training.optimization import AveragedWeights
from m2l_bench.training.recipe import ValidationSection
from m2l_bench.training.validation import Validation, held_out, picture, using


def _validation(pieces: Path, **changes: object) -> Validation:
    section = {"folders": [{"path": str(pieces)}], "clips": 3, "seconds": 0.4, "samples": 0, **changes}
    recipe = tiny_recipe(pieces, validation=section)
    assert recipe.validation
    return Validation(objective_of(recipe), recipe.validation, RATE, None)


def _section(folder: Path, clips: int) -> ValidationSection:
    return ValidationSection.model_validate({"folders": [{"path": folder}], "clips": clips, "seconds": 0.5})


def test_excerpts_spread_over_all_files(tmp_path: Path) -> None:
    for name, value in (("a", 0.1), ("b", 0.2)):
        audio_io.write(tmp_path / f"{name}.wav", np.full((2, 2 * RATE), value, np.float32), RATE)
    excerpts = held_out(_section(tmp_path, clips=4), RATE)
    assert excerpts.shape == (4, RATE // 2)
    np.testing.assert_allclose(excerpts[:, 0], [0.1, 0.1, 0.2, 0.2], atol=1e-6)


def test_excerpts_of_short_files_are_padded(tmp_path: Path) -> None:
    audio_io.write(tmp_path / "a.wav", np.full((1, 100), 0.5, np.float32), RATE)
    excerpts = held_out(_section(tmp_path, clips=1), RATE)
    assert excerpts.shape == (1, RATE // 2)
    assert float(excerpts[0, 200:].abs().max()) == 0


def test_measuring_twice_gives_the_same_and_leaves_the_weights(pieces: Path, tmp_path: Path) -> None:
    validation = _validation(pieces)
    network = validation.objective.network
    average = AveragedWeights(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.01)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    rows = [validation.measure(average, tmp_path, step) for step in (1, 2)]
    assert rows[0] == rows[1]
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in before.items())


def test_distance_at_the_lowest_noise_is_that_of_the_noise_alone(pieces: Path) -> None:
    """At sigma_min the model is the identity, so what is left is sigma_min times normal noise."""
    validation = _validation(pieces, sigmas=[0.002])
    with torch.no_grad():
        row = validation.objective.measure(validation.excerpts)
    c = 0.00054
    assert row["distance@0.002"] == pytest.approx((0.002**2 + c**2) ** 0.5 - c, rel=0.02)


def test_latents_are_heard_only_where_the_decoder_listens(pieces: Path) -> None:
    validation = _validation(pieces, sigmas=[1.0])
    torch.manual_seed(0)
    network = validation.objective.network
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
        assert abs(validation.objective.measure(validation.excerpts)["latents_heard"]) > 1e-6
        network.decoder.conv_in.weight.zero_()
        assert validation.objective.measure(validation.excerpts)["latents_heard"] == 0


def test_averaged_weights_are_used_for_a_while_only(pieces: Path) -> None:
    validation = _validation(pieces)
    network = validation.objective.network
    average = AveragedWeights(network)
    average.tensors["encoder.gain"].fill_(3.0)
    with using(average, network):
        assert torch.equal(network.encoder.gain, torch.full_like(network.encoder.gain, 3.0))
    assert torch.equal(network.encoder.gain, torch.ones_like(network.encoder.gain))


def test_a_picture_is_a_png(tmp_path: Path) -> None:
    time = np.arange(RATE, dtype=np.float32) / RATE
    picture(tmp_path / "x.png", {"a": np.sin(2000 * time), "b": np.zeros(100, np.float32)}, RATE)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")

"""Every family goes through the one trainer with all its guarantees, and what comes out loads as a system."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_families import FAMILIES, family_recipe
from tiny_training import chord

from m2l_bench.systems.registry import load
from m2l_bench.systems.small.recipes import objective_of, read_recipe, train
from m2l_bench.training.loop import Interrupted, NonFiniteError, Trainer
from m2l_bench.training.state import checkpoints


def _state(out: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoints(out / "checkpoints")[-1] / "state.safetensors")


@pytest.mark.parametrize("family", FAMILIES)
def test_stopped_and_resumed_is_bit_for_bit_the_same(family: str, pieces: Path, tmp_path: Path) -> None:
    """8 steps == 5 and a stop that saves, then 3 more from the files alone: across musika-style's change of stages."""
    validation = {"folders": [{"path": str(pieces)}], "every": 4, "clips": 2, "seconds": 0.3, "samples": 0}
    recipe = family_recipe(family, pieces, validation=validation)
    train(recipe, tmp_path / "whole", progress=False)
    trainer = Trainer(recipe, objective_of, tmp_path / "parts", score=None)
    trainer.start(resume=False)
    step = trainer.step

    def stop_after_three(examples):
        trainer.totals.step == 2 and trainer.stop.set()
        return step(examples)

    trainer.step = stop_after_three  # type: ignore[method-assign]
    with pytest.raises(Interrupted, match="stopped at step 3"):
        trainer.run(progress=False)
    torch.manual_seed(99)  # nothing may hang on the state of torch's own generator
    weights = train(recipe, tmp_path / "parts", resume=True, progress=False)
    whole, resumed = _state(tmp_path / "whole"), _state(tmp_path / "parts")
    assert whole.keys() == resumed.keys()
    for name in whole:
        assert torch.equal(whole[name], resumed[name]), name
    with (tmp_path / "parts" / "validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [4, 8]
    assert all(np.isfinite(float(row[name])) for row in rows for name in objective_of(recipe).loss.stages)

    system = load(f"{family}:small", checkpoint=weights)
    assert (system.name, system.sample_rate) == (f"{family}:weights", 8000)
    clip = chord(0.7, 4)
    assert system.reconstruct(clip).shape == clip.shape


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_not_finite_stops_the_run(family: str, pieces: Path, tmp_path: Path) -> None:
    trainer = Trainer(family_recipe(family, pieces), objective_of, tmp_path, score=None)
    trainer.start(resume=False)
    first = next(trainer.network.parameters())
    first.register_hook(lambda gradient: gradient * torch.nan)
    with pytest.raises(NonFiniteError, match=r"at step 0, sigma [\d.e+-]+ .*first faulty gradient: \w"):
        trainer.run(progress=False)
    assert checkpoints(tmp_path / "checkpoints")


def test_the_command_trains_any_family_and_encodes_with_it(pieces: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from m2l_bench.cli import app

    (tmp_path / "recipe.toml").write_text(
        f'family = "latmusic-style"\n[model]\nsample_rate = 8000\nwindow = 128\nhop = 32\nwidths = [8, 8]\nlatent_dim = 4\n'
        f'[data]\nfolders = [{{path = "{pieces}"}}]\n'
        '[optimization]\nsteps = 2\nbatch = 1\nwarm_up = 1\n[run]\ndevice = "cpu"\nthreads = 1\n'
    )
    run = CliRunner().invoke
    out = tmp_path / "out"
    assert run(app, ["train", str(tmp_path / "recipe.toml"), "--out", str(out)]).exit_code == 0
    options = ["--system", "latmusic-style", "--checkpoint", str(out / "weights.safetensors")]
    latents, back = tmp_path / "one.safetensors", tmp_path / "back.wav"
    result = run(app, ["encode", str(pieces / "one.wav"), str(latents), *options])
    assert result.exit_code == 0, result.output
    assert run(app, ["decode", str(latents), str(back), *options]).exit_code == 0
    assert back.exists()
    options[-1] = str(tmp_path / "nowhere.safetensors")
    missing = run(app, ["encode", str(pieces / "one.wav"), str(tmp_path / "x.safetensors"), *options])
    assert missing.exit_code == 2
    assert "nowhere.safetensors: must be a readable safetensors file" in missing.output


def test_an_unknown_family_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text('family = "moshi"\n[data]\nfolders = [{path = "x"}]\n')
    with pytest.raises(ValueError, match=r"family must be one of music2latent, latmusic-style, .*got 'moshi'"):
        read_recipe(tmp_path / "recipe.toml")


def test_a_family_takes_no_option_of_another(tmp_path: Path) -> None:
    text = '[data]\nfolders = [{path = "x"}]\n[optimization]\nunit_variance = true\n'
    (tmp_path / "recipe.toml").write_text('family = "dac-style"\n' + text)
    with pytest.raises(ValueError, match=r"optimization.unit_variance: Extra inputs"):
        read_recipe(tmp_path / "recipe.toml")

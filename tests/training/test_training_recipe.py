"""Recipes: what a file may say, and how its faults are told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from m2l_bench.cli import app
from m2l_bench.music2latent.config import Config
from m2l_bench.systems.small.recipes import read_recipe
from m2l_bench.training.music2latent.consistency_recipe import ConsistencyRecipe

MINIMAL = '[data]\nfolders = [{path = "music"}]\n'


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_are_the_published_training(tmp_path: Path) -> None:
    recipe = read_recipe(_write(tmp_path, MINIMAL))
    optimization, noise = recipe.optimization, recipe.noise
    assert recipe.config == Config()
    assert recipe.crop_samples == 34_304
    assert recipe.noise_shape == (2, 1024, 64)
    assert (optimization.steps, optimization.batch, optimization.warm_up) == (800_000, 16, 10_000)
    assert (optimization.learning_rate, optimization.final_learning_rate, optimization.ema) == (1e-4, 1e-6, 0.9999)
    assert optimization.betas == (0.9, 0.999)
    assert (noise.mean, noise.std, noise.bins, noise.end_exponent) == (-1.1, 2.0, 10_000, 3.0)


def test_paths_are_relative_to_the_recipe(tmp_path: Path) -> None:
    text = MINIMAL + '[validation]\nfolders = [{path = "/elsewhere", include = ["a*"]}]\n'
    recipe = read_recipe(_write(tmp_path, text))
    assert recipe.data.folders[0].path == tmp_path / "music"
    assert recipe.validation is not None
    assert recipe.validation.folders[0].path == Path("/elsewhere")


def test_json_and_back_is_the_same(tmp_path: Path) -> None:
    recipe = read_recipe(_write(tmp_path, MINIMAL + "[model]\nwidth = 16\n"))
    assert ConsistencyRecipe.model_validate(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[data\n", "must be a readable TOML file"),
        ("", "data: Field required"),
        (MINIMAL + "[optimization]\nlerning_rate = 1\n", "optimization.lerning_rate: Extra inputs are not permitted"),
        (MINIMAL + "[optimization]\nbatch = 0\n", "optimization.batch: .*greater than or equal to 1, got 0"),
        (MINIMAL + "[optimization]\nsteps = 10\n", r"toml: warm_up must be at most steps \(10\), got 10000$"),
        (MINIMAL + "[model]\nwidht = 8\n", "model: .*known keys only .*got widht"),
        (MINIMAL + "[model]\nwidth = 6\n", "model: .*width must"),
        (MINIMAL + "[run]\nprecision = 'int8'\n", "run.precision: .*'no', 'bf16' or 'fp16', got 'int8'"),
        ("[data]\nfolders = []\n", "data.folders: .*at least 1"),
    ],
)
def test_faults_name_the_key_and_the_value(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_recipe(_write(tmp_path, text))
    assert "recipe.toml" in str(error.value)


def test_a_missing_recipe_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere.toml: must be a readable TOML file"):
        read_recipe(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_device_that_is_not_there_is_one_clear_error(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = _write(tmp_path, MINIMAL + "[model]\nwidth = 16\nbottleneck_width = 16\n")
    result = CliRunner().invoke(app, ["train", str(path), "--out", str(tmp_path / "run"), "--device", device])
    assert result.exit_code == 2
    message = " ".join(result.stderr.split())
    assert f"device must be one that is available here (cpu), got '{device}'" in message
    assert "Traceback" not in message


def test_a_recipe_may_name_any_device(tmp_path: Path) -> None:
    for device in ("auto", "cpu", "cuda", "cuda:1"):
        assert read_recipe(_write(tmp_path, MINIMAL + f'[run]\ndevice = "{device}"\n')).run.device == device

"""Every trained family at a size that takes milliseconds a step, and weights of it as a training writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from m2l_bench.systems.small.recipes import RECIPES, FamilyRecipe

SIZES: dict[str, dict[str, Any]] = {
    "latmusic-style": {"window": 128, "hop": 32, "widths": [32, 32, 32], "latent_dim": 16},
    "musika-style": {"hop": 16, "width": 16, "latent_dim": 16},
    "mousai-style": {
        "filters": 32,
        "stride": 16,
        "channels": [32, 32, 32, 32],
        "factors": [1, 2, 2, 2],
        "blocks": [1, 1, 1, 1],
        "features": 32,
        "fft_size": 127,
        "hop": 32,
        "encoder_channels": 32,
        "encoder_factors": [2, 2],
        "encoder_blocks": [1, 1],
        "latent_dim": 16,
        "num_steps": 1,
    },
    "dac-style": {
        "downsampling_ratios": [4, 4, 8],
        "encoder_hidden_size": 4,
        "decoder_hidden_size": 32,
        "n_codebooks": 4,
        "codebook_size": 16,
        "latent_dim": 16,
    },
}
FAMILIES = list(SIZES)


def family_recipe(family: str, music: Path, *, sample_rate: int = 8000, **sections: dict[str, Any]) -> FamilyRecipe:
    """A recipe of a family for `music`, with some keys of its sections changed."""
    values: dict[str, Any] = {
        "family": family,
        "model": {**SIZES[family], "sample_rate": sample_rate},
        "data": {"folders": [{"path": str(music)}], "crop_latents": 8},
        "optimization": {"steps": 8, "batch": 2, "learning_rate": 3e-3, "warm_up": 2, "ema": 0.9},
        "run": {"device": "cpu", "threads": 1, "checkpoint_every": 4, "log_every": 2},
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    recipe = RECIPES[family].model_validate(values)
    assert isinstance(recipe, FamilyRecipe)
    return recipe


def write_weights(family: str, path: Path, *, sample_rate: int = 44100) -> Path:
    """Random weights of the tiny network, seeded, in the trainer's format."""
    torch.manual_seed(0)
    recipe = family_recipe(family, Path("music"), sample_rate=sample_rate)
    tensors = {name: tensor.contiguous() for name, tensor in recipe.loss().network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, {"family": family, "config": json.dumps(recipe.model)})
    return path

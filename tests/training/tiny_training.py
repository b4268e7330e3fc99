"""A training that takes milliseconds a step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from m2l_bench.training.music2latent.consistency_recipe import ConsistencyRecipe

RATE = 8000
MODEL: dict[str, Any] = {
    "sample_rate": RATE,
    "window": 128,
    "hop": 32,
    "width": 4,
    "multipliers": [1, 2, 2],
    "blocks": [1, 1, 1],
    "encoder_blocks": [1, 1, 1],
    "attention": [False, False, True],
    "frequency_only": [True, False],
    "bottleneck_width": 16,
    "bottleneck_blocks": 1,
    "embedding_width": 16,
    "unused_embedding": False,
    "latent_dim": 4,
}


def chord(seconds: float, seed: int = 0) -> np.ndarray:
    """A few decaying notes, (1, samples)."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    audio = np.zeros_like(time)
    for onset in np.arange(0, seconds, 0.25):
        frequency = 110 * 2 ** (random.integers(0, 36) / 12)
        age = np.clip(time - onset, 0, None)
        audio += 0.2 * (time >= onset) * np.exp(-4 * age) * np.sin(2 * np.pi * frequency * age)
    return np.clip(audio, -1, 1).astype(np.float32)[None]


def tiny_recipe(music: Path, **sections: dict[str, Any]) -> ConsistencyRecipe:
    """A recipe for `music` with some keys of its sections changed."""
    values: dict[str, dict[str, Any]] = {
        "model": MODEL,
        "data": {"folders": [{"path": str(music)}], "crop_latents": 4},
        "optimization": {"steps": 20, "batch": 2, "learning_rate": 1e-3, "warm_up": 4},
        "run": {"device": "cpu", "threads": 1, "checkpoint_every": 5, "log_every": 5},
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return ConsistencyRecipe.model_validate(values)

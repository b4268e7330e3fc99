"""A tiny model learns one short clip by heart: the objective, the loop and the sampler work together."""

from __future__ import annotations

from pathlib import Path

import torch
from tiny_training import MODEL, RATE, chord, tiny_recipe

from m2l_bench import audio as audio_io
from m2l_bench.music2latent.checkpoint import load_checkpoint
from m2l_bench.music2latent.network import Music2LatentNetwork
from m2l_bench.music2latent.representation import from_spectrogram, to_spectrogram
from m2l_bench.reconstruction import si_sdr
from m2l_bench.systems.small.recipes import train


def test_one_clip_is_learnt_by_heart(tmp_path: Path) -> None:
    """The clip is one crop long, so training and test use the same framing."""
    levels = {
        "multipliers": [1, 4],
        "blocks": [1, 1],
        "encoder_blocks": [1, 1],
        "attention": [False, True],
        "frequency_only": [False],
    }
    model = {**MODEL, **levels, "hop": 64, "width": 8, "latent_dim": 16}
    clip = chord(0.2, 5)[:, : 4 * 128 + 64]
    audio_io.write(tmp_path / "music" / "clip.wav", clip, RATE)
    recipe = tiny_recipe(
        tmp_path / "music",
        model=model,
        data={"crop_latents": 4},
        noise={"mean": 2.0, "std": 1.5, "start_exponent": 0.5, "end_exponent": 0.8},
        optimization={"steps": 150, "batch": 4, "learning_rate": 1e-2, "warm_up": 10, "ema": 0.97},
        run={"checkpoint_every": 1000, "log_every": 30},
    )
    checkpoint = load_checkpoint(train(recipe, tmp_path / "run", progress=False))
    network = Music2LatentNetwork(checkpoint.config)
    network.load_state_dict(checkpoint.state)
    with torch.no_grad():
        x = to_spectrogram(torch.from_numpy(clip), recipe.config, padded=False)
        noise = 80 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
        estimate = network.denoise(noise, torch.tensor([80.0]), network.pyramid(network.encode(x)))
        decoded = from_spectrogram(estimate, recipe.config, padded=False).numpy()
    assert (estimate - x).norm() < x.norm() / 3  # untrained, it gives back nothing: the distance is the clip's own norm
    inside = slice(64, -64)  # without padding, a hop at either end lies under half of its frames
    assert si_sdr(clip[:, inside], decoded[:, inside], RATE) > 10

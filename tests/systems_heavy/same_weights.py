"""Small sizes of SAME in its published layout, with weights made from their names: shared by the recorder and the tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import recipes
import torch
from safetensors.torch import save_file


def _config(side: Mapping[str, Any], *, decoder: Mapping[str, Any], patch_size: int, **more: Any) -> dict[str, Any]:
    """A ``model_config.json`` of the published layout; `more` is of the decoder's part and of the bottleneck."""
    bottleneck = {"dim": side["latent_dim"], "auto_scale": True, "noise_regularize": True}
    in_out = 2 * patch_size
    return {
        "model_type": "autoencoder",
        "sample_rate": 44100,
        "model": {
            "encoder": {"type": "same", "config": {**side, "in_channels": in_out}},
            "decoder": {"type": "same", "config": {**side, **decoder, "out_channels": in_out}, **more},
            "bottleneck": {"type": "softnorm", "config": bottleneck},
            "pretransform": {"type": "patched", "config": {"patch_size": patch_size, "channels": 2}},
            "latent_dim": side["latent_dim"],
            "downsampling_ratio": patch_size * int(np.prod(side["strides"])),
            "io_channels": 2,
        },
    }


_ONE_LEVEL = {"channels": 8, "c_mults": [6], "strides": [16], "latent_dim": 12, "dim_heads": 16}
# As SAME-S, as SAME-L, and with what neither has.
CONFIGS = {
    "chunks": _config(
        _ONE_LEVEL
        | {"transformer_depths": [4], "chunk_size": 32, "chunk_midpoint_shift": True, "variable_stride": True},
        decoder={"conv_mapping": True},
        patch_size=64,
    ),
    "windows": _config(
        _ONE_LEVEL | {"transformer_depths": [5], "sliding_window": [1, 1], "variable_stride": True},
        decoder={"sinusoidal_blocks": [3]},
        patch_size=64,
    ),
    "others": _config(
        {
            "channels": 8,
            "c_mults": [2, 6],
            "strides": [4, 2],
            "latent_dim": 12,
            "dim_heads": 16,
            "ff_mult": 2,
            "transformer_depths": [2, 3],
            "sliding_window": [2, 2],
            "differential": False,
            "mask_noise": 0.1,
        },
        decoder={"sinusoidal_blocks": [0, 2], "conv_mapping": True},
        patch_size=64,
        soft_clip=True,
    ),
}


def published_size(name: str, folder: Path) -> None:
    """A folder with weights of SAME-S's or SAME-L's shapes."""
    from m2l_bench.systems.same import Settings, empty

    small = name == "same-s"
    side = {"channels": 128 if small else 256, "c_mults": [6], "strides": [16], "latent_dim": 256, "dim_heads": 64}
    side |= {"transformer_depths": [6 if small else 12], "variable_stride": True}
    side |= {"chunk_size": 32, "chunk_midpoint_shift": True} if small else {"sliding_window": [1, 1]}
    decoder = {"conv_mapping": True} if small else {"sinusoidal_blocks": [8]}
    (folder / "model_config.json").write_text(json.dumps(_config(side, decoder=decoder, patch_size=256)))
    import diffusers

    model = empty(diffusers.AutoencoderSAME, Settings.read(folder / "model_config.json"))
    back = {"norm_attn": "pre_norm", "norm_ff": "ff_norm", "attn": "self_attn"}
    weights = {}
    for key, value in model.state_dict().items():
        key = key.replace("encoder.blocks.0", "encoder.layers.0").replace("decoder.blocks.0", "decoder.layers.3")
        key = key.replace("encoder.proj", "encoder.layers.2").replace("decoder.proj", "decoder.layers.1")
        key = key.replace("ff.proj_in", "ff.ff.0.proj").replace("ff.proj_out", "ff.ff.2")
        key = ".".join(back.get(part, part) for part in key.split("."))
        weights[key.replace("bottleneck.scale", "bottleneck.scaling_factor")] = value.contiguous()
    save_file(weights, folder / "model.safetensors")


def state(group: str, layout: Mapping[str, Sequence[int]]) -> dict[str, torch.Tensor]:
    """Weights of the given names and shapes, scales about 1."""
    made = {}
    for name, shape in layout.items():
        value = recipes.weight(group, name, tuple(shape)) if 0 not in shape else np.empty(shape, np.float32)
        if name.endswith(("alpha", "gamma", "scaling_factor", "running_std", "weight_g")):
            value = 1 + np.abs(value) / 3
        if name.startswith("decoder") and name.endswith("mapping.weight_g"):
            value /= 8  # audio of usual levels
        if name.endswith("inv_freq"):
            value = 10_000.0 ** -(np.arange(len(value), dtype=np.float32) / len(value))
        if ".ff.ff.0." in name:
            value /= 3  # or sines make large what rounding did
        made[name] = torch.from_numpy(np.ascontiguousarray(value, np.float32))
    return made


def pattern(*shape: int) -> np.ndarray:
    """In place of every draw of noise."""
    return recipes.wave(int(np.prod(shape))).reshape(shape)

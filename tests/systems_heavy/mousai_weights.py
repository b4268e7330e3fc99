"""Published-style state dicts of Moûsai, made from the recorded layout and the weights' recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import recipes
import torch
from torch import Tensor

from m2l_bench.systems.mousai.network import VERSIONS, Config, mel_bands

_SMALL: dict[str, Any] = {"filters": 8, "features": 32, "encoder_channels": 16, "latent_dim": 4}
CONFIGS: dict[str, Config] = {
    "small-v2": replace(VERSIONS["v2"], channels=(16, 16, 16, 16, 24, 24, 24), encoder_blocks=(1, 2), **_SMALL),
    "small-v3": replace(VERSIONS["v3"], channels=(16, 16, 16, 16, 24), encoder_blocks=(2,), **_SMALL),
    "v2": VERSIONS["v2"],
    "v3": VERSIONS["v3"],
}
_TIME = "net.blocks.2.blocks.1.blocks."


def state(layout: Mapping[str, Sequence[int]], config: Config) -> dict[str, Tensor]:
    """Weights under the names of the U-Net's first copy and the encoder, as recorded: ``net.*`` and ``encoder.*``."""
    made: dict[str, Tensor] = {}
    for name, shape in layout.items():
        if name.endswith(".fb"):
            made[name] = mel_bands(config.fft_size // 2 + 1, config.mel_bands or 0, config.sample_rate)
        elif name.endswith("window"):
            made[name] = torch.hann_window(shape[0])
        else:
            same = name.replace(_TIME + "1.", _TIME + "0.")  # one layer under two names
            draw = recipes.weight("mousai", same, tuple(shape))
            norm = ".groupnorm." in name or (len(shape) == 1 and name.endswith(".0.weight"))
            made[name] = torch.from_numpy(1 + draw if norm and name.endswith("weight") else draw)
    return made


def published(layout: Mapping[str, Sequence[int]], config: Config) -> dict[str, Tensor]:
    """The state dict as the hub's file holds it: the U-Net three times, everything under ``model.``."""
    made = {}
    for name, value in state(layout, config).items():
        made[f"model.{name}"] = value
        if name.startswith("net."):
            made |= {f"model.{part}.{name}": value for part in ("diffusion", "sampler")}
    return made

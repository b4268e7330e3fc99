"""Shrunk models of the packages ``music2latent`` and ``codicodec`` with random weights, as their trainers save them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

MUSIC2LATENT = {"base_channels": 8, "cond_channels": 16, "bottleneck_base_channels": 16, "num_bottleneck_layers": 1}
CODICODEC = {
    "dim": 32,
    "heads": 2,
    "mlp_mult": 1,
    "num_layers": 1,
    "num_layers_encoder": 1,
    "cond_channels": 16,
    "num_latents": 32,
    "num_more_latents": 2,
    "frontend_base_channels": 8,
    "frontend_multipliers_list": [1, 2, 4, 4],
    "frontend_layers_list": [1, 1, 1, 1],
    "frontend_encoder_layers_list": [1, 1, 1, 1],
}


def shrink(package: str, patch: pytest.MonkeyPatch) -> None:
    """Sizes are module globals there."""
    for module in ("models", "inference"):
        found = importlib.import_module(f"{package}.{module}")
        for name, value in {"music2latent": MUSIC2LATENT, "codicodec": CODICODEC}[package].items():
            patch.setattr(found, name, value)


def write(package: str, folder: Path) -> Path:
    """A checkpoint of the published name; a network that starts with branches of zeros gets weights in them."""
    models: Any = importlib.import_module(f"{package}.models")
    torch.manual_seed(0)
    network = models.UNet()
    state = network.state_dict()
    generator = torch.Generator().manual_seed(1)
    for tensor in state.values():
        if tensor.is_floating_point() and not tensor.any():
            tensor.normal_(0, 0.05, generator=generator)
    path = folder / f"{package}.pt"
    torch.save({"gen_state_dict": state, "it": 3, "fid": np.float64(1.5)}, path)
    return path

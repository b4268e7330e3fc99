"""Shrunk models of the packages ``music2latent``, ``codicodec``, ``linear_cae`` and ``snac``, with random weights."""

from __future__ import annotations

import importlib
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

MUSIC2LATENT: dict[str, Any] = {
    "base_channels": 8,
    "cond_channels": 16,
    "bottleneck_base_channels": 16,
    "num_bottleneck_layers": 1,
}
CODICODEC: dict[str, Any] = {
    "dim": 32,
    "heads": 2,
    "mlp_mult": 1,
    "num_layers": 1,
    "num_layers_encoder": 1,
    "cond_channels": 16,
    "num_latents": 32,
    "num_more_latents": 2,
    "frontend_base_channels": 4,
    "frontend_multipliers_list": [1, 2, 4, 8],
    "frontend_layers_list": [1, 1, 1, 1],
    "frontend_encoder_layers_list": [1, 1, 1, 1],
}


LIN_CAE = {
    "frontend": {"hop_size": 64, "alpha_rescale": 0.65, "beta_rescale": 0.34, "sample_rate": 44100},
    "generator": {
        "hop": 64,
        "base_channels": 8,
        "cond_channels": 16,
        "bottleneck_base_channels": 16,
        "bottleneck_channels": 16,
        "num_bottleneck_layers": 1,
        "layers_list": [1, 1, 1, 1, 1],
    },
    "diffusion": {},
}


SNAC_CONFIG = {
    "sampling_rate": 44100,
    "encoder_dim": 8,
    "encoder_rates": [2, 4, 4],
    "decoder_dim": 64,
    "decoder_rates": [4, 4, 2],
    "attn_window_size": 8,
    "codebook_size": 64,
    "vq_strides": [4, 2, 1],
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
    path = folder / f"{package}.pt"
    torch.save({"gen_state_dict": _drawn(models.UNet()), "it": 3, "fid": np.float64(1.5)}, path)
    return path


def write_snac(folder: Path) -> Path:
    """A folder with the published names."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from snac import SNAC

        torch.save(SNAC(**SNAC_CONFIG).state_dict(), folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(SNAC_CONFIG))
    return folder


def write_lin_cae(folder: Path) -> Path:
    """A folder with the published names."""
    from linear_cae import Autoencoder

    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    torch.save(_drawn(Autoencoder(*LIN_CAE.values())), folder / "autoencoder_inference_model_last.pth")
    for part, arguments in LIN_CAE.items():
        (folder / f"{part}_kwargs_last.yaml").write_text(json.dumps(arguments))  # JSON is YAML
    return folder


def _drawn(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    state = network.state_dict()
    generator = torch.Generator().manual_seed(1)
    for tensor in state.values():
        if tensor.is_floating_point() and not tensor.any():
            tensor.normal_(0, 0.05, generator=generator)
    return state

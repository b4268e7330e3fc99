"""The authors' package (CC BY-NC 4.0, a test dependency only), with its sizes changed where a test wants a smaller model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from music2latent import models

from m2l_bench.music2latent.config import Config

NARROW = Config(width=8, embedding_width=16, bottleneck_width=16, bottleneck_blocks=2, latent_dim=16)


def build(config: Config, monkeypatch: Any) -> Any:
    """The authors' network at some widths: they are module globals there."""
    monkeypatch.setattr(models, "base_channels", config.width)
    monkeypatch.setattr(models, "cond_channels", config.embedding_width)
    monkeypatch.setattr(models, "bottleneck_base_channels", config.bottleneck_width)
    monkeypatch.setattr(models, "num_bottleneck_layers", config.bottleneck_blocks)
    monkeypatch.setattr(models, "bottleneck_channels", config.latent_dim)
    return models.UNet().eval().requires_grad_(False)


def trainer(network: Any) -> SimpleNamespace:
    """What the authors' encode and decode functions expect around a network."""
    return SimpleNamespace(gen=network)

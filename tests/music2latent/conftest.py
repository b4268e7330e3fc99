"""Small models with redrawn weights, shared by the core model's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from drawing import drawn_state

from m2l_bench.music2latent.autoencoder import Music2Latent
from m2l_bench.music2latent.checkpoint import save_checkpoint
from m2l_bench.music2latent.config import Config
from m2l_bench.music2latent.network import Music2LatentNetwork


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Small tensors gain nothing from threads, and test workers share the cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny() -> Config:
    """All kinds of layers, hardly any width: 2 kHz audio, 32 bins, 128 samples a latent."""
    return Config(
        sample_rate=2000,
        window=64,
        hop=16,
        width=8,
        multipliers=(1, 1, 2, 2, 2),
        blocks=(1, 1, 1, 1, 1),
        heads=2,
        embedding_width=16,
        bottleneck_width=16,
        bottleneck_blocks=1,
        unused_embedding=False,
        latent_dim=8,
    )


@pytest.fixture(scope="session")
def tiny_network(tiny: Config) -> Music2LatentNetwork:
    network = Music2LatentNetwork(tiny).eval().requires_grad_(False)
    network.load_state_dict(drawn_state(network.state_dict()))
    return network


@pytest.fixture(scope="session")
def tiny_file(tiny_network: Music2LatentNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save_checkpoint(path, tiny_network.state_dict(), tiny_network.config)
    return path


@pytest.fixture(scope="session")
def system(tiny_file: Path) -> Music2Latent:
    return Music2Latent(tiny_file, device="cpu")

"""Parity with recorded results of the authors' package, wherever that package is absent: see make_golden.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from drawing import drawn_state, golden_audio, golden_noise, to_published

from m2l_bench.music2latent.autoencoder import Music2Latent
from m2l_bench.music2latent.checkpoint import save_checkpoint
from m2l_bench.music2latent.config import PUBLISHED
from m2l_bench.music2latent.keys import from_published
from m2l_bench.music2latent.network import Music2LatentNetwork

TOLERANCE = 1e-4  # of the peak


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).with_name("golden.npz")) as file:
        return dict(file)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Music2Latent:
    """The published model's size and names, with weights drawn by the authors' names."""
    with torch.device("meta"):
        blank = Music2LatentNetwork(PUBLISHED).state_dict()
    path = tmp_path_factory.mktemp("golden") / "golden.safetensors"
    save_checkpoint(path, from_published(drawn_state(to_published(blank, PUBLISHED)), PUBLISHED), PUBLISHED)
    return Music2Latent(path, compatible=True, device="cpu")


def _error(expected: np.ndarray, got: np.ndarray) -> float:
    assert expected.shape == got.shape
    return float(np.abs(expected - got).max() / np.abs(expected).max())


def test_latents_and_features(published: Music2Latent, golden: dict[str, np.ndarray]) -> None:
    assert _error(golden["latents"], published.encode(golden_audio())) < TOLERANCE
    assert _error(golden["features"], published.features(golden_audio())) < TOLERANCE


def test_decode(published: Music2Latent, golden: dict[str, np.ndarray]) -> None:
    decoded = published.decode(golden["latents"], noise=torch.from_numpy(golden_noise()))
    assert _error(golden["decoded"], decoded) < TOLERANCE

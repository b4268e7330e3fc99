"""SNAC against its own package's full path, with a shrunk model and random weights."""

from __future__ import annotations

from pathlib import Path

import authors_models
import numpy as np
import pytest
import recipes
import torch

from m2l_bench.files.hub import CheckpointError
from m2l_bench.systems.base import Autoencoder, BitstreamCodec
from m2l_bench.systems.registry import load
from m2l_bench.systems.snac import Snac

UNIT = 32 * 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return authors_models.write_snac(tmp_path_factory.mktemp("snac"))


@pytest.fixture(scope="module")
def system(folder: Path) -> Snac:
    found = load("snac", checkpoint=folder)
    assert isinstance(found, Snac)
    return found


@pytest.mark.parametrize("n_samples", [1, 1000, 44101])
def test_reconstruct_is_the_packages_own_path(system: Snac, n_samples: int) -> None:
    audio = recipes.music(1, n_samples)
    torch.manual_seed(system.seed)
    with torch.inference_mode():
        expected, _ = system.model(torch.from_numpy(audio)[None])
    back = system.reconstruct(audio)
    assert back.shape == audio.shape
    assert np.isfinite(back).all()
    if n_samples < 16 * UNIT:  # a longer one draws its noise block by block
        np.testing.assert_allclose(back, expected[0], atol=1e-5)


def test_blocks_give_the_codes_of_the_whole(system: Snac) -> None:
    audio, longest = recipes.music(2, 40 * UNIT + 7), []
    with torch.inference_mode():
        expected = system.model.encode(torch.from_numpy(audio)[:, None])
    hook = system.model.quantizer.register_forward_pre_hook(lambda _, inputs: longest.append(inputs[0].shape[-1]))
    with hook:
        assert len(system.compress(audio)) > 0
    assert len(longest) == 3 and max(longest) == 16 * UNIT // system.hop
    for ours, theirs in zip(system._codes(audio), expected, strict=True):
        assert float((ours == theirs).float().mean()) > 0.999


def test_the_bit_stream_is_what_reconstruct_hears_at_the_rate_of_the_codes(system: Snac) -> None:
    assert isinstance(system, BitstreamCodec) and isinstance(system, Autoencoder)
    audio = recipes.music(2, 30001)
    data = system.compress(audio)
    np.testing.assert_array_equal(system.decompress(data, 2, 30001), system.reconstruct(audio))
    frames = -(-30001 // UNIT) * 8
    assert len(data) == -(-2 * 6 * (frames // 4 + frames // 2 + frames) // 8)


def test_the_seed_picks_the_noise_and_leaves_torchs_own_state(system: Snac, folder: Path) -> None:
    audio = recipes.music(2, 5000)
    torch.manual_seed(12345)  # none that the system sets
    state = torch.get_rng_state()
    once, again = system.reconstruct(audio), system.reconstruct(audio)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, load("snac", checkpoint=folder, seed=1).reconstruct(audio))


def test_claims_are_true(system: Snac) -> None:
    one, two = (system.encode(recipes.music(1, n * UNIT)) for n in (10, 20))
    assert one.shape[1] == system.latent_dim
    assert (two.shape[-1] - one.shape[-1]) / (10 * UNIT / 44100) == pytest.approx(system.latent_rate)


def test_foreign_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    torch.save({"a": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="must hold SNAC's weights and nothing else"):
        load("snac", checkpoint=tmp_path)

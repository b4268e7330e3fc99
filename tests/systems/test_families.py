"""Systems of trained families: windows of bounded size, places of the noise, bit rate, and what a checkpoint must be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_families import FAMILIES, write_weights

from m2l_bench.files.hub import CheckpointError
from m2l_bench.systems.base import BitstreamCodec
from m2l_bench.systems.registry import load
from m2l_bench.systems.small.system import WINDOW, FamilySystem

RATE = 8000


def _system(family: str, folder: Path, **options: object) -> FamilySystem:
    system = load(family, checkpoint=write_weights(family, folder / "w.safetensors", sample_rate=RATE), **options)
    assert isinstance(system, FamilySystem)
    return system


def _music(n_samples: int, channels: int = 1) -> np.ndarray:
    random = np.random.default_rng(n_samples)
    return (0.1 * random.standard_normal((channels, n_samples))).astype(np.float32)


@pytest.mark.parametrize("family", FAMILIES)
def test_five_minutes_go_through_in_windows(family: str, tmp_path: Path) -> None:
    """The network never sees more than a window, so that memory does not grow with the file."""
    system = _system(family, tmp_path)
    network, unit = system.network, system.network.config.samples_per_latent
    seen: list[int] = []

    def encode(audio: torch.Tensor) -> torch.Tensor:
        seen.append(audio.shape[-1])
        return audio.new_zeros(len(audio), 16, audio.shape[-1] // unit)

    def decode(latents: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        seen.append(latents.shape[-1] * unit)
        return latents.new_zeros(len(latents), latents.shape[-1] * unit)

    network.decode = decode  # type: ignore[method-assign]
    network.encode = network.unquantised = encode  # type: ignore[method-assign, assignment]
    length = 300 * RATE + 1
    assert system.reconstruct(_music(length)).shape == (1, length)
    assert max(seen) == WINDOW * unit
    assert len(seen) > 2 * length / (WINDOW * unit)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_window_of_a_long_file_is_that_of_the_file_cut_there(family: str, tmp_path: Path) -> None:
    """Noise and framing depend on the absolute place alone."""
    system = _system(family, tmp_path)
    unit = system.network.config.samples_per_latent
    audio = _music(3 * WINDOW * unit)
    cut = audio[:, : WINDOW * unit - system.network.margin]
    whole, alone = system.encode(audio), system.encode(cut)
    inside = WINDOW // 2
    tolerance = 0.05 if family in ("latmusic-style", "mousai-style") else 1e-4  # whose norms depend on the whole window
    np.testing.assert_allclose(whole[..., :inside], alone[..., :inside], atol=tolerance)
    short = system.decode(whole[..., :WINDOW], inside * unit)
    np.testing.assert_allclose(system.decode(whole, inside * unit), short, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_decoded_has_no_constant_offset(family: str, tmp_path: Path) -> None:
    network = _system(family, tmp_path).network
    latents = torch.linspace(-1, 1, 16 * 8).reshape(1, 16, 8)
    noise = torch.from_numpy(_music(8 * network.config.samples_per_latent))
    with torch.no_grad():
        raw, decoded = network.synthesise(latents, noise), network.decode(latents, noise)
    assert decoded.std() > 0
    assert decoded.mean().abs() < 1e-5 * decoded.abs().max()
    torch.testing.assert_close(raw - decoded, raw.mean().expand_as(raw), atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_seed_picks_the_noise_where_there_is_any(family: str, tmp_path: Path) -> None:
    audio = _music(3000)
    one, two = (_system(family, tmp_path, seed=seed).reconstruct(audio) for seed in (0, 1))
    assert np.array_equal(one, two) == (family != "mousai-style")


def test_dac_styles_bit_rate_is_that_of_its_codes(tmp_path: Path) -> None:
    system = _system("dac-style", tmp_path)
    assert isinstance(system, BitstreamCodec)
    seconds = 4
    data = system.compress(_music(seconds * RATE))
    config = system.network.config
    frames_a_second = RATE / config.samples_per_latent
    bit_rate = config.n_codebooks * config.bits_per_code * frames_a_second
    assert 8 * len(data) / seconds == pytest.approx(bit_rate, rel=0.01)


def test_a_checkpoint_must_be_of_the_family_and_whole(tmp_path: Path) -> None:
    path = write_weights("latmusic-style", tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="must hold weights of dac-style, got latmusic-style"):
        load("dac-style", checkpoint=path)
    with pytest.raises(CheckpointError, match="must be a readable safetensors file"):
        load("latmusic-style", checkpoint=tmp_path / "nothing.safetensors")
    tensors = load_file(path)
    tensors.popitem()
    metadata = {"family": "latmusic-style", "config": "{}"}
    save_file(tensors, path, metadata)
    with pytest.raises(CheckpointError, match="size mismatch"):
        load("latmusic-style", checkpoint=path)


def test_weights_stored_in_half_precision_are_read(tmp_path: Path) -> None:
    path = write_weights("musika-style", tmp_path / "w.safetensors", sample_rate=RATE)
    before = load("musika-style", checkpoint=path).encode(_music(2000))
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file({name: tensor.half() for name, tensor in load_file(path).items()}, path, metadata)
    np.testing.assert_allclose(load("musika-style", checkpoint=path).encode(_music(2000)), before, atol=0.01)

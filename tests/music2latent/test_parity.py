"""Equal to the authors' package, number for number, with every parameter that starts as zero or one redrawn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import torch
from drawing import drawn_state, to_published
from music2latent import inference as authors_inference
from torch import Tensor

from m2l_bench.music2latent import inference
from m2l_bench.music2latent import representation as ours
from m2l_bench.music2latent.autoencoder import Music2Latent
from m2l_bench.music2latent.checkpoint import save_checkpoint
from m2l_bench.music2latent.config import PUBLISHED, Config
from m2l_bench.music2latent.consistency import sample, sampling_levels
from m2l_bench.music2latent.keys import from_published, published_names
from m2l_bench.music2latent.network import Music2LatentNetwork

# The authors ask for CUDA's autocast on every machine.
pytestmark = pytest.mark.filterwarnings("ignore:.*CUDA is not available.*", "ignore:.*device_type of 'cuda'.*")
TOLERANCE = 1e-4  # of the peak


def _error(expected: Tensor, got: Tensor) -> float:
    assert expected.shape == got.shape
    return float((expected - got).abs().max() / expected.abs().max())


def _pair(config: Config, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Music2LatentNetwork]:
    theirs = oracle.build(config, monkeypatch)
    theirs.load_state_dict(drawn_state(theirs.state_dict()))
    network = Music2LatentNetwork(config).eval().requires_grad_(False)
    network.load_state_dict(from_published(theirs.state_dict(), config))
    return theirs, network


def _audio(channels: int, n_samples: int) -> Tensor:
    generator = torch.Generator().manual_seed(n_samples)
    return (0.2 * torch.randn(channels, n_samples, generator=generator)).clamp(-1, 1)


@pytest.fixture(scope="module")
def narrow() -> Iterator[tuple[Any, Music2LatentNetwork]]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield _pair(oracle.NARROW, monkeypatch)


@pytest.fixture(scope="module")
def narrow_file(narrow: tuple[Any, Music2LatentNetwork], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("narrow") / "narrow.safetensors"
    save_checkpoint(path, narrow[1].state_dict(), oracle.NARROW)
    return path


def test_published_model_at_full_size() -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        theirs, network = _pair(PUBLISHED, monkeypatch)
        x = ours.to_spectrogram(_audio(1, 3 * 512 + 16 * 512), PUBLISHED, padded=False)
        code = theirs.encoder(x)
        pyramid = network.pyramid(code)
        assert _error(theirs.encoder(x, extract_features=True), network.features(x)) < TOLERANCE
        assert _error(code, network.encode(x)) < TOLERANCE
        assert max(map(_error, theirs.decoder(code), pyramid)) < TOLERANCE
        noisy = 80 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        expected = theirs(code, noisy, 80.0)
        assert _error(expected, network.denoise(noisy, torch.tensor([80.0]), pyramid)) < TOLERANCE
        assert float(expected.std()) > 0.1  # the redrawn output layer says something


def test_published_model_has_as_many_parameters() -> None:
    network = Music2LatentNetwork(PUBLISHED)
    counts = [sum(p.numel() for p in part.parameters()) for part in (network, network.encoder, network.decoder)]
    assert counts == [58_185_026, 16_261_568, 17_286_464]


def test_spectrogram_and_waveform(narrow: tuple[Any, Music2LatentNetwork]) -> None:
    audio = _audio(2, 3 * 512 + 24 * 512)
    expected = authors_inference.to_representation_encoder(audio)
    got = ours.to_spectrogram(audio, oracle.NARROW, padded=False)
    assert _error(expected, got) < TOLERANCE
    back = ours.from_spectrogram(got, oracle.NARROW, padded=False)
    assert _error(authors_inference.to_waveform(expected), back) < TOLERANCE


@pytest.mark.parametrize("sigma", [0.002, 0.01, 0.5, 5.0, 80.0])
def test_consistency_function(narrow: tuple[Any, Music2LatentNetwork], sigma: float) -> None:
    theirs, network = narrow
    x = ours.to_spectrogram(_audio(2, 3 * 512 + 24 * 512), oracle.NARROW, padded=False)
    code = theirs.encoder(x)
    noisy = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    got = network.denoise(noisy, torch.full((2,), sigma), network.pyramid(code))
    assert _error(theirs(code, noisy, sigma), got) < TOLERANCE


def test_levels_may_differ_within_a_batch(narrow: tuple[Any, Music2LatentNetwork]) -> None:
    theirs, network = narrow
    noisy = torch.randn(3, 2, 1024, 8, generator=torch.Generator().manual_seed(2))
    code = torch.rand(3, 16, 1, generator=torch.Generator().manual_seed(3)) * 2 - 1
    sigma = torch.tensor([0.1, 1.0, 40.0])
    got = network.denoise(noisy, sigma, network.pyramid(code))
    assert _error(theirs(code, noisy, sigma), got) < TOLERANCE


@pytest.mark.parametrize("steps", [1, 3])
def test_sampler(narrow: tuple[Any, Music2LatentNetwork], steps: int) -> None:
    theirs, network = narrow
    code = torch.rand(1, 16, 2, generator=torch.Generator().manual_seed(4)) * 2 - 1
    torch.manual_seed(5)
    expected = authors_inference.decode_to_representation(theirs, code, diffusion_steps=steps, device="cpu")
    torch.manual_seed(5)
    pyramid = network.pyramid(code)
    got = sample(
        lambda x, sigma: network.denoise(x, torch.full((1,), sigma), pyramid),
        lambda step: torch.randn(1, 2, 1024, 16),
        sampling_levels(steps),
    )
    assert _error(expected, got) < TOLERANCE


@pytest.mark.parametrize("seconds", [60, 1])
def test_encode_and_decode_as_the_authors_frame_them(
    narrow: tuple[Any, Music2LatentNetwork], narrow_file: Path, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "AUTHORS_SECONDS", seconds)  # pieces of 1 s: several, the last one filled up
    system = Music2Latent(narrow_file, compatible=True, device="cpu")
    trainer, length = oracle.trainer(narrow[0]), seconds * 44100
    audio = _audio(2, 100_000).numpy()
    latents = system.encode(audio)
    expected = authors_inference.encode_audio_inference(audio, trainer, length, 1, device="cpu")
    assert latents.shape == (2, 16, 24)
    assert _error(expected, torch.from_numpy(latents)) < TOLERANCE
    features = authors_inference.encode_audio_inference(audio, trainer, length, 1, device="cpu", extract_features=True)
    assert _error(features, torch.from_numpy(system.features(audio))) < TOLERANCE
    # For each piece and channel, in this order, the authors draw the start and then what a next step would need.
    torch.manual_seed(6)
    decoded = authors_inference.decode_latent_inference(latents, trainer, length, 1, device="cpu")
    torch.manual_seed(6)
    size = 24 if seconds == 60 else 10
    draws = [torch.randn(1, 2, 1024, 8 * size) for _ in range(2 * 2 * (-(-24 // size)))][::2]
    noise = torch.cat([torch.cat(draws[channel::2], -1) for channel in range(2)])[..., : 8 * 24]
    got = torch.from_numpy(system.decode(latents, noise=noise))
    whole = slice(None) if seconds == 60 else slice(0, 2 * 10 * 4096 - 8192)  # the filling's noise is not the authors'
    assert _error(decoded[:, whole], got[:, whole]) < TOLERANCE
    assert got.shape == decoded.shape == (2, 24 * 4096 + 1536)


def test_the_documented_shapes(narrow_file: Path) -> None:
    system = Music2Latent(narrow_file, compatible=True, device="cpu")
    latents = system.encode(np.zeros((2, 50688), np.float32))
    assert latents.shape == (2, 16, 12)
    assert system.decode(latents, 50688, noise=torch.randn(2, 2, 1024, 96)).shape == (2, 50688)


def test_the_table_of_names_leaves_nothing_out() -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        theirs, network = _pair(oracle.NARROW, monkeypatch)
    names = published_names(oracle.NARROW)
    assert set(names) == set(network.state_dict())
    assert sorted(names.values()) == sorted(theirs.state_dict())
    back = to_published(network.state_dict(), oracle.NARROW)
    assert all(torch.equal(back[name], tensor) for name, tensor in theirs.state_dict().items())


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_a_tensor_too_few_or_too_many_is_named(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state = dict(oracle.build(oracle.NARROW, monkeypatch).state_dict())
    if change == "missing":
        del state["conv_out.bias"]
    else:
        state["conv_out.extra"] = torch.zeros(1)
    with pytest.raises(ValueError, match=rf"{change} 1 \(conv_out\.(bias|extra)\)"):
        from_published(state, oracle.NARROW)

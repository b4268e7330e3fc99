"""DAC, EnCodec and Stable Audio against their libraries' own full path, with shrunk models and random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import library_models
import numpy as np
import pytest
import recipes
import torch
from safetensors.torch import load_file, save_file

from m2l_bench.systems import framing, pretrained
from m2l_bench.systems.base import Autoencoder, BitstreamCodec
from m2l_bench.systems.dac import ContinuousDac, Dac
from m2l_bench.systems.diffusers_audio import DiffusersAutoencoder
from m2l_bench.systems.encodec import ContinuousEncodec, Encodec

AWKWARD = 22051


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, torch.nn.Module]]:
    makers: dict[str, Callable[[Path], torch.nn.Module]] = {
        "dac": library_models.dac,
        "24khz": lambda folder: library_models.encodec(folder, "24khz"),
        "48khz": lambda folder: library_models.encodec(folder, "48khz"),
        "stable-audio": library_models.oobleck,
    }
    folders = {name: tmp_path_factory.mktemp(name) for name in makers}
    return {name: (folders[name], make(folders[name])) for name, make in makers.items()}


SYSTEMS: dict[str, Callable[[dict], Autoencoder]] = {
    "dac": lambda m: Dac(checkpoint=m["dac"][0]),
    "dac-3": lambda m: Dac(checkpoint=m["dac"][0], codebooks=3),
    "dac-continuous": lambda m: ContinuousDac(checkpoint=m["dac"][0]),
    "encodec-24": lambda m: Encodec(checkpoint=m["24khz"][0]),
    "encodec-48": lambda m: Encodec(checkpoint=m["48khz"][0], variant="48khz", bandwidth=24.0),
    "encodec-24-continuous": lambda m: ContinuousEncodec(checkpoint=m["24khz"][0]),
    "encodec-48-continuous": lambda m: ContinuousEncodec(checkpoint=m["48khz"][0], variant="48khz"),
    "stable-audio": lambda m: DiffusersAutoencoder(system="stable-audio", checkpoint=m["stable-audio"][0]),
}


@pytest.fixture(scope="module")
def systems(models: dict) -> dict[str, Autoencoder]:
    return {name: make(models) for name, make in SYSTEMS.items()}


@pytest.fixture(params=list(SYSTEMS))
def system(request: pytest.FixtureRequest, systems: dict[str, Autoencoder]) -> Autoencoder:
    return systems[request.param]


def batch(audio: np.ndarray, multiple: int) -> torch.Tensor:
    """Each channel alone, filled up with zeros."""
    return torch.from_numpy(framing.pad_to_multiple(audio, multiple))[:, None]


def close(ours: np.ndarray, theirs: torch.Tensor) -> None:
    expected = theirs.numpy()
    assert np.abs(expected).max() > 0.01  # an output of zeros would agree with anything
    assert np.abs(ours - expected).max() <= 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize("codebooks", [9, 3])
@torch.no_grad()
def test_dac_equals_library(codebooks: int, models: dict) -> None:
    folder, model = models["dac"]
    audio = recipes.music(2, AWKWARD)
    dac = Dac(checkpoint=folder, codebooks=codebooks)
    theirs = model(batch(audio, 512), n_quantizers=codebooks)
    close(dac.encode(audio), theirs.quantized_representation)
    close(dac.reconstruct(audio), theirs.audio_values[:, :AWKWARD])
    assert (dac.latent_dim, dac.latent_rate) == (64, 44100 / 512)


@torch.no_grad()
def test_dac_before_quantisation_equals_library(models: dict) -> None:
    folder, model = models["dac"]
    audio = recipes.music(1, AWKWARD)
    dac = ContinuousDac(checkpoint=folder)
    z = model.encoder(batch(audio, 512))
    close(dac.encode(audio), z)
    close(dac.reconstruct(audio), model.decoder(z)[:, 0, :AWKWARD])
    assert not isinstance(dac, BitstreamCodec)


@pytest.mark.parametrize("bandwidth", [1.5, 6.0, 24.0])
@torch.no_grad()
def test_encodec_24khz_equals_library(bandwidth: float, models: dict) -> None:
    folder, model = models["24khz"]
    audio = recipes.music(2, AWKWARD)
    encodec = Encodec(checkpoint=folder, bandwidth=bandwidth)
    theirs = model(torch.from_numpy(audio)[:, None], bandwidth=bandwidth).audio_values[:, 0, :AWKWARD]
    close(encodec.reconstruct(audio), theirs)
    assert (encodec.latent_dim, encodec.latent_rate) == (16, 75.0)


@pytest.mark.parametrize("n_samples", [30000, 48000, 130001])
@torch.no_grad()
def test_encodec_48khz_equals_library(n_samples: int, models: dict) -> None:
    folder, model = models["48khz"]
    audio = recipes.music(2, n_samples)
    audio[:, 60000:] *= 0.1  # segments of different level
    encodec = Encodec(checkpoint=folder, variant="48khz", bandwidth=24.0)
    theirs = model(torch.from_numpy(audio)[None], bandwidth=24.0).audio_values[0, :, :n_samples]
    close(encodec.reconstruct(audio), theirs)
    assert (encodec.latent_dim, encodec.latent_rate) == (17, pytest.approx(150 / 0.99))


@torch.no_grad()
def test_encodec_without_quantiser_equals_library(models: dict) -> None:
    folder, model = models["24khz"]
    audio = recipes.music(1, AWKWARD)
    z = model.encoder(torch.from_numpy(audio)[:, None])
    encodec = ContinuousEncodec(checkpoint=folder)
    close(encodec.encode(audio), z)
    close(encodec.reconstruct(audio), model.decoder(z)[:, 0, :AWKWARD])


@torch.no_grad()
def test_stable_audio_equals_library(models: dict) -> None:
    folder, model = models["stable-audio"]
    audio = recipes.music(2, AWKWARD)
    stable = DiffusersAutoencoder(system="stable-audio", checkpoint=folder)
    padded = torch.from_numpy(framing.pad_to_multiple(audio, 2048))[None]
    close(stable.encode(audio), model.encode(padded).latent_dist.mode())
    close(stable.reconstruct(audio), model(padded).sample[0, :, :AWKWARD])
    assert (stable.latent_dim, stable.latent_rate) == (4, 44100 / 2048)


@pytest.mark.parametrize("name", ["dac-continuous", "encodec-24-continuous", "stable-audio"])
def test_blocks_do_not_show(name: str, systems: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long inputs go through in pieces; with the stated context nothing of it is left in the result."""
    system = systems[name]
    audio = recipes.music(1, 70_003)
    whole = system.encode(audio)
    expected = system.decode(whole, 70_003)
    monkeypatch.setattr(pretrained, "BLOCK_SAMPLES", 12_000)
    monkeypatch.setattr(pretrained, "BLOCK_FRAMES", 20)
    np.testing.assert_allclose(system.encode(audio), whole, atol=2e-5 * np.abs(whole).max())
    np.testing.assert_allclose(system.decode(whole, 70_003), expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "method", "action"),
    [
        ("dac", "forward", "compress"),
        ("dac-3", "forward", "compress"),
        ("encodec-24", "encode", "compress"),
        ("dac", "from_codes", "encode"),
    ],
)
def test_frames_go_through_the_quantiser_in_blocks(
    name: str, method: str, action: str, systems: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame's distances to a codebook, or its codebooks' shares, take more memory than the frame: never all at once."""
    system, seen = systems[name], []
    audio = recipes.music(2, 70_003)
    expected = getattr(system, action)(audio)
    original = getattr(system.model.quantizer, method)

    def spy(z: torch.Tensor, *rest: object) -> object:
        seen.append(z.shape[-1])
        return original(z, *rest)

    monkeypatch.setattr(system.model.quantizer, method, spy)
    monkeypatch.setattr(pretrained, "BLOCK_FRAMES", 50)
    assert bytes(getattr(system, action)(audio)) == bytes(expected)
    assert max(seen) == 50 and sum(seen) == -(-70_003 // system.hop)


@pytest.mark.parametrize("name", ["dac-continuous", "encodec-24-continuous", "encodec-48-continuous", "stable-audio"])
def test_memory_does_not_grow_with_the_length(name: str, systems: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the input, no convolution of many samples sees more than a block and its context, no LSTM more."""
    system = systems[name]
    monkeypatch.setattr(pretrained, "BLOCK_SAMPLES", 8_192)
    monkeypatch.setattr(pretrained, "BLOCK_FRAMES", 20)
    longest = {}
    for n_samples in (80_000, 100_000):
        seen = [0]
        hooks = [
            module.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].shape[-1]))
            for module in system.model.modules()
            if isinstance(module, (torch.nn.Conv1d, torch.nn.ConvTranspose1d))
        ]
        steps = [0]
        hooks += [
            module.register_forward_pre_hook(lambda _, inputs, steps=steps: steps.append(inputs[0].shape[0]))
            for module in system.model.modules()
            if isinstance(module, torch.nn.LSTM)
        ]
        system.reconstruct(recipes.music(1, n_samples))
        for hook in hooks:
            hook.remove()
        longest[n_samples] = max(seen)
        assert max(steps) <= 20
    assert longest[80_000] == longest[100_000] < 80_000


def test_the_stated_reach_is_needed(systems: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less context than the convolutions reach does show, so the test above can fail."""
    dac = systems["dac-continuous"]
    audio = recipes.music(1, 40_000)
    expected = dac.reconstruct(audio)
    monkeypatch.setattr(pretrained, "BLOCK_SAMPLES", 12_000)
    monkeypatch.setattr(dac, "_context", 2)
    assert np.abs(dac.reconstruct(audio) - expected).max() > 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("channels", "n_samples"), [(1, 1), (2, 1), (3, 1), (2, 511), (1, 4096), (3, 4097), (2, AWKWARD), (1, 60_001)]
)
def test_lengths_and_channels_are_exact(n_samples: int, channels: int, system: Autoencoder) -> None:
    audio = recipes.music(channels, n_samples)
    latents = system.encode(audio)
    assert latents.shape[1] == system.latent_dim and latents.dtype == np.float32
    assert abs(latents.shape[-1] - n_samples / system.sample_rate * system.latent_rate) <= 2
    back = system.reconstruct(audio)
    assert back.shape == audio.shape and back.dtype == np.float32 and np.isfinite(back).all()
    assert system.decode(latents, n_samples).shape[-1] == n_samples
    assert isinstance(system, Autoencoder)


def test_results_repeat_and_channels_do_not_mix(system: Autoencoder) -> None:
    audio = recipes.music(4, 5000)
    back = system.reconstruct(audio)
    np.testing.assert_array_equal(system.reconstruct(audio), back)
    np.testing.assert_array_equal(system.reconstruct(audio[2:]), back[2:])


@pytest.mark.parametrize("name", ["stable-audio", "encodec-48"])
def test_mono_through_stereo_models_is_the_mean_of_both(name: str, systems: dict) -> None:
    system = systems[name]
    audio = recipes.music(1, 5000)
    both = system.reconstruct(np.repeat(audio, 2, 0))
    np.testing.assert_allclose(system.reconstruct(audio)[0], both.mean(0), atol=1e-6 * np.abs(both).max())


def test_silence_is_survived(system: Autoencoder) -> None:
    assert np.isfinite(system.reconstruct(np.zeros((2, 3000), np.float32))).all()


@pytest.mark.parametrize(
    ("name", "channels", "bits_per_second"),
    [("dac", 2, 2 * 9 * 10 * 44100 / 512), ("dac-3", 1, 3 * 10 * 44100 / 512), ("encodec-24", 2, 2 * 6000)],
)
def test_bit_rate_is_that_of_the_codes(name: str, channels: int, bits_per_second: float, systems: dict) -> None:
    system = systems[name]
    seconds = 2.0
    data = system.compress(recipes.music(channels, int(seconds * system.sample_rate)))
    assert 8 * len(data) / seconds == pytest.approx(bits_per_second, rel=0.01)


@pytest.mark.parametrize("name", ["dac", "dac-3", "encodec-24", "encodec-48"])
@pytest.mark.parametrize(("channels", "n_samples"), [(1, 1), (2, AWKWARD), (3, 5000), (1, 60_001)])
def test_bit_stream_brings_back_the_reconstruction(name: str, channels: int, n_samples: int, systems: dict) -> None:
    system = systems[name]
    assert isinstance(system, BitstreamCodec)
    audio = recipes.music(channels, n_samples)
    expected = system.reconstruct(audio)
    back = system.decompress(system.compress(audio), channels, n_samples)
    np.testing.assert_array_equal(back, expected)


def test_a_cut_bit_stream_is_refused(systems: dict) -> None:
    dac = systems["dac"]
    data = dac.compress(recipes.music(1, 3000))
    with pytest.raises(ValueError, match=r"data must hold 54 values of 10 bits in 68 bytes, got 67 bytes"):
        dac.decompress(data[:-1], 1, 3000)


def test_fingerprints_tell_variants_apart(models: dict, systems: dict) -> None:
    made = list(systems.values())
    assert len({s.fingerprint for s in made}) == len(made) == len({s.name for s in made})
    assert made[0].fingerprint == SYSTEMS["dac"](models).fingerprint


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: Dac(checkpoint=m["dac"][0], codebooks=10), r"codebooks must be in \[1, 9\], got 10"),
        (lambda m: Encodec(checkpoint=m["24khz"][0], bandwidth=5.0), r"bandwidth must be one of \[1.5, .*got 5.0"),
        (lambda m: ContinuousEncodec(variant="16khz"), r"variant must be one of \['24khz', '48khz'\], got '16khz'"),
        (lambda m: Dac(checkpoint=m["dac"][0] / "none"), "checkpoint must be a folder with config.json"),
    ],
)
def test_bad_options_are_refused(make: Callable, message: str, models: dict) -> None:
    with pytest.raises(ValueError, match=message):
        make(models)


def test_incomplete_checkpoints_are_refused(models: dict, tmp_path: Path) -> None:
    """transformers would fill the gap with random numbers."""
    folder = models["dac"][0]
    weights = load_file(folder / "model.safetensors")
    del weights["decoder.conv1.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(ValueError, match=r"missing keys: decoder.conv1.weight and 0 more"):
        Dac(checkpoint=tmp_path)

"""The system: any input comes back at its exact length, the same alone, in a batch and in windows of any number."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from m2l_bench import audio as files
from m2l_bench.audio import AudioError
from m2l_bench.music2latent.autoencoder import Music2Latent
from m2l_bench.systems.base import Autoencoder

ROOT = Path(__file__).parents[2]


def _noise(*shape: int) -> np.ndarray:
    return (0.2 * np.random.default_rng(shape[-1]).standard_normal(shape)).clip(-1, 1).astype(np.float32)


def _error(expected: np.ndarray, got: np.ndarray) -> float:
    assert expected.shape == got.shape
    return float(np.abs(expected - got).max() / np.abs(expected).max())


def test_is_an_autoencoder(system: Music2Latent) -> None:
    assert isinstance(system, Autoencoder)
    assert (system.name, system.sample_rate, system.latent_dim) == ("music2latent:tiny", 2000, 8)
    assert system.latent_rate == 2000 / 128 and len(system.fingerprint) == 16


@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    n_samples=st.integers(1, 700),
    channels=st.integers(1, 8),
    kind=st.sampled_from(["noise", "silence", "full scale", "float64", "reversed", "interleaved", "read-only"]),
)
def test_any_audio_comes_back_at_its_length(system: Music2Latent, n_samples: int, channels: int, kind: str) -> None:
    audio = _noise(channels, n_samples)
    if kind == "silence":
        audio = np.zeros_like(audio)
    elif kind == "full scale":
        audio = np.sign(audio) + (audio == 0)
    elif kind == "float64":
        audio = audio.astype(np.float64)
    elif kind == "reversed":
        audio = audio[:, ::-1]
    elif kind == "interleaved":
        audio = np.ascontiguousarray(audio.T).T
    elif kind == "read-only":
        audio.flags.writeable = False
    latents = system.encode(audio)
    back = system.reconstruct(audio)
    assert back.shape == audio.shape and back.dtype == latents.dtype == np.float32
    assert np.isfinite(back).all() and np.isfinite(latents).all() and np.abs(back).max() <= 1
    assert latents.shape[:2] == (channels, 8) and system.features(audio).shape == (channels, 16, latents.shape[-1])
    alone = system.reconstruct(np.ascontiguousarray(audio[:1]).astype(np.float32))
    assert np.array_equal(alone, back[:1])


@pytest.mark.parametrize("rate", [1000, 2000, 8000, 44100, 48000])
def test_any_sample_rate(system: Music2Latent, rate: int) -> None:
    audio = _noise(2, rate // 3 + 1)
    assert system.reconstruct(audio, sample_rate=rate).shape == audio.shape
    assert (
        system.encode(audio, sample_rate=rate).shape
        == system.encode(_noise(2, round(audio.shape[1] * 2000 / rate))).shape
    )


def test_leading_axes_are_free_and_the_batch_changes_nothing(system: Music2Latent) -> None:
    audio = _noise(3, 2, 500)
    many = system.reconstruct(audio)
    assert all(np.array_equal(many[i], system.reconstruct(audio[i])) for i in range(3))
    assert np.array_equal(system.reconstruct(audio[0, 0]), many[0, 0])
    assert system.encode(audio[0, 0]).shape == (8, 5)


def test_channels_get_noise_of_their_own(system: Music2Latent) -> None:
    audio = np.repeat(_noise(1, 1000), 2, axis=0)
    back = system.reconstruct(audio)
    assert np.array_equal(*system.encode(audio)) and not np.array_equal(*back)


def test_decoding_is_seeded(system: Music2Latent, tiny_file: Path) -> None:
    audio = _noise(1, 1000)
    assert np.array_equal(system.reconstruct(audio), system.reconstruct(audio))
    other = Music2Latent(tiny_file, seed=1, device="cpu")
    assert not np.array_equal(other.reconstruct(audio), system.reconstruct(audio))
    assert other.fingerprint != system.fingerprint


def test_steps(system: Music2Latent, tiny_file: Path) -> None:
    latents = system.encode(_noise(1, 1000))
    three = Music2Latent(tiny_file, num_steps=3, device="cpu")
    assert np.array_equal(three.decode(latents), Music2Latent(tiny_file, num_steps=3, device="cpu").decode(latents))
    assert not np.array_equal(three.decode(latents), system.decode(latents))


def test_given_noise_takes_the_place_of_the_seeded_one(system: Music2Latent) -> None:
    latents = system.encode(_noise(2, 1000))
    noise = torch.zeros(2, 2, 32, 8 * latents.shape[-1])
    assert np.array_equal(system.decode(latents, noise=noise), system.decode(latents, noise=noise))
    assert not np.array_equal(system.decode(latents, noise=noise), system.decode(latents))


def test_tensors_in_tensors_out_and_gradients_when_asked(system: Music2Latent) -> None:
    audio = torch.from_numpy(_noise(2, 500))
    plain = system.reconstruct(audio)
    assert isinstance(plain, torch.Tensor) and not plain.requires_grad and not plain.is_inference()
    asked = audio.clone().requires_grad_()
    back = system.reconstruct(asked)
    torch.testing.assert_close(back.detach(), plain, atol=1e-5, rtol=1e-4)
    back.square().sum().backward()
    assert asked.grad is not None and bool(asked.grad.isfinite().all()) and float(asked.grad.abs().sum()) > 0
    features = system.features(asked)
    assert features.requires_grad
    with torch.no_grad():
        assert not system.encode(asked).requires_grad


def test_gradient_flows_through_windows(tiny_file: Path) -> None:
    short = Music2Latent(tiny_file, window_seconds=1.1, device="cpu")
    audio = torch.from_numpy(_noise(1, 6000)).requires_grad_()
    short.reconstruct(audio).square().sum().backward()
    assert audio.grad is not None and int((audio.grad == 0).sum()) < 60


def test_results_do_not_depend_on_how_much_is_computed_at_once(system: Music2Latent, tiny_file: Path) -> None:
    audio = _noise(1, 200 * 2000)  # some 20 windows
    many = Music2Latent(tiny_file, batch_size=7, device="cpu")
    assert _error(system.encode(audio), many.encode(audio)) < 1e-4
    assert _error(system.features(audio), many.features(audio)) < 1e-4
    latents = system.encode(audio)
    assert _error(system.decode(latents, audio.shape[1]), many.decode(latents, audio.shape[1])) < 1e-4
    assert system.fingerprint == many.fingerprint


def test_windows_change_nothing_but_what_normalisation_sees(tiny_file: Path) -> None:
    """With the norms taken out, windows equal the whole at once: the overlap covers what convolutions see."""
    windowed = Music2Latent(tiny_file, window_seconds=20, device="cpu")
    whole = Music2Latent(tiny_file, window_seconds=300, device="cpu")
    audio = _noise(1, 200 * 2000)
    latents = whole.encode(audio)
    with_norms = _error(latents, windowed.encode(audio))
    for system in (windowed, whole):
        _remove_norms(system.network)
    latents = whole.encode(audio)
    assert _error(latents, windowed.encode(audio)) < 1e-4 < with_norms
    assert _error(whole.decode(latents), windowed.decode(latents)) < 1e-4


def _remove_norms(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.GroupNorm):
            setattr(module, name, nn.Identity())
        else:
            _remove_norms(child)


def test_steady_sound_changes_little_with_the_window(tiny_file: Path) -> None:
    """What normalisation over 12 s and over all of a minute differ by, in stationary noise and random weights."""
    audio = _noise(1, 60 * 2000)
    short, long = (Music2Latent(tiny_file, window_seconds=seconds, device="cpu").encode(audio) for seconds in (12, 100))
    assert np.sqrt(np.mean((short - long) ** 2) / np.mean(long**2)) < 0.2


def test_memory_does_not_grow_with_length(tiny_file: Path, tmp_path: Path) -> None:
    peaks = [_peak_of_a_round_trip(minutes, tiny_file, tmp_path) for minutes in (1, 5)]
    assert peaks[1] < 1.1 * peaks[0]


def _peak_of_a_round_trip(minutes: int, checkpoint: Path, folder: Path) -> int:
    """Peak resident memory of a process that encodes and decodes a file."""
    path = folder / f"{minutes}.wav"
    files.write(path, _noise(1, minutes * 60 * 2000), 2000, subtype="PCM_16")
    script = f"""
import torch
from tests.peak_memory import peak_memory
from m2l_bench.audio import load
from m2l_bench.music2latent.autoencoder import Music2Latent
torch.set_num_threads(1)
system = Music2Latent({str(checkpoint)!r}, device="cpu")
n = system.decode(system.encode(load({str(path)!r})[0])).shape[-1]
assert n >= {minutes * 60 * 2000}
print(peak_memory())
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_an_overflow_is_an_error_not_nan(tiny_file: Path) -> None:
    half = Music2Latent(tiny_file, precision="float16", device="cpu")
    half.network.encoder.conv_out.bias.data.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"overflow in torch\.float16"):
        half.encode(_noise(1, 100))


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros((2, 0), np.float32), r"at least 1 sample, got shape \(2, 0\)"),
        (np.zeros((44100, 2), np.float32), r"at most 64 channels, got \(44100, 2\)"),
        (np.zeros((2, 10), np.int16), r"floating point in \[-1, 1\], got torch.int16"),
        (np.full((1, 10), np.nan, np.float32), "must be finite, got NaN"),
    ],
)
def test_what_is_no_audio(system: Music2Latent, audio: np.ndarray, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        system.encode(audio)


def test_a_gradient_cannot_pass_a_resampler(system: Music2Latent) -> None:
    with pytest.raises(AudioError, match="sample_rate must be 2000 for a gradient to flow, got 4000"):
        system.encode(torch.zeros(1, 100, requires_grad=True), sample_rate=4000)


def test_what_cannot_be_decoded(system: Music2Latent) -> None:
    latents = np.zeros((2, 8, 3), np.float32)
    for wrong in (latents[:, :7], latents[..., :0], latents[0, 0]):
        with pytest.raises(ValueError, match=r"latents must be \(\.\.\., 8, frames\), got shape"):
            system.decode(wrong)
    with pytest.raises(ValueError, match="n_samples must be between 1 and 336 for 3 frames, got 337"):
        system.decode(latents, 337)
    with pytest.raises(ValueError, match=r"noise must have shape \(2, 2, 32, 24\), got \(2, 2, 32, 8\)"):
        system.decode(latents, noise=torch.zeros(2, 2, 32, 8))
    with pytest.raises(ValueError, match="latents must be finite"):
        system.decode(np.full_like(latents, np.inf))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "small"}, "checkpoint must not be given with variant"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"num_steps": 0}, "num_steps must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"precision": "int8"}, "precision must be one of float32, bfloat16, float16, got 'int8'"),
        ({"window_seconds": 0.5}, r"window_seconds must be at least 1\.02 here, got 0\.5"),
    ],
)
def test_options_out_of_range(tiny_file: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Music2Latent(tiny_file, **options)

"""The spectrogram and its inverse: exact length, clean edges, finite gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from m2l_bench.music2latent.config import PUBLISHED, Config
from m2l_bench.music2latent.representation import from_spectrogram, max_samples, n_latents, to_spectrogram


def _white(n_samples: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(n_samples).uniform(-1, 1, (2, n_samples)).astype(np.float32))


def _decibels(error: Tensor, reference: Tensor) -> float:
    return float(10 * torch.log10(error.square().mean() / reference.square().mean()))


def _in_the_dropped_bin(audio: Tensor) -> Tensor:
    """The part of audio that its frames' Nyquist bins hold: (..., samples), frame by frame."""
    n_samples = audio.shape[-1]
    frames = 8 * n_latents(n_samples, PUBLISHED)
    window, sign = torch.hann_window(2048), torch.tensor([1.0, -1.0]).repeat(1024)
    padded = torch.nn.functional.pad(audio, (1536, 512 * frames - n_samples))
    part = torch.zeros_like(padded)
    for start in range(0, 512 * frames, 512):
        level = (padded[..., start : start + 2048] * window * sign).sum(-1, keepdim=True) / 2048
        part[..., start : start + 2048] += level * sign * window / 1.5  # squared windows of four frames sum to 1.5
    return part[..., 1536 : 1536 + n_samples]


@pytest.mark.parametrize("n_samples", [1, 511, 2560, 2561, 44100])
def test_round_trip_of_white_noise_is_exact_to_the_first_and_last_sample(n_samples: int) -> None:
    audio = _white(n_samples) / 2
    spectrogram = to_spectrogram(audio, PUBLISHED)
    assert spectrogram.shape == (2, 2, 1024, 8 * n_latents(n_samples, PUBLISHED))
    back = from_spectrogram(spectrogram, PUBLISHED, n_samples=n_samples) + _in_the_dropped_bin(audio)
    assert _decibels(back - audio, audio) < -120
    assert float((back - audio).abs().max()) < 2e-6


def test_round_trip_below_the_dropped_bin() -> None:
    audio = _white(44100)
    spectrum = torch.fft.rfft(audio)
    spectrum[..., 21000:] = 0  # nothing in the last 1 kHz
    audio = torch.fft.irfft(spectrum, n=44100) / 2
    back = from_spectrogram(to_spectrogram(audio, PUBLISHED), PUBLISHED, n_samples=44100)
    # At the file's ends the band is cut off at once, which splatters a little up to the Nyquist bin.
    assert _decibels((back - audio)[..., 4096:-4096], audio) < -100
    assert _decibels(back - audio, audio) < -60


def test_the_dropped_bin_costs_white_noise_36_decibels() -> None:
    audio = _white(44100) / 2
    back = from_spectrogram(to_spectrogram(audio, PUBLISHED), PUBLISHED, n_samples=44100)
    assert _decibels(back - audio, audio) == pytest.approx(-36, abs=0.5)


def test_compression_of_a_known_coefficient() -> None:
    config = Config()
    time = torch.arange(2048 + 7 * 512)
    audio = torch.cos(2 * torch.pi * 100 * time / 2048)  # bin 100: |c| = window sum / 2 = 512
    spectrogram = to_spectrogram(audio, config, padded=False)
    assert spectrogram.shape == (2, 1024, 8)
    assert float(spectrogram[:, 100, 0].norm()) == pytest.approx(0.34 * 512**0.65, rel=1e-5)


@pytest.mark.parametrize("n_samples", [1, 2560, 2561, 100_000])
def test_latents_and_samples_agree(n_samples: int) -> None:
    latents = n_latents(n_samples, PUBLISHED)
    assert max_samples(latents, PUBLISHED) >= n_samples
    assert latents == 1 or max_samples(latents - 1, PUBLISHED) < n_samples


def test_silence_and_its_gradient_are_finite() -> None:
    audio = torch.zeros(1, 3000, requires_grad=True)
    back = from_spectrogram(to_spectrogram(audio, PUBLISHED), PUBLISHED, n_samples=3000)
    back.sum().backward()
    assert audio.grad is not None and bool(audio.grad.isfinite().all())
    assert float(back.detach().abs().max()) == 0


def test_gradient_equals_the_identitys() -> None:
    audio = (_white(5000) / 2).requires_grad_()
    weights = _white(5000)
    back = from_spectrogram(to_spectrogram(audio, PUBLISHED), PUBLISHED, n_samples=5000) + _in_the_dropped_bin(audio)
    (back * weights).sum().backward()
    assert audio.grad is not None
    torch.testing.assert_close(audio.grad, weights, atol=2e-3, rtol=0)


def test_leading_axes_are_free() -> None:
    audio = _white(4000)
    many = to_spectrogram(audio.expand(3, 2, 4000), PUBLISHED)
    torch.testing.assert_close(many[1], to_spectrogram(audio, PUBLISHED))


@pytest.mark.parametrize(
    ("n_samples", "padded", "message"),
    [(0, True, "at least 1 sample, got 0"), (5631, False, "at least 5632 samples, got 5631")],
)
def test_too_short(n_samples: int, padded: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_spectrogram(torch.zeros(n_samples), PUBLISHED, padded=padded)


def test_too_long_for_the_spectrogram() -> None:
    with pytest.raises(ValueError, match="n_samples must be between 1 and 4096 here, got 5000"):
        from_spectrogram(torch.zeros(2, 1024, 8), PUBLISHED, n_samples=5000)

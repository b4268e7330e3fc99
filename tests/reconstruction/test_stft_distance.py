"""Multi-resolution STFT distance against auraloss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from auraloss.freq import MultiResolutionSTFTLoss

from m2l_bench.reconstruction import stft_distance
from m2l_bench.reconstruction.checks import Unscorable


def auraloss_of(reference: np.ndarray, estimate: np.ndarray, dtype: torch.dtype) -> float:
    loss = MultiResolutionSTFTLoss()
    for resolution in loss.stft_losses:
        resolution.window = torch.hann_window(resolution.win_length, dtype=dtype)
    pair = (torch.tensor(x, dtype=dtype)[None, None] for x in (estimate, reference))
    return float(loss(*pair))


@pytest.mark.parametrize("n_samples", [1025, 10_000, 44_100])
def test_equals_auraloss(music: np.ndarray, coded: np.ndarray, n_samples: int) -> None:
    for r, e in zip(music[:, :n_samples], coded[:, :n_samples], strict=True):
        assert stft_distance(r, e, 44_100) == pytest.approx(auraloss_of(r, e, torch.float64), rel=1e-8)
        assert stft_distance(r, e, 44_100) == pytest.approx(auraloss_of(r, e, torch.float32), rel=1e-5)


def test_float64_because_float32_puts_noise_between_the_partials_of_a_tone() -> None:
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)).astype(np.float32)
    pair = tone, np.float32(0.999) * tone
    ours = stft_distance(*pair, 44_100)
    assert ours == pytest.approx(auraloss_of(*pair, torch.float64), rel=1e-5)
    assert abs(auraloss_of(*pair, torch.float32) / ours - 1.0) > 1e-3


def test_exact_copy_is_0_exactly(music: np.ndarray) -> None:
    assert stft_distance(music, music.copy(), 44_100).tolist() == [0.0, 0.0]


def test_a_gain_alone_has_the_value_written_in_its_formula(rng: np.random.Generator) -> None:
    noise = rng.standard_normal(20_000)
    assert stft_distance(noise, 0.5 * noise, 44_100) == pytest.approx(0.5 + np.log(2.0), rel=1e-5)


def test_reference_first_as_its_energy_divides(music: np.ndarray) -> None:
    half = np.float32(0.5) * music
    assert (stft_distance(half, music, 44_100) - stft_distance(music, half, 44_100) > 0.4).all()


def test_polarity_changes_nothing(music: np.ndarray) -> None:
    assert stft_distance(music, -music, 44_100).tolist() == [0.0, 0.0]


def test_batch_equals_single_and_channels_keep_their_order(music: np.ndarray, coded: np.ndarray) -> None:
    batch = stft_distance(np.stack([music, coded]), np.stack([coded, coded]), 44_100)
    assert batch.shape == (2, 2) and batch.dtype == np.float64
    assert batch[0].tolist() == [stft_distance(r, e, 44_100) for r, e in zip(music, coded, strict=True)]


def test_all_zero_reference_is_nan_where_auraloss_divides_by_its_clamp(music: np.ndarray) -> None:
    zeros = np.zeros_like(music)
    assert np.isnan(stft_distance(zeros, music, 44_100)).all()
    assert auraloss_of(zeros[0], music[0], torch.float32) > 1e3
    assert np.isfinite(stft_distance(music, zeros, 44_100)).all()


def test_bad_input_is_named(music: np.ndarray) -> None:
    with pytest.raises(Unscorable, match="at least 1025 samples, got 1000"):
        stft_distance(music[:, :1000], music[:, :1000], 44_100)
    with pytest.raises(ValueError, match="nothing is trimmed"):
        stft_distance(music, music[:, 1:], 44_100)
    with pytest.raises(ValueError, match="sample_rate must be positive"):
        stft_distance(music, music, 0)

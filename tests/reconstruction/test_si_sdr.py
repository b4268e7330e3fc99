"""SI-SDR: analytic cases, oracles, and the traps that other tools fell into."""

from __future__ import annotations

import auraloss
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio as torchmetrics_si_sdr

from m2l_bench.reconstruction import si_sdr
from m2l_bench.reconstruction.checks import Unscorable


def orthogonal_noise(reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Zero-mean noise with no trace of the reference, of its energy; float64."""
    r = reference - reference.mean(axis=-1, keepdims=True)
    noise = rng.standard_normal(r.shape)
    noise -= noise.mean(axis=-1, keepdims=True)
    noise -= (noise * r).sum(-1, keepdims=True) / (r * r).sum(-1, keepdims=True) * r
    return noise * np.sqrt((r * r).sum(-1, keepdims=True) / (noise * noise).sum(-1, keepdims=True))


@pytest.mark.parametrize("decibels", [-60.0, -3.0, 0.0, 10.0, 60.0, 95.0])
def test_known_ratio(music: np.ndarray, rng: np.random.Generator, decibels: float) -> None:
    reference = music.astype(np.float64)
    estimate = 0.3 * (reference + 10 ** (-decibels / 20) * orthogonal_noise(reference, rng))
    np.testing.assert_allclose(si_sdr(reference, estimate), decibels, atol=1e-9)


def test_equals_torchmetrics_with_zero_mean(music: np.ndarray, coded: np.ndarray) -> None:
    expected = torchmetrics_si_sdr(torch.tensor(coded).double(), torch.tensor(music).double(), zero_mean=True)
    np.testing.assert_allclose(si_sdr(music, coded), expected.numpy(), rtol=1e-12)


def test_higher_is_better_where_auraloss_prints_the_negative(music: np.ndarray, coded: np.ndarray) -> None:
    loss = auraloss.time.SISDRLoss()(torch.tensor(coded[None, :1]).double(), torch.tensor(music[None, :1]).double())
    assert si_sdr(music[0], coded[0]) == pytest.approx(-float(loss), abs=1e-6)


def test_dc_offset_does_not_count_as_in_the_default_of_torchmetrics(music: np.ndarray, coded: np.ndarray) -> None:
    offset = coded + np.float32(0.05)
    np.testing.assert_allclose(si_sdr(music, offset), si_sdr(music, coded), atol=1e-4)  # rounding of float32 + 0.05
    kept = torchmetrics_si_sdr(torch.tensor(offset), torch.tensor(music)).numpy()
    assert (si_sdr(music, coded) - kept > 5.0).all()


def test_exact_copy_is_100_not_infinity(music: np.ndarray) -> None:
    assert si_sdr(music, music.copy()).tolist() == [100.0, 100.0]


@pytest.mark.parametrize("gain", [0.3, -1.0, 2.0, 1e-4])
def test_copy_with_a_gain_or_inverted_is_100(music: np.ndarray, gain: float) -> None:
    assert si_sdr(music, np.float32(gain) * music).tolist() == [100.0, 100.0]


def test_clipped_below_at_minus_100(rng: np.random.Generator) -> None:
    reference = rng.standard_normal(1000)
    noise = orthogonal_noise(reference, rng)
    assert si_sdr(reference, noise + 1e-7 * reference) == -100.0


def test_orthogonal_estimate_is_minus_100() -> None:
    assert si_sdr(np.array([1.0, -1.0, 1.0, -1.0]), np.array([1.0, 1.0, -1.0, -1.0])) == -100.0


@pytest.mark.parametrize("level", [0.0, 0.1])
def test_silent_or_constant_reference_is_nan(coded: np.ndarray, level: float) -> None:
    assert np.isnan(si_sdr(np.full_like(coded, level), coded)).all()
    assert np.isnan(si_sdr(np.full_like(coded, level), np.zeros_like(coded))).all()


@pytest.mark.parametrize("level", [0.0, 0.1])
def test_silent_or_constant_estimate_is_minus_100(music: np.ndarray, level: float) -> None:
    assert si_sdr(music, np.full_like(music, level)).tolist() == [-100.0, -100.0]


def test_scale_invariant_where_the_epsilon_of_torchmetrics_is_not(music: np.ndarray, coded: np.ndarray) -> None:
    raw, scaled = coded.astype(np.float64), 1e-5 * coded.astype(np.float64)
    np.testing.assert_allclose(si_sdr(music, scaled), si_sdr(music, raw), rtol=0, atol=1e-10)
    peer = [
        float(torchmetrics_si_sdr(torch.tensor(e[0]).float(), torch.tensor(music[0]), zero_mean=True))
        for e in (raw, scaled)
    ]
    assert abs(peer[1] - peer[0]) > 1e-4


@given(
    gain=st.floats(1e-3, 1e3),
    offset=st.floats(-1.0, 1.0),
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(3, 50),
)
def test_gain_and_offset_of_either_signal_change_nothing(gain: float, offset: float, seed: int, n: int) -> None:
    reference, estimate = np.random.default_rng(seed).standard_normal((2, n))
    plain = si_sdr(reference, estimate)
    assert -100.0 <= plain <= 100.0
    assert si_sdr(reference, gain * estimate + offset) == pytest.approx(plain, abs=1e-5)
    assert si_sdr(gain * reference + offset, estimate) == pytest.approx(plain, abs=1e-5)


def test_one_sample_of_delay_costs_and_22_samples_cost_more(music: np.ndarray, coded: np.ndarray) -> None:
    values = [si_sdr(music, np.roll(coded, delay, axis=-1)).mean() for delay in (0, 1, 22)]
    assert values[0] > values[1] + 0.5 > values[2] + 10.0


def test_channels_are_scored_alone_not_flattened(music: np.ndarray, rng: np.random.Generator) -> None:
    left = music[0].astype(np.float64)
    reference = np.stack([left, 0.1 * left])
    noise = orthogonal_noise(reference, rng)
    estimate = reference + np.array([[0.5], [0.01]]) * noise  # 6 dB left, 40 dB right
    np.testing.assert_allclose(si_sdr(reference, estimate), [-20 * np.log10(0.5), 40.0], atol=1e-9)
    assert np.mean(si_sdr(reference, estimate)) > si_sdr(reference.ravel(), estimate.ravel()) + 15


def test_leading_dimensions_and_order_of_channels(music: np.ndarray, coded: np.ndarray) -> None:
    batch = si_sdr(np.stack([music, coded]), np.stack([coded, music]))
    assert batch.shape == (2, 2) and batch.dtype == np.float64
    assert batch[0].tolist() == [si_sdr(r, e) for r, e in zip(music, coded, strict=True)]
    assert si_sdr(music[::-1], coded[::-1]).tolist() == batch[0][::-1].tolist()
    assert isinstance(si_sdr(music[0], coded[0]), float)


def test_inputs_are_left_alone(music: np.ndarray, coded: np.ndarray) -> None:
    before = music.astype(np.float64), coded.astype(np.float64)
    after = tuple(x.copy() for x in before)
    si_sdr(*after, 44_100)
    assert all((x == y).all() for x, y in zip(before, after, strict=True))


def test_different_length_is_an_error_not_a_trim(music: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"reference's shape \(2, 44100\), got \(2, 44099\)") as error:
        si_sdr(music, music[:, :-1])
    assert not isinstance(error.value, Unscorable)


def test_mono_against_stereo_is_an_error_not_a_broadcast(music: np.ndarray) -> None:
    with pytest.raises(ValueError, match="reference's shape"):
        si_sdr(music, music[:1])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_samples_are_named(music: np.ndarray, bad: float) -> None:
    broken = music.copy()
    broken[1, 5:8] = bad
    with pytest.raises(Unscorable, match="estimate has 3 NaN or infinite samples"):
        si_sdr(music, broken)


@pytest.mark.parametrize("dtype", [np.int16, np.complex64, bool])
def test_integers_are_refused_as_their_scale_is_unknown(music: np.ndarray, dtype: type) -> None:
    with pytest.raises(ValueError, match="reference must be float32 or float64"):
        si_sdr(music.astype(dtype), music)


@pytest.mark.parametrize("shape", [(), (0, 100)])
def test_no_channel_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least one channel"):
        si_sdr(np.zeros(shape), np.zeros(shape))


@pytest.mark.parametrize("n", [0, 1])
def test_too_short(n: int) -> None:
    with pytest.raises(Unscorable, match=f"at least 2 samples, got {n}"):
        si_sdr(np.zeros(n), np.zeros(n))

"""Lag, gain, polarity, and SI-SDR with the lag undone."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st

from m2l_bench.reconstruction import si_sdr
from m2l_bench.reconstruction.checks import Unscorable
from m2l_bench.reconstruction.metrics import score_pair
from m2l_bench.reconstruction.pair import alignment
from m2l_bench.reconstruction.pair.alignment import Alignment, cross_correlation, undo_lag


def align(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> Alignment:
    return alignment.align(np.atleast_2d(reference), np.atleast_2d(estimate), sample_rate)


def si_sdr_aligned(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float | Unscorable:
    return score_pair(reference, estimate, sample_rate, ["si_sdr_aligned"])["si_sdr_aligned"]


def delayed(signal: np.ndarray, lag: int) -> np.ndarray:
    """The signal moved by lag samples (late where positive) in as many samples, zeros moving in."""
    moved = np.zeros_like(signal)
    kept = signal.shape[-1] - abs(lag)
    if lag >= 0:
        moved[..., lag:] = signal[..., :kept]
    else:
        moved[..., :kept] = signal[..., -lag:]
    return moved


@pytest.mark.parametrize("lag", [0, 1, 22, -1, -300, 2205])
def test_lag_of_a_moved_copy(music: np.ndarray, lag: int) -> None:
    found = align(music, delayed(music, lag), 44_100)
    assert found.lag == lag and found.polarity == 1
    assert found.gain == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("lag", [-2205, 2205])
def test_the_ends_of_the_range_are_in_it(rng: np.random.Generator, lag: int) -> None:
    noise = rng.standard_normal(22_050)
    assert align(noise, delayed(noise, lag), 44_100).lag == lag


def test_a_lag_that_drops_the_attack_must_earn_it(music: np.ndarray, coded: np.ndarray) -> None:
    # Normalised by the overlap's energy, the ringing after a badly coded attack would win at some period of the tone.
    estimate = coded.copy()
    estimate[:, :1500] = 0.5 * np.tanh(4 * estimate[:, :1500])
    assert align(music, estimate, 44_100).lag == 0


@pytest.mark.parametrize("lag", [1, 22, -300])
def test_undoing_the_lag_gives_back_what_the_delay_cost(music: np.ndarray, coded: np.ndarray, lag: int) -> None:
    moved = delayed(coded, lag)
    assert (si_sdr(music, moved) < si_sdr(music, coded) - 0.5).all()
    assert si_sdr_aligned(music, moved, 44_100) == pytest.approx(np.mean(si_sdr(music, coded)), abs=0.1)
    assert si_sdr_aligned(music, delayed(music, lag), 44_100) == 100.0


def test_the_edges_without_partner_are_dropped(music: np.ndarray, coded: np.ndarray) -> None:
    late = delayed(coded, 22)
    assert align(music, late, 44_100).lag == 22
    assert si_sdr_aligned(music, late, 44_100) == np.mean(si_sdr(music[:, :-22], coded[:, :-22]))
    reference, estimate = undo_lag(np.arange(10), np.arange(10), -3)
    assert reference.tolist() == [3, 4, 5, 6, 7, 8, 9] and estimate.tolist() == [0, 1, 2, 3, 4, 5, 6]


@given(gain=st.floats(1e-3, 1e3), inverted=st.booleans(), lag=st.integers(-400, 400))
def test_gain_polarity_and_lag_are_found_together(gain: float, inverted: bool, lag: int) -> None:
    noise = np.random.default_rng(0).standard_normal((2, 3000))
    found = align(noise, delayed((-gain if inverted else gain) * noise, lag), 8000)
    assert found == Alignment(lag, pytest.approx(20 * np.log10(gain), abs=1e-9), -1 if inverted else 1)


def test_gain_is_the_least_squares_factor_so_noise_does_not_raise_it(rng: np.random.Generator) -> None:
    clean, noise = rng.standard_normal((2, 100_000))
    assert align(clean, 0.5 * clean + noise, 44_100).gain == pytest.approx(-6.02, abs=0.1)


def test_a_dc_offset_moves_nothing(music: np.ndarray) -> None:
    assert align(music, delayed(music, 5) + np.float32(0.5), 44_100).lag == 5


def test_one_lag_from_the_sum_over_channels(rng: np.random.Generator) -> None:
    reference = rng.standard_normal((2, 10_000)) * [[1.0], [0.1]]
    estimate = np.stack([delayed(reference[0], 7), delayed(reference[1], -9)])
    assert align(reference, estimate, 44_100).lag == 7  # the louder channel
    assert align(reference[1], estimate[1], 44_100).lag == -9


@pytest.mark.parametrize("frequency", [441.0, 5000.0])
def test_of_all_the_periods_of_a_tone_the_nearest_counts(frequency: float) -> None:
    tone = np.sin(2 * np.pi * frequency * np.arange(22_050) / 44_100)
    assert align(tone, tone, 44_100) == Alignment(0, pytest.approx(0.0, abs=1e-12), 1)
    assert align(tone, -tone, 44_100) == Alignment(0, pytest.approx(0.0, abs=1e-12), -1)


@pytest.mark.parametrize("n_samples", [500, 32_768, 70_001])
def test_correlation_equals_scipy(rng: np.random.Generator, n_samples: int) -> None:
    reference, estimate = rng.standard_normal((2, 2, n_samples))
    expected = np.zeros(2 * 200 + 1)
    for r, e in zip(reference, estimate, strict=True):
        full = scipy.signal.correlate(e - e.mean(), r - r.mean(), method="fft")
        expected += full[n_samples - 1 - 200 : n_samples + 200]
    np.testing.assert_allclose(cross_correlation(reference, estimate, 200), expected, atol=1e-9 * n_samples)


def test_nothing_beyond_50_ms_is_sought(music: np.ndarray) -> None:
    assert abs(align(music, delayed(music, 4000), 44_100).lag) <= 2205


def test_silence_has_no_lag(music: np.ndarray) -> None:
    silence = np.full_like(music, 0.25)
    with pytest.raises(Unscorable, match="estimate is silent"):
        align(music, silence, 44_100)
    with pytest.raises(Unscorable, match="reference is silent"):
        align(silence, music, 44_100)
    assert si_sdr_aligned(music, silence, 44_100) == -100.0
    assert str(si_sdr_aligned(silence, music, 44_100)) == "reference is silent in channel 1, 2"


def test_uncorrelated_signals_have_no_gain() -> None:
    n = np.arange(4000)
    left, right = np.where(n < 100, np.sin(n), 0.0), np.where(n >= 3900, np.sin(n), 0.0)
    left[:100] -= left[:100].mean()
    right[3900:] -= right[3900:].mean()
    reference = np.stack([left, left])
    with pytest.raises(Unscorable, match="uncorrelated"):
        align(reference, np.stack([left, -left]), 8000)
    assert si_sdr_aligned(reference, np.stack([left, -left]), 8000) == 100.0


def test_too_short_for_50_ms_to_either_side(music: np.ndarray) -> None:
    short = music[:, :4410]
    assert str(score_pair(short, short, 44_100, ["lag"])["lag"]) == "needs at least 4411 samples, got 4410"
    assert str(si_sdr_aligned(short, short, 44_100)) == "needs at least 4411 samples, got 4410"

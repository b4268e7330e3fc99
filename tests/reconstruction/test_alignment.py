"""Lag, gain, polarity, and SI-SDR with the lag undone."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st

import m2l_bench
from m2l_bench import audio as audio_io
from m2l_bench.reconstruction import si_sdr
from m2l_bench.reconstruction.checks import Unscorable
from m2l_bench.reconstruction.metrics import score_pair
from m2l_bench.reconstruction.pair import alignment
from m2l_bench.reconstruction.pair.alignment import RINGING, Alignment, cross_correlation, undo_lag
from m2l_bench.systems.apply import reconstruct

EXCERPTS = Path(m2l_bench.__file__).parent / "assets" / "reconstruction" / "wesnoth"
DELAYS = [0.25, 0.5, 3.7, -12.3]


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


def delayed_by_phase(signal: np.ndarray, lag: float) -> np.ndarray:
    """The signal moved by a fraction of a sample through a transform so long that nothing wraps; float64."""
    n = signal.shape[-1]
    frequencies = np.fft.rfftfreq(2 * n)
    return np.fft.irfft(np.fft.rfft(signal, 2 * n) * np.exp(-2j * np.pi * frequencies * lag), 2 * n)[..., :n]


def delayed_by_eighths(signal: np.ndarray, eighths: int) -> np.ndarray:
    """The signal moved by eighths of a sample: eight times the rate by SciPy, an integer shift, and back."""
    taps = scipy.signal.firwin(1025, 1 / 8, window=("kaiser", 12.0))  # the default cuts too much of the highest octave
    up = scipy.signal.resample_poly(signal, 8, 1, axis=-1, window=taps)
    return scipy.signal.resample_poly(delayed(up, eighths), 1, 8, axis=-1, window=taps)


@pytest.fixture(scope="module")
def excerpts() -> list[np.ndarray]:
    """Six seconds of four tracks, (2, 264600) each."""
    paths = sorted(EXCERPTS.glob("*.ogg"))[::7]
    return [audio_io.load(path, n_samples=6 * 44_100)[0] for path in paths]


@pytest.fixture(scope="module", params=["noise", "music"])
def padded(request: pytest.FixtureRequest, excerpts: list[np.ndarray]) -> np.ndarray:
    """Two seconds of stereo noise or real music between silences; no component near half the sample rate, float64."""
    noise = np.random.default_rng(0).standard_normal((2, 88_200))
    signal = noise if request.param == "noise" else excerpts[0][:, :88_200].astype(np.float64)
    band = scipy.signal.firwin(255, 0.85)  # the resampling of the oracle must not change the signal
    return np.pad(scipy.signal.oaconvolve(signal, band[None], mode="same", axes=-1), ((0, 0), (1000, 1000)))


@pytest.mark.parametrize("lag", [0, 1, 22, -1, -300, 2205])
def test_lag_of_a_moved_copy(music: np.ndarray, lag: int) -> None:
    found = align(music, delayed(music, lag), 44_100)
    assert found.lag == lag and found.polarity == 1
    assert found.gain == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("lag", [-2205, 2205])
def test_the_ends_of_the_range_are_in_it(rng: np.random.Generator, lag: int) -> None:
    noise = rng.standard_normal(22_050)
    assert align(noise, delayed(noise, lag), 44_100).lag == lag


@pytest.mark.parametrize("lag", DELAYS)
@pytest.mark.parametrize("gain", [1.0, -0.5])
def test_a_fraction_of_a_sample(padded: np.ndarray, lag: float, gain: float) -> None:
    late = gain * delayed_by_phase(padded, lag)
    found = align(padded, late, 44_100)
    assert found.lag == pytest.approx(lag, abs=0.002)
    assert found.gain == pytest.approx(20 * np.log10(abs(gain)), abs=1e-3)
    assert found.polarity == np.sign(gain)
    assert si_sdr_aligned(padded, late, 44_100) > 60.0


@pytest.mark.parametrize("eighths", [2, 4, -12, 29])
def test_a_fraction_of_a_sample_made_by_scipy(padded: np.ndarray, eighths: int) -> None:
    late = delayed_by_eighths(padded, eighths)
    assert align(padded, late, 44_100).lag == pytest.approx(eighths / 8, abs=0.002)
    assert np.mean(si_sdr(padded, late)) < 35.0
    assert si_sdr_aligned(padded, late, 44_100) > 60.0


@pytest.mark.parametrize("lag", DELAYS)
def test_a_fraction_between_excerpts_of_sounding_music(excerpts: list[np.ndarray], lag: float) -> None:
    for excerpt in excerpts:
        reference = excerpt[:, 44_100 : 3 * 44_100]
        late = delayed_by_phase(excerpt, lag)[:, 44_100 : 3 * 44_100].astype(np.float32)
        assert align(reference, late, 44_100).lag == pytest.approx(lag, abs=0.002)
        assert si_sdr_aligned(reference, late, 44_100) > 60.0


def test_half_a_sample_no_longer_costs(rng: np.random.Generator) -> None:
    noise = np.pad(rng.standard_normal((1, 44_100)), ((0, 0), (1000, 1000)))
    late = delayed_by_phase(noise, 0.5)
    assert np.mean(si_sdr(noise, late)) < 0.0
    assert si_sdr_aligned(noise, late, 44_100) > 40.0


def test_a_delay_after_coding_adds_to_the_lag_of_the_codec(excerpts: list[np.ndarray]) -> None:
    for name in ("mp3:64k", "opus:12k"):
        estimate, _ = reconstruct(m2l_bench.load(name), excerpts[1], 44_100, "")
        own = align(excerpts[1], estimate, 44_100).lag
        late = delayed_by_phase(estimate, 3.7).astype(np.float32)
        assert align(excerpts[1], late, 44_100).lag == pytest.approx(own + 3.7, abs=0.02)


@pytest.mark.parametrize("mean", [0.0, 0.5])
def test_undoing_a_fraction_drops_what_rings(padded: np.ndarray, mean: float) -> None:
    cut = padded[:, 20_000:40_000] + mean  # starts and ends in full sound
    late = delayed_by_phase(padded, 2.4)[:, 20_000:40_000] + mean
    reference, estimate = undo_lag(cut, late, 2.4)
    assert reference.shape == estimate.shape == (2, 20_000 - 2 - 2 * RINGING)
    assert reference.base is cut
    assert np.mean(si_sdr(reference, estimate)) > 50.0


def test_different_tracks_have_no_lag(excerpts: list[np.ndarray]) -> None:
    pairs = list(permutations(excerpts, 2))
    found = [score_pair(*pair, 44_100, ["lag", "si_sdr_aligned"]) for pair in pairs]
    assert sum(isinstance(scores["lag"], Unscorable) for scores in found) >= len(pairs) - 1
    assert all(
        isinstance(scores["lag"], Unscorable) == isinstance(scores["si_sdr_aligned"], Unscorable) for scores in found
    )


@pytest.mark.parametrize("seconds", [0.08, 0.3, 2.0])
def test_a_delay_beyond_50_ms_is_refused_with_the_two_numbers(excerpts: list[np.ndarray], seconds: float) -> None:
    late = delayed(excerpts[0], round(seconds * 44_100))
    reason = r"no lag within 50 ms: the correlation's peak 0\.\d+ is not above chance 0\.\d+"
    with pytest.raises(Unscorable, match=reason):
        align(excerpts[0], late, 44_100)


def test_a_lag_that_drops_the_attack_must_earn_it(music: np.ndarray, coded: np.ndarray) -> None:
    # Normalised by the overlap's energy, the ringing after a badly coded attack would win at some period of the tone.
    estimate = coded.copy()
    estimate[:, :1500] = 0.5 * np.tanh(4 * estimate[:, :1500])
    assert abs(align(music, estimate, 44_100).lag) < 1


def test_the_lag_of_a_dulling_filter_is_its_delay(music: np.ndarray, coded: np.ndarray) -> None:
    assert align(music, coded, 44_100).lag == pytest.approx(
        0.4, abs=0.01
    )  # 0.6 x[t] + 0.4 x[t - 1], at low frequencies


@pytest.mark.parametrize("lag", [1, 22, -300])
def test_undoing_the_lag_gives_back_what_the_delay_cost(music: np.ndarray, coded: np.ndarray, lag: int) -> None:
    moved = delayed(coded, lag)
    assert (si_sdr(music, moved) < si_sdr(music, coded) - 0.5).all()
    own = si_sdr_aligned(music, coded, 44_100)
    assert isinstance(own, float) and own > np.mean(si_sdr(music, coded))
    assert si_sdr_aligned(music, moved, 44_100) == pytest.approx(own, abs=0.1)
    assert si_sdr_aligned(music, delayed(music, lag), 44_100) == 100.0


def test_the_edges_without_partner_are_dropped(music: np.ndarray, rng: np.random.Generator) -> None:
    noisy = music + 0.01 * rng.standard_normal(music.shape).astype(np.float32)
    late = delayed(noisy, 22)
    kept = score_pair(music, late, 44_100, ["lag", "si_sdr_aligned"])
    # Noise moves the lag by less than it takes to filter.
    assert kept == {"lag": 22.0, "si_sdr_aligned": np.mean(si_sdr(music[:, :-22], noisy[:, :-22]))}
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


def test_silence_has_no_lag(music: np.ndarray) -> None:
    silence = np.full_like(music, 0.25)
    with pytest.raises(Unscorable, match="estimate is silent"):
        align(music, silence, 44_100)
    with pytest.raises(Unscorable, match="reference is silent"):
        align(silence, music, 44_100)
    assert si_sdr_aligned(music, silence, 44_100) == -100.0
    assert str(si_sdr_aligned(silence, music, 44_100)) == "reference is silent"


def test_channels_that_cancel_have_no_lag(rng: np.random.Generator) -> None:
    left = rng.standard_normal(4000)
    pair = np.stack([left, left]), np.stack([left, -left])
    reasons = score_pair(*pair, 8000, ["lag", "gain", "polarity", "si_sdr_aligned"]).values()
    assert len(set(map(str, reasons))) == 1 and str(next(iter(reasons))).startswith("no lag within 50 ms")


def test_too_short_for_50_ms_to_either_side(music: np.ndarray) -> None:
    short = music[:, : 2 * (2205 + RINGING)]
    assert str(score_pair(short, short, 44_100, ["lag"])["lag"]) == "needs at least 4539 samples, got 4538"
    assert str(si_sdr_aligned(short, short, 44_100)) == "needs at least 4539 samples, got 4538"
    least = music[:, : 2 * (2205 + RINGING) + 1]
    assert si_sdr_aligned(least, least, 44_100) == 100.0

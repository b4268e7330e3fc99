"""Scale, effective rank and smoothness: exact cases, and sums of files against all frames at once."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest

from m2l_bench.latent.moments import Moments, moments
from m2l_bench.latent.sheet import (
    components,
    effective_rank,
    half_life,
    intervals,
    numbers,
    scale,
    smoothness,
    step,
)

RATE = 10.0


def _files(seed: int = 0, n: int = 6, dim: int = 5) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((dim, dim))
    return [
        mixing @ rng.gamma(2.0, size=(2, dim, int(rng.integers(30, 90)))) + rng.normal(size=(dim, 1)) for _ in range(n)
    ]


def _all(files: list[np.ndarray]) -> Moments:
    return reduce(Moments.__add__, (moments(file, RATE) for file in files))


def _ar1(phi: float, frames: int, dim: int, seed: int = 0) -> np.ndarray:
    from scipy.signal import lfilter

    rng = np.random.default_rng(seed)
    return lfilter([1.0], [1.0, -phi], rng.standard_normal((1, dim, frames + 500)), axis=-1)[..., 500:]


def test_sums_of_files_are_those_of_all_frames() -> None:
    from scipy import stats

    files = _files()
    frames = np.concatenate([file.transpose(1, 0, 2).reshape(5, -1) for file in files], axis=1)
    total, found = _all(files), scale(_all(files))
    np.testing.assert_allclose(found.mean, frames.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.std, frames.std(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.kurtosis, stats.kurtosis(frames, axis=1, fisher=False), rtol=1e-10)
    np.testing.assert_allclose(total.third / total.n / found.std**3, stats.skew(frames, axis=1), rtol=1e-10)
    np.testing.assert_allclose(total.scatter / total.n, np.cov(frames, ddof=0), rtol=1e-10, atol=1e-12)


def test_a_file_taken_away_was_never_there() -> None:
    files = _files(1)
    expected, found = numbers(_all(files[1:])), numbers(_all(files) - moments(files[0], RATE))
    assert found == pytest.approx(expected, rel=1e-10)


def test_large_offsets_lose_no_digits() -> None:
    files = _files(2)
    near, far = scale(_all(files)), scale(_all([file + 1e4 for file in files]))
    np.testing.assert_allclose(far.std, near.std, rtol=1e-9)
    np.testing.assert_allclose(far.kurtosis, near.kurtosis, rtol=1e-9)


def test_kurtosis_of_known_distributions() -> None:
    rng = np.random.default_rng(0)
    n = 200_000
    latents = np.stack([rng.standard_normal(n), rng.uniform(size=n), rng.laplace(size=n), rng.choice([-1.0, 1.0], n)])
    np.testing.assert_allclose(scale(moments(latents[None], RATE)).kurtosis, [3.0, 1.8, 6.0, 1.0], rtol=0.05)


def test_dead_dimensions_are_below_one_percent_of_the_median() -> None:
    signs = np.tile([1.0, -1.0], 50)
    stds = np.array([1.0, 1.0, 2.0, 0.0099, 0.0101, 0.0])
    # The median of these is (0.0101 + 1) / 2, one percent of it 0.00505.
    assert scale(moments((stds[:, None] * signs)[None], RATE)).dead.tolist() == [False] * 5 + [True]
    stds[4] = 1.0  # the median is now 1
    latents = (stds[:, None] * signs)[None]
    assert scale(moments(latents, RATE)).dead.tolist() == [False, False, False, True, False, True]
    assert numbers(moments(latents, RATE))["dead_dimensions"] == 2 / 6


def test_the_kurtosis_of_a_set_is_that_of_its_living_dimensions() -> None:
    signs, peaks = np.tile([1.0, -1.0], 50), np.zeros(100)
    peaks[0] = 1e-3  # dead, and of kurtosis 98.01
    latents = np.stack([signs, signs, signs, peaks, peaks, peaks, 2 * signs])[None]
    assert numbers(moments(latents, RATE))["latent_kurtosis"] == pytest.approx(1.0)
    assert scale(moments(latents, RATE)).kurtosis[3] > 90


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_orthonormal_directions_of_equal_variance_have_their_number_as_rank(rank: int) -> None:
    rng = np.random.default_rng(rank)
    basis = np.linalg.qr(rng.standard_normal((8, 8)))[0][:, :rank]
    signs = np.kron(np.eye(rank), [1.0, -1.0])  # (rank, 2 rank): uncorrelated, of equal variance
    of = moments((basis @ signs)[None], RATE)
    assert effective_rank(of) == pytest.approx(rank, rel=1e-9)
    assert components(of) == int(np.ceil(0.95 * rank))


def test_effective_rank_of_two_variances_is_that_of_the_formula() -> None:
    latents = np.zeros((1, 2, 4))
    latents[0, 0, :2], latents[0, 1, 2:] = [3.0, -3.0], [1.0, -1.0]
    expected = np.exp(-0.9 * np.log(0.9) - 0.1 * np.log(0.1))
    assert effective_rank(moments(latents, RATE)) == pytest.approx(expected, rel=1e-12)
    assert components(moments(latents, RATE)) == 2


def test_a_constant_has_no_rank_no_step_and_only_dead_dimensions() -> None:
    values = np.array([0.1, -3.3, 1e6])
    files = [np.tile(values[:, None], (2, 1, frames)) for frames in (7, 1001)]
    found = numbers(_all(files))
    assert found["effective_rank"] == found["components_95"] == found["latent_std"] == 0.0
    assert found["dead_dimensions"] == 1.0
    assert np.isnan(found["half_life"]) and np.isnan(found["latent_kurtosis"])


def test_white_noise_has_no_half_life_beyond_a_frame() -> None:
    of = moments(np.random.default_rng(0).standard_normal((2, 4, 20_000)), RATE)
    np.testing.assert_allclose(smoothness(of)[1], 1.0, atol=0.02)
    assert half_life(of) < 1 / RATE


@pytest.mark.parametrize("phi", [0.8, 0.95])
def test_an_autoregressive_latent_has_the_analytic_half_life(phi: float) -> None:
    of = moments(_ar1(phi, 50_000, 8), RATE)
    lags, steps = smoothness(of)
    np.testing.assert_allclose(steps, 1 - phi ** (lags * RATE), atol=0.02)
    assert half_life(of) == pytest.approx(np.log(0.5) / np.log(phi) / RATE, rel=0.02)


def test_the_step_at_100_ms_is_that_of_its_lag() -> None:
    latents = _ar1(0.9, 50_000, 4)
    assert step(moments(latents, 10.0)) == pytest.approx(0.1, abs=0.005)
    assert step(moments(latents, 50.0)) == pytest.approx(1 - 0.9**5, abs=0.02)
    assert step(moments(latents, 25.0)) == pytest.approx(1 - (0.9**2 + 0.9**3) / 2, abs=0.01)  # between two lags
    assert np.isnan(step(moments(latents, 5.0)))  # a frame is 200 ms
    assert np.isnan(step(moments(latents[..., :4], 50.0)))  # no file is as long


def test_lags_are_seconds_whatever_the_frame_rate() -> None:
    latents = _ar1(0.9, 5000, 2)
    assert half_life(moments(latents, 100.0)) == pytest.approx(half_life(moments(latents, 10.0)) / 10)
    assert smoothness(moments(latents, 100.0))[0][-1] == 2.0
    assert smoothness(moments(latents, 10.766))[0][-1] == pytest.approx(21 / 10.766)
    assert len(smoothness(moments(latents, 0.1))[0]) == 1


def test_steps_stay_within_a_stream_and_a_file() -> None:
    ramp = np.arange(8.0)
    apart = np.stack([ramp, ramp + 100])[:, None]  # (streams, 1, frames)
    assert moments(apart, 1.0).steps.tolist() == [14.0, 48.0]
    assert moments(apart, 1.0).pairs.tolist() == [14, 12]


def test_a_slow_latent_has_no_half_life_within_the_longest_lag() -> None:
    of = moments(np.linspace(0.0, 1.0, 1000)[None, None], RATE)
    assert half_life(of) == np.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: moments(np.zeros((3, 10)), RATE), r"latents must have shape \(streams, dim, frames\), got \(3, 10\)"),
        (lambda: moments(np.zeros((1, 3, 0)), RATE), "latents must have shape"),
        (lambda: moments(np.full((1, 2, 3), np.nan), RATE), "latents must be finite, got 6 values"),
        (lambda: moments(np.zeros((1, 3, 10)), 0.0), "latent_rate must be positive, got 0.0 Hz"),
        (lambda: intervals([moments(np.zeros((1, 3, 10)), RATE)]), "files must be at least 2 .* got 1"),
        (
            lambda: moments(np.zeros((1, 3, 10)), RATE) + moments(np.zeros((1, 4, 10)), RATE),
            "moments must be of one latent space, got 3 dimensions at 10 Hz and 4 at 10 Hz",
        ),
        (
            lambda: moments(np.zeros((1, 3, 10)), RATE) - moments(np.zeros((1, 3, 10)), RATE),
            "moments taken away must be of fewer than 10 frames, got 10",
        ),
    ],
)
def test_bad_input_is_named(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]

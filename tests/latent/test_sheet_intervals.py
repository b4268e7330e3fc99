"""Intervals of a latent space's numbers: coverage of known truths, invariances, and where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import binom, t

from m2l_bench.latent.moments import Moments, moments
from m2l_bench.latent.sheet import CARDS, intervals, numbers

RATE, PHI, OF_FILES = 10.0, 0.8, 0.3
STDS = np.array([2.0, 1.0, 1.0, 0.5])
MEAN = 0.7
N_TRIALS = 160
WITHOUT = {"latent_dim", "latent_rate", "latent_kurtosis", "dead_dimensions", "components_95"}


def _latents(rng: np.random.Generator, frames: int = 60) -> np.ndarray:
    """One file: 30 % of the variance is between files, the rest first-order autoregressive at the file's level."""
    noise = rng.standard_normal((4, frames))
    noise[:, 1:] *= np.sqrt(1 - PHI**2)
    course = lfilter([1.0], [1.0, -PHI], noise, axis=-1)
    level = np.exp(0.3 * rng.standard_normal() - 0.3**2)
    file = np.sqrt(OF_FILES) * rng.standard_normal((4, 1)) + np.sqrt(1 - OF_FILES) * level * course
    return (MEAN + STDS[:, None] * file)[None]


def _truth() -> dict[str, float]:
    shares = STDS**2 / np.sum(STDS**2)
    correlation = OF_FILES + (1 - OF_FILES) * PHI ** np.arange(20.0)
    return {
        "latent_mean": MEAN,
        "latent_std": float(np.sqrt(np.mean(STDS**2))),
        "effective_rank": float(np.exp(-np.sum(shares * np.log(shares)))),
        "step_100ms": float(1 - correlation[1]),
        "half_life": float(np.interp(0.5, correlation[::-1], np.arange(20.0)[::-1] / RATE)),
    }


@pytest.fixture(scope="module")
def trials() -> list[dict[str, tuple[float, float]]]:
    rng = np.random.default_rng(0)
    return [intervals([moments(_latents(rng), RATE) for _ in range(25)]) for _ in range(N_TRIALS)]


@pytest.mark.parametrize("name", ["latent_mean", "latent_std", "effective_rank", "step_100ms", "half_life"])
def test_intervals_cover_the_truth_of_the_process(name: str, trials: list[dict[str, tuple[float, float]]]) -> None:
    truth = _truth()[name]
    covered = sum(low <= truth <= high for low, high in (trial[name] for trial in trials))
    # Intervals half as wide cover 67 %, twice as wide 99.99 %.
    assert binom.ppf(0.002, N_TRIALS, 0.93) <= covered < N_TRIALS


def _files(seed: int = 0, n: int = 8) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [_latents(rng) for _ in range(n)]


def _intervals(files: list[np.ndarray]) -> dict[str, tuple[float, float]]:
    return intervals([moments(file, RATE) for file in files])


def test_every_number_has_an_interval_except_properties_counts_and_the_kurtosis() -> None:
    found = _intervals(_files())
    assert found.keys() == CARDS.keys()
    assert {name for name, ends in found.items() if np.isnan(ends).any()} == WITHOUT
    assert all(("interval: none" in card.formula) == (name in WITHOUT) for name, card in CARDS.items())


def test_the_interval_of_the_scale_is_students_over_pseudo_values_of_its_logarithm() -> None:
    files = _files(1, n=6)

    def log_std(some: list[np.ndarray]) -> float:
        frames = np.concatenate([file[0] for file in some], axis=1)
        return float(0.5 * np.log(np.mean(np.var(frames, axis=1))))

    pseudo = np.array([6 * log_std(files) - 5 * log_std(files[:k] + files[k + 1 :]) for k in range(6)])
    away = pseudo - pseudo.mean()
    freedom = np.clip(2 * 6 / (np.mean(away**4) / np.mean(away**2) ** 2 - 1), 1, 5)
    expected = np.exp(t.interval(0.95, freedom, pseudo.mean(), pseudo.std(ddof=1) / np.sqrt(6)))
    np.testing.assert_allclose(_intervals(files)["latent_std"], expected, rtol=1e-9)


def test_intervals_follow_the_scale_of_the_latents() -> None:
    files = _files(2)
    found, scaled = _intervals(files), _intervals([100 * file for file in files])
    for name in found.keys() - WITHOUT:
        factor = 100.0 if name in ("latent_mean", "latent_std") else 1.0
        np.testing.assert_allclose(scaled[name], factor * np.array(found[name]), rtol=1e-9)


def test_equal_files_have_intervals_without_width() -> None:
    files = [_files(3, n=1)[0]] * 4
    value, found = numbers(sum([moments(files[0], RATE)] * 3, moments(files[0], RATE))), _intervals(files)
    for name in found.keys() - WITHOUT:
        np.testing.assert_allclose(found[name], value[name], rtol=1e-6)


def test_a_mean_of_zero_reaches_down_to_zero_although_the_number_does_not() -> None:
    files = [file - MEAN for file in _files(4, n=25)]
    low, high = _intervals(files)["latent_mean"]
    assert low == 0.0 < high
    assert numbers(_sum(files))["latent_mean"] > 0.1  # the root of a mean of squares is never near 0


def test_a_half_life_that_may_not_end_has_an_infinite_end() -> None:
    rng = np.random.default_rng(5)
    # Half of the variance is that of the files' means, so that the correlation falls to about 1/2 and stays there.
    files = [rng.standard_normal((1, 4, 1)) + rng.standard_normal((1, 4, 100)) for _ in range(12)]
    low, high = _intervals(files)["half_life"]
    assert 0 < low <= 0.1 and high == np.inf
    still = [rng.standard_normal((1, 4, 1)) + 0.1 * rng.standard_normal((1, 4, 100)) for _ in range(12)]
    assert _intervals(still)["half_life"] == (np.inf, np.inf)


def test_there_is_no_interval_where_a_number_is_not_positive() -> None:
    found = _intervals([np.full((1, 2, 30), 0.3)] * 3)
    assert all(np.isnan(found[name]).all() for name in ("latent_std", "effective_rank", "step_100ms", "half_life"))


def test_fewer_than_two_files_are_refused() -> None:
    with pytest.raises(ValueError, match="files must be at least 2 for a jackknife, got 1"):
        _intervals(_files(n=1))


def _sum(files: list[np.ndarray]) -> Moments:
    return sum((moments(file, RATE) for file in files[1:]), moments(files[0], RATE))

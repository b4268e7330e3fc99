"""Bootstrap, sign-flip test and Holm's correction: against theory and hand calculation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from m2l_bench import statistics
from m2l_bench.statistics import (
    bootstrap_interval,
    centred_interval,
    cluster_draws,
    contributions,
    draw_counts,
    holm,
    sign_flip_test,
)


def coverage(intervals: list[tuple[float, float]], truth: float) -> float:
    return float(np.mean([low <= truth <= high for low, high in intervals]))


def test_mean_is_covered_in_95_percent_of_trials() -> None:
    rng = np.random.default_rng(0)
    intervals = [bootstrap_interval(rng.normal(3.0, 2.0, 60)) for _ in range(400)]
    assert coverage(intervals, 3.0) == pytest.approx(0.95, abs=0.045)  # 3 standard errors of 400 trials, and bias


def test_median_is_covered_too() -> None:
    rng = np.random.default_rng(1)
    intervals = [bootstrap_interval(rng.exponential(size=61), statistic=np.median) for _ in range(200)]
    assert coverage(intervals, np.log(2.0)) == pytest.approx(0.95, abs=0.05)


def test_frames_of_a_track_are_drawn_together_or_the_interval_is_far_too_narrow() -> None:
    rng = np.random.default_rng(2)
    grouped, naive = [], []
    for _ in range(200):
        sizes = rng.integers(5, 16, 40)
        tracks = np.repeat(np.arange(40), sizes)
        values = rng.normal(size=40)[tracks] + 0.3 * rng.normal(size=len(tracks))
        grouped.append(bootstrap_interval(values, groups=tracks))
        naive.append(bootstrap_interval(values))
    assert coverage(grouped, 0.0) > 0.9
    assert coverage(naive, 0.0) < 0.6


def test_width_is_that_of_the_normal_approximation() -> None:
    values = np.random.default_rng(3).normal(size=2000)
    low, high = bootstrap_interval(values)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(2000), rel=0.05)
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.003)


def test_same_seed_same_digits_and_another_seed_others() -> None:
    values = np.random.default_rng(4).normal(size=30)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)


@pytest.mark.parametrize("statistic", [np.mean, np.median])
def test_blocks_bound_the_memory_and_leave_the_digits(statistic, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    values = np.random.default_rng(5).normal(size=37)
    whole = bootstrap_interval(values, statistic=statistic)
    monkeypatch.setattr(statistics, "_BLOCK", 100)
    assert bootstrap_interval(values, statistic=statistic) == whole


@pytest.mark.parametrize("sizes", [[3, 3, 3, 3], [1, 5, 2, 4]])
def test_groups_of_any_size_pool_the_items_of_the_drawn_tracks(sizes: list[int]) -> None:
    tracks = np.repeat(np.arange(4), sizes)
    values = np.random.default_rng(6).normal(size=len(tracks))
    shortcut = bootstrap_interval(values, groups=tracks)
    pooled = bootstrap_interval(values, groups=tracks, statistic=lambda x, axis: np.mean(x, axis=axis))
    assert shortcut == pytest.approx(pooled, abs=1e-12)


def test_names_of_tracks_and_interleaving_change_nothing() -> None:
    values = np.array([1.0, 4.0, 2.0, 8.0, 5.0, 7.0])
    by_number = bootstrap_interval(values, groups=[0, 0, 1, 1, 2, 2])
    assert bootstrap_interval(values, groups=["z", "z", "b", "b", "a", "a"]) == by_number
    interleaved = bootstrap_interval(values[[0, 2, 4, 1, 3, 5]], groups=[0, 1, 2, 0, 1, 2])
    assert interleaved == pytest.approx(by_number, abs=1e-12)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20), st.integers(0, 1000))
def test_interval_lies_within_the_values(values: list[float], seed: int) -> None:
    low, high = bootstrap_interval(values, seed=seed)
    slack = 1e-9 * max(map(abs, values))
    assert min(values) - slack <= low <= high <= max(values) + slack


def test_one_track_has_no_interval_however_many_frames() -> None:
    assert np.isnan(bootstrap_interval([3.0])).all()
    assert np.isnan(bootstrap_interval([3.0, 4.0, 5.0], groups=["a", "a", "a"])).all()


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, r"n >= 1, got \(0,\)"),
        ([[1.0, 2.0]], {}, r"got \(1, 2\)"),
        ([1.0, np.nan], {}, "finite, got 1"),
        ([1.0, 2.0], {"groups": [1]}, "one label a value"),
    ],
)
def test_bad_input_to_the_bootstrap(values: list[float], options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(values, **options)


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_sign_flip_is_exact_for_few_tracks(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.normal(0.5, 1.0, (2, n))
    seen = abs(np.sum(a - b))
    patterns = list(itertools.product([-1, 1], repeat=n))
    extreme = sum(abs(sum(s * d for s, d in zip(p, a - b, strict=True))) >= seen - 1e-9 for p in patterns)
    assert sign_flip_test(a, b) == extreme / 2**n
    assert sign_flip_test(a, b) == sign_flip_test(b, a)


def test_sign_flip_equals_scipy() -> None:
    a, b = np.random.default_rng(8).normal(size=(2, 10))
    peer = scipy.stats.permutation_test((a, b), lambda x, y: np.mean(x - y), permutation_type="samples")
    assert sign_flip_test(a, b) == pytest.approx(peer.pvalue, abs=1e-12)


def test_all_tracks_better_by_as_much_is_the_smallest_p_value() -> None:
    assert sign_flip_test(np.ones(6), np.zeros(6)) == 2 / 64
    assert sign_flip_test(np.ones(200), np.zeros(200)) == 1 / 10_001  # never 0


def test_equal_systems_have_p_value_one() -> None:
    assert sign_flip_test(np.arange(5.0), np.arange(5.0)) == 1.0
    assert sign_flip_test(np.arange(50.0), np.arange(50.0)) == 1.0


def test_drawn_p_value_approaches_the_t_test() -> None:
    a, b = np.random.default_rng(9).normal(size=(2, 80))
    a += 0.25
    assert sign_flip_test(a, b) == pytest.approx(scipy.stats.ttest_rel(a, b).pvalue, abs=0.01)


def test_false_alarms_are_as_rare_as_promised() -> None:
    rng = np.random.default_rng(10)
    p = [sign_flip_test(*rng.normal(size=(2, 20))) for _ in range(400)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.033)


def test_frames_of_a_track_flip_together() -> None:
    difference = np.repeat([1.0, 1.0, 1.0, -0.5], 50)
    tracks = np.repeat(np.arange(4), 50)
    assert sign_flip_test(difference, np.zeros(200), groups=tracks) == sign_flip_test([1, 1, 1, -0.5], np.zeros(4))
    assert sign_flip_test(difference, np.zeros(200)) < 1e-3  # the frames alone would claim far too much


def test_sign_flip_blocks_leave_the_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = np.random.default_rng(11).normal(size=(2, 40))
    whole = sign_flip_test(a, b)
    monkeypatch.setattr(statistics, "_BLOCK", 1000)
    assert sign_flip_test(a, b) == whole


def test_bad_input_to_the_sign_flip_test() -> None:
    with pytest.raises(ValueError, match="same items"):
        sign_flip_test([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="a - b must be finite"):
        sign_flip_test([1.0, np.inf], [1.0, 2.0])


def test_holm_by_hand() -> None:
    # sorted 0.005 0.01 0.03 0.04 -> times 4 3 2 1: 0.02 0.03 0.06 0.04 -> running maximum
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0.0, 1.0), max_size=12))
def test_holm_is_between_nothing_and_bonferroni(p: list[float]) -> None:
    adjusted = holm(p)
    assert (adjusted >= np.array(p)).all()
    assert (adjusted <= np.minimum(np.array(p) * len(p), 1.0) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()


@pytest.mark.parametrize("p", [[0.5, 1.1], [-0.1], [np.nan], 0.5])
def test_holm_refuses_what_is_no_p_value(p: object) -> None:
    with pytest.raises(ValueError, match="numbers in"):
        holm(p)


def test_contributions_of_a_mean_are_the_values() -> None:
    values = np.random.default_rng(0).normal(size=20)
    left_out = (values.sum() - values) / 19
    np.testing.assert_allclose(contributions(values.mean(), left_out), values, atol=1e-12)
    with pytest.raises(ValueError, match=r"left_out must have shape \(n,\) with n >= 2, got \(1,\)"):
        contributions(1.0, [1.0])


def test_contributions_of_a_smooth_number_have_it_as_mean_and_its_spread() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(3.0, 1.0, size=400)
    left_out = ((values.sum() - values) / 399) ** 2
    found = contributions(values.mean() ** 2, left_out)
    assert found.mean() == pytest.approx(values.mean() ** 2, rel=1e-12)
    # Delta method: the standard error of mean^2 is 2 mean times that of the mean.
    assert found.std(ddof=1) == pytest.approx(2 * values.mean() * values.std(ddof=1), rel=0.02)


def test_every_bootstrap_has_the_same_two_thousand_draws_in_blocks_of_any_size() -> None:
    whole = np.random.default_rng(3).integers(7, size=(2000, 7))
    for block in (None, 1, 333):
        assert (np.concatenate(list(cluster_draws(7, seed=3, block=block))) == whole).all()
    counts = draw_counts(whole)
    assert (counts == np.stack([np.bincount(row, minlength=7) for row in whole])).all()


def test_a_centred_interval_contains_its_value_although_the_draws_are_biased() -> None:
    draws = np.array([2.0, 3.0, 4.0])
    low, high = centred_interval(1.5, draws)
    assert low <= 1.5 <= high
    assert centred_interval(0.1, draws, lowest=0.0)[0] == 0.0

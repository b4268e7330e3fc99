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
    cluster_draws,
    contributions,
    draw_counts,
    holm,
    jackknife,
    mean_interval,
    median_interval,
    paired_test,
    skewness,
)


def coverage(intervals: list[tuple[float, float]], truth: float) -> float:
    return float(np.mean([low <= truth <= high for low, high in intervals]))


SHAPES = {
    "normal": (lambda rng, n: rng.normal(3.0, 2.0, n), 3.0),
    "skewed": (lambda rng, n: rng.gamma(1.3, size=n), 1.3),
    "very skewed": (lambda rng, n: rng.gamma(1 / 9, size=n), 1 / 9),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mean_is_covered_in_95_percent_of_trials(shape: str) -> None:
    draw, mean = SHAPES[shape]
    rng = np.random.default_rng(0)
    intervals = [mean_interval(draw(rng, 25)) for _ in range(400)]
    assert coverage(intervals, mean) == pytest.approx(0.945, abs=0.04)  # 3 standard errors of 400 trials, and bias


def test_a_median_is_covered_too() -> None:
    rng = np.random.default_rng(1)
    intervals = [median_interval(rng.exponential(size=61)) for _ in range(200)]
    assert coverage(intervals, np.log(2.0)) == pytest.approx(0.95, abs=0.05)


def test_the_interval_of_a_mean_is_students_unless_skewed() -> None:
    values = np.random.default_rng(3).normal(size=25)
    peer = scipy.stats.ttest_1samp(values, 0.0).confidence_interval()
    assert mean_interval(values) == pytest.approx((peer.low, peer.high), abs=1e-12)
    skewed = np.random.default_rng(3).gamma(1 / 9, size=25)
    peer = scipy.stats.ttest_1samp(skewed, 0.0).confidence_interval()
    low, high = mean_interval(skewed)
    assert low > peer.low and high > peer.high  # it reaches out to the side of the long tail


@pytest.mark.parametrize("values", [[1.0, 2.0, 9.0, 4.0], np.random.default_rng(2).gamma(0.3, size=40), [2.0] * 5])
def test_skewness_equals_scipys(values: list[float]) -> None:
    expected = scipy.stats.skew(values, bias=False) if np.ptp(values) else 0.0
    assert skewness(np.array(values)) == pytest.approx(expected)


def test_frames_of_a_track_count_together_or_the_interval_is_far_too_narrow() -> None:
    rng = np.random.default_rng(2)
    grouped, naive = [], []
    for _ in range(200):
        sizes = rng.integers(5, 16, 40)
        tracks = np.repeat(np.arange(40), sizes)
        values = rng.normal(size=40)[tracks] + 0.3 * rng.normal(size=len(tracks))
        grouped.append(mean_interval(values, groups=tracks))
        naive.append(mean_interval(values))
    assert coverage(grouped, 0.0) > 0.9
    assert coverage(naive, 0.0) < 0.6


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("draw", [np.random.default_rng(6).normal, np.random.default_rng(6).exponential])
def test_equal_groups_and_weights_are_those_of_their_means(draw, scale: float) -> None:  # type: ignore[no-untyped-def]
    values = draw(size=(12, 5))
    tracks = np.repeat(np.arange(12), 5)
    expected = mean_interval(values.mean(axis=1))
    assert mean_interval(values.ravel(), groups=tracks, weights=np.full(60, scale)) == pytest.approx(expected)
    assert mean_interval(values.mean(axis=1), weights=np.full(12, scale)) == pytest.approx(expected)


def test_a_weighted_mean_lies_in_its_interval_and_weights_are_checked() -> None:
    values, weights = np.array([1.0, 2.0, 3.0, 10.0]), np.array([1.0, 1.0, 1.0, 9.0])
    low, high = mean_interval(values, weights=weights)
    assert low < np.average(values, weights=weights) < high
    for wrong in ([1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 1.0]):
        with pytest.raises(ValueError, match="weights must be positive, one a value"):
            mean_interval(values, weights=wrong)


def test_few_skewed_tracks_have_students_interval() -> None:
    values = np.array([0.1, 0.2, 0.4, 6.1])
    peer = scipy.stats.ttest_1samp(values, 0.0).confidence_interval()
    assert mean_interval(values) == pytest.approx((peer.low, peer.high), abs=1e-12)
    more = np.array([*values, 0.3, 0.2])
    student = scipy.stats.ttest_1samp(more, 0.0).confidence_interval()
    assert mean_interval(more)[1] > student.high + 0.5  # from six on, the long tail counts


@pytest.mark.parametrize("interval", [mean_interval, median_interval])
def test_blocks_bound_the_memory_and_leave_the_digits(interval, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    values = np.random.default_rng(5).exponential(size=37) ** 2
    whole = interval(values)
    monkeypatch.setattr(statistics, "_BLOCK", 100)
    assert interval(values) == pytest.approx(whole, rel=1e-12)


def test_names_of_tracks_and_interleaving_change_nothing() -> None:
    values = np.array([1.0, 4.0, 2.0, 8.0, 5.0, 7.0])
    by_number = mean_interval(values, groups=[0, 0, 1, 1, 2, 2])
    assert mean_interval(values, groups=["z", "z", "b", "b", "a", "a"]) == by_number
    interleaved = mean_interval(values[[0, 2, 4, 1, 3, 5]], groups=[0, 1, 2, 0, 1, 2])
    assert interleaved == pytest.approx(by_number, abs=1e-12)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20))
def test_the_mean_lies_in_its_interval_or_at_its_edge(values: list[float]) -> None:
    low, high = mean_interval(values)
    slack = 1e-9 * max(map(abs, values))
    assert low <= high
    assert low - slack <= np.mean(values) <= high + slack


def test_one_track_has_no_interval_however_many_frames() -> None:
    assert np.isnan(mean_interval([3.0])).all() and np.isnan(median_interval([3.0])).all()
    assert np.isnan(mean_interval([3.0, 4.0, 5.0], groups=["a", "a", "a"])).all()


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, r"n >= 1, got \(0,\)"),
        ([[1.0, 2.0]], {}, r"got \(1, 2\)"),
        ([1.0, np.nan], {}, "finite, got 1"),
        ([1.0, 2.0], {"groups": [1]}, "one label a value"),
    ],
)
def test_bad_input_to_intervals(values: list[float], options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mean_interval(values, **options)


@pytest.mark.parametrize("n", [1, 2, 5, 9, 14])
def test_sign_flip_is_exact_for_few_tracks(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "SKEWED", np.inf)
    rng = np.random.default_rng(n)
    a, b = rng.normal(0.5, 1.0, (2, n))
    seen = abs(np.sum(a - b))
    patterns = list(itertools.product([-1, 1], repeat=n))
    extreme = sum(abs(sum(s * d for s, d in zip(p, a - b, strict=True))) >= seen - 1e-9 for p in patterns)
    assert paired_test(a, b) == extreme / 2**n
    assert paired_test(a, b) == paired_test(b, a)


def test_sign_flip_equals_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "SKEWED", np.inf)
    a, b = np.random.default_rng(8).normal(size=(2, 10))
    peer = scipy.stats.permutation_test((a, b), lambda x, y: np.mean(x - y), permutation_type="samples")
    assert paired_test(a, b) == pytest.approx(peer.pvalue, abs=1e-12)


def test_all_tracks_better_by_as_much_is_the_smallest_p_value() -> None:
    assert paired_test(np.ones(6), np.zeros(6)) == 2 / 64
    assert paired_test(np.ones(200), np.zeros(200)) == 1 / 100_001  # never 0


def test_equal_systems_have_p_value_one() -> None:
    assert paired_test(np.arange(5.0), np.arange(5.0)) == 1.0
    assert paired_test(np.arange(50.0), np.arange(50.0)) == 1.0


def test_drawn_p_value_approaches_the_t_test() -> None:
    a, b = np.random.default_rng(9).normal(size=(2, 80))
    a += 0.25
    assert paired_test(a, b) == pytest.approx(scipy.stats.ttest_rel(a, b).pvalue, abs=0.01)


def test_false_alarms_are_as_rare_as_promised() -> None:
    rng = np.random.default_rng(10)
    p = [paired_test(*rng.normal(size=(2, 20))) for _ in range(400)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.033)


def test_frames_of_a_track_flip_together() -> None:
    difference = np.repeat([1.0, 1.0, 1.0, -0.5], 50)
    tracks = np.repeat(np.arange(4), 50)
    assert paired_test(difference, np.zeros(200), groups=tracks) == paired_test([1, 1, 1, -0.5], np.zeros(4))
    assert paired_test(difference, np.zeros(200)) < 1e-3  # the frames alone would claim far too much


def test_sign_flip_blocks_leave_the_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = np.random.default_rng(11).normal(size=(2, 40))
    whole = paired_test(a, b)
    monkeypatch.setattr(statistics, "_BLOCK", 1000)
    assert paired_test(a, b) == whole


def test_bad_input_to_the_paired_test() -> None:
    with pytest.raises(ValueError, match="same items"):
        paired_test([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="a - b must be finite"):
        paired_test([1.0, np.inf], [1.0, 2.0])


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


def test_pseudo_values_take_the_bias_of_order_one_over_n() -> None:
    values = np.random.default_rng(2).normal(size=12)
    biased = np.var(values)  # divided by n
    left_out = [np.var(np.delete(values, k)) for k in range(12)]
    assert jackknife(biased, left_out).mean() == pytest.approx(np.var(values, ddof=1), rel=1e-12)


def test_the_test_of_30_tracks_is_exact_and_agrees_with_drawn_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = np.random.default_rng(13).normal(size=(2, 30))
    exact = paired_test(a + 0.4, b)
    assert exact * 2**30 == round(exact * 2**30)
    monkeypatch.setattr(statistics, "MOST_EXACT", 0)
    assert paired_test(a + 0.4, b) == pytest.approx(exact, abs=4 * np.sqrt(exact / 100_000))


def test_skewed_differences_of_mean_zero_are_hardly_taken_for_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(14)
    trials = [rng.gamma(1 / 9, size=25) - 1 / 9 for _ in range(200)]
    guarded = np.mean([paired_test(d, np.zeros(25)) < 0.05 for d in trials])
    monkeypatch.setattr(statistics, "SKEWED", np.inf)
    flips_alone = np.mean([paired_test(d, np.zeros(25)) < 0.05 for d in trials])
    assert guarded < 0.1 < flips_alone


@pytest.mark.parametrize(("n", "ones"), [(10, 1), (10, 2), (20, 1), (40, 2), (120, 3)])
def test_a_mean_of_a_few_ones_among_zeros_has_an_interval_of_its_scale(n: int, ones: int) -> None:
    """Draws without spread differ from the mean by rounding alone over rounding alone."""
    low, high = mean_interval(np.arange(n) < ones)
    error = np.sqrt(ones / n * (1 - ones / n) / (n - 1))
    assert low == pytest.approx(ones / n - scipy.stats.t.ppf(0.975, n - 1) * error)
    assert high == pytest.approx(ones / n + scipy.stats.t.ppf(0.975, n - 1) * error)
    zeros, some = np.zeros(n), (np.arange(n) < ones).astype(float)
    assert paired_test(some, zeros) == pytest.approx(2.0 ** (1 - ones), abs=0.005), "as the flipped signs say"

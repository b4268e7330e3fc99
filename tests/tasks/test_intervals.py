"""Intervals of task scores: coverage in small simulations, groups, the ends of the scale; contributions of items."""

from __future__ import annotations

import numpy as np
import pytest

from m2l_bench.tasks.intervals import MOST_PARTS, Interval, group_contributions
from m2l_bench.tasks.scoring import METRICS


def mean_of(scores: np.ndarray):
    return lambda weights: float(scores @ weights / weights.sum())


def of_hits(scores: np.ndarray, groups: np.ndarray | None = None) -> tuple[float, float]:
    groups = np.arange(len(scores)) if groups is None else groups
    return METRICS["accuracy"].interval.of(mean_of(np.asarray(scores, float)), groups)


@pytest.mark.parametrize("accuracy", [0.5, 0.9, 0.998])
def test_coverage_of_an_accuracy(accuracy: float) -> None:
    rng = np.random.default_rng(0)
    intervals = np.array([of_hits(rng.random(120) < accuracy) for _ in range(200)])
    covered = np.mean((intervals[:, 0] <= accuracy) & (accuracy <= intervals[:, 1]))
    assert 0.88 <= covered <= 0.995


def test_coverage_of_scores_of_tags() -> None:
    """Tags of 5 to 50 %; the truth of the ROC-AUC is that of two normal distributions, 1.5 apart."""
    from scipy.stats import norm

    rng = np.random.default_rng(0)
    covered = []
    for _ in range(100):
        targets = (rng.random((60, 4)) < np.geomspace(0.1, 0.5, 4)).astype(int)
        metric = METRICS["roc_auc"].prepare(targets, 1.5 * targets + rng.standard_normal((60, 4)))
        low, high = METRICS["roc_auc"].interval.of(metric, np.arange(60))
        covered.append(low <= norm.cdf(1.5 / np.sqrt(2)) <= high)
    assert 0.86 <= np.mean(covered) <= 1.0


def test_an_accuracy_of_independent_items_has_wilsons_interval() -> None:
    scores = np.repeat([1.0, 0.0], [90, 30])
    from scipy.stats import binomtest

    exact = binomtest(90, 120).proportion_ci(method="wilson")
    assert of_hits(scores) == pytest.approx((exact.low, exact.high), abs=2e-3)  # t and n - 1 instead of z and n


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("interval", [Interval(), Interval(most=1), Interval(of_few=True)])
def test_at_the_ends_of_the_scale_an_interval_is_not_a_point(value: float, interval: Interval) -> None:
    low, high = interval.of(mean_of(np.full(120, value)), np.arange(120))
    assert (low, high) == pytest.approx((0.0, 0.0317) if value == 0 else (1 - 0.0317, 1.0), abs=1e-4)
    assert low <= value <= high


def test_groups_of_identical_items_have_the_interval_of_the_groups() -> None:
    scores = np.random.default_rng(0).random(30) < 0.8
    for of_groups in (scores, np.ones(30)):
        repeated = of_hits(np.repeat(of_groups, 4), np.repeat(np.arange(30), 4))
        assert repeated == pytest.approx(of_hits(of_groups), abs=1e-12)
    alone = of_hits(np.repeat(scores, 4))
    assert alone[1] - alone[0] < 0.6 * (of_hits(scores)[1] - of_hits(scores)[0])


def test_groups_that_balance_each_other_hold_no_more_than_their_items() -> None:
    scores = np.tile([1.0, 0.0], 60)  # every pair has one hit: the mean of groups does not vary at all
    scores[0] = 0.0
    paired = of_hits(scores, np.arange(120) // 2)
    assert paired[1] - paired[0] > 0.95 * np.diff(of_hits(scores))[0]


def test_a_bias_widens_the_interval_on_its_side() -> None:
    rng = np.random.default_rng(3)
    targets = (rng.random((80, 6)) < np.geomspace(0.05, 0.4, 6)).astype(int)
    metric = METRICS["average_precision"].prepare(targets, targets + rng.standard_normal((80, 6)))
    plain, moved = (Interval(of_few=of_few).of(metric, np.arange(80)) for of_few in (False, True))
    assert plain[0] - moved[0] > moved[1] - plain[1] + 0.02 >= 0.02  # a few items also leave fewer degrees of freedom
    assert moved[0] <= metric(np.ones(80)) <= moved[1]


def test_many_groups_are_joined() -> None:
    scores = (np.random.default_rng(0).random(2 * MOST_PARTS + 7) < 0.7).astype(float)
    calls = []

    def counted(weights: np.ndarray) -> float:
        calls.append(weights)
        return mean_of(scores)(weights)

    low, high = Interval().of(counted, np.arange(len(scores)))
    assert len(calls) == MOST_PARTS + 1
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.21 / len(scores)), rel=0.08)


def test_an_interval_is_unknown_for_one_group_and_where_a_score_is_undefined() -> None:
    assert np.isnan(of_hits(np.array([1, 0, 1]), np.zeros(3))).all()
    targets = np.array([[1], [0], [0], [0]])  # without its only item the tag is absent
    metric = METRICS["roc_auc"].prepare(targets, np.arange(4.0)[:, None])
    assert np.isnan(METRICS["roc_auc"].interval.of(metric, np.arange(4))).all()


def test_cards_state_the_rules() -> None:
    assert all(metric.card.constants["interval"] == metric.interval.rule for metric in METRICS.values())
    assert len({metric.interval.rule for metric in METRICS.values()}) == 4


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_contributions_of_items_average_to_the_score_whatever_the_groups(name: str) -> None:
    rng = np.random.default_rng(2)
    targets = (rng.random((40, 5)) < 0.4).astype(int)
    metric = METRICS[name].prepare(targets, targets + rng.normal(size=(40, 5)))
    for groups in (np.arange(40), np.arange(40) // 3):
        found = group_contributions(metric, groups)
        assert found.mean() == pytest.approx(metric(np.ones(40)), rel=1e-12)
        assert all(len(np.unique(found[groups == group])) == 1 for group in np.unique(groups))
    assert np.isnan(group_contributions(metric, np.zeros(40))).all()


def test_contributions_to_an_accuracy_are_the_hits() -> None:
    rng = np.random.default_rng(4)
    targets, logits = rng.integers(3, size=30), rng.normal(size=(30, 3))
    metric = METRICS["accuracy"]
    found = group_contributions(metric.prepare(targets, logits), np.arange(30))
    np.testing.assert_allclose(found, metric.per_item(targets, logits), atol=1e-12)

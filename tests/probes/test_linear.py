"""The linear probe against scikit-learn's LogisticRegression."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from m2l_bench.probes import LinearProbe
from m2l_bench.probes.linear import L2_GRID
from m2l_bench.probes.selection import fit_outputs, log_loss


def problem(classes: int, n: int = 300, dim: int = 20) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(classes)
    x = rng.standard_normal((n, dim)) @ rng.standard_normal((dim, dim)) + 3
    return x, (x @ rng.standard_normal((dim, classes)) / 8 + rng.gumbel(size=(n, classes))).argmax(axis=1)


def oracle(l2: float, n: int) -> LogisticRegression:
    return LogisticRegression(C=1 / (l2 * n), tol=1e-10, max_iter=10_000)


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("l2", [1e-3, 1e-2, 1.0])
def test_coefficients_and_scores_equal_scikit_learns(classes: int, l2: float) -> None:
    x, y = problem(classes)
    probe = LinearProbe(l2=(l2,)).fit(x[:200], y[:200], validation=(x[200:], y[200:]))
    z = (x - probe.mean_) / probe.scale_
    expected = oracle(l2, 200).fit(z[:200], y[:200])
    np.testing.assert_allclose(probe.coef_, expected.coef_, atol=1e-3)
    np.testing.assert_allclose(
        probe.intercept_, expected.intercept_ - expected.intercept_.mean() * (classes > 2), atol=1e-3
    )
    np.testing.assert_allclose(probe.predict_proba(x), expected.predict_proba(z), atol=1e-4)
    assert probe.score(x[200:], y[200:]) == expected.score(z[200:], y[200:])


def test_tags_equal_one_fit_a_tag() -> None:
    x, _ = problem(2)
    rng = np.random.default_rng(0)
    tags = (x @ rng.standard_normal((20, 5)) / 8 + rng.logistic(size=(300, 5)) > [0, 1, 2, 3, 4]).astype(int)
    probe = LinearProbe(l2=(1e-2,)).fit(x, tags, validation=(x, tags))
    z = (x - probe.mean_) / probe.scale_
    expected = OneVsRestClassifier(oracle(1e-2, 300)).fit(z, tags)
    np.testing.assert_allclose(probe.coef_, np.vstack([one.coef_ for one in expected.estimators_]), atol=1e-3)
    np.testing.assert_allclose(probe.predict_proba(x), expected.predict_proba(z), atol=1e-4)
    together = LinearProbe(l2=(1e-2,)).fit(x, tags[:, :2], validation=(x, tags[:, :2]))
    np.testing.assert_allclose(together.coef_, probe.coef_[:2], atol=1e-5)  # no tag depends on the others


def test_unknown_tags_equal_one_fit_a_tag_on_its_known_items() -> None:
    x, _ = problem(2)
    rng = np.random.default_rng(0)
    tags = (x @ rng.standard_normal((20, 4)) / 8 + rng.logistic(size=(300, 4)) > [0, 1, 2, 3]).astype(int)
    known = rng.random(tags.shape) < [0.3, 0.5, 0.8, 1.0]
    # The fifth tag has no known item, the sixth is present wherever it is known.
    y = np.hstack([np.where(known, tags, -1), np.full((300, 1), -1), np.where(tags[:, :1] > 0, 1, -1)])
    probe = LinearProbe(l2=(1e-2,)).fit(x, y, validation=(x, y))
    z = (x - probe.mean_) / probe.scale_
    for k, rows in enumerate(known.T):
        expected = oracle(1e-2, rows.sum()).fit(z[rows], tags[rows, k])
        np.testing.assert_allclose(probe.coef_[k], expected.coef_[0], atol=1e-3)
        np.testing.assert_allclose(probe.intercept_[k], expected.intercept_[0], atol=1e-3)
    np.testing.assert_array_equal(probe.coef_[4:], 0)
    assert probe.intercept_[4] == 0 and probe.intercept_[5] > 2
    loss = -np.log(np.where(y == 1, probe.predict_proba(x), 1 - probe.predict_proba(x)))[y >= 0].mean()
    assert probe.scores_ == pytest.approx([-loss], rel=1e-9)  # validation leaves them out too


@pytest.mark.parametrize("classes", [2, 4])
def test_a_point_of_the_path_equals_that_point_alone(classes: int) -> None:
    x, y = problem(classes)
    grid = (1e-3, 1e-2, 1e-1, 1.0)
    losses = LinearProbe(l2=grid).fit(x, y, validation=(x, y)).scores_
    for l2, loss in zip(grid, losses, strict=True):
        alone = LinearProbe(l2=(l2,)).fit(x, y, validation=(x, y))
        assert loss == pytest.approx(alone.scores_[0], abs=1e-6)
    # All scores equal: the lowest validation loss, here of the training items, decides.
    assert LinearProbe(l2=grid, scoring=lambda *_: 0.0).fit(x, y, validation=(x, y)).l2_ == min(grid)


def test_more_features_than_items_and_copies_of_a_feature() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 100))
    y = (x[:, 0] > 0).astype(int)
    expected = oracle(1e-2, 60).fit((x - x.mean(0)) / x.std(0), y)
    np.testing.assert_allclose(LinearProbe(l2=(1e-2,)).fit(x, y, validation=(x, y)).coef_, expected.coef_, atol=1e-3)
    x = np.repeat(x[:, :3], 2, axis=1)
    coef = LinearProbe(l2=(1e-2,)).fit(x, y, validation=(x, y)).coef_
    np.testing.assert_allclose(coef[:, ::2], coef[:, 1::2], atol=1e-8)


def test_separable_data_and_a_weak_penalty_converge() -> None:
    x = np.concatenate([np.full((20, 1), -1.0), np.full((20, 1), 1.0)])
    y = np.repeat([0, 1], 20)
    probe = LinearProbe().fit(x, y, validation=(x, y))
    assert probe.l2_ == min(L2_GRID) and probe.score(x, y) == 1.0
    assert probe.edge_ == "1e-4"
    assert not LinearProbe(l2=(1e-4, 1e-3)).fit(x, y, validation=(x, y)).edge_  # no point lies inside the grid
    assert not LinearProbe().fit(0 * x, y, validation=(x, y)).edge_  # all penalties are equal


def test_too_few_iterations_warn() -> None:
    x, y = problem(4)
    with pytest.warns(ConvergenceWarning, match="no convergence in 2 iterations at l2=0.001"):
        assert not LinearProbe(l2=(1e-3,), max_iter=2).fit(x, y).converged_
    assert LinearProbe(l2=(1e-3,)).fit(x, y).converged_
    with pytest.raises(ValueError, match="l2 must hold positive numbers"):
        LinearProbe(l2=(0.0,)).fit(x, y)


def test_a_point_of_the_path_that_is_not_selected_does_not_warn() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 20))
    y = (x[:, 0] + 3 * rng.normal(size=200) > 0).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probe = LinearProbe(l2=(1e6, 1e-9), max_iter=4).fit(x[:40], y[:40], validation=(x[40:], y[40:]))
    assert probe.l2_ == 1e6
    with pytest.warns(ConvergenceWarning, match="no convergence in 4 iterations at l2=1e-09"):
        LinearProbe(l2=(1e-9,), max_iter=4).fit(x[:40], y[:40], validation=(x[40:], y[40:]))


def test_few_items_of_many_classes_are_no_reason_to_warn() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 4)), np.arange(24) % 20
    assert len(LinearProbe(l2=(1.0,)).fit(x, y, validation=(x, y)).classes_) == 20


def test_softmaxes_side_by_side_equal_one_fit_each() -> None:
    x, _ = problem(3)
    one_hot = [np.eye(classes)[problem(classes)[1]] for classes in (3, 3)]
    one_hot[1] = one_hot[1][::-1]
    y = np.concatenate(one_hot, axis=1)
    probe = LinearProbe(l2=(1e-2,))
    options = {"scoring": lambda outputs: -log_loss(outputs, y, softmaxes=2), "softmaxes": 2, "seeds": [0]}
    (both,) = fit_outputs(probe, x, y, validation=(x, y), **options)
    for place, part in enumerate(one_hot):
        alone = LinearProbe(l2=(1e-2,)).fit(x, part.argmax(1), validation=(x, part.argmax(1)))
        np.testing.assert_allclose(both.coef_[3 * place :][:3], alone.coef_, atol=1e-4)
        np.testing.assert_allclose(both.logits(x)[:, 3 * place :][:, :3], alone.logits(x), atol=1e-3)


def test_targets_between_0_and_1_are_two_weighted_examples() -> None:
    """A target of 0.5 is an example of each side with half the weight."""
    x, y = problem(2)
    soft = y.astype(float)[:, None]
    soft[::3] = 0.5
    probe = LinearProbe(l2=(1e-2,))
    (fitted,) = fit_outputs(probe, x, soft, validation=(x, soft), scoring=lambda outputs: 0.0, softmaxes=0, seeds=[0])
    z = (x - fitted.mean_) / fitted.scale_
    twice = np.concatenate([z, z])
    labels = np.repeat([1, 0], len(x))
    weights = np.concatenate([soft[:, 0], 1 - soft[:, 0]])
    expected = oracle(1e-2, len(x)).fit(twice, labels, sample_weight=weights)
    np.testing.assert_allclose(fitted.coef_, expected.coef_, atol=1e-3)

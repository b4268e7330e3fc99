"""Any scikit-learn classifier as a probe: logits of every kind, seeds, and one clear error for what cannot be used."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from m2l_bench.probes import LinearProbe, load_probe
from m2l_bench.probes.estimator import FittedEstimator

RNG = np.random.default_rng(0)
Y = RNG.integers(3, size=120)
X = RNG.standard_normal((120, 5)) + 3 * np.eye(5)[Y]
TAGS = np.stack([X[:, 0] > 1, X[:, 1] > 1], axis=1).astype(int)


class Nearest(ClassifierMixin, BaseEstimator):
    """Has predict alone."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.means_ = np.stack([X[y == label].mean(axis=0) for label in self.classes_])
        return self

    def predict(self, X):
        return self.classes_[((X[:, None] - self.means_) ** 2).sum(-1).argmin(axis=1)]


def _fitted(estimator: object, y: np.ndarray, seed: int = 0) -> FittedEstimator:
    return FittedEstimator(estimator, X[:90], y[:90], seed, lambda fitted: float(fitted.logits(X[90:]).shape[1]))


@pytest.mark.parametrize(
    "estimator",
    [
        KNeighborsClassifier(),
        SVC(),
        Nearest(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        GridSearchCV(make_pipeline(StandardScaler(), SVC()), {"svc__C": [0.1, 1.0]}, cv=3),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_the_largest_logit_is_the_prediction(estimator: object) -> None:
    found = _fitted(estimator, Y)
    assert np.array_equal(found.classes_[found.logits(X[90:]).argmax(axis=1)], found.model.predict(X[90:]))
    assert not hasattr(estimator, "classes_"), "the estimator given stays unfitted"
    assert found.scores_.tolist() == [3.0]


@pytest.mark.parametrize("estimator", [SVC(), LogisticRegression(), KNeighborsClassifier()])
def test_two_classes_have_two_columns(estimator: object) -> None:
    found = _fitted(estimator, (Y > 0).astype(int))
    logits = found.logits(X[90:])
    assert logits.shape == (30, 2)
    assert np.array_equal(logits.argmax(axis=1), found.model.predict(X[90:]))


@pytest.mark.parametrize("estimator", [KNeighborsClassifier(), RandomForestClassifier(20)])
def test_a_tag_is_predicted_where_its_logit_is_positive(estimator: object) -> None:
    found = _fitted(estimator, TAGS)
    logits = found.logits(X[90:])
    even = np.isclose(logits, 0)
    assert logits.shape == (30, 2) and np.array_equal((logits > 0)[~even], found.model.predict(X[90:])[~even] == 1)


def test_of_unknown_tags_each_is_fitted_to_its_known_items() -> None:
    known = np.random.default_rng(1).random(TAGS.shape) < 0.7
    found = _fitted(LogisticRegression(), np.where(known, TAGS, -1)).logits(X)
    for k, rows in enumerate(known[:90].T):
        alone = LogisticRegression().fit(X[:90][rows], TAGS[:90][rows, k])
        np.testing.assert_allclose(found[:, k], alone.decision_function(X), atol=1e-9)
    with pytest.raises(ValueError, match="Nearest: must have predict_proba or decision_function"):
        _fitted(Nearest(), np.where(known, TAGS, -1))


def test_a_tag_that_no_training_item_has_is_never_predicted() -> None:
    found = _fitted(KNeighborsClassifier(), np.stack([TAGS[:, 0], np.zeros(120, int)], axis=1))
    assert (found.logits(X[90:])[:, 1] < 0).all()


def test_every_random_state_is_the_seed() -> None:
    forest = make_pipeline(StandardScaler(), RandomForestClassifier(3))
    one, same, other = (_fitted(forest, Y, seed).logits(X[90:]) for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_what_cannot_be_used_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Nearest: must have predict_proba or decision_function, got none of them"):
        _fitted(Nearest(), TAGS)
    with pytest.raises(ValueError, match="KNeighborsClassifier: fit raised"):
        _fitted(KNeighborsClassifier(n_neighbors=-1), Y)
    (tmp_path / "mine.py").write_text(
        "from sklearn.neighbors import KNeighborsClassifier\n"
        "knn = KNeighborsClassifier(3)\nclass Needs:\n    def __init__(self, k): pass\nNUMBER = 3\n"
    )
    assert load_probe(f"{tmp_path}/mine.py:knn").n_neighbors == 3
    assert load_probe(f"{tmp_path}/mine.py:KNeighborsClassifier").n_neighbors == 5
    assert isinstance(load_probe("linear"), LinearProbe) and load_probe(knn := SVC()) is knn
    for name, message in (
        ("NUMBER", "mine.py:NUMBER: must be a scikit-learn classifier, got int"),
        ("Needs", "mine.py:Needs: its constructor raised TypeError"),
        ("knnn", "must define knnn"),
    ):
        with pytest.raises(ValueError, match=message):
            load_probe(f"{tmp_path}/mine.py:{name}")


def test_probabilities_of_zero_stay_finite() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(_fitted(KNeighborsClassifier(1), Y).logits(X[90:])).all()

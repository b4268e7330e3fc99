"""Both probes pass scikit-learn's estimator checks."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.utils.estimator_checks import parametrize_with_checks

from m2l_bench.probes import LinearProbe, MLPProbe, fit_seeds, load_probe
from m2l_bench.probes.selection import Probe, hold_out

SMALL_MLP = MLPProbe(hidden_size=16, max_epochs=30, batch_size=16, learning_rates=(1e-2,), weight_decays=(0.0,))
PROBES = [LinearProbe(l2=(1e-3, 1e-1)), SMALL_MLP]


@parametrize_with_checks(PROBES)
def test_scikit_learn_contract(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: type(probe).__name__)
class TestBoth:
    def data(self, *, tags: bool = False, n: int = 120) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        x, y = make_blobs(n, n_features=6, centers=4, cluster_std=3.0, random_state=0)
        return x, (x[:, :3] + rng.standard_normal((n, 3)) > np.median(x[:, :3], axis=0)).astype(int) if tags else y

    def test_kinds_of_targets(self, probe: Probe) -> None:
        x, y = self.data()
        for labels in (y, np.array(["d", "a", "c", "b"])[y], y > 1):
            model = clone(probe).fit(x, labels)
            assert model.predict_proba(x).shape == model.logits(x).shape == (120, len(np.unique(labels)))
            np.testing.assert_allclose(model.predict_proba(x).sum(axis=1), 1)
            assert model.predict(x).dtype == np.asarray(labels).dtype
        tags = self.data(tags=True)[1]
        model = clone(probe).fit(x, tags)
        assert model.predict(x).shape == model.predict_proba(x).shape == model.logits(x).shape == tags.shape
        assert (model.predict(x) == tags).mean() > 0.75

    def test_unknown_tags_are_neither_learnt_nor_refused(self, probe: Probe) -> None:
        x, tags = self.data(tags=True)
        known = np.random.default_rng(1).random(tags.shape) < 0.6
        model = clone(probe).fit(x, np.where(known, tags, -1))
        assert (model.predict(x) == tags).mean() > 0.75
        with pytest.raises(ValueError, match="y should be a 1d array"):
            clone(probe).fit(x, tags + (tags == tags[:, ::-1]))  # 0, 1 and 2

    def test_the_scale_and_offset_of_features_do_not_matter(self, probe: Probe) -> None:
        x, y = self.data()
        scale = np.array([1e-6, 1.0, 1e6, 3.0, 1e-3, 10.0])
        pair = (x[80:], y[80:])
        one = clone(probe).fit(x[:80], y[:80], validation=pair)
        two = clone(probe).fit(x[:80] * scale + scale, y[:80], validation=(pair[0] * scale + scale, pair[1]))
        np.testing.assert_allclose(one.logits(x), two.logits(x * scale + scale), atol=1e-3)

    def test_the_grid_is_selected_on_validation_by_the_given_scoring(self, probe: Probe) -> None:
        x, y = self.data()
        calls = []

        def scoring(truth: np.ndarray, logits: np.ndarray, classes: np.ndarray) -> float:
            calls.append((truth, logits.shape, classes))
            return float((classes[logits.argmax(axis=1)] == truth).mean())

        model = clone(probe).set_params(scoring=scoring).fit(x[:80], y[:80], validation=(x[80:], y[80:]))
        assert all(len(truth) == 40 and np.array_equal(truth, y[80:]) for truth, _, _ in calls)
        assert model.scores_.max() == model.score(x[80:], y[80:])  # the model that won is the one that predicts

    def test_a_diverging_or_undefined_score_never_wins_over_a_number(self, probe: Probe) -> None:
        x, y = self.data()
        model = (
            clone(probe).set_params(scoring=lambda *_: float("nan")).fit(x[:80], y[:80], validation=(x[80:], y[80:]))
        )
        assert np.isfinite(model.logits(x)).all()

    def test_a_validation_label_that_training_lacks_is_no_error(self, probe: Probe) -> None:
        x, y = self.data()
        held = np.where(np.arange(40) < 3, 9, y[80:])
        model = clone(probe).fit(x[:80], y[:80], validation=(x[80:], held))
        assert model.classes_.tolist() == [0, 1, 2, 3]

    def test_constant_features_predict_the_majority(self, probe: Probe) -> None:
        y = np.repeat([0, 1, 2], [10, 40, 20])
        for value in (0.0, 0.1, 1e9):
            model = clone(probe).fit(np.full((70, 3), value), y)
            assert (model.predict(np.full((5, 3), value)) == 1).all()

    def test_tags_that_no_item_or_every_item_has(self, probe: Probe) -> None:
        x, y = self.data(tags=True)
        y[:, 0], y[:, 2] = 0, 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = clone(probe).fit(x, y)
        assert (model.predict(x)[:, 0] == 0).all() and (model.predict(x)[:, 2] == 1).all()

    def test_seeds_fitted_together_equal_seeds_fitted_alone(self, probe: Probe) -> None:
        x, y = self.data()
        pair = (x[80:], y[80:])
        together = fit_seeds(probe, x[:80], y[:80], validation=pair, seeds=(0, 1, 2))
        for seed, model in enumerate(together):
            assert model.random_state == seed
            alone = clone(probe).set_params(random_state=seed).fit(x[:80], y[:80], validation=pair)
            np.testing.assert_array_equal(model.logits(x), alone.logits(x))
        assert not hasattr(probe, "classes_")

    def test_predictions_do_not_depend_on_the_batch_or_on_threads(self, probe: Probe) -> None:
        import torch

        x, y = self.data(n=600)
        before = torch.get_num_threads()
        models = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            models.append(clone(probe).fit(x, y))
            assert torch.get_num_threads() == threads
        torch.set_num_threads(before)
        whole = models[0].logits(x)
        np.testing.assert_array_equal(whole, models[1].logits(x))
        parts = np.concatenate([models[0].logits(part) for part in np.array_split(x, 7)])
        np.testing.assert_allclose(whole, parts, rtol=0, atol=1e-12)

    def test_bad_input(self, probe: Probe) -> None:
        x, y = self.data()
        with pytest.raises(ValueError, match="at least 2 classes"):
            clone(probe).fit(x, np.zeros(120))
        with pytest.raises(ValueError, match="validation targets must have the 4 classes of y, got shape"):
            clone(probe).fit(x, y, validation=self.data(tags=True))
        with pytest.raises(ValueError, match="validation targets must have the 3 tags of y, got shape"):
            clone(probe).fit(x, self.data(tags=True)[1], validation=self.data())
        with pytest.raises(ValueError, match="class of at least 3 items"):
            clone(probe).fit(x[:4], np.array([0, 0, 1, 1]))


def test_held_out_items_are_the_same_share_of_each_class() -> None:
    y = np.repeat([0, 1, 2], [50, 20, 2])
    train, held = hold_out(y, 0)
    assert np.bincount(y[held]).tolist() == [10, 4]
    assert sorted([*train, *held]) == list(range(72))
    assert not np.array_equal(held, hold_out(y, 1)[1])


def test_names() -> None:
    assert isinstance(load_probe("linear"), LinearProbe) and isinstance(load_probe("mlp"), MLPProbe)
    with pytest.raises(ValueError, match="unknown probe 'svm'; known are linear, mlp"):
        load_probe("svm")


def test_importing_the_package_imports_neither_torch_nor_scikit_learn() -> None:
    code = "import sys, m2l_bench.probes; assert not {'torch', 'sklearn', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    code = "import sys, m2l_bench.probes.linear, m2l_bench.probes.mlp; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

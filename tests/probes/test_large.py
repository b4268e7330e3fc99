"""Features that are read in blocks: the same results as at once, from files too, without copies of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from m2l_bench.probes import LinearProbe, MLPProbe, large, linear, selection
from m2l_bench.probes.selection import Standardised
from m2l_bench.tasks.scoring import METRICS
from tests.peak_memory import peak_memory, restart_peak

LINEAR = LinearProbe(l2=(1e-2, 1e-1))
MLP = MLPProbe(hidden_size=16, max_epochs=8, batch_size=16, learning_rates=(3e-3,), weight_decays=(0.0,))


def problem(kind: str, n: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(dim)
    x = (rng.standard_normal((n, dim)) @ rng.standard_normal((dim, dim)) / dim**0.5 + 3).astype(np.float32)
    x[:, 1] = 0.1  # constant
    scores = (x - 3) @ rng.standard_normal((dim, 4)) * 2 / dim**0.5 + rng.logistic(size=(n, 4))
    tags = (scores > 0.5).astype(int)
    unknown = np.where(rng.random(tags.shape) < 0.3, -1, tags)
    return x, {"binary": tags[:, 0], "classes": scores.argmax(axis=1), "tags": tags, "unknown tags": unknown}[kind]


@pytest.fixture
def in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "LARGE", 1000)
    monkeypatch.setattr(selection, "BLOCK", 900)
    monkeypatch.setattr(large, "_AXES", 12)


def fitted(probe: LinearProbe | MLPProbe, x: np.ndarray, y: np.ndarray) -> LinearProbe | MLPProbe:
    a = int(0.7 * len(x))
    return type(probe)(**probe.get_params()).fit(x[:a], y[:a], validation=(x[a:], y[a:]))


@pytest.mark.parametrize("kind", ["binary", "classes", "tags", "unknown tags"])
@pytest.mark.parametrize(("n", "dim"), [(300, 40), (60, 100), (300, 10)])
def test_the_linear_probe_in_blocks_equals_that_at_once(
    kind: str, n: int, dim: int, request: pytest.FixtureRequest
) -> None:
    x, y = problem(kind, n, dim)
    whole = fitted(LINEAR, x, y)
    request.getfixturevalue("in_blocks")
    blocks = fitted(LINEAR, x, y)
    assert blocks.converged_ and blocks.l2_ == whole.l2_
    assert not np.array_equal(blocks.coef_, whole.coef_)
    np.testing.assert_allclose(blocks.coef_, whole.coef_, atol=2e-3)
    np.testing.assert_allclose(blocks.logits(x), whole.logits(x), atol=5e-3)
    np.testing.assert_allclose(blocks.scores_, whole.scores_, atol=1e-3)


@pytest.mark.usefixtures("in_blocks")
def test_the_linear_probe_in_blocks_equals_scikit_learns() -> None:
    x, y = problem("classes", 300, 40)
    probe = LinearProbe(l2=(1e-2,)).fit(x, y, validation=(x, y))
    z = (x.astype(float) - probe.mean_) / probe.scale_
    expected = LogisticRegression(C=1 / (1e-2 * 300), tol=1e-10, max_iter=10_000).fit(z, y)
    np.testing.assert_allclose(probe.coef_, expected.coef_, atol=2e-3)
    np.testing.assert_allclose(probe.predict_proba(x), expected.predict_proba(z), atol=1e-3)


def test_the_auc_in_blocks_differs_by_less_than_1e_4(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = problem("tags", 2000, 200)
    auc = lambda targets, logits, _: METRICS["roc_auc"].prepare(targets, logits)(np.ones(len(targets)))
    probe = LinearProbe(scoring=auc)
    whole = fitted(probe, x, y)
    monkeypatch.setattr(selection, "LARGE", 1000)
    np.testing.assert_allclose(fitted(probe, x, y).scores_, whole.scores_, atol=1e-4)


def loss_of(probe: LinearProbe, x: np.ndarray, y: np.ndarray, l2: float) -> np.ndarray:
    """Penalised loss of each tag."""
    logits = (x.astype(float) - probe.mean_) / probe.scale_ @ probe.coef_.T + probe.intercept_
    return (np.logaddexp(0, logits) - y * logits).mean(axis=0) + l2 / 2 * np.square(probe.coef_).sum(axis=1)


@pytest.mark.parametrize("l2", [1e-2, 1e-4])
def test_separable_tags_converge_to_the_stated_tolerance(l2: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    base = rng.standard_normal((300, 60)) * np.arange(1, 61) ** -0.5
    x = (base @ rng.standard_normal((60, 500)) + rng.standard_normal((300, 500))).astype(np.float32)
    y = (base @ rng.standard_normal((60, 5)) + rng.logistic(size=(300, 5)) > np.linspace(0, 2, 5)).astype(int)
    probe = LinearProbe(l2=(1.0, l2), max_iter=200)
    whole = probe.fit(x, y, validation=(x, y))
    least = loss_of(whole, x, y, l2)
    assert whole.l2_ == l2 and (whole.predict(x) == y).all()
    monkeypatch.setattr(selection, "LARGE", 1000)
    monkeypatch.setattr(selection, "BLOCK", 20_000)
    monkeypatch.setattr(large, "_AXES", 32)
    blocks = LinearProbe(**probe.get_params()).fit(x, y, validation=(x, y))
    assert blocks.converged_ and blocks.l2_ == l2
    above = loss_of(blocks, x, y, l2) - least
    assert (np.abs(above) < 1e-8).all(), above


@pytest.mark.usefixtures("in_blocks")
def test_a_tolerance_below_rounding_ends_and_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = problem("tags", 300, 40)
    monkeypatch.setattr(linear, "_SINGLE_TOL", 1e-12)
    with pytest.warns(ConvergenceWarning, match=r"no convergence in \d+ iterations at l2=0.01"):
        probe = LinearProbe(l2=(1e-2,), tol=1e-12).fit(x, y, validation=(x, y))
    assert probe.n_iter_ < 1000  # of 10,000: no step is found any more
    assert not probe.converged_


@pytest.mark.usefixtures("in_blocks")
@pytest.mark.parametrize("constant", [[2], [0, 1, 2, 3]])
def test_tags_that_all_items_have_stay_at_their_rate(constant: list[int]) -> None:
    x, y = problem("tags", 300, 40)
    y[:, constant] = 1
    probe = LinearProbe(l2=(1e-2,)).fit(x, y, validation=(x, y))
    assert probe.converged_
    assert ((probe.coef_ == 0).all(axis=1) == np.isin(range(4), constant)).all()
    np.testing.assert_allclose(probe.intercept_[constant], np.log(300.5 / 0.5))


def test_features_that_are_not_large_are_standardised_at_once_in_float64() -> None:
    x, _ = problem("tags", 300, 40)
    ((rows, z),) = Standardised.of(x).blocks()
    wide = x.astype(np.float64)
    scale = wide.std(axis=0)
    scale[1] = 1.0
    np.testing.assert_array_equal(z, (wide - wide.mean(axis=0)) / scale)
    assert rows == slice(0, 300)


@pytest.mark.usefixtures("in_blocks")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_hold_all_rows_standardised(dtype: type) -> None:
    x = problem("tags", 301, 40)[0].astype(dtype)
    features = Standardised.of(x)
    z = features.apply(lambda block: block)
    assert len(list(features.blocks())) == 14
    np.testing.assert_allclose(np.delete(z, 1, axis=1).std(axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-6)
    for rows, block in features.blocks(np.float32):
        assert block.dtype == np.float32
        np.testing.assert_allclose(block, z[rows], atol=2e-6)
    np.testing.assert_array_equal(features.single(), z.astype(np.float32))


def test_the_mlp_in_blocks_equals_that_at_once(request: pytest.FixtureRequest) -> None:
    x, y = problem("tags", 300, 40)
    whole = fitted(MLP, x, y)
    request.getfixturevalue("in_blocks")
    blocks = fitted(MLP, x, y)
    assert blocks.n_iter_ == whole.n_iter_
    np.testing.assert_allclose(blocks.logits(x), whole.logits(x), atol=1e-3)


@pytest.mark.parametrize("probe", [LINEAR, MLP], ids=["linear", "mlp"])
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_read_only_memory_map_equals_an_array(
    probe: LinearProbe | MLPProbe, large: bool, dtype: type, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    x, y = problem("tags", 200, 40)
    x = x.astype(dtype)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    if large:
        request.getfixturevalue("in_blocks")
    one, other, before = fitted(probe, x, y), fitted(probe, mapped, y), x.copy()
    np.testing.assert_array_equal(one.scores_, other.scores_)
    np.testing.assert_array_equal(one.logits(x), other.logits(mapped))
    np.testing.assert_array_equal(x, before)


def test_float32_features_that_are_not_large_equal_them_in_float64() -> None:
    x, y = problem("classes", 200, 40)
    for probe in (LINEAR, MLP):
        one, other = fitted(probe, x, y), fitted(probe, x.astype(np.float64), y)
        np.testing.assert_array_equal(one.logits(x), other.logits(x.astype(np.float64)))


@pytest.mark.parametrize(("probe", "most"), [(LinearProbe(l2=(1e-1,)), 0.6), (MLP, 1.6)], ids=["linear", "mlp"])
def test_large_features_are_copied_at_most_as_often_as_stated(
    probe: LinearProbe | MLPProbe, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times the features' float32 size: of the linear probe blocks alone, of the MLP one copy; in float64 one is 2."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((14_000, 2048), dtype=np.float32)
    y = (x[:, :2] + rng.logistic(size=(len(x), 2)) > 1).astype(int)
    monkeypatch.setattr(selection, "LARGE", 2**20)
    monkeypatch.setattr(selection, "BLOCK", 2**19)
    options = {"max_epochs": 1, "batch_size": 256} if isinstance(probe, MLPProbe) else {}
    probe = type(probe)(**probe.get_params() | options)
    probe.fit(x[:700], y[:700], validation=(x[-700:], y[-700:]))  # what is loaded once
    held = restart_peak()
    probe.fit(x[:-700], y[:-700], validation=(x[-700:], y[-700:]))
    probe.logits(x)
    assert peak_memory() - held < most * x.nbytes

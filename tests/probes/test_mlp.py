"""The MLP probe against the same network written with torch.nn, and the rules of its grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from m2l_bench.probes import MLPProbe, fit_seeds
from m2l_bench.probes.mlp import _Models
from m2l_bench.probes.selection import encode


def problem(kind: str, n: int = 150, dim: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, dim))
    scores = np.sin(2 * x) @ rng.standard_normal((dim, 4)) + 0.3 * rng.standard_normal((n, 4))
    tags = (scores > 0).astype(int)
    unknown = np.where(rng.random(tags.shape) < 0.6, -1, tags)
    kinds = {"binary": scores[:, 0] > 0, "classes": scores.argmax(axis=1), "tags": tags, "unknown tags": unknown}
    return x, kinds[kind]


@pytest.mark.parametrize("kind", ["binary", "classes", "tags", "unknown tags"])
def test_training_equals_torchs_own_layers_loss_and_optimiser(kind: str) -> None:
    x, y = problem(kind, n=50)
    targets = encode(y)
    probe = MLPProbe(hidden_size=8, dropout=0.0, batch_size=16)
    grid = [(1e-2, 0.0), (3e-2, 0.5)]
    models = _Models(probe, 5, targets, (3, 4), grid)
    inputs, labels = models.tensors(x, targets.y)
    oracles = [_Oracle(models.weights_of(k), *grid[k % 2], exclusive=kind == "classes") for k in range(4)]
    orders = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    for generator, shapes in zip(orders, [models.shapes] * 2, strict=True):
        for m, n in shapes:
            torch.rand(m * n, generator=generator)  # the initial weights come first in each stream
    for _ in range(3):
        models.train(inputs, labels)
        drawn = [torch.randperm(50, generator=generator) for generator in orders]
        for generator in orders:
            for batch in drawn[0].split(16):
                torch.rand((len(batch), 8), generator=generator)
        for k, oracle in enumerate(oracles):
            oracle.epoch(inputs, labels, drawn[k // 2])
    for k, oracle in enumerate(oracles):
        for ours, theirs in zip(models.weights_of(k), oracle.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


class _Oracle:
    def __init__(self, weights: list[torch.Tensor], rate: float, decay: float, *, exclusive: bool) -> None:
        w1, b1, w2, b2 = weights
        self.first, self.second = torch.nn.Linear(*w1.shape), torch.nn.Linear(*w2.shape)
        for layer, weight, bias in ((self.first, w1, b1), (self.second, w2, b2)):
            layer.weight.data, layer.bias.data = weight.T.clone(), bias.clone()
        groups = [
            {"params": [self.first.weight, self.second.weight], "weight_decay": decay},
            {"params": [self.first.bias, self.second.bias], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=rate)
        self.loss = torch.nn.functional.cross_entropy if exclusive else _of_known

    def epoch(self, x: torch.Tensor, y: torch.Tensor, order: torch.Tensor) -> None:
        for batch in order.split(16):
            loss = self.loss(self.second(self.first(x[batch]).relu()), y[batch])
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()

    def parameters(self) -> list[torch.Tensor]:
        return [self.first.weight.T, self.first.bias, self.second.weight.T, self.second.bias]


def _of_known(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    return loss(outputs, y.clamp(min=0), weight=(y >= 0).to(y.dtype))


def test_the_best_epoch_predicts_and_patience_ends_the_training() -> None:
    x, y = problem("classes")
    losses = []

    def scoring(truth: np.ndarray, logits: np.ndarray, _: np.ndarray) -> float:
        losses.append(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(truth)), truth]))
        return -losses[-1]

    probe = MLPProbe(hidden_size=32, learning_rates=(3e-2,), weight_decays=(0.0,), patience=5, dropout=0.0)
    probe.set_params(scoring=scoring).fit(x[:100], y[:100], validation=(x[100:], y[100:]))
    assert int(np.argmin(losses)) + 1 == probe.n_iter_ == len(losses) - 5 < 100
    assert losses[-1] > min(losses)  # training had begun to overfit
    scoring(y[100:], probe.logits(x[100:]), probe.classes_)
    assert losses[-1] == pytest.approx(-probe.scores_[0], rel=1e-5) == min(losses[:-1])


def test_it_learns_a_product_of_two_features() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 4))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    probe = MLPProbe(hidden_size=64).fit(x[:400], y[:400], validation=(x[400:500], y[400:500]))
    assert probe.score(x[500:], y[500:]) > 0.9


def test_the_race_halves_the_grid_and_spares_a_small_training_set() -> None:
    x, y = problem("tags")
    pair = (x[100:], y[100:])
    probe = MLPProbe(hidden_size=16, batch_size=10, max_epochs=8, patience=8, weight_decays=(0.0,))
    sizes = []

    def scoring(*_: np.ndarray) -> float:
        sizes.append(1)
        return 0.0

    probe.set_params(scoring=scoring, race_steps=15).fit(x[:100], y[:100], validation=pair)  # 2 epochs a round
    assert len(sizes) == 4 * 2 + 2 * 2 + 1 * 4
    sizes.clear()
    probe.set_params(race_steps=None).fit(x[:100], y[:100], validation=pair)
    assert len(sizes) == 4 * 8
    sizes.clear()
    probe.set_params(race_steps=400).fit(x[:100], y[:100], validation=pair)
    assert len(sizes) == 4 * 8


def test_batches_grow_where_a_pass_would_have_too_many_steps() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 3))
    y = x[:, 0] > 0
    options = {"learning_rates": (1e-2,), "weight_decays": (0.0,), "max_epochs": 3}
    grown = MLPProbe(**options, batch_size=16, most_steps=5).fit(x, y, validation=(x, y))
    given = MLPProbe(**options, batch_size=60).fit(x, y, validation=(x, y))
    small = MLPProbe(**options, batch_size=16, most_steps=50).fit(x, y, validation=(x, y))
    same = MLPProbe(**options, batch_size=16).fit(x, y, validation=(x, y))
    for a, b, equal in ((grown, given, True), (small, same, True), (grown, small, False)):
        assert np.array_equal(a.logits(x), b.logits(x)) == equal


def test_no_model_depends_on_the_others_in_training() -> None:
    x, y = problem("classes")
    pair = (x[100:], y[100:])
    settings = {"hidden_size": 16, "max_epochs": 6, "weight_decays": (0.0,)}
    both = fit_seeds(MLPProbe(learning_rates=(1e-9, 1e-2), **settings), x[:100], y[:100], validation=pair, seeds=(7, 8))
    for seed, model in zip((7, 8), both, strict=True):
        alone = MLPProbe(learning_rates=(1e-2,), random_state=seed, **settings).fit(x[:100], y[:100], validation=pair)
        assert model.learning_rate_ == 1e-2
        for one, other in zip(model.weights_, alone.weights_, strict=True):
            np.testing.assert_array_equal(one, other)
    assert not np.array_equal(both[0].weights_[0], both[1].weights_[0])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("hidden_size", 0, "hidden_size must be at least 1, got 0"),
        ("race_steps", 0, "race_steps must be at least 1, got 0"),
        ("dropout", 1.0, r"dropout must be in \[0, 1\), got 1.0"),
        ("learning_rates", (), r"learning_rates must hold positive numbers, got \(\)"),
        ("weight_decays", (-1.0,), r"weight_decays must hold numbers >= 0"),
    ],
)
def test_bad_parameters(name: str, value: object, message: str) -> None:
    x, y = problem("binary")
    with pytest.raises(ValueError, match=message):
        MLPProbe(**{name: value}).fit(x, y)

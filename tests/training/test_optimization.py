"""Learning rate and averaged weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from m2l_bench.training.optimization import AveragedWeights, ema_decay, learning_rate


def test_learning_rate_is_the_published_one() -> None:
    rate = [
        learning_rate(k, steps=800_000, peak=1e-4, final=1e-6, warm_up=10_000)
        for k in (0, 4_999, 9_999, 10_000, 800_000)
    ]
    assert rate == pytest.approx([1e-8, 5e-5, 1e-4, 1e-4, 1e-6])
    middle = learning_rate(405_000, steps=800_000, peak=1e-4, final=1e-6, warm_up=10_000)
    assert middle == pytest.approx((1e-4 + 1e-6) / 2)


def test_learning_rate_without_warm_up_starts_at_the_peak() -> None:
    assert learning_rate(0, steps=10, peak=0.5, final=0.1, warm_up=0) == 0.5
    assert learning_rate(11, steps=10, peak=0.5, final=0.1, warm_up=0) == pytest.approx(0.1)


def test_decay_warms_up() -> None:
    assert [ema_decay(n) for n in (0, 1, 90)] == pytest.approx([0.1, 2 / 11, 0.91])
    assert ema_decay(100, limit=0.5) == 0.5


def test_average_is_its_recursion() -> None:
    module = nn.Linear(3, 2)
    average = AveragedWeights(module, limit=0.3)
    expected = module.weight.detach().clone()
    for n in range(5):
        with torch.no_grad():
            module.weight.add_(torch.randn(2, 3))
        average.update(module)
        d = min(0.3, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * module.weight.detach()
    torch.testing.assert_close(average.tensors["weight"], expected)
    assert average.updates == 5


def test_average_is_apart_from_the_module() -> None:
    module = nn.Linear(3, 2)
    average = AveragedWeights(module)
    before = average.tensors["weight"].clone()
    with torch.no_grad():
        module.weight.zero_()
    assert torch.equal(average.tensors["weight"], before)

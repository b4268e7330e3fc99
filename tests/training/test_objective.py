"""The objective's formulas against closed forms, slow transcriptions and limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from m2l_bench.music2latent.config import Config
from m2l_bench.music2latent.consistency import sigma_grid
from m2l_bench.music2latent.network import Music2LatentNetwork
from m2l_bench.training.music2latent.loss import (
    ConsistencyLoss,
    cumulative_weights,
    positions,
    pseudo_huber,
    step_size,
)

TINY = Config(
    sample_rate=8000,
    window=128,
    hop=32,
    width=4,
    multipliers=(1, 2, 2),
    blocks=(1, 1, 1),
    encoder_blocks=(1, 1, 1),
    attention=(False, False, True),
    frequency_only=(True, False),
    bottleneck_width=16,
    bottleneck_blocks=1,
    embedding_width=16,
    unused_embedding=False,
    latent_dim=4,
)


def awake_network(config: Config = TINY) -> Music2LatentNetwork:
    """A network whose zero-initialised layers are not zero, so that every path matters."""
    torch.manual_seed(0)
    network = Music2LatentNetwork(config)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
    return network


def test_pseudo_huber_is_its_formula() -> None:
    random = np.random.default_rng(0)
    a, b = random.standard_normal((2, 3, 2, 5, 7))
    expected = []
    for i in range(3):
        d = a[i].size
        c = 0.00054 * math.sqrt(d)
        expected.append(math.sqrt(((a[i] - b[i]) ** 2).sum() + c**2) - c)
    np.testing.assert_allclose(pseudo_huber(torch.from_numpy(a), torch.from_numpy(b)), expected, rtol=1e-12)


def test_pseudo_huber_is_quadratic_near_zero_and_linear_far_away() -> None:
    zero = torch.zeros(1, 10_000, dtype=torch.float64)
    c = 0.054
    near, far = pseudo_huber(zero + 1e-8, zero), pseudo_huber(zero + 10, zero)
    np.testing.assert_allclose(near, (1e-6) ** 2 / (2 * c), rtol=1e-3)
    np.testing.assert_allclose(far, 1000 - c, rtol=1e-6)


def test_pseudo_huber_has_a_finite_gradient_at_equality() -> None:
    estimate = torch.zeros(2, 8, requires_grad=True)
    pseudo_huber(estimate, torch.zeros(2, 8)).sum().backward()
    assert estimate.grad is not None
    assert torch.equal(estimate.grad, torch.zeros(2, 8))


@pytest.mark.parametrize(("end", "last"), [(3.0, 0.001), (2.0, 0.01)])
def test_step_size_falls_from_a_tenth(end: float, last: float) -> None:
    assert step_size(0.0, end_exponent=end) == pytest.approx(0.1)
    assert step_size(1.0, end_exponent=end) == pytest.approx(last)
    assert step_size(0.5, end_exponent=end) == pytest.approx(math.sqrt(0.1 * last))
    assert step_size(2.0, end_exponent=end) == step_size(1.0, end_exponent=end)


def test_positions_follow_the_weight_in_u() -> None:
    """The histogram of many draws matches the weight over bins equal in u, not in ln sigma."""
    uniforms = torch.from_numpy(np.random.default_rng(1).random((200_000, 2)))
    u = positions(uniforms, cumulative_weights(TINY))
    counts, edges = np.histogram(u, bins=20, range=(0, 1))
    fine = (np.arange(20_000) + 0.5) / 20_000
    sigma = (0.002 ** (1 / 7) + fine * (80 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7
    density = np.exp(-((np.log(sigma) + 1.1) ** 2) / (2 * 2.0**2))
    expected = density.reshape(20, -1).sum(1) / density.sum()
    np.testing.assert_allclose(counts / len(u), expected, atol=0.003)
    # The mode of ln sigma lies std^2 / rho above the weight's mean, since du / d ln sigma grows as sigma^(1/7).
    log_sigma = sigma_grid(u, TINY).log().numpy()
    histogram, edges = np.histogram(log_sigma, bins=25, range=(-5, 4))
    assert abs(edges[histogram.argmax()] + 0.18 - (-1.1 + 4 / 7)) < 0.5


def test_positions_fill_their_bin_and_are_never_zero() -> None:
    cumulative = torch.tensor([0.25, 0.25, 1.0], dtype=torch.float64)
    uniforms = torch.tensor([[0.0, 0.0], [0.0, 1 - 1e-12], [0.25, 0.5], [1 - 1e-16, 0.0]], dtype=torch.float64)
    u = positions(uniforms, cumulative)
    np.testing.assert_allclose(u, [1 / 3, 0, 2.5 / 3, 1], atol=1e-9)
    assert (u > 0).all()


def _pair(u: float, dt: float, network: Music2LatentNetwork) -> tuple[torch.Tensor, torch.Tensor, float]:
    torch.manual_seed(1)
    x, z = torch.randn(1, 2, 64, 8), torch.randn(1, 2, 64, 8)
    result = ConsistencyLoss(network)(x, z, torch.tensor([u]), dt)
    return x, z, float(result.loss)


def test_loss_is_a_plain_transcription() -> None:
    network = awake_network()
    with torch.no_grad():
        x, z, loss = _pair(0.6, 0.1, network)
        upper, lower = (
            float(sigma_grid(torch.tensor(0.6).double(), TINY)),
            float(sigma_grid(torch.tensor(0.5).double(), TINY)),
        )
        pyramid = network.pyramid(network.encode(x))
        first = network.denoise(x + upper * z, torch.tensor([upper]), pyramid)
        second = network.denoise(x + lower * z, torch.tensor([lower]), pyramid)
        expected = float(pseudo_huber(first, second)) / (upper - lower)
    assert loss == pytest.approx(expected, rel=1e-4)


def test_teacher_at_the_bottom_is_the_clean_sample() -> None:
    """u < dt puts the teacher at sigma_min, where the model is the identity."""
    network = awake_network()
    with torch.no_grad():
        x, z, loss = _pair(0.05, 0.1, network)
        upper = float(sigma_grid(torch.tensor(0.05).double(), TINY))
        pyramid = network.pyramid(network.encode(x))
        estimate = network.denoise(x + upper * z, torch.tensor([upper]), pyramid)
        expected = float(pseudo_huber(estimate, x + 0.002 * z)) / (upper - 0.002)
    assert loss == pytest.approx(expected, rel=1e-4)


def test_no_gradient_flows_through_the_teacher() -> None:
    """The gradient is that of the student against a constant, so a perturbed target graph must not change it."""
    network = awake_network()
    torch.manual_seed(1)
    x, z, u = torch.randn(2, 2, 64, 8), torch.randn(2, 2, 64, 8), torch.tensor([0.5, 0.7])
    ConsistencyLoss(network)(x, z, u, 0.1).loss.sum().backward()
    actual = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    upper, lower = sigma_grid(u.double(), TINY), sigma_grid(u.double() - 0.1, TINY)
    with torch.no_grad():
        target = network.denoise(
            x + lower.float()[:, None, None, None] * z, lower.float(), network.pyramid(network.encode(x))
        )
    estimate = network.denoise(
        x + upper.float()[:, None, None, None] * z, upper.float(), network.pyramid(network.encode(x))
    )
    (pseudo_huber(estimate, target) / (upper - lower)).sum().backward()
    assert {"encoder.gain", "decoder.conv_in.weight", "unet.conv_in.weight"} <= set(actual)
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(actual[name], parameter.grad, rtol=1e-3, atol=1e-4, msg=name)


def test_loss_of_a_sample_ignores_the_others() -> None:
    network = awake_network()
    torch.manual_seed(2)
    x, z, u = torch.randn(3, 2, 64, 8), torch.randn(3, 2, 64, 8), torch.tensor([0.2, 0.5, 0.9])
    with torch.no_grad():
        together = ConsistencyLoss(network)(x, z, u, 0.05).loss
        alone = torch.cat([ConsistencyLoss(network)(x[i, None], z[i, None], u[i, None], 0.05).loss for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)

"""The kernel distance against the double loop, its unbiasedness, its variance, and the paired form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from m2l_bench.reconstruction.sets import kernel
from m2l_bench.reconstruction.sets.kernel import kernel_distance
from m2l_bench.statistics import draw_counts


def oracle(x, y, bandwidth):
    """Gretton et al. 2012, eq. 3, read literally."""
    k = lambda a, b: np.exp(-(cdist(a, b) ** 2) / (2 * bandwidth**2))
    n, m = len(x), len(y)
    within = (k(x, x).sum() - n) / (n * (n - 1)) + (k(y, y).sum() - m) / (m * (m - 1))
    return 100 * (within - 2 * k(x, y).mean())


@pytest.mark.parametrize(("n", "m", "dim"), [(2, 2, 1), (50, 30, 7), (1500, 1100, 3)])
def test_equals_the_double_loop(n, m, dim):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, dim)) + 50, rng.standard_normal((m, dim)) * 1.5 + 50
    assert kernel_distance(x, y) == pytest.approx(oracle(x, y, np.median(pdist(x))), rel=1e-9)


def test_the_bandwidth_comes_from_the_reference_alone():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 5)), rng.standard_normal((40, 5)) * 4
    assert kernel_distance(x, y) == pytest.approx(
        kernel_distance(x, y, bandwidth=float(np.median(pdist(x)))), rel=1e-12
    )
    assert kernel_distance(x, y) != pytest.approx(kernel_distance(y, x), rel=0.1)


def test_the_median_of_a_large_reference_is_taken_over_spaced_windows():
    x = np.random.default_rng(0).standard_normal((9000, 2))
    assert kernel.median_distance(x) == pytest.approx(np.median(pdist(x[::4])), rel=0.02)


def test_rotation_shift_and_scale_of_both_sets_change_nothing():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 3)), rng.standard_normal((70, 3)) + 0.5
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    assert kernel_distance(7 * x @ rotation - 2, 7 * y @ rotation - 2) == pytest.approx(kernel_distance(x, y), rel=1e-9)


def test_the_mean_over_draws_of_one_distribution_is_zero():
    values = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x, y = rng.standard_normal((60, 4)), rng.standard_normal((50, 4))
        values.append(kernel_distance(x, y, bandwidth=2.5))
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error
    assert min(values) < 0  # unbiased means: sometimes negative, and printed so


def drawn(n_files, n_draws):
    return draw_counts(np.random.default_rng(0).integers(n_files, size=(n_draws, n_files)))


def paired_files(rng, noise, n_files=12, dim=5):
    left = [rng.standard_normal((int(n), dim)) + rng.standard_normal(dim) for n in rng.integers(1, 6, n_files)]
    return left, [file + noise * rng.standard_normal(file.shape) for file in left]


def test_paired_equals_the_sum_over_pairs_of_different_files():
    left, right = paired_files(np.random.default_rng(0), 0.5)
    file = np.repeat(np.arange(len(left)), [len(x) for x in left])
    x, y = np.concatenate(left), np.concatenate(right)
    s = kernel.median_distance(x)
    k = lambda a, b: np.exp(-(cdist(a, b) ** 2) / (2 * s**2))[file[:, None] != file]
    expected = 100 * (k(x, x).mean() + k(y, y).mean() - 2 * k(x, y).mean())
    assert kernel.paired_distance(*kernel.paired_sums(left, right)) == pytest.approx(expected, rel=1e-9)


def test_blocks_do_not_show_in_the_sums_over_files(monkeypatch):
    left, right = paired_files(np.random.default_rng(0), 0.5)
    whole, _ = kernel.paired_sums(left, right)
    monkeypatch.setattr(kernel, "_BLOCK", 4)
    np.testing.assert_allclose(kernel.paired_sums(left, right)[0], whole, rtol=1e-12, atol=1e-12)


def test_a_paired_copy_is_exactly_zero_in_every_draw():
    left, _ = paired_files(np.random.default_rng(0), 0.0)
    sums = kernel.paired_sums(left, left)
    assert kernel.paired_distance(*sums) == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(kernel.paired_distances(*sums, drawn(len(left), 50)), 0, atol=1e-12)


def test_paired_is_unbiased_where_the_textbook_form_is_not():
    """Reference and estimate share their content, so that the textbook's cross term counts pairs that are one."""
    paired, textbook = [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        content = rng.standard_normal((12, 1, 5))
        left, right = (list(content + 0.05 * rng.standard_normal((12, 3, 5))) for _ in range(2))
        paired.append(kernel.paired_distance(*kernel.paired_sums(left, right)))
        textbook.append(kernel_distance(np.concatenate(left), np.concatenate(right)))
    assert abs(np.mean(paired)) < 3 * np.std(paired) / 10
    assert abs(np.mean(textbook)) > 3 * np.std(textbook) / 10


def test_draws_spread_like_fresh_samples():
    values, spreads = [], []
    for seed in range(60):
        left, right = paired_files(np.random.default_rng(seed), 1.0, n_files=30)
        sums = kernel.paired_sums(left, right)
        values.append(kernel.paired_distance(*sums))
        spreads.append(kernel.paired_distances(*sums, drawn(len(left), 200)).std())
    assert np.mean(spreads) == pytest.approx(np.std(values), rel=0.5)


@pytest.mark.parametrize(
    ("reference", "options", "message"),
    [
        (np.ones((5, 3)), {}, "bandwidth must be positive, got 0.0"),
        (np.eye(3), {"bandwidth": -1.0}, "bandwidth must be positive, got -1.0"),
        (np.ones((1, 3)), {}, "reference must hold at least 2 windows, got 1"),
    ],
)
def test_bad_input_is_named(reference, options, message):
    with pytest.raises(ValueError, match=message):
        kernel_distance(reference, np.eye(3), **options)

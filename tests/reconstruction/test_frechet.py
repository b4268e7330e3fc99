"""The Fréchet distance against closed forms, an eigenvalue oracle, SciPy's matrix root, and its own invariances."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from m2l_bench.reconstruction.sets import frechet
from m2l_bench.reconstruction.sets.frechet import Gaussian, frechet_distance, frechet_distance_inf
from m2l_bench.statistics import draw_counts


def standardised(rng, n, dim):
    """Windows whose sample mean is exactly 0 and whose sample covariance is exactly the identity."""
    x = rng.standard_normal((n, dim))
    x -= x.mean(axis=0)
    return x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T).reshape(dim, dim)).T)


def eigenvalue_oracle(x, y):
    """tr (C1 C2)^(1/2) by the eigenvalues of the (not symmetric) product: the definition, read literally."""
    c1, c2 = np.cov(x.T), np.cov(y.T)
    roots = np.sqrt(scipy.linalg.eigvals(c1 @ c2).astype(complex)).real
    return np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(c1) + np.trace(c2) - 2 * roots.sum()


@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.0), (3.0, 1.0), (0.0, 2.5), (-1.5, 0.2)])
def test_one_dimension_equals_the_closed_form(mean, scale):
    x = standardised(np.random.default_rng(0), 50, 1)
    assert frechet_distance(x, mean + scale * x[::-1]) == pytest.approx(mean**2 + (1 - scale) ** 2, abs=1e-12)


@pytest.mark.parametrize("dim", [2, 16, 100])
def test_diagonal_gaussians_equal_the_closed_form(dim):
    rng = np.random.default_rng(dim)
    s1, s2, shift = rng.uniform(0.1, 3, (3, dim))
    x, y = standardised(rng, 3 * dim, dim) * s1, standardised(rng, 4 * dim, dim) * s2 + shift
    assert frechet_distance(x, y) == pytest.approx(np.sum(shift**2) + np.sum((s1 - s2) ** 2), rel=1e-10)


@pytest.mark.parametrize(
    ("n", "m", "dim"), [(300, 200, 40), (60, 500, 40), (30, 25, 40), (30, 200, 40), (700, 650, 512)]
)
def test_equals_the_eigenvalue_oracle(n, m, dim):
    rng = np.random.default_rng(n)
    mix = rng.standard_normal((dim, dim))
    x, y = rng.standard_normal((n, dim)) @ mix, rng.standard_normal((m, dim)) + 0.1
    assert frechet_distance(x, y) == pytest.approx(eigenvalue_oracle(x, y), rel=1e-6)


@pytest.mark.parametrize("dim", [2, 64, 256])
def test_equals_scipys_matrix_root(dim):
    rng = np.random.default_rng(dim)
    x, y = rng.standard_normal((3 * dim, dim)), rng.standard_normal((3 * dim, dim)) * 1.3 + 0.1
    c1, c2 = np.cov(x.T), np.cov(y.T)
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(c1 + c2 - 2 * scipy.linalg.sqrtm(c1 @ c2).real)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("n", "dim"), [(2, 1), (2, 2048), (5, 5), (6, 5), (100, 2048), (400, 100), (300, 300)])
def test_a_set_has_no_distance_from_itself(n, dim):
    x = np.random.default_rng(0).standard_normal((n, dim)) * 3 + 1
    assert 0 <= frechet_distance(x, x) <= 1e-9
    assert 0 <= frechet_distance(x, x[::-1]) <= 1e-9


def test_an_ill_conditioned_set_has_no_distance_from_itself():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 200)) * np.logspace(0, -9, 200)
    x[:, ::7] = 0.25  # dimensions that never fire
    assert frechet_distance(x, x) <= 1e-9


def random_case(rng):
    dim = int(rng.choice([1, 2, 3, 8, 20, 40]))
    n, m = rng.integers(2, 60, 2)
    x = rng.standard_normal((n, dim)) * 10.0 ** rng.uniform(-6, 6)
    kind = rng.integers(4)
    if kind == 0:  # near-identical
        y = np.resize(x, (m, dim)) * (1 + 1e-12) if m <= n else x + 1e-13 * np.abs(x).max()
    elif kind == 1:  # rank one
        y = rng.standard_normal((m, 1)) * rng.standard_normal((1, dim))
    elif kind == 2:  # dead and duplicated dimensions
        y = rng.standard_normal((m, dim))
        y[:, : dim // 2] = 1.0
        y[:, -1] = y[:, 0]
    else:
        y = rng.standard_normal((m, dim)) * rng.uniform(0, 5, dim) + rng.standard_normal(dim)
    return x, y if len(y) > 1 else np.repeat(y, 2, axis=0)


def test_a_thousand_random_cases_are_finite_symmetric_and_not_negative():
    rng = np.random.default_rng(0)
    for _ in range(1000):
        x, y = random_case(rng)
        forth, back = frechet_distance(x, y), frechet_distance(y, x)
        scale = np.sum(x.var(0)) + np.sum(y.var(0)) + np.sum((x.mean(0) - y.mean(0)) ** 2)
        assert np.isfinite(forth)
        assert forth >= 0
        assert abs(forth - back) <= 1e-11 * scale


@pytest.mark.parametrize(("n", "m"), [(2, 2), (2, 3000), (3, 40)])
def test_high_dimension_and_few_windows(n, m):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, 2048)), rng.standard_normal((m, 2048))
    forth = frechet_distance(x, y)
    assert np.isfinite(forth)
    assert forth > 0
    assert forth == pytest.approx(frechet_distance(y, x), rel=1e-12)


@pytest.mark.parametrize("n", [20, 200])
def test_rotations_and_shifts_of_both_sets_change_nothing(n):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, 30)), rng.standard_normal((n + 5, 30)) * 2
    rotation = scipy.stats.ortho_group.rvs(30, random_state=0)
    assert frechet_distance(x @ rotation + 5, y @ rotation + 5) == pytest.approx(frechet_distance(x, y), rel=1e-10)


def test_the_order_of_windows_changes_nothing():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((70, 30)), rng.standard_normal((90, 30))
    assert frechet_distance(rng.permutation(x), rng.permutation(y)) == pytest.approx(frechet_distance(x, y), rel=1e-12)


def test_both_paths_meet_at_n_equal_to_dim():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 30)), rng.standard_normal((31, 30))
    by_moments = frechet.distance(
        *(Gaussian(len(side), side.mean(0), frechet.covariance_factor(np.cov(side.T))) for side in (x, y))
    )
    assert frechet_distance(x, y) == pytest.approx(by_moments, rel=1e-7)


@pytest.mark.parametrize(
    ("reference", "estimate", "message"),
    [
        (np.zeros((5, 3)), np.zeros((1, 3)), "estimate must hold at least 2 windows, got 1"),
        (np.zeros((5, 3)), np.zeros((5, 4)), "estimate must have dimension 3, got 4"),
        (np.zeros(5), np.zeros((5, 4)), r"reference must have shape \(n, dim\), got \(5,\)"),
        (np.zeros((5, 3)), np.full((5, 3), np.nan), "estimate must be finite, got 5 of 5 windows"),
    ],
)
def test_bad_input_is_named(reference, estimate, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(reference, estimate)


def test_extrapolation_is_seeded_and_draws_without_replacement():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((200, 6)), rng.standard_normal((150, 6))
    first, again = frechet_distance_inf(x, y, seed=3), frechet_distance_inf(x, y, seed=3)
    assert first.value == again.value
    assert len(np.unique(first.sizes)) >= 10
    assert first.distances[-1] == pytest.approx(frechet_distance(x, y), rel=1e-12)  # the largest subset is the set
    assert first.ci_low < first.value < first.ci_high


def test_extrapolation_draws_whole_files():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 4))
    result = frechet_distance_inf(x, rng.standard_normal((120, 4)), groups=np.repeat(np.arange(24), 5))
    assert not (result.sizes % 5).any()


def test_extrapolation_of_one_distribution_is_zero_within_its_interval():
    values, halves, plain, released = [], [], [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, y = rng.standard_normal((20000, 8)), rng.standard_normal((600, 8))
        result = frechet_distance_inf(x, y, seed=seed)
        values.append(result.value)
        halves.append((result.ci_high - result.ci_low) / 2)
        plain.append(frechet_distance(x, y))
        sizes = np.linspace(300, 600, 15).astype(int)
        drawn = [frechet_distance(x, y[rng.integers(600, size=size)]) for size in sizes]
        released.append(np.polyfit(1 / sizes, drawn, 1)[1])
    assert abs(np.mean(values)) < np.mean(halves)
    assert abs(np.mean(values)) < 0.1 * np.mean(plain)
    assert np.mean(released) > 5 * abs(np.mean(values))  # with replacement a bias as large as the plain one stays


def test_extrapolation_of_paired_copies_is_exactly_zero():
    x = np.random.default_rng(0).standard_normal((100, 6))
    result = frechet_distance_inf(x, x, paired=True)
    assert (result.value, result.ci_low, result.ci_high) == pytest.approx((0, 0, 0), abs=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": np.zeros(30)}, "groups must be at least 20 to extrapolate from, got 1"),
        ({"groups": np.zeros(3)}, r"groups must have shape \(30,\), got \(3,\)"),
        ({"paired": True}, "paired sets must have one length, got 40 and 30 windows"),
    ],
)
def test_extrapolation_names_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance_inf(np.zeros((40, 3)), np.zeros((30, 3)), **options)


@pytest.mark.parametrize("lengths", [(3,) * 30, (1, 7, 2) * 10, (40,) * 12, (1,) * 15])
def test_paired_draws_equal_the_plain_formula(lengths):
    rng = np.random.default_rng(0)
    left = [rng.standard_normal((n, 20)) for n in lengths]
    right = [file + 0.3 * rng.standard_normal(file.shape) for file in left]
    picks = np.random.default_rng(1).integers(len(left), size=(5, len(left)))
    draws = frechet.paired_distances(left, right, draw_counts(picks))
    plain = [
        frechet_distance(np.concatenate([left[i] for i in pick]), np.concatenate([right[i] for i in pick]))
        for pick in picks
    ]
    np.testing.assert_allclose(draws, plain, rtol=1e-6)


def test_draws_do_not_depend_on_how_many_matrices_are_held_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    left = [rng.standard_normal((4, 5)) for _ in range(12)]
    counts = draw_counts(rng.integers(12, size=(7, 12)))
    whole = frechet.paired_distances(left, left[::-1], counts)
    monkeypatch.setattr(frechet, "_CHUNK", 3 * 25)
    np.testing.assert_allclose(frechet.paired_distances(left, left[::-1], counts), whole, rtol=1e-9)


def test_rank_of_full_and_deficient_sets():
    rng = np.random.default_rng(0)
    assert Gaussian.of(rng.standard_normal((100, 10))).rank == 10
    assert Gaussian.of(rng.standard_normal((6, 10))).rank == 5

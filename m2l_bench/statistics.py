"""Intervals and tests over tracks: of means, medians and numbers of whole sets; two systems compared; Holm's correction.

Conventions
-----------
Tracks are the sampling unit. Items of one track (frames, clips, channels) have equal labels in ``groups`` and are drawn, or
flipped, together; without groups every value is its own track. A mean of unequal tracks is the sum of their sums over the sum
of their sizes. Every bootstrap of this package takes its draws from :func:`cluster_draws`: 2,000 of them, seeded, so that a
number is the same in every run. Two systems are compared on the same tracks through their differences: the interval of a
difference is ``mean_interval(a - b, groups=groups)``.

How often the intervals cover, and how often the tests reject without a difference: docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

N_DRAWS = 2000
N_FLIPS = 100_000
MOST_EXACT = 30  # tracks of which every sign pattern counts
LEVEL = 0.95
SKEWED = 1.0  # skewness beyond which Student's t is not relied on
FEW = 6  # tracks: of fewer, the draws of the studentised bootstrap spread over orders of magnitude
_BLOCK = 1 << 20  # values held at once


def cluster_draws(
    n_clusters: int, *, n_draws: int = N_DRAWS, seed: int = 0, block: int | None = None
) -> Iterator[np.ndarray]:
    """Bootstrap draws of clusters (tracks, files, groups), with replacement.

    Parameters
    ----------
    n_clusters : int
        Number of clusters, and of picks in a draw.
    n_draws : int
    seed : int
    block : int, optional
        Draws at a time; by default as many as make about a million picks. It does not change the draws.

    Yields
    ------
    np.ndarray of int64, shape (block, n_clusters)
        Indices of the drawn clusters.

    Examples
    --------
    >>> [picks.shape for picks in cluster_draws(3, block=1500)]
    [(1500, 3), (500, 3)]
    """
    rng = np.random.default_rng(seed)
    for n in _block_sizes(n_draws, max(_BLOCK // n_clusters, 1) if block is None else block):
        yield rng.integers(n_clusters, size=(n, n_clusters))


def draw_counts(picks: np.ndarray) -> np.ndarray:
    """Count how often each draw of :func:`cluster_draws` holds each cluster: (draws, clusters) -> float64, same shape."""
    n_draws, n_clusters = picks.shape
    offsets = n_clusters * np.arange(n_draws)[:, None]
    counts = np.bincount((picks + offsets).ravel(), minlength=n_draws * n_clusters)
    return counts.reshape(n_draws, n_clusters).astype(np.float64)


def mean_interval(
    values: ArrayLike, *, groups: ArrayLike | None = None, weights: ArrayLike | None = None
) -> tuple[float, float]:
    """95 % interval of a mean over tracks.

    Parameters
    ----------
    values : array_like of float, shape (n,)
    groups : array_like, shape (n,), optional
        Track label of each value.
    weights : array_like of float, shape (n,), optional
        Positive weight of each value, such as seconds; 1 by default.

    Returns
    -------
    low, high : float
        Student's t interval with (tracks - 1) degrees of freedom; where the skewness of the tracks is beyond 1, that of the
        studentised bootstrap, unless there are fewer than 6 tracks, or more than 2.5 % of its draws have no spread (most tracks
        are equal). NaN for a single track, whose spread over tracks is unknown.

    Raises
    ------
    ValueError
        If values are empty, not finite, not of one dimension, or do not match groups or weights.

    References
    ----------
    B. Efron, R. J. Tibshirani: An Introduction to the Bootstrap, 1993, section 12.5; W. G. Cochran: Sampling Techniques,
    3rd edition, 1977, eq. 6.9 (standard error of a ratio).

    Examples
    --------
    >>> low, high = mean_interval([3.0, 4.0, 5.0, 6.0, 7.0])
    >>> round(low, 3), round(high, 3)
    (3.037, 6.963)
    """
    sums, sizes = _track_sums(values, groups, weights, "values")
    if len(sums) == 1:
        return np.nan, np.nan
    mean, error, residuals = _ratio(sums, sizes)
    if len(sums) >= FEW and abs(skewness(residuals)) > SKEWED and len(steps := _studentised(sums, sizes)):
        low, high = np.quantile(steps, [(1.0 + LEVEL) / 2.0, (1.0 - LEVEL) / 2.0])
        return float(mean - low * error), float(mean - high * error)
    from scipy.special import stdtrit  # imported here: it takes a tenth of a second

    half = float(stdtrit(len(sums) - 1, (1.0 + LEVEL) / 2.0)) * error
    return float(mean - half), float(mean + half)


def skewness(values: np.ndarray) -> float:
    """Sample skewness, adjusted for the number of values; 0 for fewer than three, or for equal ones."""
    n, centred = len(values), values - values.mean()
    spread = np.sqrt(np.mean(centred**2))
    if n < 3 or spread <= 1e-12 * np.abs(values).max(initial=0.0):
        return 0.0
    return float(np.mean((centred / spread) ** 3) * np.sqrt(n * (n - 1)) / (n - 2))


def median_interval(values: ArrayLike, *, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a median.

    Parameters
    ----------
    values : array_like of float, shape (n,)
        One a track.
    seed : int

    Returns
    -------
    low, high : float
        The 0.025 and 0.975 quantiles of the medians of n tracks of n, drawn with replacement. NaN for a single track.

    Raises
    ------
    ValueError
        If values are empty, not finite, or not of one dimension.

    References
    ----------
    B. Efron, R. J. Tibshirani: An Introduction to the Bootstrap, 1993, section 13.3.

    Examples
    --------
    >>> median_interval([3.0, 4.0, 5.0, 6.0, 7.0])
    (3.0, 7.0)
    """
    values = np.concatenate(_split(values, None, "values"))
    if len(values) == 1:
        return np.nan, np.nan
    medians = np.concatenate([np.median(values[picks], axis=1) for picks in cluster_draws(len(values), seed=seed)])
    low, high = np.quantile(medians, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    return float(low), float(high)


def paired_test(a: ArrayLike, b: ArrayLike, *, groups: ArrayLike | None = None) -> float:
    """Two-sided test of the hypothesis that two systems have the same mean score on the same tracks.

    Of equal systems, the difference of a track is as likely to be d as -d: the p-value is the share of sign patterns whose
    mean difference is at least as far from 0 as the observed one. Of up to 30 tracks all ``2^m`` patterns count, so that it is
    exact; of more, 100,000 seeded random ones. Where the skewness of the differences is beyond 1, systems of equal means would
    be told apart too often (in 20 % at skewness 6): the p-value is then at least that of the studentised bootstrap, where
    that can be had.

    Parameters
    ----------
    a, b : array_like of float, shape (n,)
        Scores of the two systems on the same items, in the same order.
    groups : array_like, shape (n,), optional
        Track label of each item; a track's differences are flipped together.

    Returns
    -------
    float
        In (0, 1].

    Raises
    ------
    ValueError
        If a and b differ in shape, are not finite, or do not match groups.

    References
    ----------
    R. A. Fisher: The Design of Experiments, 1935, section 21; E. Horowitz, S. Sahni: "Computing Partitions with Applications
    to the Knapsack Problem", Journal of the ACM 21, 1974 (all patterns from two halves).

    Examples
    --------
    >>> paired_test([2.0, 3.0, 4.0], [1.0, 1.0, 1.0])  # 2 of the 8 patterns are as extreme
    0.25
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"a and b must be of the same items, got shapes {a.shape} and {b.shape}")
    sums, sizes = _track_sums(a - b, groups, None, "a - b")
    # A small tolerance, so that rounding does not exclude patterns equal to the observed one.
    threshold = abs(sums.sum()) - 1e-12 * np.abs(sums).sum()
    flipped = _all_flips(sums, threshold) if len(sums) <= MOST_EXACT else _drawn_flips(sums, threshold)
    if flipped == 1.0 or abs(skewness(_ratio(sums, sizes)[2])) <= SKEWED:
        return flipped
    mean, error, _ = _ratio(sums, sizes)
    steps = _studentised(sums, sizes)
    if not len(steps):
        return flipped
    share = min(np.mean(steps <= mean / error), np.mean(steps >= mean / error))
    return max(flipped, min(1.0, 2.0 * float(share)))


def _all_flips(sums: np.ndarray, threshold: float) -> float:
    """Share of all sign patterns whose sum is at least `threshold` from 0: each half's sums, the second half's sorted."""
    if threshold <= 0:
        return 1.0
    first, second = (np.zeros(1), np.zeros(1))
    for place, value in enumerate(sums):
        if place % 2:
            second = np.concatenate([second - value, second + value])
        else:
            first = np.concatenate([first - value, first + value])
    second.sort()
    above = len(second) - np.searchsorted(second, threshold - first, side="left")
    return float(2 * above.sum() / 2.0 ** len(sums))  # as many are below: a pattern and its inverse


def _drawn_flips(sums: np.ndarray, threshold: float) -> float:
    """The share among seeded random patterns, of which the observed one counts as one."""
    rng = np.random.default_rng(0)
    extreme, words = 0, -(-len(sums) // 64)
    for n in _block_sizes(N_FLIPS, max(_BLOCK // len(sums), 1)):
        drawn = rng.integers(2**64, size=(n, words), dtype=np.uint64).view(np.uint8)
        bits = np.unpackbits(drawn, axis=1, count=len(sums))
        extreme += int(np.count_nonzero(np.abs(2.0 * (bits @ sums) - sums.sum()) >= threshold))
    return (1 + extreme) / (1 + N_FLIPS)


def jackknife(value: float, left_out: ArrayLike) -> np.ndarray:
    """Pseudo-value of each track of a number of the whole set; their mean is the number less its bias of order 1/n.

    They allow an interval and a paired comparison, track by track, of a number that is defined for a set only, such as a
    distance of sets: a difference of biases is not taken for a difference of systems.

    Parameters
    ----------
    value : float
        The number of all n tracks.
    left_out : array_like of float, shape (n,)
        The number without each track, n >= 2.

    Returns
    -------
    np.ndarray of float64, shape (n,)
        ``n value - (n - 1) left_out``.

    Raises
    ------
    ValueError
        If fewer than two tracks are given.

    References
    ----------
    M. H. Quenouille: "Notes on bias in estimation", Biometrika 43, 1956; J. W. Tukey: "Bias and confidence in not-quite large
    samples", Annals of Mathematical Statistics 29, 1958.

    Examples
    --------
    >>> jackknife(2.0, [2.5, 2.0, 1.5]).tolist()  # of the mean of 1, 2, 3: the values themselves
    [1.0, 2.0, 3.0]
    """
    without = np.asarray(left_out, dtype=np.float64)
    if without.ndim != 1 or len(without) < 2:
        raise ValueError(f"left_out must have shape (n,) with n >= 2, got {without.shape}")
    return np.asarray(len(without) * value - (len(without) - 1) * without)


def contributions(value: float, left_out: ArrayLike) -> np.ndarray:
    """Contribution of each track to a number of the whole set: :func:`jackknife` values, shifted to have that mean.

    They allow a paired comparison, track by track, of a number that is defined for a set only and hardly biased (an area
    under a curve). The mean of the differences of two systems' contributions is the difference of the numbers; their spread
    is the jackknife's estimate of its spread.

    Parameters
    ----------
    value : float
        The number of all n tracks.
    left_out : array_like of float, shape (n,)
        The number without each track.

    Returns
    -------
    np.ndarray of float64, shape (n,)
        ``value + (n - 1) (mean(left_out) - left_out)``.

    Raises
    ------
    ValueError
        If fewer than two tracks are given.

    References
    ----------
    J. W. Tukey: "Bias and confidence in not-quite large samples", Annals of Mathematical Statistics 29, 1958;
    B. Efron, R. J. Tibshirani: An Introduction to the Bootstrap, 1993, eq. 11.8.

    Examples
    --------
    >>> contributions(2.0, [2.5, 2.0, 1.5]).tolist()  # of the mean of 1, 2, 3: the values themselves
    [1.0, 2.0, 3.0]
    """
    pseudo = jackknife(value, left_out)
    return np.asarray(pseudo - pseudo.mean() + value)


def holm(p_values: ArrayLike) -> np.ndarray:
    """Holm's correction of a family of p-values.

    Parameters
    ----------
    p_values : array_like of float, shape (m,)
        In [0, 1].

    Returns
    -------
    np.ndarray of float64, shape (m,)
        Adjusted p-values in the given order: of the k-th smallest, the largest ``min(1, (m - i + 1) p_i)`` over i <= k.
        Rejecting where they are at most alpha keeps the chance of any false rejection at most alpha.

    Raises
    ------
    ValueError
        If a p-value lies outside [0, 1].

    References
    ----------
    S. Holm: "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0.0) & (p <= 1.0)).all():
        raise ValueError(f"p_values must be a list of numbers in [0, 1], got {p_values!r}")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted


def _track_sums(
    values: ArrayLike, groups: ArrayLike | None, weights: ArrayLike | None, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted sum of the values of each track, and sum of its weights."""
    ones = np.ones(np.shape(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    tracks = _split(values, groups, name)
    if ones.shape != np.shape(values) or not (ones > 0).all():
        raise ValueError(f"weights must be positive, one a value, shape {np.shape(values)}, got {ones.shape}")
    sizes = _split(ones, groups, "weights")
    sums = [float(track @ size) for track, size in zip(tracks, sizes, strict=True)]
    return np.array(sums), np.array([float(size.sum()) for size in sizes])


def _ratio(sums: np.ndarray, sizes: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Mean of all values, its standard error over tracks, and what each track adds to it, (tracks,)."""
    n, mean = len(sums), sums.sum() / sizes.sum()
    residuals = sums - mean * sizes
    error = np.sqrt(n / (n - 1) * np.sum(residuals**2)) / sizes.sum() if n > 1 else np.nan
    return float(mean), float(error), residuals


def _studentised(sums: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(mean of a draw - mean) / standard error of the draw, of the bootstrap draws whose tracks are not all equal.

    Empty where too many are: of a few tracks that differ from all others, the draws without them say nothing of the ends.
    """
    n, mean = len(sums), sums.sum() / sizes.sum()
    residuals = sums - mean * sizes
    steps = []
    for picks in cluster_draws(n):
        counts = draw_counts(picks)
        total = counts @ sizes
        away = (counts @ residuals) / total  # mean of the draw - mean
        squares = counts @ residuals**2 - 2 * away * (counts @ (residuals * sizes)) + away**2 * (counts @ sizes**2)
        error = np.sqrt(np.maximum(squares, 0.0) * n / (n - 1)) / total
        kept = squares > 1e-12 * np.sum(residuals**2)  # less is rounding
        steps.append(away[kept] / error[kept])
    found = np.concatenate(steps)
    return found if len(found) >= N_DRAWS * (1.0 + LEVEL) / 2.0 else found[:0]


def _split(values: ArrayLike, groups: ArrayLike | None, name: str) -> list[np.ndarray]:
    """Split values by track, in order of first appearance."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"{name} must have shape (n,) with n >= 1, got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got {np.count_nonzero(~np.isfinite(values))} that are not")
    if groups is None:
        return list(values[:, None])
    labels = np.asarray(groups)
    if labels.shape != values.shape:
        raise ValueError(f"groups must have one label a value, shape {values.shape}, got {labels.shape}")
    import pandas as pd

    # Numbered in order of appearance, so that renaming tracks does not change the draws.
    numbers, _ = pd.factorize(labels, use_na_sentinel=False)
    return np.split(values[np.argsort(numbers, kind="stable")], np.cumsum(np.bincount(numbers))[:-1])


def _block_sizes(total: int, most: int) -> Iterator[int]:
    for done in range(0, total, most):
        yield min(most, total - done)

"""Intervals and tests over tracks: cluster bootstrap, sign-flip test of two systems, Holm's correction.

Conventions
-----------
Tracks are the resampling unit. Items of one track (frames, clips, channels) have equal labels in ``groups`` and are
drawn, or flipped, together; without groups every value is its own track. Every bootstrap of this package takes its
draws from :func:`cluster_draws`: 2,000 of them, seeded, so that a number is the same in every run. Two systems are
compared on the same tracks through their differences: the interval of a difference is
``bootstrap_interval(a - b, groups=groups)``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike

N_DRAWS = 2000
N_FLIPS = 10_000
LEVEL = 0.95
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


def centred_interval(value: float, draws: np.ndarray, *, lowest: float = -np.inf) -> tuple[float, float]:
    """95 % percentile interval of bootstrap draws, shifted so that the mean of the draws equals the value.

    A resampled set holds fewer distinct files than the set itself, so a distance of sets is biased upwards on it; without
    the shift the interval of a good system would not contain its value.

    Parameters
    ----------
    value : float
        The number of the whole set.
    draws : np.ndarray, (draws,)
    lowest : float
        Smallest possible value of the number; both ends are raised to it.

    Returns
    -------
    low, high : float
    """
    low, high = np.quantile(draws, [0.025, 0.975]) - draws.mean() + value
    return max(lowest, float(low)), max(lowest, float(high))


def bootstrap_interval(
    values: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    statistic: Callable[..., np.ndarray] = np.mean,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a statistic.

    Parameters
    ----------
    values : array_like of float, shape (n,)
    groups : array_like, shape (n,), optional
        Track label of each value.
    statistic : callable
        ``statistic(array, axis=-1)``, such as ``np.mean`` or ``np.median``, of all values of the drawn tracks pooled.
    seed : int

    Returns
    -------
    low, high : float
        The 0.025 and 0.975 quantiles of the statistic over draws of n tracks of n, with replacement. NaN for a single
        track, whose spread over tracks is unknown.

    Raises
    ------
    ValueError
        If values are empty, not finite, not of one dimension, or do not match groups.

    References
    ----------
    B. Efron, R. J. Tibshirani: An Introduction to the Bootstrap, 1993, section 13.3.

    Examples
    --------
    >>> low, high = bootstrap_interval([3.0, 4.0, 5.0, 6.0, 7.0])
    >>> 3 <= low < 5 < high <= 7
    True
    """
    tracks = _split(values, groups, "values")
    if len(tracks) == 1:
        return np.nan, np.nan
    draw = _drawer(tracks, statistic)
    block = max(_BLOCK // sum(len(track) for track in tracks), 1)
    all_picks = cluster_draws(len(tracks), seed=seed, block=block)
    low, high = np.quantile(
        np.concatenate([draw(picks) for picks in all_picks]), [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0]
    )
    return float(low), float(high)


def sign_flip_test(a: ArrayLike, b: ArrayLike, *, groups: ArrayLike | None = None) -> float:
    """Two-sided test of the hypothesis that two systems score equally on the same tracks.

    Under the hypothesis, the difference of a track is as likely to be d as -d. Of m tracks all ``2^m`` sign patterns are
    used where these are at most 10,000 (the p-value is exact), else 10,000 seeded random ones.

    Parameters
    ----------
    a, b : array_like of float, shape (n,)
        Scores of the two systems on the same items, in the same order.
    groups : array_like, shape (n,), optional
        Track label of each item; a track's differences are flipped together.

    Returns
    -------
    float
        p-value in (0, 1]: the share of sign patterns whose mean difference is at least as far from 0 as the observed one
        (which is counted as one of the drawn patterns).

    Raises
    ------
    ValueError
        If a and b differ in shape, are not finite, or do not match groups.

    References
    ----------
    R. A. Fisher: The Design of Experiments, 1935, section 21.

    Examples
    --------
    >>> sign_flip_test([2.0, 3.0, 4.0], [1.0, 1.0, 1.0])  # 2 of the 8 patterns are as extreme
    0.25
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"a and b must be of the same items, got shapes {a.shape} and {b.shape}")
    sums = np.array([track.sum() for track in _split(a - b, groups, "a - b")])
    # A small tolerance, so that rounding does not exclude patterns equal to the observed one.
    threshold = abs(sums.sum()) - 1e-12 * np.abs(sums).sum()
    if 2 ** len(sums) <= N_FLIPS:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(sums))))
        return float(np.mean(np.abs(signs @ sums) >= threshold))
    rng = np.random.default_rng(0)
    extreme = 0
    for n in _block_sizes(N_FLIPS, max(_BLOCK // len(sums), 1)):
        signs = 1.0 - 2.0 * rng.integers(2, size=(n, len(sums)))
        extreme += int(np.count_nonzero(np.abs(signs @ sums) >= threshold))
    return (1 + extreme) / (1 + N_FLIPS)


def contributions(value: float, left_out: ArrayLike) -> np.ndarray:
    """Contribution of each track to a number of the whole set: jackknife pseudo-values, shifted to have that mean.

    They allow a paired comparison, track by track, of a number that is defined for a set only (a distance of sets, an
    area under a curve). The mean of the differences of two systems' contributions is the difference of the numbers;
    their spread is the jackknife's estimate of its spread.

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
    without = np.asarray(left_out, dtype=np.float64)
    if without.ndim != 1 or len(without) < 2:
        raise ValueError(f"left_out must have shape (n,) with n >= 2, got {without.shape}")
    return np.asarray(value + (len(without) - 1) * (without.mean() - without))


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


def _drawer(tracks: list[np.ndarray], statistic: Callable[..., np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from draws ``(n, tracks)`` of track numbers to their statistics ``(n,)``."""
    sizes = np.array([len(track) for track in tracks])
    if statistic is np.mean:  # sums are enough; no value is copied
        sums = np.array([track.sum() for track in tracks])
        return lambda picks: sums[picks].sum(axis=-1) / sizes[picks].sum(axis=-1)
    if (sizes == sizes[0]).all():
        table = np.stack(tracks)
        return lambda picks: statistic(table[picks].reshape(len(picks), -1), axis=-1)
    return lambda picks: np.array([statistic(np.concatenate([tracks[i] for i in pick]), axis=-1) for pick in picks])


def _block_sizes(total: int, most: int) -> Iterator[int]:
    for done in range(0, total, most):
        yield min(most, total - done)

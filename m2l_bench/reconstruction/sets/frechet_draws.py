"""Fréchet distance of resampled sets of files: bootstrap draws and jackknife.

Conventions
-----------
Whole files are drawn, because the windows of one file are not independent. Files are float64 or float32 (windows, dim).
The moments of a draw are sums of the moments of its files, so that the cost of a draw does not depend on the number of
windows. See :mod:`.frechet` for the distance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from m2l_bench.reconstruction.sets.frechet import Gaussian, covariance_factor, distance
from m2l_bench.statistics import N_DRAWS, cluster_draws, draw_counts

_CHUNK = 1 << 23  # values of the matrices held at once


def paired_draws(
    references: Sequence[np.ndarray], estimates: Sequence[np.ndarray], *, n_draws: int = N_DRAWS, seed: int = 0
) -> np.ndarray:
    """Distances of bootstrap draws over files, where file i of `estimates` is the reconstruction of file i of `references`.

    Parameters
    ----------
    references, estimates : sequence of np.ndarray, (windows, dim)
        As many windows on both sides of each file.
    n_draws : int
    seed : int

    Returns
    -------
    np.ndarray, float64, (n_draws,)
    """
    draws = cluster_draws(len(references), n_draws=n_draws, seed=seed)
    return np.concatenate([_paired(references, estimates, draw_counts(picks)) for picks in draws])


def left_out(references: Sequence[np.ndarray], estimates: Sequence[np.ndarray]) -> np.ndarray:
    """Distances of the set without each of its files, float64 (files,), for :func:`m2l_bench.statistics.contributions`."""
    return _paired(references, estimates, 1.0 - np.eye(len(references)))


def _paired(references: Sequence[np.ndarray], estimates: Sequence[np.ndarray], counts: np.ndarray) -> np.ndarray:
    """Distance of each draw, from how often it holds each file: (draws, files) -> (draws,)."""
    lengths = np.array([len(file) for file in references])
    left, right = (np.concatenate(side).astype(np.float64) for side in (references, estimates))
    if len(left) <= left.shape[1]:  # the windows are smaller than their covariances
        weights = (np.repeat(row, lengths) for row in counts)
        return np.array([distance(_weighted(left, row), _weighted(right, row)) for row in weights])
    draws = zip(*(_drawn_moments(side - left.mean(axis=0), lengths, counts) for side in (left, right)), strict=True)
    # The distance depends on the mean and covariance of a draw, not on its number of windows.
    return np.array([distance(*(Gaussian(0, mean, covariance_factor(cov)) for mean, cov in sides)) for sides in draws])


def _weighted(windows: np.ndarray, weights: np.ndarray) -> Gaussian:
    """Summary of a set that holds each window `weights` times."""
    windows, weights = windows[weights > 0], weights[weights > 0]
    n = weights.sum()
    mean = weights @ windows / n
    return Gaussian(int(n), mean, (windows - mean) * np.sqrt(weights / max(n - 1, 1))[:, None])


def _drawn_moments(
    windows: np.ndarray, lengths: np.ndarray, counts: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Mean and covariance of each draw, from one scatter matrix per file.

    The windows should be centred on the origin, because uncentred second moments are subtracted.
    """
    dim = windows.shape[1]
    files, sums = np.split(windows, np.cumsum(lengths)[:-1]), _file_sums(windows, lengths)
    step = max(1, _CHUNK // dim**2)
    for start in range(0, len(counts), step):
        drawn = counts[start : start + step]
        second = np.zeros((len(drawn), dim * dim))
        for first in range(0, len(files), step):
            scatters = np.stack([(file.T @ file).ravel() for file in files[first : first + step]])
            second += drawn[:, first : first + step] @ scatters
        for n, total, moment in zip(drawn @ lengths, drawn @ sums, second, strict=True):
            mean = total / n
            yield mean, (moment.reshape(dim, dim) - n * np.outer(mean, mean)) / (n - 1)


def _file_sums(windows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return np.stack([file.sum(axis=0) for file in np.split(windows, np.cumsum(lengths)[:-1])])

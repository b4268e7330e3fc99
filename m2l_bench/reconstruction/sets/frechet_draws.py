"""Bootstrap draws of the Fréchet distance over files, and the interval they give.

Conventions
-----------
A file is drawn whole: its windows are not independent. Files are float64 or float32 (windows, dim). Moments of a draw
are sums of the drawn files' moments, so that no draw touches the windows themselves; see :mod:`.frechet` for the
distance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import scipy.linalg

from m2l_bench.reconstruction.sets.frechet import Gaussian, covariance_factor, distance

_CHUNK = 1 << 23  # values of the matrices held at once


def fixed_reference_draws(
    reference: Gaussian, files: Sequence[np.ndarray], *, n_draws: int = 1000, seed: int = 0
) -> np.ndarray:
    """Bootstrap over the files of the estimate, against a reference that stays as it is.

    The reference is factorised once: each draw costs one symmetric eigenvalue problem of the reference's rank.

    Parameters
    ----------
    reference : Gaussian
    files : sequence of np.ndarray, (windows, dim)
    n_draws : int
    seed : int

    Returns
    -------
    np.ndarray, float64, (n_draws,)
        Distances; their mean lies above the distance of the set itself, see :func:`interval`.
    """
    lengths, counts = np.array([len(file) for file in files]), _file_counts(len(files), n_draws, seed)
    centred = np.concatenate(files).astype(np.float64) - reference.mean
    seen = centred @ reference.factor.T  # (n, k): the windows in the reference's own coordinates
    trace = float(np.sum(reference.factor**2))
    totals = counts @ lengths
    shifts = counts @ _file_sums(centred, lengths) / totals[:, None]
    squares = counts @ _file_sums(np.sum(centred**2, axis=1)[:, None], lengths)[:, 0]
    spreads = (squares - totals * np.sum(shifts**2, axis=1)) / (totals - 1)
    overlaps = [
        np.sqrt(scipy.linalg.eigvalsh(covariance, check_finite=False).clip(0)).sum()
        for _, covariance in _drawn_moments(seen, lengths, counts)
    ]
    return np.maximum(0.0, np.sum(shifts**2, axis=1) + trace + spreads - 2.0 * np.array(overlaps))


def paired_draws(
    references: Sequence[np.ndarray], estimates: Sequence[np.ndarray], *, n_draws: int = 1000, seed: int = 0
) -> np.ndarray:
    """Bootstrap over files drawn on both sides at once: file i of `estimates` reconstructs file i of `references`.

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
    return _paired(references, estimates, _file_counts(len(references), n_draws, seed))


def left_out(references: Sequence[np.ndarray], estimates: Sequence[np.ndarray]) -> np.ndarray:
    """Distances of the set without each of its files: float64 (files,); see :func:`m2l_bench.statistics.contributions`."""
    return _paired(references, estimates, 1.0 - np.eye(len(references)))


def _paired(references: Sequence[np.ndarray], estimates: Sequence[np.ndarray], counts: np.ndarray) -> np.ndarray:
    """Distance of each draw, given how often it takes each file: (draws, files) -> (draws,)."""
    lengths = np.array([len(file) for file in references])
    left, right = (np.concatenate(side).astype(np.float64) for side in (references, estimates))
    if len(left) <= left.shape[1]:  # few windows: their rows are smaller than covariances
        weights = (np.repeat(row, lengths) for row in counts)
        return np.array([distance(_weighted(left, row), _weighted(right, row)) for row in weights])
    draws = zip(*(_drawn_moments(side - left.mean(axis=0), lengths, counts) for side in (left, right)), strict=True)
    # How many windows a draw has does not enter the distance, only its mean and covariance do.
    return np.array([distance(*(Gaussian(0, mean, covariance_factor(cov)) for mean, cov in sides)) for sides in draws])


def interval(value: float, draws: np.ndarray, *, lowest: float = 0.0) -> tuple[float, float]:
    """95 % percentile interval of bootstrap draws, moved so that the draws' mean falls on the value.

    A resampled set holds fewer distinct files than the set, so its distance is biased upwards; without the move the
    interval of a good system would not hold its own value.
    """
    low, high = np.quantile(draws, [0.025, 0.975]) - draws.mean() + value
    return max(lowest, float(low)), max(lowest, float(high))


def _weighted(windows: np.ndarray, weights: np.ndarray) -> Gaussian:
    """A set in which each window counts `weights` times."""
    windows, weights = windows[weights > 0], weights[weights > 0]
    n = weights.sum()
    mean = weights @ windows / n
    return Gaussian(int(n), mean, (windows - mean) * np.sqrt(weights / max(n - 1, 1))[:, None])


def _file_counts(n_files: int, n_draws: int, seed: int) -> np.ndarray:
    """How often each draw takes each file: float64 (n_draws, n_files)."""
    drawn = np.random.default_rng(seed).integers(n_files, size=(n_draws, n_files))
    return np.stack([np.bincount(row, minlength=n_files) for row in drawn]).astype(np.float64)


def _drawn_moments(
    windows: np.ndarray, lengths: np.ndarray, counts: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Mean and covariance of each draw, from one scatter matrix a file.

    The windows should lie around the origin: uncentred second moments are subtracted.
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

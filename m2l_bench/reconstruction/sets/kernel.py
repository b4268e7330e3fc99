"""Kernel audio distance (KAD): the unbiased squared MMD between two sets of embedding windows, times 100.

Conventions
-----------
Windows are ``(n, dim)``, reference first; float64 throughout, in blocks, so that memory stays linear in n. The kernel
is ``k(x, y) = exp(-|x - y|^2 / (2 s^2))`` with s the median distance between windows of the *reference*, so that it is
the same for every system. The estimator is unbiased and may therefore be slightly negative.

References
----------
Chung, Eu, Lee, Choi, Nam, Chon, "KAD: No More FAD!", ICML 2025, eq. 5 and section 4.
Gretton, Borgwardt, Rasch, Schölkopf, Smola, "A Kernel Two-Sample Test", JMLR 2012, lemma 6.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy  # its parts are loaded when they are used

from m2l_bench.reconstruction.sets.frechet import check_sets, check_windows

SCALE = 100.0
MEDIAN_WINDOWS = 4000  # beyond this the median distance is taken over evenly spaced windows
_BLOCK = 1024


def kernel_distance(reference: np.ndarray, estimate: np.ndarray, *, bandwidth: float | None = None) -> float:
    """Kernel distance between two independent sets of windows.

    Parameters
    ----------
    reference : np.ndarray, (n, dim), n >= 2
    estimate : np.ndarray, (m, dim), m >= 2
    bandwidth : float, optional
        s of the kernel, in the embedding's unit; :func:`median_distance` of the reference by default.

    Returns
    -------
    float
        ``100 (mean k(x, x') + mean k(y, y') - 2 mean k(x, y))``, x not x', y not y'; in (-100, 200), 0 in the mean for
        sets of one distribution; lower is better.

    Raises
    ------
    ValueError
        On another shape, fewer than two windows, NaN or infinite values, a bandwidth that is not positive.

    References
    ----------
    Chung et al., 2025, eq. 5; Gretton et al., 2012, eq. 3.

    Examples
    --------
    >>> import numpy as np
    >>> near, far = np.array([[0.0], [1.0]]), np.array([[1e3], [1e3]])
    >>> round(kernel_distance(near, far), 4)
    160.6531
    """
    x, y, bandwidth = _prepared(reference, estimate, bandwidth)
    n, m = len(x), len(y)
    # A window is not paired with itself, where k = 1.
    within_x, within_y = ((_kernel_sums(side, side, bandwidth) - 1.0).sum() for side in (x, y))
    across = _kernel_sums(x, y, bandwidth).sum()
    return float(SCALE * (within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2.0 * across / (n * m)))


def median_distance(windows: np.ndarray) -> float:
    """Median Euclidean distance between different windows (n, dim), n >= 2.

    Beyond 4,000 windows, over 4,000 evenly spaced ones.
    """
    windows = check_windows("windows", windows, minimum=2)
    return float(np.median(scipy.spatial.distance.pdist(windows[_spaced(len(windows))])))


def left_out_medians(files: Sequence[np.ndarray]) -> np.ndarray:
    """:func:`median_distance` without each file, to first order: from the share of its pairs below the median.

    Parameters
    ----------
    files : sequence of np.ndarray, (windows, dim)

    Returns
    -------
    np.ndarray of float64, (files,)
    """
    windows = np.concatenate(files).astype(np.float64)
    chosen = _spaced(len(windows))
    distances = scipy.spatial.distance.pdist(windows[chosen])
    median, low, high = np.quantile(distances, [0.5, 0.45, 0.55])
    file_of = np.repeat(np.arange(len(files)), [len(file) for file in files])[chosen]
    member = np.equal.outer(np.arange(len(files)), file_of).astype(np.float64)  # (files, windows)
    near = scipy.spatial.distance.squareform(distances < median)
    # Pairs within a file stand in two rows.
    counts = [member @ near.sum(axis=1) - np.einsum("fw,wv,fv->f", member, near, member, optimize=True) / 2]
    sizes = member.sum(axis=1)
    counts.append(sizes * (len(chosen) - 1) - sizes * (sizes - 1) / 2)
    below, pairs = (distances < median).sum() - counts[0], len(distances) - counts[1]
    slope = (high - low) / 0.1
    return np.asarray(median + (np.mean(distances < median) - below / pairs) * slope)


def paired_sums(
    references: Sequence[np.ndarray], estimates: Sequence[np.ndarray], *, bandwidth: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel sums between different files, where file i of `estimates` reconstructs file i of `references`.

    A reconstruction depends on its reference, so pairs of windows within one file are left out of all three means: the
    estimate is unbiased over files, and an identical copy gives exactly 0.

    Parameters
    ----------
    references, estimates : sequence of np.ndarray, (windows, dim)
        As many windows on both sides of each file.
    bandwidth : float, optional
        s of the kernel; :func:`median_distance` of all reference windows by default.

    Returns
    -------
    sums : np.ndarray, (files, files)
        ``sum of k(x, x') + k(y, y') - k(x, y') - k(y, x')`` over the windows of two files; 0 on the diagonal.
    counts : np.ndarray, (files, files)
        Pairs of windows in each sum.
    """
    lengths = np.array([len(file) for file in references])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    x, y, bandwidth = _prepared(np.concatenate(references), np.concatenate(estimates), bandwidth)
    across = _file_sums(x, y, starts, bandwidth)
    sums = _file_sums(x, x, starts, bandwidth) + _file_sums(y, y, starts, bandwidth) - across - across.T
    counts = np.outer(lengths, lengths).astype(np.float64)
    np.fill_diagonal(sums, 0.0)
    np.fill_diagonal(counts, 0.0)
    return sums, counts


def paired_distance(sums: np.ndarray, counts: np.ndarray) -> float:
    """Kernel distance from :func:`paired_sums`."""
    return float(SCALE * sums.sum() / counts.sum())


def paired_distances(sums: np.ndarray, counts: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Distances of sets of files, from :func:`paired_sums` and how often each holds each file: (sets, files) -> (sets,).

    Copies of one file are not paired with each other, so that draws of files stay unbiased.
    """
    return SCALE * np.sum(held @ sums * held, axis=1) / np.sum(held @ counts * held, axis=1)


def _prepared(
    reference: np.ndarray, estimate: np.ndarray, bandwidth: float | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    x, y = check_sets(reference, estimate)
    bandwidth = median_distance(x) if bandwidth is None else float(bandwidth)
    if not bandwidth > 0:
        raise ValueError(f"bandwidth must be positive, got {bandwidth} (are the reference's windows all equal?)")
    centre = x.mean(axis=0)  # near the origin the binomial formula of squared distances loses fewer digits
    return x - centre, y - centre, bandwidth


def _spaced(n_windows: int) -> np.ndarray:
    """Indices of all windows, or of 4,000 evenly spaced ones."""
    return np.linspace(0, n_windows - 1, min(n_windows, MEDIAN_WINDOWS)).astype(int)


def _kernel_sums(x: np.ndarray, y: np.ndarray, bandwidth: float) -> np.ndarray:
    return np.concatenate([_kernel(block, y, bandwidth).sum(axis=1) for block in _blocks(x)])


def _file_sums(x: np.ndarray, y: np.ndarray, starts: np.ndarray, bandwidth: float) -> np.ndarray:
    """Kernel sums over the windows of each two files: (files, files)."""
    sums = np.zeros((len(starts), len(starts)))
    file_of_window = np.searchsorted(starts, np.arange(len(x)), side="right") - 1
    for block, files in zip(_blocks(x), _blocks(file_of_window), strict=True):
        columns = np.add.reduceat(_kernel(block, y, bandwidth), starts, axis=1)  # (block, files)
        names, first = np.unique(files, return_index=True)
        sums[names] += np.add.reduceat(columns, first, axis=0)
    return sums


def _kernel(x: np.ndarray, y: np.ndarray, bandwidth: float) -> np.ndarray:
    squared = np.sum(x**2, axis=1)[:, None] + np.sum(y**2, axis=1) - 2.0 * (x @ y.T)
    return np.exp(np.maximum(squared, 0.0) / (-2.0 * bandwidth**2))


def _blocks(windows: np.ndarray) -> list[np.ndarray]:
    return [windows[i : i + _BLOCK] for i in range(0, len(windows), _BLOCK)]

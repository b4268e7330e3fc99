"""Fréchet distance between two sets of embedding windows: FAD and FAD-inf.

Conventions
-----------
Windows are ``(n, dim)``, reference first; everything is float64. A set is summarised by its mean and a *factor* F of
its covariance, C = F'F: the centred windows themselves where n <= dim, else a Cholesky factor. Then

    FAD = |m1 - m2|^2 + |F1|^2 + |F2|^2 - 2 |F1 F2'|_*

because the trace of the square root of C1 C2 is the nuclear norm (sum of singular values) of F1 F2'. No matrix square
root is formed, so the result is real for sets of any rank; a result below zero by rounding is returned as 0.
Files are the resampling unit, because the windows of one file are not independent. The moments of a set of files are
sums of the moments of its files, so that the cost of a set does not depend on the number of windows.

References
----------
Kilgour, Zuluaga, Roblek, Sharifi, "Fréchet Audio Distance", Interspeech 2019, eq. 1.
Gui, Gamper, Braun, Emmanouilidou, "Adapting Fréchet Audio Distance for Generative Music Evaluation", ICASSP 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy  # its parts are loaded when they are used

N_SIZES = 15  # of FAD-inf
REPEATS = 4  # subsets drawn of each size
SMALLEST_SHARE = 0.5  # the smallest subset, as a share of the set
_CHUNK = 1 << 23  # values of the matrices in memory at once


@dataclass(frozen=True)
class Gaussian:
    """Mean and covariance factor of a set of windows.

    Attributes
    ----------
    n : int
        Number of windows.
    mean : np.ndarray, float64, (dim,)
    factor : np.ndarray, float64, (k, dim)
        ``factor.T @ factor`` is the covariance.
    """

    n: int
    mean: np.ndarray
    factor: np.ndarray

    @classmethod
    def of(cls, windows: np.ndarray) -> Gaussian:
        """Summarise windows (n, dim), n >= 1; a single window has covariance zero."""
        windows = check_windows("windows", windows)
        n, dim = windows.shape
        mean = windows.mean(axis=0)
        centred = windows - mean
        if n > dim:
            return cls(n, mean, covariance_factor(centred.T @ centred / max(n - 1, 1)))
        return cls(n, mean, centred / np.sqrt(max(n - 1, 1)))

    @property
    def rank(self) -> int:
        """Rank of the covariance; the distance is biased where it is below the dimension."""
        eigenvalues = _singular_values(self.factor) ** 2
        return int((eigenvalues > eigenvalues[:1] * self.mean.size * np.finfo(float).eps).sum())


class Extrapolation(NamedTuple):
    """A distance extrapolated to sets of infinite size.

    ``value`` is the intercept of the line through ``distances`` over ``1 / sizes``, ``ci_low`` and ``ci_high`` its 95 %
    interval (Student's t); it may be slightly negative where the true distance is zero.
    """

    value: float
    ci_low: float
    ci_high: float
    sizes: np.ndarray
    distances: np.ndarray


def frechet_distance(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Fréchet distance between Gaussians fitted to two sets of windows.

    Parameters
    ----------
    reference : np.ndarray, (n, dim), n >= 2
    estimate : np.ndarray, (m, dim), m >= 2

    Returns
    -------
    float
        ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))``, in [0, inf); lower is better. Covariances are unbiased.

    Raises
    ------
    ValueError
        On another shape, fewer than two windows, NaN or infinite values.

    References
    ----------
    Kilgour et al., 2019, eq. 1; Dowson and Landau, 1982, eq. 4.

    Examples
    --------
    >>> import numpy as np
    >>> frechet_distance(np.array([[-1.0], [1.0]]), np.array([[2.0], [4.0]]))
    9.0
    """
    reference, estimate = check_sets(reference, estimate)
    return distance(Gaussian.of(reference), Gaussian.of(estimate))


def distance(reference: Gaussian, estimate: Gaussian) -> float:
    """Fréchet distance between two summarised sets."""
    shift = reference.mean - estimate.mean
    trace = float(np.sum(reference.factor**2) + np.sum(estimate.factor**2))
    overlap = float(_singular_values(estimate.factor @ reference.factor.T).sum())
    return max(0.0, float(shift @ shift) + trace - 2.0 * overlap)


def frechet_distance_inf(
    reference: np.ndarray,
    estimate: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    paired: bool = False,
    seed: int = 0,
) -> Extrapolation:
    """Fréchet distance extrapolated to infinitely many windows, which removes most of its bias.

    Subsets of `estimate` are drawn *without* replacement, because duplicates have a bias that does not shrink with the
    size. There are 15 sizes from half the set to the whole set, four subsets of each; a line is fitted over 1/n.

    Parameters
    ----------
    reference : np.ndarray, (n, dim)
    estimate : np.ndarray, (m, dim)
    groups : np.ndarray, (m,), optional
        File of each window of `estimate`: whole files are drawn. By default each window is its own file.
    paired : bool
        False: the sets are independent; `estimate` alone is extrapolated and the reference is used whole.
        True: row i of `estimate` is a reconstruction of row i of `reference`, with the same sampling noise; the same
        rows of both are drawn.
    seed : int

    Returns
    -------
    Extrapolation

    Raises
    ------
    ValueError
        If there are fewer than 20 groups, or shapes do not match.

    References
    ----------
    Gui et al., 2024, section 2.3; Chong and Forsyth, CVPR 2020, section 4.
    """
    reference, estimate = check_sets(reference, estimate)
    if paired and len(reference) != len(estimate):
        raise ValueError(f"paired sets must have one length, got {len(reference)} and {len(estimate)} windows")
    groups = np.arange(len(estimate)) if groups is None else np.asarray(groups)
    if groups.shape != (len(estimate),):
        raise ValueError(f"groups must have shape ({len(estimate)},), got {groups.shape}")
    names, index = np.unique(groups, return_inverse=True)
    if len(names) < 20:
        raise ValueError(f"groups must be at least 20 to extrapolate from, got {len(names)}")
    whole = None if paired else Gaussian.of(reference)
    rng = np.random.default_rng(seed)
    sizes, distances = [], []
    for n_groups in np.linspace(SMALLEST_SHARE * len(names), len(names), N_SIZES).round().astype(int):
        # The whole set has one subset only.
        for _ in range(REPEATS if n_groups < len(names) else 1):
            drawn = np.isin(index, rng.permutation(len(names))[:n_groups])
            side = Gaussian.of(reference[drawn]) if whole is None else whole
            sizes.append(int(drawn.sum()))
            distances.append(distance(side, Gaussian.of(estimate[drawn])))
    from scipy import stats  # imported here: it takes a second

    fit = stats.linregress(1.0 / np.array(sizes), distances)
    half = float(stats.t.ppf(0.975, len(sizes) - 2) * fit.intercept_stderr)
    value = float(fit.intercept)
    return Extrapolation(value, value - half, value + half, np.array(sizes), np.array(distances))


def paired_distances(
    references: Sequence[np.ndarray], estimates: Sequence[np.ndarray], counts: np.ndarray
) -> np.ndarray:
    """Distances of sets of files; file i of `estimates` is the reconstruction of file i of `references`.

    Parameters
    ----------
    references, estimates : sequence of np.ndarray, (windows, dim)
        float32 or float64; both sides of a file have the same number of windows.
    counts : np.ndarray, (sets, files)
        How often each set holds each file.

    Returns
    -------
    np.ndarray, float64, (sets,)
    """
    lengths = np.array([len(file) for file in references])
    left, right = (np.concatenate(side).astype(np.float64) for side in (references, estimates))
    if len(left) <= left.shape[1]:  # the windows need less memory than their covariances
        weights = (np.repeat(row, lengths) for row in counts)
        return np.array([distance(_weighted(left, row), _weighted(right, row)) for row in weights])
    draws = zip(*(_drawn_moments(side - left.mean(axis=0), lengths, counts) for side in (left, right)), strict=True)
    # The distance depends on the mean and covariance of a draw, not on its number of windows.
    return np.array([distance(*(Gaussian(0, mean, covariance_factor(cov)) for mean, cov in sides)) for sides in draws])


def _weighted(windows: np.ndarray, weights: np.ndarray) -> Gaussian:
    """Summarise a set that holds each window `weights` times."""
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
    files = np.split(windows, np.cumsum(lengths)[:-1])
    sums = np.stack([file.sum(axis=0) for file in files])
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


def check_sets(reference: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Check two sets of windows, at least two in each, and that their dimensions agree."""
    reference = check_windows("reference", reference, minimum=2)
    estimate = check_windows("estimate", estimate, minimum=2)
    if reference.shape[1] != estimate.shape[1]:
        raise ValueError(f"estimate must have dimension {reference.shape[1]}, got {estimate.shape[1]}")
    return reference, estimate


def check_windows(name: str, windows: np.ndarray, *, minimum: int = 1) -> np.ndarray:
    """Return `windows` as float64 (n, dim) after checking shape, number and finiteness."""
    windows = np.asarray(windows, dtype=np.float64)
    if windows.ndim != 2 or windows.shape[1] == 0:
        raise ValueError(f"{name} must have shape (n, dim), got {windows.shape}")
    if len(windows) < minimum:
        raise ValueError(f"{name} must hold at least {minimum} windows, got {len(windows)}")
    finite = np.isfinite(windows).all(axis=1)
    if not finite.all():
        raise ValueError(f"{name} must be finite, got {int((~finite).sum())} of {len(windows)} windows with NaN or inf")
    return windows


def covariance_factor(covariance: np.ndarray) -> np.ndarray:
    """F with F'F = C, for a symmetric C without negative eigenvalues of any rank: (dim, dim) -> (k, dim)."""
    try:
        return np.linalg.cholesky(covariance).T
    except np.linalg.LinAlgError:  # rank-deficient: duplicates, or dimensions that are constant
        values, vectors = np.linalg.eigh(covariance)
        kept = values > values[-1] * len(values) * np.finfo(float).eps
        return (vectors[:, kept] * np.sqrt(values[kept])).T


def _singular_values(matrix: np.ndarray) -> np.ndarray:
    try:
        return scipy.linalg.svdvals(matrix, check_finite=False)
    except np.linalg.LinAlgError:  # no convergence: use the slower, more robust driver
        return scipy.linalg.svd(matrix, compute_uv=False, check_finite=False, lapack_driver="gesvd")

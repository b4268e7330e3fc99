"""Fréchet distance between two sets of embedding windows: FAD and FAD-inf.

Conventions
-----------
Windows are ``(n, dim)``, reference first; everything is float64. A set is summarised by its mean and a *factor* F of
its covariance, C = F'F: the centred windows themselves where n <= dim, else a Cholesky factor. Then

    FAD = |m1 - m2|^2 + |F1|^2 + |F2|^2 - 2 |F1 F2'|_*

because the trace of the square root of C1 C2 is the nuclear norm (sum of singular values) of F1 F2'. No matrix square
root is formed, so the result is real for sets of any rank; a result that rounding leaves below zero is returned as 0.
Files are the resampling unit, because the windows of one file are not independent.

References
----------
Kilgour, Zuluaga, Roblek, Sharifi, "Fréchet Audio Distance", Interspeech 2019, eq. 1.
Gui, Gamper, Braun, Emmanouilidou, "Adapting Fréchet Audio Distance for Generative Music Evaluation", ICASSP 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.stats

from m2l_bench.reconstruction.sets.moments import Moments, check_windows

N_SIZES = 15  # of FAD-inf
REPEATS = 4  # subsets drawn of each size
SMALLEST_SHARE = 0.5  # the smallest subset, as a share of the set


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
        if n > dim:
            return cls.of_moments(Moments.of(windows))
        mean = windows.mean(axis=0)
        return cls(n, mean, (windows - mean) / np.sqrt(max(n - 1, 1)))

    @classmethod
    def of_moments(cls, moments: Moments) -> Gaussian:
        """Summarise streamed moments."""
        return cls(moments.n, moments.mean, covariance_factor(moments.covariance))

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
    reference, estimate = check_pair(reference, estimate, minimum=2)
    return distance(Gaussian.of(reference), Gaussian.of(estimate))


def distance(reference: Gaussian, estimate: Gaussian) -> float:
    """Fréchet distance between two summarised sets."""
    shift = reference.mean - estimate.mean
    trace = float(np.sum(reference.factor**2) + np.sum(estimate.factor**2))
    overlap = _nuclear_norm(estimate.factor @ reference.factor.T)
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

    Subsets of `estimate` are drawn *without* replacement (drawing with it leaves duplicates, whose bias does not go
    away with size), 15 sizes from half the set to all of it, four of each; a line is fitted over 1/n.

    Parameters
    ----------
    reference : np.ndarray, (n, dim)
    estimate : np.ndarray, (m, dim)
    groups : np.ndarray, (m,), optional
        File of each window of `estimate`: whole files are drawn. Each window alone by default.
    paired : bool
        False: the sets are independent; the evaluation side alone is extrapolated, the reference is used whole.
        True: row i of `estimate` is a reconstruction of row i of `reference`; the same rows are drawn of both, since
        a reconstruction shares its reference's sampling noise and has none of its own to extrapolate away.
    seed : int

    Returns
    -------
    Extrapolation

    Raises
    ------
    ValueError
        If fewer than 20 groups are there, or shapes do not fit.

    References
    ----------
    Gui et al., 2024, section 2.3; Chong and Forsyth, CVPR 2020, section 4.
    """
    reference, estimate = check_pair(reference, estimate, minimum=2)
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
    return _extrapolate(np.array(sizes), np.array(distances))


def check_pair(reference: np.ndarray, estimate: np.ndarray, *, minimum: int) -> tuple[np.ndarray, np.ndarray]:
    """Check two sets of windows and that their dimensions agree."""
    reference = check_windows("reference", reference, minimum=minimum)
    estimate = check_windows("estimate", estimate, minimum=minimum)
    if reference.shape[1] != estimate.shape[1]:
        raise ValueError(f"estimate must have dimension {reference.shape[1]}, got {estimate.shape[1]}")
    return reference, estimate


def covariance_factor(covariance: np.ndarray) -> np.ndarray:
    """F with F'F = C, for a symmetric C without negative eigenvalues of any rank: (dim, dim) -> (k, dim)."""
    try:
        return np.linalg.cholesky(covariance).T
    except np.linalg.LinAlgError:  # rank-deficient: duplicates, or dimensions that are constant
        values, vectors = np.linalg.eigh(covariance)
        kept = values > values[-1] * len(values) * np.finfo(float).eps
        return (vectors[:, kept] * np.sqrt(values[kept])).T


def _nuclear_norm(matrix: np.ndarray) -> float:
    return float(_singular_values(matrix).sum())


def _singular_values(matrix: np.ndarray) -> np.ndarray:
    try:
        return scipy.linalg.svdvals(matrix, check_finite=False)
    except np.linalg.LinAlgError:  # no convergence: use the slower, more robust driver
        return scipy.linalg.svd(matrix, compute_uv=False, check_finite=False, lapack_driver="gesvd")


def _extrapolate(sizes: np.ndarray, distances: np.ndarray) -> Extrapolation:
    fit = scipy.stats.linregress(1.0 / sizes, distances)
    half = float(scipy.stats.t.ppf(0.975, len(sizes) - 2) * fit.intercept_stderr)
    value = float(fit.intercept)
    return Extrapolation(value, value - half, value + half, sizes, distances)

"""Numbers of a latent space without labels: scale, effective rank and smoothness, each with its card.

All are functions of :class:`~m2l_bench.latent.moments.Moments`, so that a set is described in one pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from m2l_bench import statistics
from m2l_bench.cards import Card
from m2l_bench.latent.moments import LONGEST_LAG, Moments

STEP_LAG = 0.1  # seconds
DEAD = 0.01  # of the median standard deviation
SHARE = 0.95  # of the variance


@dataclass(frozen=True)
class Scale:
    """Scale of each dimension.

    Attributes
    ----------
    mean, std, kurtosis : np.ndarray of float64, shape (dim,)
        The kurtosis is the fourth central moment over the squared variance (3 for a Gaussian); NaN where the variance is 0.
    dead : np.ndarray of bool, shape (dim,)
        Whether the standard deviation is 0, or below 1 % of the median.
    """

    mean: np.ndarray
    std: np.ndarray
    kurtosis: np.ndarray
    dead: np.ndarray


def scale(of: Moments) -> Scale:
    """Scale of each dimension.

    Parameters
    ----------
    of : Moments

    Returns
    -------
    Scale

    Examples
    --------
    >>> from m2l_bench.latent.moments import moments
    >>> found = scale(moments(np.array([[[-1.0, 1.0, -1.0, 1.0], [5.0, 5.0, 5.0, 5.0]]]), 10.0))
    >>> found.std.tolist(), found.kurtosis.tolist(), found.dead.tolist()
    ([1.0, 0.0], [1.0, nan], [False, True])
    """
    variance = of.variance
    std = np.sqrt(variance)
    kurtosis = np.full(len(std), np.nan)
    np.divide(of.fourth / of.n, variance**2, out=kurtosis, where=variance > 0)
    return Scale(of.mean, std, kurtosis, (std == 0) | (std < DEAD * np.median(std)))


def effective_rank(of: Moments) -> float:
    """Effective rank of the covariance of the dimensions.

    Parameters
    ----------
    of : Moments

    Returns
    -------
    float
        ``exp(-sum p_i ln p_i)``, where p are the eigenvalues of the covariance over their sum: k for k directions of equal
        variance, 1 for a single direction. 0 without any variance, because a constant has no direction.

    References
    ----------
    O. Roy, M. Vetterli: "The effective rank: a measure of effective dimensionality", EUSIPCO 2007, definition 1 (there of
    the singular values of a matrix).

    Examples
    --------
    >>> from m2l_bench.latent.moments import moments
    >>> effective_rank(moments(np.ones((1, 3, 10)), 10.0))
    0.0
    """
    shares = spectrum(of)
    shares = shares[shares > 0]
    return float(np.exp(-np.sum(shares * np.log(shares)))) if shares.size else 0.0


def components(of: Moments) -> int:
    """Smallest number of principal components that hold 95 % of the variance; 0 without any variance."""
    shares = spectrum(of)
    return int(np.searchsorted(np.cumsum(shares), SHARE - 1e-12) + 1) if shares.any() else 0


def spectrum(of: Moments) -> np.ndarray:
    """Share of each principal component in the variance, float64 (dim,), the largest first; zeros without variance."""
    values = np.maximum(np.linalg.eigvalsh(of.scatter)[::-1], 0.0)
    return np.asarray(values / values.sum()) if values.any() else values


def smoothness(of: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Step between frames against their lag.

    Parameters
    ----------
    of : Moments

    Returns
    -------
    lags : np.ndarray of float64, shape (lags,)
        Seconds: 1, 2, ... frames, up to 2 seconds (one frame at least).
    steps : np.ndarray of float64, shape (lags,)
        ``mean |z[t + k] - z[t]|^2 / (2 sum of the variances)``: 0 for a constant course, 1 where frames at this lag do not
        correlate; 1 less the autocorrelation, each dimension weighted by its variance. NaN where no file is as long, or
        without any variance.

    Examples
    --------
    >>> from m2l_bench.latent.moments import moments
    >>> lags, steps = smoothness(moments(np.array([[[-1.0, 1.0, -1.0, 1.0]]]), 2.0))
    >>> lags.tolist(), steps.tolist()
    ([0.5, 1.0, 1.5, 2.0], [2.0, 0.0, 2.0, nan])
    """
    variance = 2.0 * of.variance.sum()
    steps = np.full(len(of.steps), np.nan)
    np.divide(of.steps, of.pairs * variance, out=steps, where=of.pairs * variance > 0)
    return (1.0 + np.arange(len(steps))) / of.latent_rate, steps


def step(of: Moments) -> float:
    """Step at a lag of 0.1 s, which compares latents of different rates.

    Parameters
    ----------
    of : Moments

    Returns
    -------
    float
        :func:`smoothness`, linear between lags. NaN where frames are longer than 0.1 s, or there is no step at 0.1 s.
    """
    lags, steps = smoothness(of)
    return float(np.interp(STEP_LAG, lags, steps, left=np.nan, right=np.nan))


def half_life(of: Moments) -> float:
    """Half-life of the autocorrelation.

    Parameters
    ----------
    of : Moments

    Returns
    -------
    float
        Seconds until ``1 - step`` of :func:`smoothness` first falls to 1/2, linear between lags, from 1 at lag 0. It is below
        one frame where neighbouring frames do not correlate. Infinite where it stays above 1/2 up to the longest lag; NaN
        where there is no step.
    """
    lags, steps = smoothness(of)
    known = np.isfinite(steps)
    if not known.any():
        return np.nan
    lags, correlation = np.append(0.0, lags[known]), np.append(1.0, 1.0 - steps[known])
    fallen = np.flatnonzero(correlation <= 0.5)
    if not fallen.size:
        return np.inf
    k = int(fallen[0])
    part = (correlation[k - 1] - 0.5) / (correlation[k - 1] - correlation[k])
    return float(lags[k - 1] + part * (lags[k] - lags[k - 1]))


def numbers(of: Moments) -> dict[str, float]:
    """Numbers of a set of files, by the name of their card in :data:`CARDS`.

    Parameters
    ----------
    of : Moments
        Of all files.

    Returns
    -------
    dict of str to float

    Examples
    --------
    >>> from m2l_bench.latent.moments import moments
    >>> noise = np.random.default_rng(0).standard_normal((1, 4, 20000))
    >>> {name: round(value, 2) for name, value in numbers(moments(noise, 10.0)).items()}
    {'latent_mean': 0.0, 'latent_std': 1.0, 'latent_kurtosis': 3.02, 'dead_dimensions': 0.0,
     'effective_rank': 4.0, 'components_95': 4.0, 'step_100ms': 1.0, 'half_life': 0.05}
    """
    found = scale(of)
    alive = found.kurtosis[~found.dead]
    return {
        "latent_mean": float(np.sqrt(np.mean(found.mean**2))),
        "latent_std": float(np.sqrt(np.mean(of.variance))),
        "latent_kurtosis": float(np.median(alive)) if alive.size else np.nan,
        "dead_dimensions": float(np.mean(found.dead)),
        "effective_rank": effective_rank(of),
        "components_95": float(components(of)),
        "step_100ms": step(of),
        "half_life": half_life(of),
    }


def contributions(files: Sequence[Moments]) -> dict[str, np.ndarray]:
    """Contribution of each file to each of the :func:`numbers`, by the jackknife.

    Parameters
    ----------
    files : sequence of Moments
        Of each file, two at least; read twice, one at a time, so that a sequence that loads them takes little memory.

    Returns
    -------
    dict of str to np.ndarray of float64, shape (files,)
        Their mean is the number; :func:`m2l_bench.statistics.mean_interval` gives its interval, and paired tests compare two
        systems. All NaN where the number, or that without one of the files, is not finite.

    Raises
    ------
    ValueError
        If there are fewer than two files, or they are not of one latent space.

    Examples
    --------
    >>> from m2l_bench.latent.moments import moments
    >>> files = [moments(np.random.default_rng(n).standard_normal((1, 2, 100)), 10.0) for n in range(3)]
    >>> contributions(files)["effective_rank"].shape
    (3,)
    """
    if len(files) < 2:
        raise ValueError(f"files must be at least 2 for a jackknife, got {len(files)}")
    total = reduce(Moments.__add__, files)
    without = [numbers(total - file) for file in files]
    found = {}
    for name, value in numbers(total).items():
        left_out = np.array([each[name] for each in without])
        finite = np.isfinite(left_out).all() and np.isfinite(value)
        found[name] = statistics.contributions(value, left_out) if finite else np.full(len(files), np.nan)
    return found


def _card(
    name: str, title: str, formula: str, *, source: str = "m2l_bench", unit: str = "", **constants: float
) -> Card:
    return Card(
        name=name,
        title=title,
        unit=unit,
        higher_is_better=None,
        formula=f"{formula}; interval: jackknife over files",
        rate_rule="of the system: files are resampled to it",
        channel_rule="each frame of each stream is one vector",
        constants=constants,
        source=source,
    )


_OF_DIMENSIONS = (
    "m[d] and s[d]: mean and standard deviation (about the set's mean, divided by n) over all frames of all files"
)
CARDS: dict[str, Card] = {
    card.name: card
    for card in (
        _card("latent_mean", "latent mean", f"square root of the mean over d of m[d]^2; {_OF_DIMENSIONS}"),
        _card("latent_std", "latent std", f"square root of the mean over d of s[d]^2; {_OF_DIMENSIONS}"),
        _card(
            "latent_kurtosis",
            "latent kurtosis",
            "median over d, of those that are not dead, of the fourth central moment / s[d]^4 (Gaussian: 3); "
            f"{_OF_DIMENSIONS}",
        ),
        _card(
            "dead_dimensions",
            "dead dimensions",
            f"share of d with s[d] = 0 or s[d] < threshold times the median of s; {_OF_DIMENSIONS}",
            threshold=DEAD,
        ),
        _card(
            "effective_rank",
            "effective rank",
            "exp(-sum p ln p), p: eigenvalues of the covariance of all frames of all files over their sum; 0 without variance",
            source="Roy and Vetterli 2007, definition 1",
        ),
        _card(
            "components_95",
            "components of 95 %",
            "smallest number of eigenvalues of the covariance whose sum is at least the given share of all; 0 without variance",
            share=SHARE,
        ),
        _card(
            "step_100ms",
            "step at 100 ms",
            "mean |z[t + k] - z[t]|^2 / (2 sum of variances), linear between lags k of whole frames, at the given lag",
            lag_seconds=STEP_LAG,
        ),
        _card(
            "half_life",
            "half-life",
            "lag at which 1 - mean |z[t + k] - z[t]|^2 / (2 sum of variances) first falls to 1/2, linear between lags of whole "
            "frames from 1 at lag 0; infinite where it does not up to the longest lag",
            unit="s",
            longest_lag_seconds=LONGEST_LAG,
        ),
    )
}

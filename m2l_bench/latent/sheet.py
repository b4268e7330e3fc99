"""Numbers of a latent space without labels: scale, effective rank and smoothness, each with its card.

All are functions of :class:`~m2l_bench.latent.moments.Moments`, so that a set is described in one pass. :func:`intervals` has
their intervals over files; how often these cover: docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    return _half(lags[known], 1.0 - steps[known])


def _half(lags: np.ndarray, correlation: np.ndarray) -> float:
    """Lag at which a correlation first falls to 1/2, from 1 at lag 0; infinite where it does not."""
    lags, correlation = np.append(0.0, lags), np.append(1.0, correlation)
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
    {'latent_dim': 4.0, 'latent_rate': 10.0, 'latent_mean': 0.0, 'latent_std': 1.0, 'latent_kurtosis': 3.02,
     'dead_dimensions': 0.0, 'effective_rank': 4.0, 'components_95': 4.0, 'step_100ms': 1.0, 'half_life': 0.05}
    """
    found = scale(of)
    alive = found.kurtosis[~found.dead]
    return {
        "latent_dim": float(len(found.std)),
        "latent_rate": of.latent_rate,
        "latent_mean": float(np.sqrt(np.mean(found.mean**2))),
        "latent_std": float(np.sqrt(np.mean(of.variance))),
        "latent_kurtosis": float(np.median(alive)) if alive.size else np.nan,
        "dead_dimensions": float(np.mean(found.dead)),
        "effective_rank": effective_rank(of),
        "components_95": float(components(of)),
        "step_100ms": step(of),
        "half_life": half_life(of),
    }


def intervals(files: Sequence[Moments]) -> dict[str, tuple[float, float]]:
    """95 % intervals of the :func:`numbers`, by the jackknife over files.

    Parameters
    ----------
    files : sequence of Moments
        Of each file, two at least; read twice, one at a time.

    Returns
    -------
    dict of str to (float, float)
        Low and high end: Student's t over the jackknife's pseudo-values of the number's logarithm (of the square of
        ``latent_mean``), with ``2 n / (kurtosis - 1)`` degrees of freedom, 1 to n - 1, where the kurtosis is that of the
        pseudo-values of the n files. It is the interval of the number less its bias, which is large for an effective rank or
        a mean near 0 of few files: the number itself can lie outside. That of ``half_life`` is the range of lags at which
        the interval of the step, made in the same way at each lag, holds 1/2; its ends can be infinite.

        NaN for ``latent_kurtosis``, which a few files decide, and for the counts ``dead_dimensions`` and ``components_95``,
        whose jackknife is 0 or a jump; and where the number, or that without one of the files, is not finite and positive.

    Raises
    ------
    ValueError
        If there are fewer than two files, or they are not of one latent space.

    References
    ----------
    B. Efron, R. J. Tibshirani: An Introduction to the Bootstrap, 1993, chapter 11; R. G. Miller: "The jackknife - a review",
    Biometrika 61, 1974, section 3 (logarithms).

    Examples
    --------
    >>> from m2l_bench.latent.moments import moments
    >>> files = [moments(np.random.default_rng(n).standard_normal((1, 2, 1000)), 10.0) for n in range(9)]
    >>> low, high = intervals(files)["latent_std"]
    >>> round(low, 2), round(high, 2)
    (0.99, 1.01)
    """
    total = _total(files)
    left_out, left_out_steps = [], []
    for file in files:
        without = total - file
        left_out.append(numbers(without))
        left_out_steps.append(smoothness(without)[1])
    found = {}
    for name, value in numbers(total).items():
        if name in _SCALES:
            found[name] = _interval(value, np.array([each[name] for each in left_out]), *_SCALES[name])
        else:
            found[name] = (np.nan, np.nan)
    low, high = np.clip(found["effective_rank"], 1.0, len(total.mean))
    found["effective_rank"] = float(low), float(high)
    lags, steps = smoothness(total)
    ends = [_interval(*each, np.log, np.exp) for each in zip(steps, np.transpose(left_out_steps), strict=True)]
    low, high = np.transpose(ends)
    known = np.isfinite(low)
    if known.any():
        found["half_life"] = _half(lags[known], 1.0 - high[known]), _half(lags[known], 1.0 - low[known])
    return found


def _root(squares: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))


Function = Callable[[np.ndarray], np.ndarray]
_SCALES: dict[str, tuple[Function, Function]] = {  # on which the jackknife is made, and back
    "latent_mean": (np.square, _root),  # the bias of a square is exactly of order 1/n
    "latent_std": (np.log, np.exp),
    "effective_rank": (np.log, np.exp),
    "step_100ms": (np.log, np.exp),
}


def _interval(value: float, left_out: np.ndarray, scale: Function, back: Function) -> tuple[float, float]:
    """Interval of a positive number from those without each file; NaN where one of them is not finite and positive."""
    from scipy.special import stdtrit  # imported here: it takes a tenth of a second

    every = np.append(left_out, value)
    if not (np.isfinite(every) & (every > 0)).all():
        return np.nan, np.nan
    scaled = scale(every)
    pseudo, n = statistics.jackknife(scaled[-1], scaled[:-1]), len(left_out)
    away = pseudo - pseudo.mean()
    squares, fourth = float(np.sum(away**2)), float(np.sum(away**4))
    kurtosis = n * fourth / squares**2 if fourth > 0 else 1.0
    freedom = min(
        max(2 * n / max(kurtosis - 1, 1e-12), 1.0), n - 1.0
    )  # where few files make the spread, it is uncertain
    half = float(stdtrit(freedom, (1.0 + statistics.LEVEL) / 2.0)) * np.sqrt(squares / (n * (n - 1)))
    low, high = back(np.array([pseudo.mean() - half, pseudo.mean() + half]))
    return float(low), float(high)


def _total(files: Sequence[Moments]) -> Moments:
    if len(files) < 2:
        raise ValueError(f"files must be at least 2 for a jackknife, got {len(files)}")
    return reduce(Moments.__add__, files)


_FREEDOM = (
    "Student's t over the jackknife's pseudo-values of files, 2 n / (kurtosis - 1) degrees of freedom, 1 to n - 1"
)
_OF_LOGARITHM = f"of the logarithm, {_FREEDOM}; of the number less its bias"


def _card(
    name: str, title: str, formula: str, interval: str, *, source: str = "m2l_bench", unit: str = "", **constants: float
) -> Card:
    return Card(
        name=name,
        title=title,
        unit=unit,
        higher_is_better=None,
        formula=f"{formula}; interval: {interval}",
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
        _card("latent_dim", "dimensions", "numbers in a frame of a stream", "none, because it is a property"),
        _card("latent_rate", "frame rate", "frames a second", "none, because it is a property", unit="Hz"),
        _card(
            "latent_mean",
            "latent mean",
            f"square root of the mean over d of m[d]^2; {_OF_DIMENSIONS}",
            f"of the square, not below 0, {_FREEDOM}; of the number less its bias",
        ),
        _card(
            "latent_std",
            "latent std",
            f"square root of the mean over d of s[d]^2; {_OF_DIMENSIONS}",
            _OF_LOGARITHM,
        ),
        _card(
            "latent_kurtosis",
            "latent kurtosis",
            "median over d, of those that are not dead, of the fourth central moment / s[d]^4 (Gaussian: 3); "
            f"{_OF_DIMENSIONS}",
            "none, because a few files decide it",
        ),
        _card(
            "dead_dimensions",
            "dead dimensions",
            f"share of d with s[d] = 0 or s[d] < threshold times the median of s; {_OF_DIMENSIONS}",
            "none, because it is a count",
            threshold=DEAD,
        ),
        _card(
            "effective_rank",
            "effective rank",
            "exp(-sum p ln p), p: eigenvalues of the covariance of all frames of all files over their sum; 0 without variance",
            f"{_OF_LOGARITHM}; from 1 to the number of dimensions",
            source="Roy and Vetterli 2007, definition 1",
        ),
        _card(
            "components_95",
            "components of 95 %",
            "smallest number of eigenvalues of the covariance whose sum is at least the given share of all; 0 without variance",
            "none, because it is a count",
            share=SHARE,
        ),
        _card(
            "step_100ms",
            "step at 100 ms",
            "mean |z[t + k] - z[t]|^2 / (2 sum of variances), linear between lags k of whole frames, at the given lag",
            _OF_LOGARITHM,
            lag_seconds=STEP_LAG,
        ),
        _card(
            "half_life",
            "half-life",
            "lag at which 1 - mean |z[t + k] - z[t]|^2 / (2 sum of variances) first falls to 1/2, linear between lags of whole "
            "frames from 1 at lag 0; infinite where it does not up to the longest lag",
            f"lags at which the interval of the step holds 1/2, which is that {_OF_LOGARITHM}",
            unit="s",
            longest_lag_seconds=LONGEST_LAG,
        ),
    )
}

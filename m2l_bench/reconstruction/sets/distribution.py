"""Scores of a set of files: a distance of embedding windows with its interval and the contribution of each file.

Conventions
-----------
File i of `estimates` is the reconstruction of file i of `references`: float32 (windows, dim), window by window. The
windows of all files are pooled. A pair in which one side has no windows (too short, silent, broken) is left out on both
sides. Intervals are 95 %: Student's t over the files' jackknife pseudo-values, in which both sides of a file are left out
together.

A Fréchet distance is biased upwards by an amount that falls with the number of windows and differs between kinds of
distortion; the mean of the pseudo-values is the distance less most of that bias.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from m2l_bench.reconstruction.checks import Unscorable
from m2l_bench.reconstruction.sets import frechet, kernel
from m2l_bench.reconstruction.sets.compatibility import Files
from m2l_bench.statistics import contributions, jackknife, mean_interval

MINIMUM_FILES = 10
MINIMUM_WINDOWS = 20
MINIMUM_FILES_INF = 20
_STEP = 0.01  # relative, of the bandwidth


@dataclass(frozen=True, kw_only=True)
class SetScore:
    """Value of a metric of sets.

    Attributes
    ----------
    value : float
    corrected : float
        The value less its bias, by the jackknife over files; NaN where the metric has none or is unbiased.
    ci_low, ci_high : float
        95 % interval over files, of the corrected value where there is one; NaN where the metric has none.
    health : mapping of str to float
        ``n`` windows, their dimension ``dim``, and ``rank_reference`` of the reference's covariance: a rank below `dim`
        means a biased distance. Empty where the metric does not use a covariance.
    contributions : tuple of float
        Pseudo-value of each file (:func:`m2l_bench.statistics.jackknife`), NaN for a file that was left out; empty where the
        metric has no jackknife.
    """

    value: float
    corrected: float = float("nan")
    ci_low: float = float("nan")
    ci_high: float = float("nan")
    health: Mapping[str, float] = field(default_factory=dict)
    contributions: tuple[float, ...] = ()


def fad(references: Files, estimates: Files, seed: int) -> SetScore:
    """Fréchet distance of the pooled windows; and less its bias, with an interval."""
    left, right = _usable(references, estimates)
    reference, estimate = (frechet.Gaussian.of(np.concatenate(side)) for side in (left, right))
    value = frechet.distance(reference, estimate)
    pseudo = jackknife(value, frechet.paired_distances(left, right, _each_left_out(left)))
    score = SetScore(value=value, corrected=float(pseudo.mean()), health=_health(reference))
    return _over_files(score, pseudo, _has_windows(references, estimates))


def fad_inf(references: Files, estimates: Files, seed: int) -> SetScore:
    """Fréchet distance extrapolated over subsets of files, the same of both sides; it has no interval over files."""
    left, right = _usable(references, estimates, minimum_files=MINIMUM_FILES_INF)
    groups = np.repeat(np.arange(len(left)), [len(file) for file in left])
    pooled = np.concatenate(left), np.concatenate(right)
    result = frechet.frechet_distance_inf(*pooled, groups=groups, paired=True, seed=seed)
    return SetScore(value=result.value, health=_health(frechet.Gaussian.of(pooled[0])))


def kad(references: Files, estimates: Files, seed: int) -> SetScore:
    """Unbiased kernel distance over pairs of different files, with an interval.

    The kernel's bandwidth depends on the files too: a set without one file has, to first order, the distance that its own
    bandwidth gives.
    """
    left, right = _usable(references, estimates)
    bandwidth = kernel.median_distance(np.concatenate(left))
    sums = kernel.paired_sums(left, right, bandwidth=bandwidth)
    value = kernel.paired_distance(*sums)
    narrow, wide = (
        kernel.paired_distance(*kernel.paired_sums(left, right, bandwidth=bandwidth * (1 + step)))
        for step in (-_STEP, _STEP)
    )
    slope = (wide - narrow) / (2 * _STEP * bandwidth)
    left_out = kernel.paired_distances(*sums, _each_left_out(left))
    pseudo = contributions(value, left_out + slope * (kernel.left_out_medians(left) - bandwidth))
    return _over_files(SetScore(value=value), pseudo, _has_windows(references, estimates))


def embedding_distance(references: Files, estimates: Files, seed: int) -> SetScore:
    """Mean over files of the squared distance between the vectors of one time, over the total variance of the references.

    The distance of a file is the mean over its vectors; the total variance is the trace of the unbiased covariance of all
    vectors of the references. Each file has a number: about 0 for a copy, and 2 on average for another file of the set.
    """
    left, right = _usable(references, estimates)
    pooled = np.concatenate(left).astype(np.float64)
    variance = float(pooled.var(axis=0, ddof=1).sum())
    if not variance:
        raise Unscorable("the references' vectors are all equal: no variance to divide by")
    distances = np.array(
        [np.mean(np.sum((r.astype(np.float64) - e) ** 2, axis=1)) / variance for r, e in zip(left, right, strict=True)]
    )
    return _over_files(SetScore(value=float(distances.mean())), distances, _has_windows(references, estimates))


def released(tool: Callable[[Files, Files, int], float]) -> Callable[[Files, Files, int], SetScore]:
    """Make a score without an interval from a function of :mod:`.compatibility`."""

    def score(references: Files, estimates: Files, seed: int) -> SetScore:
        return SetScore(value=tool(*_usable(references, estimates, minimum_files=2), seed))

    return score


def _usable(
    references: Files, estimates: Files, *, minimum_files: int = MINIMUM_FILES
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Pairs with windows on both sides, both cut to the same number of windows."""
    pairs = [(r[: len(e)], e[: len(r)]) for r, e in zip(references, estimates, strict=True) if len(r) and len(e)]
    dims = {side.shape[1] for pair in pairs for side in pair}
    if len(dims) > 1:
        raise ValueError(f"windows must have one dimension, got {sorted(dims)}")
    if len(pairs) < minimum_files:
        raise Unscorable(f"too few files: needs {minimum_files} with at least one window, got {len(pairs)}")
    n_windows = sum(len(reference) for reference, _ in pairs)
    if n_windows < MINIMUM_WINDOWS:
        raise Unscorable(f"too few windows: needs {MINIMUM_WINDOWS} in all, got {n_windows}")
    return [r for r, _ in pairs], [e for _, e in pairs]


def _has_windows(references: Files, estimates: Files) -> list[bool]:
    return [len(r) > 0 and len(e) > 0 for r, e in zip(references, estimates, strict=True)]


def _each_left_out(files: Files) -> np.ndarray:
    """How often each of the sets without one file holds each file: (files, files)."""
    return 1.0 - np.eye(len(files))


def _over_files(score: SetScore, pseudo: np.ndarray, used: list[bool]) -> SetScore:
    """Add the interval and the pseudo-values of all files."""
    low, high = mean_interval(pseudo)
    of_files = np.full(len(used), np.nan)
    of_files[used] = pseudo
    return replace(score, ci_low=low, ci_high=high, contributions=tuple(of_files.tolist()))


def _health(reference: frechet.Gaussian) -> dict[str, float]:
    return {"n": reference.n, "dim": reference.mean.size, "rank_reference": reference.rank}

"""Intervals of task scores, and what each item adds to a score: the jackknife over groups of test items.

Conventions
-----------
A score is a function of item weights ``(items,)``. Groups are the unit: each is left out in turn, whole. How far the
score moves gives its variance, and with it the number of independent items that would vary as much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from m2l_bench.statistics import contributions

Weighted = Callable[[np.ndarray], float]
"""Item weights (items,) -> score; NaN where it is undefined for these weights."""

MOST_PARTS = 1000  # left out one by one; more groups are joined to this many parts


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Rule of the 95 % interval of a score in [0, 1]: Wilson's, with the number of items that its variance stands for.

    For a score x whose variance by the jackknife over G groups is v, the effective number of items is ``x (1 - x) / v``;
    where no group moves the score (all items right), it is G. Wilson's interval stays in [0, 1], contains the score and
    is no point at 0 and 1. Its quantile is Student's t with G - 1 degrees of freedom.

    Attributes
    ----------
    most : float
        Largest effective number, for each item. 1 of items that score 0 or 1: groups cannot hold more information than
        their items (the design effect is at least 1).
    of_few : bool
        The score hangs on few items (those that have a rare tag) and may be biased: the degrees of freedom are those that
        the kurtosis of the groups' influences leaves to v, and the end on the side of the jackknife's bias is moved by it.

    References
    ----------
    E. B. Wilson: "Probable inference, the law of succession, and statistical inference", JASA 22, 1927;
    B. Efron, R. J. Tibshirani: An Introduction to the Bootstrap, 1993, chapter 11 (variance and bias).
    """

    most: float = np.inf
    of_few: bool = False

    @property
    def rule(self) -> str:
        """The rule, as cards state it."""
        most = f", at most {self.most:g} an item" if np.isfinite(self.most) else ""
        freedom = "2 G / (kurtosis - 1), 1 to G - 1," if self.of_few else "G - 1"
        bias = "; the end on the side of the jackknife bias is moved by it" if self.of_few else ""
        return (
            f"95 %, Wilson with n = x (1 - x) / v{most}; v: jackknife over the G groups (joined to {MOST_PARTS} if more); "
            f"n = G if v = 0; Student t, {freedom} degrees of freedom{bias}"
        )

    def of(self, metric: Weighted, groups: np.ndarray) -> tuple[float, float]:
        """Compute the interval of a score.

        Parameters
        ----------
        metric : Weighted
        groups : np.ndarray, (items,)
            Group of each item.

        Returns
        -------
        low, high : float
            NaN for a single group, and if the score is undefined without one of the groups.
        """
        names, member = np.unique(groups, return_inverse=True)
        parts = min(len(names), MOST_PARTS)
        if parts == 1:
            return float("nan"), float("nan")
        value = metric(np.ones(len(groups)))
        without = left_out(metric, member * parts // len(names))
        if np.isnan(without).any():
            return float("nan"), float("nan")
        moves = without - without.mean()
        squares = float(moves @ moves)
        freedom = parts - 1.0
        if squares < 1e-24:  # nothing but rounding
            size = float(len(names))
        else:
            size = value * (1 - value) / (squares * (parts - 1) / parts)
            if self.of_few:
                kurtosis = parts * float(np.sum(moves**4)) / squares**2
                freedom = min(max(2 * parts / max(kurtosis - 1, 1e-12), 1.0), freedom)
        low, high = _wilson(value, min(size, self.most * len(groups)), freedom)
        bias = (parts - 1) * (float(without.mean()) - value) if self.of_few else 0.0
        return max(low - max(bias, 0.0), 0.0), min(high - min(bias, 0.0), 1.0)


def left_out(metric: Weighted, member: np.ndarray) -> np.ndarray:
    """Scores without each group, (groups,); `member` is the number of each item's group, (items,)."""
    return np.array([metric((member != group).astype(np.float64)) for group in range(member.max() + 1)])


def group_contributions(metric: Weighted, groups: np.ndarray) -> np.ndarray:
    """Contributions of the items to a score, (items,), by the jackknife over groups; their mean is the score.

    A group's deviation from the score is divided equally among its items. NaN if the score is undefined without one
    of the groups, or if there is a single group.
    """
    _, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) == 1:
        return np.full(len(groups), np.nan)
    value = metric(np.ones(len(groups)))
    deviations = contributions(value, left_out(metric, member)) - value
    return value + (deviations * len(groups) / (len(sizes) * sizes))[member]


def _wilson(share: float, n: float, freedom: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `n` items, with a quantile of Student's t."""
    import scipy.special  # here, as listing metrics needs none of it

    t2 = float(scipy.special.stdtrit(freedom, 0.975)) ** 2
    centre, half = share + t2 / (2 * n), np.sqrt(t2 * (share * (1 - share) / n + t2 / (4 * n * n)))
    # Rounding must not put a share of 0 or 1 outside its interval.
    return float(min((centre - half) / (1 + t2 / n), share)), float(max((centre + half) / (1 + t2 / n), share))

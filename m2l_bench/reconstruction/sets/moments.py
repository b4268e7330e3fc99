"""Mean and covariance of a set of embedding windows.

Conventions
-----------
Windows are ``(n, dim)``; sums are float64; covariances are unbiased (divided by ``n - 1``). The
scatter of a single window is zero, so that it can be merged with other sets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Moments:
    """Number, mean and scatter of a set of windows.

    Attributes
    ----------
    n : int
        Windows.
    mean : np.ndarray, float64, (dim,)
    scatter : np.ndarray, float64, (dim, dim)
        Sum over windows of ``(x - mean)(x - mean)'``.

    Examples
    --------
    >>> import numpy as np
    >>> left, right = Moments.of(np.array([[0.0], [2.0]])), Moments.of(np.array([[4.0]]))
    >>> float(left.merge(right).covariance[0, 0])
    4.0
    """

    n: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, windows: np.ndarray) -> Moments:
        """Moments of one array (n, dim) with n >= 1."""
        windows = check_windows("windows", windows)
        mean = windows.mean(axis=0)
        centred = windows - mean
        return cls(len(windows), mean, centred.T @ centred)

    def merge(self, other: Moments) -> Moments:
        """Moments of both sets together (Chan, Golub, LeVeque, 1979)."""
        n = self.n + other.n
        shift = other.mean - self.mean
        scatter = self.scatter + other.scatter + np.outer(shift, shift) * (self.n * other.n / n)
        return Moments(n, self.mean + shift * (other.n / n), scatter)

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased covariance (dim, dim); zero for a single window, which has none."""
        return self.scatter / max(self.n - 1, 1)


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

"""Moments of latents, which are added up file by file: all that :mod:`m2l_bench.latent.sheet` needs of them.

Conventions
-----------
Latents are ``(streams, dim, frames)`` at ``latent_rate`` frames a second; each frame of each stream is one vector, and steps
over time are taken within a stream. :func:`moments` reads a file once; what it returns does not grow with the file's length
((dim, dim) numbers at most), and the moments of two files add up to those of both. Everything else is a function of
moments, so a set is described in one pass. Moments also subtract, which gives each set without one of its files.

Variances divide by the number of frames. They are about the mean of the whole set: what differs between files counts too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LONGEST_LAG = 2.0  # seconds


@dataclass(frozen=True)
class Moments:
    """Sums over the frames of a file, or of several: :func:`moments` makes them, ``+`` and ``-`` join and separate them.

    Attributes
    ----------
    latent_rate : float
        Frames a second (Hz).
    n : int
        Number of frames of all streams.
    mean : np.ndarray of float64, shape (dim,)
    scatter : np.ndarray of float64, shape (dim, dim)
        Sum of the outer products of the frames, less the mean.
    third, fourth : np.ndarray of float64, shape (dim,)
        Sums of the third and fourth powers of each dimension, less its mean.
    steps : np.ndarray of float64, shape (lags,)
        Sum of the squared distances of frames that are 1, 2, ... apart, up to 2 seconds.
    pairs : np.ndarray of int64, shape (lags,)
        Number of those pairs of frames.
    """

    latent_rate: float
    n: int
    mean: np.ndarray
    scatter: np.ndarray
    third: np.ndarray
    fourth: np.ndarray
    steps: np.ndarray
    pairs: np.ndarray

    def __add__(self, other: Moments) -> Moments:
        return self._combined(other, 1)

    def __sub__(self, other: Moments) -> Moments:
        if other.n >= self.n:
            raise ValueError(f"the moments taken away must be of fewer than {self.n} frames, got {other.n}")
        return self._combined(other, -1)

    def _combined(self, other: Moments, sign: int) -> Moments:
        if other.latent_rate != self.latent_rate or len(other.mean) != len(self.mean):
            raise ValueError(
                f"moments must be of one latent space, got {len(self.mean)} dimensions at {self.latent_rate:g} Hz and "
                f"{len(other.mean)} at {other.latent_rate:g} Hz"
            )
        n = self.n + sign * other.n
        mean = self.mean + (other.mean - self.mean) * (sign * other.n / n)  # exact where the means are equal
        scatter, third, fourth = (a + sign * b for a, b in zip(self._about(mean), other._about(mean), strict=True))
        return Moments(
            latent_rate=self.latent_rate,
            n=n,
            mean=mean,
            scatter=scatter,
            third=third,
            fourth=fourth,
            steps=self.steps + sign * other.steps,
            pairs=self.pairs + sign * other.pairs,
        )

    def _about(self, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scatter, third and fourth powers about an origin (Chan, Golub, LeVeque 1979; Pébay 2008)."""
        shift, second = self.mean - origin, np.diagonal(self.scatter)
        return (
            self.scatter + self.n * np.outer(shift, shift),
            self.third + 3 * shift * second + self.n * shift**3,
            self.fourth + 4 * shift * self.third + 6 * shift**2 * second + self.n * shift**4,
        )

    @property
    def variance(self) -> np.ndarray:
        """Variance of each dimension, (dim,)."""
        return np.maximum(np.diagonal(self.scatter), 0.0) / self.n  # a difference may round below 0


def check_latents(latents: np.ndarray, dim: int | None = None) -> np.ndarray:
    """Return latents as float64; ValueError unless they are finite and (streams, dim, frames)."""
    array = np.asarray(latents, dtype=np.float64)
    if array.ndim != 3 or 0 in array.shape or dim not in (None, array.shape[1]):
        raise ValueError(f"latents must have shape (streams, {dim or 'dim'}, frames), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"latents must be finite, got {np.count_nonzero(~np.isfinite(array))} values that are not")
    return array


def moments(latents: np.ndarray, latent_rate: float) -> Moments:
    """Sum up one file.

    Parameters
    ----------
    latents : np.ndarray of float, shape (streams, dim, frames)
    latent_rate : float
        Frames a second (Hz).

    Returns
    -------
    Moments

    Raises
    ------
    ValueError
        If the latents have another shape or are not finite, or the rate is not positive.

    Examples
    --------
    >>> both = moments(np.zeros((1, 3, 10)), 10.0) + moments(np.ones((2, 3, 10)), 10.0)
    >>> both.n, both.mean.round(3).tolist()
    (30, [0.667, 0.667, 0.667])
    """
    latents = check_latents(latents)
    if not 0 < latent_rate < np.inf:
        raise ValueError(f"latent_rate must be positive, got {latent_rate!r} Hz")
    origin = latents[0, :, 0]  # sums about a frame, not about 0: a constant has exactly no variance
    frames = np.concatenate(list(latents), axis=1) - origin[:, None]  # (dim, streams * frames)
    mean = frames.mean(axis=1)
    centred = frames - mean[:, None]
    lags = range(1, max(int(LONGEST_LAG * latent_rate + 1e-9), 1) + 1)
    return Moments(
        latent_rate=float(latent_rate),
        n=frames.shape[1],
        mean=origin + mean,
        scatter=centred @ centred.T,
        third=np.sum(centred**3, axis=1),
        fourth=np.sum(centred**4, axis=1),
        steps=np.array([np.sum((latents[..., lag:] - latents[..., :-lag]) ** 2) for lag in lags]),
        pairs=np.array([len(latents) * max(latents.shape[2] - lag, 0) for lag in lags]),
    )

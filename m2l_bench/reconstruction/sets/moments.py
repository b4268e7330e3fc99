"""Mean and covariance of embedding windows: streaming, mergeable, and kept on disk.

What a Fréchet distance needs of a set, gathered file by file without holding the set in memory.

Conventions
-----------
Windows are ``(n, dim)``; sums are float64; covariances are unbiased (divided by ``n - 1``). A set of one window has no
covariance of its own, yet it merges with others like any other set: its scatter is zero.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from m2l_bench.files.disk import write_atomic
from m2l_bench.files.untrusted import parse_json


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

    @classmethod
    def of_files(cls, files: Sequence[np.ndarray]) -> Moments:
        """Moments of all windows of several files, each (windows, dim); files without windows add nothing."""
        parts = [cls.of(file) for file in files if len(file)]
        if not parts:
            raise ValueError(f"files must hold at least one window, got none in {len(files)} files")
        return reduce(cls.merge, parts)

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


def save_moments(path: str | os.PathLike[str], moments: Moments, card: Mapping[str, Any]) -> None:
    """Keep a reference set's statistics as a safetensors file, with a card that says what they are.

    Parameters
    ----------
    path : path-like
    moments : Moments
    card : mapping
        JSON-serialisable; must name the embedding: ``"embedding"`` and ``"fingerprint"``.

    Raises
    ------
    ValueError
        If the card does not name the embedding: statistics of an unknown model cannot be reused.
    """
    missing = {"embedding", "fingerprint"} - set(card)
    if missing:
        raise ValueError(f"card must hold 'embedding' and 'fingerprint', got one without {sorted(missing)}")
    from safetensors.numpy import save

    tensors = {"n": np.array([moments.n]), "mean": moments.mean, "scatter": moments.scatter}
    write_atomic(path, save(tensors, metadata={"card": json.dumps(dict(card), sort_keys=True)}))


def load_moments(path: str | os.PathLike[str], *, fingerprint: str | None = None) -> tuple[Moments, dict[str, Any]]:
    """Read what :func:`save_moments` wrote.

    Parameters
    ----------
    path : path-like
    fingerprint : str, optional
        Of the embedding that the other side was heard through; statistics of another one are refused.

    Returns
    -------
    moments : Moments
    card : dict

    Raises
    ------
    ValueError
        If the file is no such file, or its embedding is another.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            card = parse_json((file.metadata() or {})["card"])
            n, mean, scatter = (file.get_tensor(key) for key in ("n", "mean", "scatter"))
            n, embedding, found = int(n[0]), card["embedding"], card["fingerprint"]
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, IndexError) as error:
        raise ValueError(f"{path}: must be a file of reference statistics, got {error}") from error
    if fingerprint is not None and found != fingerprint:
        got = f"{embedding} {found}"
        raise ValueError(f"{path}: statistics must come from the embedding {fingerprint}, got {got}")
    return Moments(n, mean, scatter), card


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

"""FAD as released tools compute it, for comparison with older papers.

Conventions
-----------
Files are ``(windows, dim)``, reference side first. A mode states how the tool computes the statistics; the distance
itself is that of :mod:`.frechet` (on full-rank sets the tools differ from it by rounding only):

- ``fadtk`` (1.1.0) stores windows as float16 and takes each file's mean in float16; a set's statistics are merged file
  by file, and a file of one window makes them NaN, for the whole set. Its FAD-inf pools the evaluation's windows, draws
  25 sizes from 500 windows up, *with* replacement, from NumPy's global generator.
- ``frechet-audio-distance`` (0.3.4) pools all windows and takes their mean in float32.

References
----------
Gui et al., ICASSP 2024 (fadtk); https://github.com/gudgud96/frechet-audio-distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from m2l_bench.reconstruction.sets.frechet import Gaussian, distance
from m2l_bench.reconstruction.sets.moments import Moments

INF_SIZES, INF_SMALLEST = 25, 500


@dataclass(frozen=True)
class Mode:
    """How a tool computes statistics from windows.

    Attributes
    ----------
    dtype : str
        Precision of stored windows and of means.
    per_file : bool
        Statistics of each file are merged; else all windows are pooled first.
    """

    dtype: str
    per_file: bool


MODES = {"fadtk": Mode("float16", per_file=True), "frechet-audio-distance": Mode("float32", per_file=False)}


def compatible_frechet_distance(
    references: Sequence[np.ndarray], estimates: Sequence[np.ndarray], *, mode: str
) -> float:
    """Fréchet distance as a released tool computes it.

    Parameters
    ----------
    references, estimates : sequence of np.ndarray, (windows, dim)
    mode : str
        A key of :data:`MODES`.

    Returns
    -------
    float
        NaN where the tool gives NaN.

    Raises
    ------
    ValueError
        If no mode has that name.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    left, right = (_moments(files, MODES[mode]) for files in (references, estimates))
    return _distance(left, right)


def fadtk_frechet_distance_inf(
    references: Sequence[np.ndarray], estimates: Sequence[np.ndarray], *, seed: int = 0
) -> float:
    """FAD-inf as fadtk computes it after ``numpy.random.seed(seed)``; biased upwards, see :mod:`.frechet`.

    Raises
    ------
    ValueError
        If the estimates hold fewer than 500 windows in all, the tool's smallest subset.
    """
    windows = np.concatenate(estimates).astype(MODES["fadtk"].dtype)
    if len(windows) < INF_SMALLEST:
        raise ValueError(f"estimates must hold at least {INF_SMALLEST} windows for fadtk's FAD-inf, got {len(windows)}")
    reference = _moments(references, MODES["fadtk"])
    generator = np.random.RandomState(seed)  # the tool's own generator
    sizes = np.linspace(INF_SMALLEST, len(windows), INF_SIZES).astype(int)
    drawn = [windows[generator.choice(len(windows), size=size, replace=True)] for size in sizes]
    distances = [_distance(reference, _rounded(windows)) for windows in drawn]
    return float(np.polyfit(1 / sizes, distances, 1)[1])


def _moments(files: Sequence[np.ndarray], mode: Mode) -> Moments:
    stored = [np.asarray(file, dtype=mode.dtype) for file in files]
    if not mode.per_file:
        return _rounded(np.concatenate(stored))
    if any(len(file) == 1 for file in stored):
        dim = stored[0].shape[1]
        return Moments(0, np.full(dim, np.nan), np.full((dim, dim), np.nan))
    return reduce(Moments.merge, map(_rounded, stored))


def _rounded(windows: np.ndarray) -> Moments:
    """Moments with the mean in the windows' own precision, the scatter in float64."""
    exact = Moments.of(windows)
    return Moments(exact.n, windows.mean(axis=0).astype(np.float64), exact.scatter)


def _distance(reference: Moments, estimate: Moments) -> float:
    if not (np.isfinite(reference.mean).all() and np.isfinite(estimate.mean).all()):
        return float("nan")
    return distance(Gaussian.of_moments(reference), Gaussian.of_moments(estimate))

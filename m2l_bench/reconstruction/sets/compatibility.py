"""FAD as released tools compute it, for comparison with older papers.

Conventions
-----------
Files are ``(windows, dim)``, reference side first; where a tool gives no number, :class:`Unscorable` is raised. The tools
differ in how they compute the statistics of a set; the distance itself is that of :mod:`.frechet` (on full-rank sets the
tools differ from it by rounding only):

- fadtk (1.1.0) stores windows as float16 and takes each file's mean in float16. The statistics of a set are merged file
  by file; a file of one window makes those of the whole set NaN. Its FAD-inf pools the windows of the evaluation side
  and draws 25 sizes from 500 windows up, *with* replacement, from NumPy's global generator.
- frechet-audio-distance (0.3.4) pools all windows and takes their mean in float32.

References
----------
Gui et al., ICASSP 2024 (fadtk); https://github.com/gudgud96/frechet-audio-distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from m2l_bench.reconstruction.checks import Unscorable
from m2l_bench.reconstruction.sets.frechet import Gaussian, check_windows, covariance_factor, distance

Files = Sequence[np.ndarray]
_Moments = tuple[int, np.ndarray, np.ndarray]  # number of windows, mean (dim,), scatter (dim, dim)

INF_SIZES, INF_SMALLEST = 25, 500


def fadtk(references: Files, estimates: Files, seed: int = 0) -> float:
    """Fréchet distance as fadtk computes it; nothing is drawn."""
    return _distance(_merged(references), _merged(estimates))


def frechet_audio_distance(references: Files, estimates: Files, seed: int = 0) -> float:
    """Fréchet distance as frechet-audio-distance computes it; nothing is drawn."""
    left, right = (_moments(np.concatenate(files).astype(np.float32)) for files in (references, estimates))
    return _distance(left, right)


def fadtk_inf(references: Files, estimates: Files, seed: int = 0) -> float:
    """FAD-inf as fadtk computes it after ``numpy.random.seed(seed)``; biased upwards, see :mod:`.frechet`."""
    windows = np.concatenate(estimates).astype(np.float16)
    if len(windows) < INF_SMALLEST:
        raise Unscorable(f"too few windows: fadtk's smallest subset has {INF_SMALLEST}, got {len(windows)}")
    reference = _merged(references)
    generator = np.random.RandomState(seed)  # the tool's own generator
    sizes = np.linspace(INF_SMALLEST, len(windows), INF_SIZES).astype(int)
    drawn = [windows[generator.choice(len(windows), size=size, replace=True)] for size in sizes]
    return float(np.polyfit(1 / sizes, [_distance(reference, _moments(subset)) for subset in drawn], 1)[1])


def _moments(windows: np.ndarray) -> _Moments:
    """Mean in the windows' own precision, scatter in float64."""
    exact = check_windows("windows", windows)
    centred = exact - exact.mean(axis=0)
    return len(windows), windows.mean(axis=0).astype(np.float64), centred.T @ centred


def _merged(files: Files) -> _Moments:
    if any(len(file) == 1 for file in files):
        raise Unscorable("fadtk gives NaN: one of the files has a single window")
    return reduce(_merge, (_moments(file.astype(np.float16)) for file in files))


def _merge(left: _Moments, right: _Moments) -> _Moments:
    """Moments of both sets together (Chan, Golub, LeVeque, 1979)."""
    n, shift = left[0] + right[0], right[1] - left[1]
    scatter = left[2] + right[2] + np.outer(shift, shift) * (left[0] * right[0] / n)
    return n, left[1] + shift * (right[0] / n), scatter


def _distance(*sides: _Moments) -> float:
    left, right = (Gaussian(n, mean, covariance_factor(scatter / max(n - 1, 1))) for n, mean, scatter in sides)
    return distance(left, right)

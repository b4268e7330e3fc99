"""ViSQOL in audio mode: perceived similarity of a reconstruction to its reference, as MOS-LQO.

Conventions
-----------
Reference first (the score is not symmetric). 48 kHz, mean of the channels, resampled with soxr VHQ; nothing is written
to disk. The scale runs from 1 to about 4.73; an exact copy gives 4.73. The package `visqol-python` computes it with the
support-vector model it ships; it answers 4.73 to a *silent reference* and NaN to a silent estimate, so that both are
refused here: :class:`Unscorable`, with the reason.

References
----------
Chinen, Lim, Skoglund, Gureev, O'Gorman, Hines, "ViSQOL v3: An Open Source Production Ready Objective Speech and Audio
Metric", QoMEX 2020.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from typing import Any

import numpy as np

from m2l_bench.audio import resample
from m2l_bench.cards import Unscorable

SAMPLE_RATE = 48000
SHORTEST = 1.0  # seconds: ViSQOL compares patches of 0.6 s between half-overlapping frames, and needs a few

Pair = tuple[np.ndarray, np.ndarray, int]


def visqol(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """ViSQOL score of one pair.

    Parameters
    ----------
    reference, estimate : np.ndarray, (channels, samples)
        One shape.
    sample_rate : int
        Hz, of both.

    Returns
    -------
    float
        MOS-LQO, in [1, 4.74); higher is better.

    Raises
    ------
    Unscorable
        If either is silent or not finite, or the pair is shorter than 1 s.
    ValueError
        If shapes differ.
    ImportError
        Without visqol-python: ``pip install 'm2l-bench[visqol]'``.

    References
    ----------
    Chinen et al., 2020, section 3.
    """
    reference, estimate = np.asarray(reference), np.asarray(estimate)
    if reference.shape != estimate.shape or reference.ndim != 2:
        shapes = f"{reference.shape} and {estimate.shape}"
        raise ValueError(f"reference and estimate must have one shape (channels, samples), got {shapes}")
    if reference.shape[1] < SHORTEST * sample_rate:
        raise Unscorable(
            f"too short for ViSQOL: must last {SHORTEST:.0f} s, lasts {reference.shape[1] / sample_rate:.2f} s"
        )
    signals = [
        _prepared(name, audio, sample_rate) for name, audio in (("reference", reference), ("estimate", estimate))
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, inside the package, on digital silence in parts
        score = float(_api().measure_from_arrays(*signals, SAMPLE_RATE).moslqo)
    if not np.isfinite(score):
        raise Unscorable(f"ViSQOL answers {score}")
    return score


def visqol_pairs(
    pairs: Iterable[Pair], *, workers: int = 1, on_progress: Callable[[int], None] | None = None
) -> list[tuple[float, str]]:
    """Score many pairs, in parallel over files.

    Parameters
    ----------
    pairs : iterable of (reference, estimate, sample_rate)
    workers : int
        Processes; each computes on one thread.
    on_progress : callable, optional
        Called with the number of finished pairs after each.

    Returns
    -------
    list of (float, str)
        Score and empty reason; or NaN and the reason why there is none. In the order of `pairs`.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if workers == 1:
        return _collected(map(_score, pairs), on_progress)
    # Spawned, not forked: a fork copies locks that torch's or NumPy's threads may hold.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        return _collected(pool.map(_score, pairs), on_progress)


def _collected(scores: Iterable[Any], on_progress: Callable[[int], None] | None) -> list[tuple[float, str]]:
    results: list[tuple[float, str]] = []
    for score in scores:
        results.append(score)
        if on_progress is not None:
            on_progress(len(results))
    return results


def _score(pair: Pair) -> tuple[float, str]:
    try:
        return visqol(*pair), ""
    except Unscorable as error:
        return float("nan"), str(error)


def _prepared(name: str, audio: np.ndarray, sample_rate: int) -> np.ndarray:
    if not np.isfinite(audio).all():
        raise Unscorable(f"{name} is not finite")
    signal = audio.mean(axis=0)
    if not signal.any():
        raise Unscorable(f"{name} is silent")
    return resample(signal, sample_rate, SAMPLE_RATE).astype(np.float64)


def _one_thread() -> None:
    # Read when the libraries are first imported, which in a fresh process is later.
    os.environ.update({"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})


@lru_cache(maxsize=1)
def _api() -> Any:
    try:
        from visqol import VisqolApi
    except ImportError as error:
        raise ImportError("ViSQOL needs visqol-python: pip install 'm2l-bench[visqol]'") from error
    api = VisqolApi()
    api.create(mode="audio")
    return api

"""Scores of held-out excerpts during training: means of pair metrics, and FAD-musicnn.

The excerpts are few and short, so FAD-musicnn is much more biased than in a run: use it to follow one training, not to
compare with a run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from m2l_bench.reconstruction.checks import Unscorable
from m2l_bench.reconstruction.pair.mel import mel_distance
from m2l_bench.reconstruction.pair.si_sdr import si_sdr
from m2l_bench.reconstruction.sets.frechet import frechet_distance
from m2l_bench.reconstruction.sets.vectors import load_encoder, vectors

MINIMUM_WINDOWS = 10


def held_out_scores(
    references: Sequence[np.ndarray], estimates: Sequence[np.ndarray], sample_rate: int
) -> dict[str, float]:
    """Score reconstructions of held-out excerpts.

    Parameters
    ----------
    references, estimates : sequence of np.ndarray, (samples,)
        Excerpt i and its reconstruction.
    sample_rate : int
        Hz.

    Returns
    -------
    dict of str to float
        Mean ``si_sdr`` (dB) and ``mel_distance``, and ``fad:musicnn`` of the pooled windows, NaN where either side has
        fewer than 10.
    """
    pairs = list(zip(references, estimates, strict=True))
    return {
        "si_sdr": float(np.mean([si_sdr(*pair, sample_rate) for pair in pairs])),
        "mel_distance": float(np.mean([mel_distance(*pair, sample_rate) for pair in pairs])),
        "fad:musicnn": _fad(references, estimates, sample_rate),
    }


def _fad(references: Sequence[np.ndarray], estimates: Sequence[np.ndarray], sample_rate: int) -> float:
    sides = [[x for audio in side for x in _vectors(audio, sample_rate)] for side in (references, estimates)]
    return frechet_distance(*map(np.stack, sides)) if min(map(len, sides)) >= MINIMUM_WINDOWS else float("nan")


def _vectors(audio: np.ndarray, sample_rate: int) -> Sequence[np.ndarray]:
    try:
        return list(vectors(load_encoder("musicnn"), audio[None], sample_rate))
    except Unscorable:
        return []

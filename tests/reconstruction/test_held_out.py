"""Scores of held-out excerpts during training equal the metrics."""

from __future__ import annotations

import math

import numpy as np
import pytest

from m2l_bench.reconstruction import frechet_distance, mel_distance, si_sdr
from m2l_bench.reconstruction.held_out import held_out_scores
from m2l_bench.reconstruction.sets.vectors import load_encoder, vectors

RATE = 22050


def test_scores_are_those_of_the_metrics() -> None:
    random = np.random.default_rng(0)
    references = [random.standard_normal(RATE * 4).astype(np.float32) / 10 for _ in range(12)]
    estimates = [x + random.standard_normal(len(x)).astype(np.float32) / 50 for x in references]
    scores = held_out_scores(references, estimates, RATE)
    assert scores["si_sdr"] == pytest.approx(
        np.mean([si_sdr(*p, RATE) for p in zip(references, estimates, strict=True)])
    )
    expected = np.mean([mel_distance(*pair, RATE) for pair in zip(references, estimates, strict=True)])
    assert scores["mel_distance"] == pytest.approx(expected)
    left, right = (
        np.concatenate([vectors(load_encoder("musicnn"), x[None], RATE) for x in side])
        for side in (references, estimates)
    )
    assert scores["fad:musicnn"] == pytest.approx(frechet_distance(left, right), rel=1e-5)


def test_too_few_windows_give_no_distance() -> None:
    x = [np.random.default_rng(0).standard_normal(RATE * 4).astype(np.float32) / 10]
    assert math.isnan(held_out_scores(x, x, RATE)["fad:musicnn"])

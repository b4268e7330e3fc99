"""ViSQOL: direction and range, order of arguments, refusals with their reason, and parallel work over files."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from m2l_bench.audio import resample
from m2l_bench.reconstruction.checks import Unscorable
from m2l_bench.reconstruction.pair import visqol as module
from m2l_bench.reconstruction.pair.visqol import visqol

RATE = 48000


@pytest.fixture(scope="module")
def music():
    """1.2 s of three struck strings, stereo, with a little noise: (2, 57600)."""
    time = np.arange(int(1.2 * RATE)) / RATE
    notes = [np.sin(2 * np.pi * f * k * time) * np.exp(-3 * time) / k for f in (220, 277, 330) for k in (1, 2, 3, 5, 8)]
    noise = 0.003 * np.random.default_rng(0).standard_normal((2, len(time)))
    return (0.1 * np.sum(notes, axis=0) + noise).astype(np.float32)


@pytest.fixture(scope="module")
def noisy(music):
    return (music + 0.01 * np.random.default_rng(1).standard_normal(music.shape)).astype(np.float32)


def test_a_copy_scores_highest_and_more_noise_less(music, noisy):
    worse = (music + 0.1 * np.random.default_rng(1).standard_normal(music.shape)).astype(np.float32)
    scores = [visqol(music, estimate, RATE) for estimate in (music, noisy, worse)]
    assert scores[0] == pytest.approx(4.732, abs=0.001)
    assert scores[0] > scores[1] > scores[2] >= 1


def test_the_package_gets_the_reference_first_at_48_khz_mono(music, noisy):
    from visqol import VisqolApi

    api = VisqolApi()
    api.create(mode="audio")
    low, other = resample(music, RATE, 44100), resample(noisy, RATE, 44100)
    left, right = (resample(x.mean(axis=0), 44100, RATE).astype(np.float64) for x in (low, other))
    assert visqol(low, other, 44100) == pytest.approx(api.measure_from_arrays(left, right, RATE).moslqo, abs=1e-9)
    assert visqol(low, other, 44100) != pytest.approx(visqol(other, low, 44100), abs=1e-3)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda x, y: (x, 0 * y), "estimate is silent"),
        (lambda x, y: (0 * x, y), "reference is silent"),
        (lambda x, y: (x, np.where(y > 0.1, np.inf, y)), r"estimate has \d+ NaN or infinite samples"),
        (lambda x, y: (x[:, :9600], y[:, :9600]), "too short for ViSQOL: must last 1 s, lasts 0.20 s"),
    ],
)
def test_what_has_no_score_is_refused_with_its_reason(music, noisy, spoil, reason):
    with pytest.raises(Unscorable, match=reason):
        visqol(*spoil(music, noisy), RATE)


def test_shapes_must_agree(music):
    with pytest.raises(ValueError, match="must have the reference's shape"):
        visqol(music, music[:, :-1], RATE)


def test_a_missing_extra_is_named(music, monkeypatch):
    module._api.cache_clear()
    monkeypatch.setitem(sys.modules, "visqol", None)
    with pytest.raises(ImportError, match=r"pip install 'm2l-bench\[visqol\]'"):
        visqol(music, music, RATE)

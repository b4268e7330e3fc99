"""Scores of every default pair metric on signals of several kinds, against values recorded once: a faster way must give them too.

``record_pair_metrics.py`` prints the values. What they should be is tested metric by metric, against independent implementations.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import coded_version, plucked_chord

from m2l_bench.reconstruction.metrics import METRICS, score_pair
from m2l_bench.reconstruction.pair_metrics import PairMetric
from m2l_bench.suite.suite import EMBEDDED_METRICS

RATE = 44_100
NAMES = [name for name in EMBEDDED_METRICS if isinstance(METRICS.get(name), PairMetric)]
RECORDED = Path(__file__).parent / "golden" / "pair_metrics.json"
Pair = tuple[np.ndarray, np.ndarray]


def pairs() -> dict[str, Pair]:
    """Reference and estimate, (channels, samples), by what is special about them."""
    rng = np.random.default_rng(0)
    music = plucked_chord(40_000, 2, seed=0)
    coded = coded_version(music)
    noise = (0.1 * rng.standard_normal((2, 30_000))).astype(np.float32)
    late = np.roll(0.5 * noise + 0.5 * np.roll(noise, 1, axis=-1), 3, axis=-1)  # by 3.5 samples
    holes = music.copy()
    holes[1] = 0.0
    pauses = np.where(np.arange(40_000) % 20_000 < 8000, np.float32(0.0), music)
    return {
        "music": (music, coded),
        "late noise": (noise, late),
        "one channel": (music[:1], coded[:1]),
        "a silent channel": (holes, coded),
        "pauses": (pauses, coded),
        "silent estimate": (music, np.zeros_like(music)),
        "silent reference": (np.zeros_like(music), coded),
        "mono estimate": (music, np.repeat(coded[:1], 2, axis=0)),
        "mono reference": (np.repeat(music[:1], 2, axis=0), coded),
        "nearly a copy": (music, (music + 1e-5 * rng.standard_normal(music.shape)).astype(np.float32)),
        "float64": (music.astype(np.float64), 0.3 * coded.astype(np.float64) + 0.01),
        "1025 samples": (music[:, :1025], coded[:, :1025]),
        "1024 samples": (music[:, :1024], coded[:, :1024]),
        "5000 samples": (music[:, 500:5500], coded[:, 500:5500]),
    }


def scores(pair: Pair) -> dict[str, float | str]:
    """Scores by name, or the reason why there is none."""
    return {name: v if isinstance(v, float) else str(v) for name, v in score_pair(*pair, RATE, NAMES).items()}


@pytest.mark.parametrize("kind", list(pairs()))
def test_scores_are_the_recorded_ones(kind: str) -> None:
    recorded = json.loads(RECORDED.read_text())[kind]
    assert scores(pairs()[kind]) == {
        name: v if isinstance(v, str) else pytest.approx(v, rel=1e-9) for name, v in recorded.items()
    }

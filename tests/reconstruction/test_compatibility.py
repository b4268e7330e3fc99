"""Each mode prints what the released tool printed on the same embeddings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from m2l_bench.reconstruction.checks import Unscorable
from m2l_bench.reconstruction.sets.compatibility import fadtk, fadtk_inf, frechet_audio_distance
from m2l_bench.reconstruction.sets.frechet import frechet_distance

RECORDED = json.loads((Path(__file__).parent / "golden" / "frechet_tools.json").read_text())


def draw(seed, scale):
    """The embeddings of scripts/record_frechet_tools.py."""
    rng = np.random.default_rng(seed)
    return [(scale * rng.standard_normal((20, 12)) + rng.standard_normal(12)).astype(np.float32) for _ in range(40)]


@pytest.mark.parametrize(("mode", "function"), [("fadtk", fadtk), ("frechet-audio-distance", frechet_audio_distance)])
def test_the_distance_is_the_tools(mode, function):
    assert function(draw(0, 1.0), draw(1, 1.3)) == pytest.approx(RECORDED[mode], rel=2e-7)


def test_fadtks_extrapolation_is_the_tools():
    assert fadtk_inf(draw(0, 1.0), draw(1, 1.3), seed=0) == pytest.approx(RECORDED["fadtk-inf"], rel=2e-7)


def test_the_modes_differ_from_one_another_and_from_ours():
    """By the recorded digits: half precision shows in the sixth."""
    ours = frechet_distance(np.concatenate(draw(0, 1.0)), np.concatenate(draw(1, 1.3)))
    assert abs(RECORDED["fadtk"] - ours) > 1e-6 * ours
    assert RECORDED["frechet-audio-distance"] == pytest.approx(ours, rel=1e-6)


def test_fadtk_gives_nothing_on_one_file_of_one_window():
    files = draw(0, 1.0)
    single = [*files, files[0][:1]]
    for function, pair in ((fadtk, (single, files)), (fadtk, (files, single)), (fadtk_inf, (single, files))):
        with pytest.raises(Unscorable, match="fadtk gives NaN: one of the files has a single window"):
            function(*pair)
    assert np.isfinite(frechet_audio_distance(single, files))


def test_fadtk_merges_the_statistics_of_files():
    files = [file.astype(np.float16).astype(np.float32) for file in draw(0, 1.0)]
    others = [2 * file for file in files[::-1]]
    pooled = frechet_distance(np.concatenate(files), np.concatenate(others))
    assert fadtk(files, others) == pytest.approx(pooled, rel=1e-3)


def test_too_few_windows_are_named():
    with pytest.raises(Unscorable, match="too few windows: fadtk's smallest subset has 500, got 200"):
        fadtk_inf(draw(0, 1), draw(1, 1)[:10])

"""Each mode prints what the released tool printed on the same embeddings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from m2l_bench.reconstruction.sets.compatibility import compatible_frechet_distance, fadtk_frechet_distance_inf
from m2l_bench.reconstruction.sets.frechet import frechet_distance

RECORDED = json.loads((Path(__file__).parent / "golden" / "frechet_tools.json").read_text())


def draw(seed, scale):
    """The embeddings of scripts/record_frechet_tools.py."""
    rng = np.random.default_rng(seed)
    return [(scale * rng.standard_normal((20, 12)) + rng.standard_normal(12)).astype(np.float32) for _ in range(40)]


@pytest.mark.parametrize("mode", ["fadtk", "frechet-audio-distance"])
def test_the_distance_is_the_tools(mode):
    ours = compatible_frechet_distance(draw(0, 1.0), draw(1, 1.3), mode=mode)
    assert ours == pytest.approx(RECORDED[mode], rel=2e-7)


def test_fadtks_extrapolation_is_the_tools():
    assert fadtk_frechet_distance_inf(draw(0, 1.0), draw(1, 1.3), seed=0) == pytest.approx(
        RECORDED["fadtk-inf"], rel=2e-7
    )


def test_the_modes_differ_from_one_another_and_from_ours():
    """By the recorded digits: half precision shows in the sixth."""
    ours = frechet_distance(np.concatenate(draw(0, 1.0)), np.concatenate(draw(1, 1.3)))
    assert abs(RECORDED["fadtk"] - ours) > 1e-6 * ours
    assert RECORDED["frechet-audio-distance"] == pytest.approx(ours, rel=1e-6)


def test_fadtk_turns_nan_on_one_file_of_one_window():
    files = draw(0, 1.0)
    assert np.isnan(compatible_frechet_distance([*files, files[0][:1]], files, mode="fadtk"))
    assert np.isfinite(compatible_frechet_distance([*files, files[0][:1]], files, mode="frechet-audio-distance"))


def test_unknown_modes_and_small_sets_are_named():
    with pytest.raises(ValueError, match="mode must be one of fadtk, frechet-audio-distance, got 'fadtool'"):
        compatible_frechet_distance(draw(0, 1), draw(1, 1), mode="fadtool")
    with pytest.raises(ValueError, match="at least 500 windows for fadtk's FAD-inf, got 200"):
        fadtk_frechet_distance_inf(draw(0, 1), draw(1, 1)[:10])

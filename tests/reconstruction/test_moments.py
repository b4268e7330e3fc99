"""Merged moments equal those of the pooled windows."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m2l_bench.reconstruction.sets import frechet
from m2l_bench.reconstruction.sets.moments import Moments


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(any), st.integers(0, 2**32 - 1))
def test_merging_files_equals_pooling_them(lengths, seed):
    rng = np.random.default_rng(seed)
    files = [rng.standard_normal((n, 4)).astype(np.float32) + 100 for n in lengths]
    streamed, pooled = (
        reduce(Moments.merge, [Moments.of(file) for file in files if len(file)]),
        Moments.of(np.concatenate(files)),
    )
    assert streamed.n == pooled.n
    np.testing.assert_allclose(streamed.mean, pooled.mean, rtol=1e-12)
    np.testing.assert_allclose(streamed.covariance, pooled.covariance, atol=1e-9)


def test_one_file_of_one_window_spoils_nothing():
    rng = np.random.default_rng(0)
    files = [rng.standard_normal((20, 3)), rng.standard_normal((1, 3))]
    np.testing.assert_allclose(
        reduce(Moments.merge, [Moments.of(file) for file in files if len(file)]).covariance,
        np.cov(np.concatenate(files).T),
    )


def test_streamed_and_pooled_distances_agree():
    rng = np.random.default_rng(0)
    files = [rng.standard_normal((40, 8)) for _ in range(5)]
    other = frechet.Gaussian.of(rng.standard_normal((100, 8)))
    streamed = frechet.Gaussian.of_moments(reduce(Moments.merge, [Moments.of(file) for file in files if len(file)]))
    whole = frechet.Gaussian.of(np.concatenate(files))
    assert frechet.distance(other, streamed) == pytest.approx(frechet.distance(other, whole), rel=1e-10)

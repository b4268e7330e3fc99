"""Streamed moments equal those of the whole, in any order, and survive the disk."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m2l_bench.reconstruction.sets import frechet
from m2l_bench.reconstruction.sets.moments import Moments, load_moments, save_moments

CARD = {"embedding": "musicnn", "fingerprint": "abc", "dataset": "reference", "n_files": 3}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(any), st.integers(0, 2**32 - 1))
def test_merging_files_equals_pooling_them(lengths, seed):
    rng = np.random.default_rng(seed)
    files = [rng.standard_normal((n, 4)).astype(np.float32) + 100 for n in lengths]
    streamed, pooled = Moments.of_files(files), Moments.of(np.concatenate(files))
    assert streamed.n == pooled.n
    np.testing.assert_allclose(streamed.mean, pooled.mean, rtol=1e-12)
    np.testing.assert_allclose(streamed.covariance, pooled.covariance, atol=1e-9)


def test_one_file_of_one_window_spoils_nothing():
    rng = np.random.default_rng(0)
    files = [rng.standard_normal((20, 3)), rng.standard_normal((1, 3))]
    np.testing.assert_allclose(Moments.of_files(files).covariance, np.cov(np.concatenate(files).T))


def test_streamed_and_pooled_distances_agree():
    rng = np.random.default_rng(0)
    files = [rng.standard_normal((40, 8)) for _ in range(5)]
    other = frechet.Gaussian.of(rng.standard_normal((100, 8)))
    streamed = frechet.Gaussian.of_moments(Moments.of_files(files))
    whole = frechet.Gaussian.of(np.concatenate(files))
    assert frechet.distance(other, streamed) == pytest.approx(frechet.distance(other, whole), rel=1e-10)


def test_saved_statistics_come_back_bit_for_bit(tmp_path):
    moments = Moments.of(np.random.default_rng(0).standard_normal((9, 4)))
    save_moments(tmp_path / "reference.safetensors", moments, CARD)
    loaded, card = load_moments(tmp_path / "reference.safetensors", fingerprint="abc")
    assert card == CARD
    assert loaded.n == 9
    np.testing.assert_array_equal(loaded.mean, moments.mean)
    np.testing.assert_array_equal(loaded.scatter, moments.scatter)


def test_statistics_of_another_embedding_are_refused(tmp_path):
    save_moments(tmp_path / "reference.safetensors", Moments.of(np.eye(3)), CARD)
    with pytest.raises(ValueError, match="must come from the embedding other, got musicnn abc"):
        load_moments(tmp_path / "reference.safetensors", fingerprint="other")


def test_a_card_without_embedding_is_refused(tmp_path):
    with pytest.raises(ValueError, match="got one without \\['fingerprint'\\]"):
        save_moments(tmp_path / "x.safetensors", Moments.of(np.eye(3)), {"embedding": "musicnn"})


@pytest.mark.parametrize("content", [b"", b"not a safetensors file at all"])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="must be a file of reference statistics"):
        load_moments(tmp_path / "x.safetensors")


def test_no_windows_at_all_are_refused():
    with pytest.raises(ValueError, match="at least one window, got none in 2 files"):
        Moments.of_files([np.zeros((0, 3)), np.zeros((0, 3))])

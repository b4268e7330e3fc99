"""The MDCT against its definition, and the linear baseline against what a best linear code must do."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from m2l_bench import audio
from m2l_bench.systems import pca
from m2l_bench.systems.registry import load

_SPEC = importlib.util.spec_from_file_location("fit_pca", Path(__file__).parents[2] / "scripts" / "fit_pca.py")
fit_pca = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(fit_pca)


@pytest.fixture
def basis(tmp_path: Path, music_folder: Path) -> Path:
    """A basis of 16 components, fitted and saved."""
    fit_pca.save_basis(tmp_path / "basis.safetensors", *fit_pca.fit(audio.list_audio(music_folder), dim=16))
    return tmp_path / "basis.safetensors"


def test_mdct_is_its_definition() -> None:
    signal = np.random.default_rng(0).standard_normal(pca.HOP * 2)
    # The second frame covers the whole signal; the defining sum, written out for a few coefficients (Princen 1987).
    n, size = np.arange(2 * pca.HOP), pca.HOP
    windowed = signal * np.sin(np.pi * (n + 0.5) / (2 * size))
    for k in (0, 1, 77, size - 1):
        expected = np.sqrt(2 / size) * np.sum(windowed * np.cos(np.pi / size * (n + 0.5 + size / 2) * (k + 0.5)))
        assert pca.mdct(signal)[1, k] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("n_samples", [1, 4095, 4096, 4097, 20000])
def test_mdct_inverts_and_keeps_energy(n_samples: int) -> None:
    signal = np.random.default_rng(0).standard_normal((2, n_samples))
    coefficients = pca.mdct(signal)
    np.testing.assert_allclose(pca.imdct(coefficients, n_samples), signal, atol=1e-5)
    assert np.sum(coefficients**2) == pytest.approx(np.sum(signal**2), rel=1e-5)


def test_fit_finds_the_subspace_the_music_lives_in(tmp_path: Path, music) -> None:
    audio.write(tmp_path / "a.wav", music(44100 * 20), 44100)
    mean, components = fit_pca.fit([tmp_path / "a.wav"], dim=8)
    np.testing.assert_allclose(components @ components.T, np.eye(8), atol=1e-5)
    frames = pca.compress(pca.mdct(music(44100 * 20))).reshape(-1, pca.HOP) - mean
    variances = ((frames @ components.T) ** 2).mean(0)
    assert (np.diff(variances) <= 1e-6).all(), "components fall in variance"
    # No other 8 directions keep more: compare with NumPy's own decomposition of the frames.
    best = np.linalg.svd(frames, compute_uv=False)[:8] ** 2 / len(frames)
    np.testing.assert_allclose(variances, best, rtol=1e-3)


def test_more_components_reconstruct_better(basis: Path, music) -> None:
    given = music(30000)
    systems = [load("pca", checkpoint=basis, dim=dim) for dim in (1, 4, 16)]
    assert [system.name for system in systems] == ["pca-1", "pca-4", "pca-16"]
    errors = [np.mean((system.reconstruct(given) - given) ** 2) for system in systems]
    assert errors == sorted(errors, reverse=True)


def test_saved_basis_is_the_fitted_one(basis: Path, music_folder: Path) -> None:
    mean, components = fit_pca.fit(audio.list_audio(music_folder), dim=16)
    loaded = load("pca", checkpoint=basis)
    np.testing.assert_array_equal(loaded.mean, mean)
    np.testing.assert_allclose(loaded.components, components, atol=1e-3)


def test_bad_options_are_named(tmp_path: Path, basis: Path, music_folder: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(ValueError, match=r"bad\.safetensors: must be safetensors with 'mean' and 'components'"):
        load("pca", checkpoint=tmp_path / "bad.safetensors")
    with pytest.raises(ValueError, match=r"dim must lie in 1\.\.\.16, got 17"):
        load("pca", checkpoint=basis, dim=17)
    with pytest.raises(ValueError, match="needs at least 64 frames of 4096 samples, got 42"):
        fit_pca.fit(audio.list_audio(music_folder))

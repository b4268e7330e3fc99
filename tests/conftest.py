"""Fixtures shared by all tests: small signals and folders of audio, made on the spot."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from m2l_bench import audio

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@pytest.fixture
def music() -> Callable[..., np.ndarray]:
    """Maker of a chord with noise and a decay: (channels, samples), float32, seeded."""

    def make(n_samples: int = 22050, channels: int = 2, rate: int = 44100, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        time = np.arange(n_samples) / rate
        pitches = 220 * 2 ** (rng.integers(0, 24, size=(channels, 4)) / 12)
        tones = np.sin(2 * np.pi * pitches[..., None] * time).sum(1) * np.exp(-2 * (time % 0.25))
        return (0.1 * tones + 0.01 * rng.standard_normal((channels, n_samples))).astype(np.float32)

    return make


@pytest.fixture
def music_folder(tmp_path: Path, music: Callable[..., np.ndarray]) -> Path:
    """Three stereo WAV files of half a second, one of them in a subfolder."""
    folder = tmp_path / "music"
    for seed, name in enumerate(["a.wav", "b.wav", "album/c.wav"]):
        audio.write(folder / name, music(seed=seed), 44100)
    return folder


@pytest.fixture(scope="module")
def graph_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty folder of OpenVINO's graphs that all tests of a module share: making one takes seconds."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "m2l-bench" / "openvino"


@pytest.fixture
def coarse_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports draw their figures as ever, but write small pictures: fine ones take most of a report's time."""

    def save(figure: Figure, stem: Path) -> None:
        stem.parent.mkdir(parents=True, exist_ok=True)
        picture = stem.with_name(f"{stem.name}.png")
        figure.savefig(picture, dpi=20)
        shutil.copy(picture, picture.with_suffix(".pdf"))

    monkeypatch.setattr("m2l_bench.report.build.save", save)

"""Crops: where they come from, that they are loud, deterministic, and exact excerpts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from m2l_bench import audio as audio_io
from m2l_bench.audio import AudioError
from m2l_bench.training.crops import Crops, batches, scan
from m2l_bench.training.recipe import MusicFolder

RATE = 8000


def _ramp(n: int, *, offset: float = 0.0) -> np.ndarray:
    """Samples that tell their own position."""
    return (offset + np.arange(n) / 2**17).astype(np.float32)[None]


def _crops(folders: list[MusicFolder], *, n_samples: int = 400, seed: int = 0, min_rms: float = 0.001) -> Crops:
    return Crops(
        library=scan(folders), n_samples=n_samples, noise_shape=(2, 4, 8), sample_rate=RATE, seed=seed, min_rms=min_rms
    )


@pytest.fixture
def ramps(tmp_path: Path) -> Path:
    audio_io.write(tmp_path / "a.wav", _ramp(3000), RATE)
    audio_io.write(tmp_path / "sub" / "b.wav", _ramp(9000, offset=0.2), RATE)
    return tmp_path


def test_a_crop_is_an_exact_excerpt(ramps: Path) -> None:
    crops = _crops([MusicFolder(path=ramps)])
    for index in range(20):
        audio = crops[index].audio.numpy()
        assert audio.shape == (400,)
        np.testing.assert_allclose(np.diff(audio), 1 / 2**17, atol=1e-7)


def test_crops_spread_over_tracks_by_their_length(ramps: Path) -> None:
    crops = _crops([MusicFolder(path=ramps)])
    starts = np.array([float(crops[i].audio[0]) for i in range(600)])
    assert np.mean(starts >= 0.2) == pytest.approx(0.75, abs=0.06)
    short = starts[starts < 0.2] * 2**17
    assert short.min() < 300
    assert short.max() > 2300


def test_weights_mix_folders(tmp_path: Path) -> None:
    for name, offset in (("quiet", 0.1), ("loud", 0.5)):
        audio_io.write(tmp_path / name / "x.wav", np.full((1, 1000), offset, np.float32), RATE)
    crops = _crops([MusicFolder(path=tmp_path / "quiet", weight=3.0), MusicFolder(path=tmp_path / "loud", weight=1.0)])
    values = Counter(round(float(crops[i].audio[0]), 1) for i in range(600))
    assert values[0.1] / 600 == pytest.approx(0.75, abs=0.06)


def test_same_seed_and_number_give_the_same_example(ramps: Path) -> None:
    first, again = _crops([MusicFolder(path=ramps)])[7], _crops([MusicFolder(path=ramps)])[7]
    other = _crops([MusicFolder(path=ramps)], seed=1)[7]
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert not any((a == b).all() for a, b in zip(first, other, strict=True))


def test_noise_and_uniforms_are_what_they_are_called(ramps: Path) -> None:
    crops = _crops([MusicFolder(path=ramps)])
    examples = [crops[i] for i in range(200)]
    noise = np.concatenate([e.noise.numpy().ravel() for e in examples])
    uniforms = np.concatenate([e.uniforms.numpy() for e in examples])
    assert abs(noise.mean()) < 0.03
    assert noise.std() == pytest.approx(1, abs=0.03)
    assert 0 <= uniforms.min() < 0.02
    assert 0.98 < uniforms.max() < 1


def test_a_channel_is_picked_at_random(tmp_path: Path) -> None:
    audio_io.write(tmp_path / "x.wav", np.stack([np.full(1000, v, np.float32) for v in (0.1, 0.2, 0.3)]), RATE)
    crops = _crops([MusicFolder(path=tmp_path)])
    values = Counter(round(float(crops[i].audio[0]), 1) for i in range(300))
    assert set(values) == {0.1, 0.2, 0.3}
    assert min(values.values()) > 70


def test_quiet_crops_are_drawn_again(tmp_path: Path) -> None:
    audio = np.zeros((1, 20_000), np.float32)
    audio[:, 18_000:] = 0.5
    audio_io.write(tmp_path / "x.wav", audio, RATE)
    crops = _crops([MusicFolder(path=tmp_path)])
    for i in range(20):
        assert float(crops[i].audio.square().mean()) ** 0.5 >= 0.001


def test_silence_alone_is_an_error_that_says_so(tmp_path: Path) -> None:
    audio_io.write(tmp_path / "x.wav", np.zeros((1, 2000), np.float32), RATE)
    with pytest.raises(AudioError, match=r"no usable crop in 100 draws.*RMS must be at least 0.001, got 0"):
        _crops([MusicFolder(path=tmp_path)])[0]


def test_another_sample_rate_is_resampled(tmp_path: Path) -> None:
    time = np.arange(48_000) / 48_000
    audio_io.write(tmp_path / "x.flac", 0.5 * np.sin(2 * np.pi * 440 * time).astype(np.float32)[None], 48_000)
    crops = _crops([MusicFolder(path=tmp_path)], n_samples=2000)
    for i in range(5):
        audio = crops[i].audio.numpy()
        spectrum = np.abs(np.fft.rfft(audio * np.hanning(2000)))
        assert spectrum.argmax() * RATE / 2000 == pytest.approx(440, abs=4)
        assert np.abs(audio).max() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".mp3"])
def test_every_format_is_read_from_the_middle(tmp_path: Path, suffix: str) -> None:
    random = np.random.default_rng(0)
    audio_io.write(tmp_path / f"x{suffix}", 0.1 * random.standard_normal((2, 48_000)).astype(np.float32), 48_000)
    crops = _crops([MusicFolder(path=tmp_path)], n_samples=1000)
    for i in range(4):
        assert np.sqrt(np.mean(crops[i].audio.numpy() ** 2)) > 0.01


def test_a_short_track_is_padded_with_silence(tmp_path: Path) -> None:
    audio_io.write(tmp_path / "x.wav", np.full((1, 100), 0.5, np.float32), RATE)
    audio = _crops([MusicFolder(path=tmp_path)])[0].audio.numpy()
    np.testing.assert_array_equal(audio, np.r_[np.full(100, 0.5), np.zeros(300)].astype(np.float32))


def test_include_and_exclude_choose_files(ramps: Path) -> None:
    assert [p.name for p in MusicFolder(path=ramps, exclude=("sub/*",)).files()] == ["a.wav"]
    assert [p.name for p in MusicFolder(path=ramps, include=("sub/*",)).files()] == ["b.wav"]
    with pytest.raises(AudioError, match="at least one readable audio file"):
        scan([MusicFolder(path=ramps, include=("*.mp3",))])


def test_a_broken_file_is_left_out_with_a_warning(ramps: Path) -> None:
    (ramps / "broken.wav").write_bytes(b"no audio")
    with pytest.warns(UserWarning, match=r"left out of training: .*broken.wav"):
        library = scan([MusicFolder(path=ramps)])
    assert [path.name for path in library.paths] == ["a.wav", "b.wav"]


def test_weights_for_some_folders_only_are_refused(ramps: Path) -> None:
    with pytest.raises(ValueError, match="weight must be given for all folders or for none"):
        scan([MusicFolder(path=ramps, weight=1.0), MusicFolder(path=ramps)])
    with pytest.raises(ValueError, match="greater than 0"):
        MusicFolder(path=ramps, weight=-1.0)


def test_two_processes_take_the_crops_of_one(ramps: Path) -> None:
    crops = _crops([MusicFolder(path=ramps)])
    whole = list(batches(crops, first=3, last=6, batch=4))
    halves = [list(batches(crops, first=3, last=6, batch=2, process=p, processes=2)) for p in (0, 1)]
    for step, examples in enumerate(whole):
        together = np.concatenate([half[step].audio.numpy() for half in halves])
        np.testing.assert_array_equal(together, examples.audio.numpy())


def test_workers_change_nothing(ramps: Path) -> None:
    crops = _crops([MusicFolder(path=ramps)])
    alone = list(batches(crops, first=0, last=3, batch=2))
    helped = list(batches(crops, first=0, last=3, batch=2, workers=2))
    for a, b in zip(alone, helped, strict=True):
        assert all((x == y).all() for x, y in zip(a, b, strict=True))

"""Decoding, resampling, excerpts, listing; and every fault of a file named with its constraint and value."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from m2l_bench import audio
from m2l_bench.audio import AudioError
from m2l_bench.files.disk import write_atomic


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff"])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", [8000, 44100, 96000])
def test_lossless_formats_round_trip(tmp_path: Path, music, suffix: str, channels: int, rate: int) -> None:
    signal = music(5000, channels)
    audio.write(tmp_path / f"x{suffix}", signal, rate)
    back, back_rate = audio.load(tmp_path / f"x{suffix}")
    assert back_rate == rate
    assert back.dtype == np.float32
    tolerance = {".wav": 0.0, ".flac": 2**-23, ".aiff": 2**-15}[suffix]
    np.testing.assert_allclose(back, signal, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("suffix", "rate"), [(".mp3", 44100), (".ogg", 44100), (".opus", 48000)])
def test_lossy_formats_decode(tmp_path: Path, music, suffix: str, rate: int) -> None:
    signal = music(rate, 2, rate)
    audio.write(tmp_path / f"x{suffix}", signal, rate)
    back, back_rate = audio.load(tmp_path / f"x{suffix}")
    assert (back.shape, back_rate) == (signal.shape, rate)
    assert np.corrcoef(back.ravel(), signal.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus"])
def test_excerpt_equals_the_same_part_of_the_whole(tmp_path: Path, music, suffix: str) -> None:
    audio.write(tmp_path / f"x{suffix}", music(96000, 2, 48000), 48000)
    whole, _ = audio.load(tmp_path / f"x{suffix}")
    part, _ = audio.load(tmp_path / f"x{suffix}", start=30000, n_samples=12345)
    # Opus decoders need some packets to converge after a seek.
    np.testing.assert_allclose(part, whole[:, 30000:42345], rtol=0, atol=2e-3 if suffix == ".opus" else 1e-6)


def test_info_reads_the_header(tmp_path: Path, music) -> None:
    audio.write(tmp_path / "x.flac", music(4410, 2), 44100)
    header = audio.info(tmp_path / "x.flac")
    assert (header.sample_rate, header.channels, header.n_samples, header.duration) == (44100, 2, 4410, 0.1)
    assert soundfile.info(tmp_path / "x.flac").subtype == "PCM_24"


def test_resampling_keeps_a_tone_and_its_phase() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(44100) / 44100).astype(np.float32)[None]
    up = audio.resample(tone, 44100, 48000)
    expected = np.sin(2 * np.pi * 1000 * np.arange(48000) / 48000)
    assert up.shape == (1, 48000)
    np.testing.assert_allclose(up[0, 2000:-2000], expected[2000:-2000], atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3000), st.sampled_from([8000, 22050, 44100, 48000, 96000]), st.sampled_from([8000, 44100, 48000]))
def test_resampling_there_and_back_keeps_the_length(n_samples: int, rate: int, other: int) -> None:
    signal = np.ones((2, n_samples), np.float32)
    there = audio.resample(signal, rate, other)
    assert audio.resample(there, other, rate, n_samples=n_samples).shape == signal.shape


def test_folder_is_listed_sorted_recursively_without_hidden_files(tmp_path: Path) -> None:
    for name in ["b.WAV", "a/z.flac", "a/.hidden.wav", ".git/x.wav", "notes.txt", "c.opus"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    names = [path.relative_to(tmp_path).as_posix() for path in audio.list_audio(tmp_path)]
    assert names == ["a/z.flac", "b.WAV", "c.opus"]


def _names(listing: audio.AudioListing, folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in listing.paths]


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A folder of music beside a folder that only links lead to."""
    for name in ("music/a.wav", "music/sub/b.wav", "elsewhere/c.wav", "elsewhere/deep/d.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path / "music"


def test_links_that_lead_out_are_followed(linked: Path) -> None:
    (linked / "out").symlink_to(linked.parent / "elsewhere")
    listing = audio.scan_audio(linked)
    assert _names(listing, linked) == ["a.wav", "out/c.wav", "out/deep/d.wav", "sub/b.wav"]
    assert listing.skipped == {}
    (linked / "out").unlink()
    (linked / "c.wav").symlink_to(linked.parent / "elsewhere" / "c.wav")
    assert _names(audio.scan_audio(linked), linked) == ["a.wav", "c.wav", "sub/b.wav"]


def test_a_file_of_several_names_is_listed_once_under_its_real_path(linked: Path) -> None:
    (linked / "0.wav").symlink_to(linked / "a.wav")
    (linked / "y.wav").symlink_to(linked.parent / "elsewhere" / "c.wav")
    (linked / "z.wav").symlink_to(linked.parent / "elsewhere" / "c.wav")
    listing = audio.scan_audio(linked)
    assert _names(listing, linked) == ["a.wav", "sub/b.wav", "y.wav"]
    assert listing.skipped == {
        "0.wav": "link to a.wav, which is listed already",
        "z.wav": "link to y.wav, which is listed already",
    }


def test_cycles_of_links_end_and_are_named(linked: Path) -> None:
    (linked / "sub" / "up").symlink_to(linked)
    (linked / "parent").symlink_to(linked.parent)
    (linked.parent / "elsewhere" / "back").symlink_to(linked / "sub")
    (linked / "self.wav").symlink_to(linked / "self.wav")
    listing = audio.scan_audio(linked)
    assert _names(listing, linked) == ["a.wav", "parent/elsewhere/c.wav", "parent/elsewhere/deep/d.wav", "sub/b.wav"]
    already = "link to a folder that is listed already"
    assert listing.skipped == {
        "parent/elsewhere/back": already,
        "parent/music": already,
        "self.wav": "dangling link",
        "sub/up": already,
    }


def test_dangling_links_and_unreadable_folders_are_named(linked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (linked / "gone.wav").symlink_to(linked / "nowhere.wav")
    scandir = os.scandir

    def refuse(folder: str):
        if Path(folder).name == "sub":
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    found = audio.scan_audio(linked)
    assert _names(found, linked) == ["a.wav"]
    assert found.skipped == {"gone.wav": "dangling link", "sub": "unreadable folder (Permission denied)"}
    with pytest.raises(AudioError, match=r"sub: must be a readable folder \(Permission denied\)"):
        audio.scan_audio(linked / "sub")


def _bad(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / f"{kind}.wav"
    signal = np.zeros((4410, 2), np.float32)
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is not audio, whatever its name says" * 10)
    elif kind == "header-only":
        soundfile.write(path, signal[:0], 44100)
    elif kind == "nan":
        signal[7, 1] = np.nan
        soundfile.write(path, signal, 44100, subtype="FLOAT")
    elif kind == "infinite":
        signal[7, 1] = np.inf
        soundfile.write(path, signal, 44100, subtype="FLOAT")
    elif kind == "zero-channels":
        soundfile.write(path, signal, 44100)
        content = bytearray(path.read_bytes())
        content[22:24] = b"\0\0"
        path.write_bytes(bytes(content))
    elif kind == "folder":
        path.mkdir()
    elif kind == "truncated":
        path = path.with_suffix(".flac")
        soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, (44100, 2)), 44100)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "dangling-link":
        path.symlink_to(tmp_path / "nowhere.wav")
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "must exist"),
        ("dangling-link", "must exist"),
        ("empty", "got 0 bytes"),
        ("text", "not audio"),
        ("header-only", "at least 1 sample, got 0"),
        ("nan", "must be finite, got 1 NaN or infinite of 8820"),
        ("infinite", "must be finite, got 1 NaN or infinite of 8820"),
        ("zero-channels", "not audio|channels, got 0"),
        ("folder", "must be a file"),
        ("truncated", "truncated"),
    ],
)
def test_bad_files_are_named_with_their_reason(tmp_path: Path, kind: str, message: str) -> None:
    path = _bad(tmp_path, kind)
    with pytest.raises(AudioError, match=message) as caught:
        audio.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff", ".ogg", ".opus", ".mp3"])
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.99])
def test_truncated_files_of_every_format_are_refused(tmp_path: Path, suffix: str, kept: float) -> None:
    signal = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 96000)).astype(np.float32)
    path = tmp_path / f"x{suffix}"
    audio.write(path, signal, 48000)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(AudioError, match=r"truncated|malformed|lost sync"):
        audio.load(path)


def test_wav_of_unknown_length_is_read(tmp_path: Path, music) -> None:
    signal = music(1000)
    soundfile.write(tmp_path / "x.wav", signal.T, 44100, subtype="FLOAT")
    content = bytearray((tmp_path / "x.wav").read_bytes())
    start = content.find(b"data") + 4
    content[start : start + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "x.wav").write_bytes(bytes(content))
    assert np.array_equal(audio.load(tmp_path / "x.wav")[0], signal)


def test_excerpt_outside_the_file_is_refused(tmp_path: Path, music) -> None:
    audio.write(tmp_path / "x.wav", music(100), 44100)
    with pytest.raises(AudioError, match="100 samples, got start 90, length 11"):
        audio.load(tmp_path / "x.wav", start=90, n_samples=11)
    with pytest.raises(AudioError, match="must lie within the file's 100 samples, got start 100, length 0"):
        audio.load(tmp_path / "x.wav", start=100)


def test_write_names_what_the_format_cannot_hold(tmp_path: Path, music) -> None:
    with pytest.raises(AudioError, match=r"suffix must be one of .*got '\.xyz'"):
        audio.write(tmp_path / "x.xyz", music(100), 44100)
    with pytest.raises(AudioError, match=r"x\.mp3: cannot be written at 44100 Hz with shape \(6, 100\)"):
        audio.write(tmp_path / "x.mp3", music(100, 6), 44100)
    assert list(tmp_path.iterdir()) == []


def test_failed_atomic_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomic(tmp_path / "x", b"old")

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]

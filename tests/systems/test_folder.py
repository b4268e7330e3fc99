"""Ready-made reconstructions: found by relative stem, whatever the format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from m2l_bench import audio
from m2l_bench.audio import AudioError
from m2l_bench.systems.apply import reconstruct
from m2l_bench.systems.folder import ReconstructionFolder


def test_finds_by_relative_stem(music_folder: Path, music) -> None:
    found, rate = ReconstructionFolder(music_folder).find("album/c")
    assert rate == 44100
    assert np.array_equal(found, music(seed=2))


def test_missing_and_ambiguous_are_named(music_folder: Path, music) -> None:
    with pytest.raises(AudioError, match=r"album/z: must have exactly one reconstruction, got none"):
        ReconstructionFolder(music_folder).find("album/z")
    audio.write(music_folder / "a.flac", music(), 44100)
    with pytest.raises(AudioError, match=r"a: must have exactly one reconstruction, got a\.flac, a\.wav"):
        ReconstructionFolder(music_folder).find("a")
    with pytest.raises(AudioError, match="must be a folder of reconstructions"):
        ReconstructionFolder(music_folder / "nowhere")


def test_names_that_are_links_to_one_file_are_all_found(music_folder: Path, music) -> None:
    (music_folder / "d.wav").symlink_to("a.wav")
    (music_folder / "linked").symlink_to("album")
    folder = ReconstructionFolder(music_folder)
    for stem in ("a", "d"):
        assert np.array_equal(folder.find(stem)[0], music(seed=0))
    assert np.array_equal(folder.find("linked/c")[0], folder.find("album/c")[0])
    before = folder.fingerprint
    (music_folder / "d.wav").unlink()
    (music_folder / "d.wav").symlink_to("b.wav")
    assert ReconstructionFolder(music_folder).fingerprint != before


def test_fingerprint_follows_the_content(music_folder: Path, music) -> None:
    before = ReconstructionFolder(music_folder).fingerprint
    assert ReconstructionFolder(music_folder).fingerprint == before
    audio.write(music_folder / "a.wav", music(seed=9), 44100)
    assert ReconstructionFolder(music_folder).fingerprint != before


def test_other_lengths_are_an_error_unless_allowed(music_folder: Path, music) -> None:
    reference = np.pad(music(seed=0), ((0, 0), (0, 100)))
    folder = ReconstructionFolder(music_folder)
    with pytest.raises(AudioError, match="must have its reference's 22150 samples at 44100 Hz, got 22050"):
        reconstruct(folder, reference, 44100, "a")
    estimate, _ = reconstruct(folder, reference, 44100, "a", max_length_difference=0.01)
    assert estimate.shape == (2, 22050)


def test_other_rates_are_resampled_to_the_references(music_folder: Path) -> None:
    estimate, _ = reconstruct(ReconstructionFolder(music_folder), np.zeros((2, 24000), np.float32), 48000, "a")
    assert estimate.shape == (2, 24000)


def test_other_channel_counts_are_an_error(music_folder: Path) -> None:
    with pytest.raises(AudioError, match="must have the reference's 1 channels, got 2"):
        reconstruct(ReconstructionFolder(music_folder), np.zeros((1, 22050), np.float32), 44100, "a")

"""Song Describer and MusicCaps in the user's folder: which files, which part of them, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from m2l_bench import audio
from m2l_bench.audio import AudioError
from m2l_bench.cli import app
from m2l_bench.suite.audio_sets import PUBLISHED_SETS, find_audio
from m2l_bench.suite.data import AudioItem
from m2l_bench.suite.suite import make_suite
from m2l_bench.tasks.sources.source import MissingDataset

RATE = 8000


def write(path: Path, seconds: float, *, seed: int = 0) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    signal = 0.1 * np.random.default_rng(seed).standard_normal((1, round(seconds * RATE)), dtype=np.float32)
    soundfile.write(path, signal[0], RATE)
    return audio.load(path)[0]


@pytest.fixture
def song_describer(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """Two tracks of the validated subset, one with two captions, one that is not there, and one that is not validated."""
    home = tmp_path / "sdd"
    files = {f"0{n}/{n}": write(home / "audio" / f"0{n}" / f"{n}.2min.mp3", 12.5 + n, seed=n) for n in (1, 2, 3)}
    rows = [
        ("01/1.mp3", "False"),
        ("01/1.mp3", "True"),
        ("02/2.mp3", "True"),
        ("03/3.mp3", "False"),
        ("04/4.mp3", "True"),
    ]
    lines = [f'{n},"a caption, with a comma",{valid},{path}' for n, (path, valid) in enumerate(rows)]
    (home / "song_describer.csv").write_text("\n".join(["caption_id,caption,is_valid_subset,path", *lines]) + "\n")
    return home, files


def test_song_describer_is_the_middle_of_the_validated_tracks(song_describer: tuple[Path, dict]) -> None:
    home, files = song_describer
    found = find_audio(f"song-describer={home}")
    assert [item.id for item in found.items] == ["01/1.mp3", "02/2.mp3"]
    assert found.name == "song-describer" and found.note.endswith("of Song Describer; 2 of 546 files.")
    assert list(found.skipped) == ["04/4.mp3"] and "neither 4.2min.mp3 nor 4.mp3" in found.skipped["04/4.mp3"]
    for item, whole in zip(found.items, (files["01/1"], files["02/2"]), strict=True):
        excerpt, rate = item.load()
        start = (whole.shape[1] - 10 * rate) // 2
        np.testing.assert_allclose(excerpt, whole[:, start : start + 10 * rate], atol=1e-3)  # MP3 after a seek
        assert item.seconds == 10.0 and item.load(longest=3.0)[0].shape[1] == 3 * rate


def test_whole_tracks_are_other_data(song_describer: tuple[Path, dict]) -> None:
    """So that no stored outcome of the one is taken for the other."""
    home, files = song_describer
    tracks, excerpts = find_audio(f"song-describer:tracks={home}"), find_audio(f"song-describer={home}")
    assert [item.id for item in tracks.items] == [item.id for item in excerpts.items]
    assert not {item.sha256 for item in tracks.items} & {item.sha256 for item in excerpts.items}
    assert tracks.hash != excerpts.hash
    np.testing.assert_array_equal(tracks.items[0].load()[0], files["01/1"])


@pytest.mark.parametrize(("seconds", "samples"), [(10.0, 80_000), (9.0, 72_000), (10.25, 80_000)])
def test_the_middle_is_exact_where_a_file_is_not_coded(seconds: float, samples: int, tmp_path: Path) -> None:
    whole = write(tmp_path / "a.wav", seconds)
    excerpt, _ = AudioItem("a.wav", str(tmp_path / "a.wav"), "x", 10.0).load()
    start = (whole.shape[1] - samples) // 2
    np.testing.assert_array_equal(excerpt, whole[:, start : start + samples])


def test_musiccaps_says_how_many_there_are(tmp_path: Path) -> None:
    names = (
        "-0Gj8-vB1q4.wav",
        "0fqtA_ZBn_8_30_40.flac",
        "[bgm_x2IPzCk]-[0-10].wav",
        "sub/-0Gj8-vB1q4_1.wav",
        "cover.wav",
    )
    for number, name in enumerate(names):
        write(tmp_path / name, 1.0, seed=number)
    found = find_audio(f"musiccaps={tmp_path}")
    assert {item.id for item in found.items} == set(names[:3])
    assert found.note == "musiccaps: clips of MusicCaps, 10 s each; 3 of 5,521 files."
    assert found.skipped == {
        "cover.wav": "not named by an identifier of MusicCaps",
        "sub/-0Gj8-vB1q4_1.wav": "the same clip as -0Gj8-vB1q4.wav",
    }
    (tmp_path / "musiccaps-public.csv").write_text("ytid,caption\n-0Gj8-vB1q4,strings\n")
    assert [item.id for item in find_audio(f"musiccaps={tmp_path}").items] == ["-0Gj8-vB1q4.wav"]


@pytest.mark.parametrize("name", list(PUBLISHED_SETS))
def test_a_set_that_is_not_there_says_how_to_get_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingDataset, match=rf"must be in {tmp_path}.* Size: .* Licence: .* never downloaded"):
        find_audio(f"{name}={tmp_path}")


def test_other_tables_and_names_are_refused(song_describer: tuple[Path, dict]) -> None:
    home, _ = song_describer
    (home / "song_describer.csv").write_text("path,is_valid_subset\n../../x.mp3,True\n")
    with pytest.raises(ValueError, match=r"\.\./\.\./x"):
        find_audio(f"song-describer={home}")
    (home / "song_describer.csv").write_text("path,is_valid_subset\n1.mp3,yes\n")
    with pytest.raises(ValueError, match="is_valid_subset must be True or False, got 'yes'"):
        find_audio(f"song-describer={home}")
    with pytest.raises(AudioError, match=r"must be a folder or one of .*, song-describer, .*musiccaps"):
        find_audio("song-descriptor")


def test_a_suite_keeps_where_a_set_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    suite = make_suite({"audio": ["song-describer", "musiccaps=caps", "song-describer:tracks=~/sdd"]})
    assert suite.audio == (
        "song-describer",
        f"musiccaps={tmp_path}/caps",
        f"song-describer:tracks={Path.home()}/sdd",
    )


@pytest.mark.usefixtures("commands_share_worker")
def test_a_run_scores_excerpts_and_says_so(song_describer: tuple[Path, dict], tmp_path: Path) -> None:
    home, _ = song_describer
    out = tmp_path / "out"
    call = ["run", "--audio", f"song-describer={home}", "--system", "opus:24k", "--metric", "si_sdr"]
    done = CliRunner().invoke(app, [*call, "--clips", "0", "--out", str(out)])
    assert done.exit_code == 0, done.output
    text = (out / "index.md").read_text()
    assert "2 of 546 files" in text and "04/4.mp3" in done.output + text


def test_they_are_listed() -> None:
    done = CliRunner().invoke(app, ["list", "audio", "--json"])
    assert done.exit_code == 0 and "song-describer:tracks" in done.stdout and "5,521 files" in done.stdout

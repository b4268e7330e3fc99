"""The embedded sets are whole, licensed, decodable and within their budget."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from m2l_bench import assets
from m2l_bench.audio import AUDIO_SUFFIXES, list_audio, load

SETS = sorted(assets.MANIFESTS)
BUDGET_BYTES = 15_500_000


@pytest.mark.parametrize("name", SETS)
def test_every_file_is_the_one_that_was_published(name: str) -> None:
    assets.verify(name)


@pytest.mark.parametrize("name", SETS)
def test_the_manifest_names_every_audio_file_once_and_no_other(name: str) -> None:
    paths = [row["path"] for row in assets.manifest(name)]
    place = assets.folder(name)
    assert sorted(paths) == [path.relative_to(place).as_posix() for path in list_audio(place)]


@pytest.mark.parametrize("name", SETS)
def test_licence_and_notice_lie_beside_the_audio(name: str) -> None:
    for file in ("LICENSE", "NOTICE.md"):
        assert len((assets.folder(name) / file).read_text(encoding="utf-8")) > 500


def test_every_set_has_a_pinned_manifest() -> None:
    assert set(assets.FOLDERS.values()) == set(assets.MANIFESTS)


def test_audio_stays_within_its_budget() -> None:
    root = Path(assets.__file__).parent
    sizes = [path.stat().st_size for path in root.rglob("*") if path.suffix in AUDIO_SUFFIXES]
    assert sum(sizes) <= BUDGET_BYTES
    assert max(sizes) < 500_000


def test_an_unknown_set_is_named_with_the_choice() -> None:
    with pytest.raises(ValueError, match=r"name must be one of .*reconstruction/wesnoth.*, got 'gtzan'"):
        assets.folder("gtzan")


def test_a_changed_or_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "reconstruction/wesnoth"
    shutil.copytree(assets.folder(name), tmp_path / name)
    monkeypatch.setattr(assets, "_HERE", tmp_path)
    assets.verify(name)
    first = tmp_path / name / assets.manifest(name)[0]["path"]
    first.write_bytes(first.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match=f"{first.name}: SHA-256 must be"):
        assets.verify(name)
    first.unlink()
    with pytest.raises(ValueError, match=f"{first.name}: must exist"):
        assets.verify(name)
    (tmp_path / name / "manifest.csv").write_text("path,sha256\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"manifest\.csv: SHA-256 must be"):
        assets.verify(name)


def test_manifest_rows_are_the_callers_own() -> None:
    name = "reconstruction/wesnoth"
    assets.manifest(name)[0]["path"] = "changed"
    assert assets.manifest(name)[0]["path"] != "changed"


class TestWesnoth:
    rows = assets.manifest("reconstruction/wesnoth")
    place = assets.folder("reconstruction/wesnoth")

    def test_counts(self) -> None:
        assert len(self.rows) == 25
        assert len({row["source_sha256"] for row in self.rows}) == 25
        composers = [row["composer"] for row in self.rows]
        assert len(set(composers)) == 10
        assert max(composers.count(name) for name in composers) == 3

    @pytest.mark.parametrize("row", rows, ids=lambda row: row["path"])
    def test_each_excerpt_is_ten_finite_seconds_of_stereo(self, row: dict[str, str]) -> None:
        audio, sample_rate = load(self.place / row["path"])
        assert (audio.shape, sample_rate) == ((2, 441_000), 44_100)
        level = np.sqrt(np.mean(audio.reshape(2, 10, -1) ** 2, axis=(0, 2)))
        assert level.min() >= 10 ** (-40 / 20)
        assert np.abs(audio[0] - audio[1]).max() > 0


def straddling_groups(rows: list[dict[str, str]]) -> set[str]:
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["group"], set()).add(row["split"])
    return {group for group, found in splits.items() if len(found) > 1}


class TestToneJS:
    rows = assets.manifest("instrument/tonejs")
    place = assets.folder("instrument/tonejs")

    def test_counts(self) -> None:
        assert len(self.rows) == 443
        assert Counter(row["split"] for row in self.rows) == {"train": 223, "valid": 89, "test": 131}
        instruments = Counter((row["instrument"], row["split"]) for row in self.rows)
        assert len(instruments) == 20 * 3
        assert min(n for (_, split), n in instruments.items() if split == "train") == 4
        assert min(instruments.values()) == 2

    def test_every_pitch_class_is_learnt_and_tested(self) -> None:
        found = Counter((row["pitch_class"], row["split"]) for row in self.rows)
        assert len(found) == 12 * 3
        assert min(n for (_, split), n in found.items() if split == "train") >= 13
        assert min(n for (_, split), n in found.items() if split == "test") >= 8

    def test_repitched_copies_of_a_recording_stay_together(self) -> None:
        assert straddling_groups(self.rows) == set()
        groups = Counter(row["group"] for row in self.rows)
        assert len(groups) == 433
        assert max(groups.values()) == 3

    def test_labels_are_consistent(self) -> None:
        for row in self.rows:
            midi = int(row["midi"])
            assert row["pitch_class"] == ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")[midi % 12]
            assert int(row["octave"]) == midi // 12 - 1
            assert row["path"] == f"{row['instrument']}/{row['source'].rsplit('/', 1)[1].replace('.mp3', '.opus')}"

    @pytest.mark.parametrize("row", rows[::20], ids=lambda row: row["path"])
    def test_each_note_is_two_finite_seconds_of_mono(self, row: dict[str, str]) -> None:
        audio, sample_rate = load(self.place / row["path"])
        assert (audio.shape, sample_rate) == ((1, 96_000), 48_000)
        assert np.sqrt(np.mean(audio**2)) > 0.003

    @pytest.mark.parametrize("name", ["cello/A3", "flute/A5", "piano/C4", "trumpet/F4", "violin/E5"])
    def test_a_note_sounds_the_pitch_it_is_labelled_with(self, name: str) -> None:
        row = next(row for row in self.rows if row["path"] == f"{name}.opus")
        audio, sample_rate = load(self.place / row["path"], start=9_600, n_samples=48_000)
        spectrum = np.abs(np.fft.rfft(audio[0] * np.hanning(48_000), 1 << 20))
        frequencies = np.fft.rfftfreq(1 << 20, 1 / sample_rate)
        expected = 440 * 2 ** ((int(row["midi"]) - 69) / 12)
        for harmonic in (1, 2):  # either may be the weaker, both must be peaks within 35 cents
            near = np.abs(1200 * np.log2(np.maximum(frequencies, 1) / (harmonic * expected))) < 100
            peak = frequencies[near][np.argmax(spectrum[near])]
            assert abs(1200 * np.log2(peak / (harmonic * expected))) < 35

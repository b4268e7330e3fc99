"""The embedded sets are whole, licensed, decodable and within their budget."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from m2l_bench import assets
from m2l_bench.audio import AUDIO_SUFFIXES, AudioError, list_audio, load

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
    with pytest.raises(AudioError, match=f"{first.name}: SHA-256 must be"):
        assets.verify(name)
    first.unlink()
    with pytest.raises(AudioError, match=f"{first.name}: must exist"):
        assets.verify(name)
    (tmp_path / name / "manifest.csv").write_text("path,sha256\n", encoding="utf-8")
    with pytest.raises(AudioError, match=r"manifest\.csv: SHA-256 must be"):
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

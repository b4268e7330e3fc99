"""The parts of the building scripts that need no network: the Ogg cutter, the arranger, the tune reader, the exporter."""

from __future__ import annotations

import importlib
import io
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from m2l_bench import assets

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.syspath_prepend(SCRIPTS)

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


class TestOggCut:
    source = (assets.folder("reconstruction/wesnoth") / "knolls.ogg").read_bytes()

    @pytest.mark.parametrize(("start", "n_samples"), [(0, 1), (0, 44_100), (12_345, 100_001), (300_000, 100_000)])
    def test_the_cut_decodes_to_the_sources_samples(self, script, start: int, n_samples: int) -> None:
        whole, _ = soundfile.read(io.BytesIO(self.source), dtype="float32")
        cut = script("ogg_vorbis").cut(self.source, start, n_samples)
        part, sample_rate = soundfile.read(io.BytesIO(cut.data), dtype="float32")
        assert (sample_rate, len(part), cut.n_samples) == (44_100, n_samples, n_samples)
        assert start <= cut.start < start + 2048
        np.testing.assert_array_equal(part, whole[cut.start : cut.start + n_samples])

    def test_tags_survive(self, script) -> None:
        ogg = script("ogg_vorbis")
        assert ogg.comments(self.source)["TITLE"] == "The Knolls of Doldesh"
        assert ogg.comments(ogg.cut(self.source, 0, 1000).data) == ogg.comments(self.source)

    def test_bad_sources_are_named(self, script) -> None:
        cut = script("ogg_vorbis").cut
        with pytest.raises(ValueError, match="must lie within 441"):
            cut(self.source, 400_000, 100_000)
        with pytest.raises(ValueError, match="one Ogg stream"):
            cut(b"RIFF" + self.source[4:], 0, 1000)
        flute = assets.folder("instrument/tonejs") / "flute" / "C5.opus"
        with pytest.raises(ValueError, match="must hold one Vorbis stream"):
            cut(flute.read_bytes(), 0, 1000)


class TestArranger:
    scale = tuple((float(i), 1.0, pitch) for i, pitch in enumerate((60, 62, 64, 65, 67, 69, 71, 72)))

    def test_chords_stay_in_the_key_and_begin_on_the_tonic(self, script) -> None:
        chords = script("tunes_arrange").harmonise(self.scale, 0, "major", 2.0)
        assert [start for start, _ in chords] == [0.0, 2.0, 4.0, 6.0]
        assert chords[0][1] == (0, 4, 7)
        assert {pc for _, chord in chords for pc in chord} <= {0, 2, 4, 5, 7, 9, 11}

    def test_chords_move_with_the_key(self, script) -> None:
        harmonise = script("tunes_arrange").harmonise
        up = [(start, length, pitch + 5) for start, length, pitch in self.scale]
        moved = [tuple((pc + 5) % 12 for pc in chord) for _, chord in harmonise(self.scale, 0, "major", 2.0)]
        assert [chord for _, chord in harmonise(up, 5, "major", 2.0)] == moved

    @pytest.mark.parametrize(
        "instruments",
        [["flute", "violin"], ["bass", "harp"], ["trumpet", "bass", "piano"], ["banjo", "flute", "guitar", "clarinet"]],
    )
    def test_everybody_has_a_part_and_one_has_the_melody(self, script, instruments: list[str]) -> None:
        arrange = script("tunes_arrange")
        parts = arrange.assign_parts(instruments)
        assert set(parts) == set(instruments)
        assert list(parts.values()).count("melody") == 1
        stems = arrange.Arrangement(self.scale, 0, "major", "2/4", 90.0, parts).stems(8.0)
        assert all(stems[name] for name in instruments)
        assert all(0 <= start < 8.0 for notes in stems.values() for start, *_ in notes)


class TestTuneReader:
    ABC = "X:1\nT:{title}\nM:{metre}\nL:1/8\nR:{rhythm}\nK:{key}\n|:GABc dedB|dedB dedB|c2ec B2dB|c2A2 A2BA:|\n\n"

    def read(self, script, folder: Path, **fields: str) -> list:
        defaults = {"title": "A Tune", "metre": "C|", "rhythm": "reel", "key": "G"}
        (folder / "ryansMammoth").mkdir(parents=True)
        (folder / "oneills1850").mkdir()
        text = self.ABC.format(**{**defaults, **fields})
        (folder / "ryansMammoth" / "ATune.abc").write_text(text, encoding="utf-8")
        (folder / "oneills1850" / "0001.abc").write_text(text.replace("A Tune", "Same Again"), encoding="utf-8")
        return script("tunes_corpus").read_tunes(folder)

    @pytest.mark.parametrize(
        ("key", "tonic", "mode"), [("G", 7, "major"), ("Bb", 10, "major"), ("F#m", 6, "minor"), ("A Minor", 9, "minor")]
    )
    def test_keys(self, script, tmp_path: Path, key: str, tonic: int, mode: str) -> None:
        tune = self.read(script, tmp_path, key=key)[0]
        assert (tune.tonic, tune.mode) == (tonic, mode)

    @pytest.mark.parametrize("fields", [{"key": "Ador"}, {"key": "Dmix"}, {"metre": "5/4"}, {"title": "Old Zip Coon"}])
    def test_what_is_left_out(self, script, tmp_path: Path, fields: dict[str, str]) -> None:
        assert self.read(script, tmp_path, **fields) == []

    @pytest.mark.parametrize(
        ("fields", "genre"),
        [
            ({}, "reel"),
            ({"metre": "6/8"}, ""),
            ({"rhythm": "double jig", "metre": "6/8"}, "jig"),
            ({"rhythm": "slipjig", "metre": "9/8", "title": "Hop -- SlipJig"}, "slip jig"),
            ({"title": "Black Sheep -- Jig"}, ""),
        ],
    )
    def test_tune_types(self, script, tmp_path: Path, fields: dict[str, str], genre: str) -> None:
        assert {tune.genre for tune in self.read(script, tmp_path, **fields) if "ryan" in tune.name} == {genre}

    def test_versions_of_a_tune_are_one_family_whatever_their_title(self, script, tmp_path: Path) -> None:
        first, second = self.read(script, tmp_path)
        assert first.family == second.family
        assert first.name != second.name


class TestExporter:
    def test_a_training_of_other_weights_than_the_shipped_continues_nothing(self, script, tmp_path: Path) -> None:
        continued = script("export_small").continued
        shipped, started, record = (
            tmp_path / "small.safetensors",
            tmp_path / "start.safetensors",
            tmp_path / "record.json",
        )
        shipped.write_bytes(b"1")
        started.write_bytes(b"1")
        record.write_text(json.dumps({"cpu_seconds": 2.0}))
        assert continued({"weights": None}, shipped, record) == {}
        assert continued({"weights": str(started)}, shipped, record) == {"cpu_seconds": 2.0}
        started.write_bytes(b"2")
        with pytest.raises(ValueError, match=r"start\.safetensors: must be the shipped small\.safetensors"):
            continued({"weights": str(started)}, shipped, record)

    def test_records_name_no_folders_of_a_machine(self, script) -> None:
        folders = [{"path": "/somewhere/music/quiet"}]
        recipe = {
            "data": {"folders": folders},
            "validation": {"folders": folders},
            "weights": "/somewhere/start.safetensors",
        }
        assert "/somewhere" not in json.dumps(script("export_small").portable(recipe))

"""Loaders of public datasets on synthetic folders of their layouts, end to end; own folders; missing datasets."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from layouts import LAYOUTS, features, giantsteps_tempo, gtzan, magnatagatune, openmic, table, text, tone

from m2l_bench.probes import LinearProbe
from m2l_bench.tasks import evaluate, load_task, task_names
from m2l_bench.tasks.base import Task
from m2l_bench.tasks.sources.folder import deal
from m2l_bench.tasks.sources.gtzan import fault_filtered
from m2l_bench.tasks.sources.magnatagatune import ids_checksum
from m2l_bench.tasks.sources.mirdata import Irmas, beatport_id, linked_groups, one_key
from m2l_bench.tasks.sources.source import SPLITS, IncompleteSplit, KnownTags, MissingDataset, hashed_split

PROBE = LinearProbe(l2=(1e-2,))


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: build(tmp_path_factory.mktemp("data") / "home") for name, (build, _) in LAYOUTS.items()}


@pytest.mark.filterwarnings("ignore::m2l_bench.tasks.sources.source.IncompleteSplit")
@pytest.mark.parametrize("name", list(LAYOUTS))
def test_synthetic_folder_of_the_same_layout_end_to_end(name: str, homes: dict[str, Path]) -> None:
    task = load_task(name, data_home=homes[name])
    items = task.items()
    assert len(items) == LAYOUTS[name][1] and all(item.path.is_file() for item in items)
    result = evaluate(task, {item.id: features(item.path) for item in items}, PROBE, seeds=(0,))
    # Tones are easy: the labels belong to the files. A tag of IRMAS' test that its training lacks is at chance.
    assert result.mean(task.main_metric) > (0.8 if name == "instrument/irmas" else 0.9)
    assert result.task.about.licence and result.task.about.citation


def test_splits_groups_and_labels_of_each_source(homes: dict[str, Path]) -> None:
    task = load_task("key/giantsteps", data_home=homes["key/giantsteps"])
    assert Counter(item.split for item in task.items())["test"] == 16
    labels = task.split_labels("test")
    assert "15" not in labels and labels["2"] == "F# minor" and len(labels) == 15  # nonsense is no key
    assert task.items()[0].group == "beatport 20000"
    task = load_task("key/beatport", data_home=homes["key/beatport"])
    assert "0" not in {**task.split_labels("train"), **task.split_labels("valid"), **task.split_labels("test")}
    task = load_task("instrument/tinysol:3", data_home=homes["instrument/tinysol:3"])
    assert {item.split for item in task.items() if "N-18" in item.id} == {"test"}
    assert set(load_task("pitch/tinysol", data_home=homes["pitch/tinysol"]).split_labels("test").values()) == {
        "C",
        "C#",
    }
    task = load_task("instrument/irmas", data_home=homes["instrument/irmas"])
    assert task.split_labels("test")["2"] == ("pia", "voi") and len({i.group for i in task.items()}) == 60 + 6
    task = load_task("genre/gtzan", data_home=homes["genre/gtzan"])
    assert set(task.split_labels("train").values()) == {"blues", "hip-hop", "jazz"}
    assert "blues.99999" not in {item.id for item in task.items()}


def test_a_part_of_nsynth_warns(homes: dict[str, Path]) -> None:
    with pytest.warns(IncompleteSplit, match=r"not the published splits \(train 40 of 289205, valid 12 of"):
        load_task("instrument/nsynth", data_home=homes["instrument/nsynth"]).items()


def test_openmic_is_known_in_parts_and_split_by_artist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = openmic(tmp_path / "home")
    task = load_task("instrument/openmic2018", data_home=home)
    with pytest.warns(IncompleteSplit, match=r"not the published split \(train 44 of 14915, test 16 of 5085\)"):
        items = task.items()
    assert len(task.labels) == 20 and items[1].group == "artist The Band 0"
    assert Counter(item.split for item in items)["test"] == 16 and sum(i.split == "valid" for i in items) == 8
    labels = {**task.split_labels("train"), **task.split_labels("valid")}
    assert len(labels) == 44 and labels["000000_3840"] == KnownTags(("flute",), ("piano",))
    assert labels["000001_3840"] == KnownTags(("piano",), ("voice",))  # a relevance of 0.5 is present
    monkeypatch.setattr("m2l_bench.tasks.sources.mirdata.OPENMIC_PUBLISHED", {"train": 44, "test": 16})
    (tmp_path / "outer").mkdir()
    home.rename(tmp_path / "outer" / "openmic-2018")  # as mirdata unpacks its archive
    assert len(load_task("instrument/openmic2018", data_home=tmp_path / "outer").items()) == 60
    for part in ("partitions/split01_test.csv", "openmic-2018-metadata.csv"):
        (tmp_path / "outer" / "openmic-2018" / part).unlink()
        with pytest.raises(MissingDataset, match=r"openmic2018 1\.0 must be in .*openmic-2018, but"):
            load_task("instrument/openmic2018", data_home=tmp_path / "outer").items()


def test_giantsteps_tempo_has_the_tempo_that_most_tapped_in_the_datasets_folds(tmp_path: Path) -> None:
    home = giantsteps_tempo(tmp_path / "home")
    task = load_task("tempo/giantsteps", data_home=home)
    items = {item.id: item for item in task.items()}
    assert "60" not in items and items["0"].group == "beatport 10000"
    assert Counter(item.split for item in items.values()) == {"train": 36, "valid": 12, "test": 12}
    assert {int(name) % 10 for name, item in items.items() if item.split == "test"} == {0, 1}
    labels = {name: tempo for split in SPLITS for name, tempo in task.split_labels(split).items()}
    assert labels == {name: (140.3, 87.0, 120.0)[int(name) % 3] for name in items}
    jams = next(home.glob("giantsteps-tempo-dataset-*/annotations_v2/jams/10000.LOFI.jams"))
    text(jams, jams.read_text().replace("140.3", "14.3"))
    with pytest.raises(ValueError, match=r"tempo/giantsteps: label of '0': tempo must be a number .* got '14\.3'"):
        load_task("tempo/giantsteps", data_home=home).split_labels("test")
    text(jams, '{"annotations": []}')
    with pytest.raises(ValueError, match=r"10000\.LOFI\.jams: must hold a tempo in JAMS \(list index out of range\)"):
        load_task("tempo/giantsteps", data_home=home).split_labels("test")
    jams.unlink()
    with pytest.raises(MissingDataset, match=r"giantsteps_tempo 2\.0 must be in .*audio_dl\.sh"):
        load_task("tempo/giantsteps", data_home=home).split_labels("test")


def test_a_plain_copy_of_gtzan_will_do(tmp_path: Path) -> None:
    home = gtzan(tmp_path / "home")
    (home / "gtzan_genre_index_1.0.json").unlink()
    (home / "gtzan_genre" / "genres").rename(home / "genres")
    task = load_task("genre/gtzan", data_home=home)
    items = task.items()
    assert {item.id: item.split for item in items}.items() <= fault_filtered().items() and len(items) > 50
    assert evaluate(task, {i.id: features(i.path) for i in items}, PROBE, seeds=(0,)).mean("accuracy") > 0.9


def test_the_fault_filtered_split() -> None:
    split = fault_filtered()
    assert Counter(split.values()) == {"train": 443, "valid": 197, "test": 290}
    assert len({track.split(".")[0] for track in split}) == 10


def test_a_changed_split_list_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.csv").write_text("id,split\nblues.00000,train\n")
    monkeypatch.setattr("m2l_bench.tasks.sources.gtzan._SPLIT", tmp_path / "list.csv")
    fault_filtered.cache_clear()
    with pytest.raises(ValueError, match=r"list\.csv: SHA-256 must be 2194bee"):
        fault_filtered()


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_a_missing_dataset_says_how_to_get_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingDataset) as error:
        load_task(name, data_home=tmp_path / "nowhere").items()
    message = str(error.value)
    for part in (str(tmp_path / "nowhere"), "Size: ", "Licence: ", "Datasets are never downloaded automatically."):
        assert part in message
    assert any(verb in message for verb in ("Run python", "Clone", "From https"))


def test_log_lines_of_other_libraries_are_not_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def talkative(*_: object) -> dict[str, tuple[str, str]]:
        for name in ("mirdata", "smart_open", "root"):
            logging.getLogger(name).error("a file is missing")
        raise FileNotFoundError

    (tmp_path / "irmas_index_1.0.json").write_text("{}")
    source = Irmas(data_home=tmp_path)
    monkeypatch.setattr(Irmas, "_places", talkative)
    with pytest.raises(MissingDataset, match=r"irmas 1\.0 must be in"):
        source.items()
    assert not caplog.records
    logging.getLogger("mirdata").error("again")
    assert len(caplog.records) == 1


def test_half_a_dataset_is_a_missing_dataset(tmp_path: Path) -> None:
    home = LAYOUTS["instrument/tinysol"][0](tmp_path / "tinysol")
    (home / "annotation" / "TinySOL_metadata.csv").unlink()
    with pytest.raises(MissingDataset, match=r"tinysol 6\.0 must be in"):
        load_task("instrument/tinysol", data_home=home).items()


class TestOwnFolder:
    def make(self, folder: Path, columns: list[str], row: object, n: int = 60) -> Path:
        rows = []
        for k in range(n):
            tone(folder / f"music/{k}.wav", k % 3, k)
            rows.append([f"music/{k}.wav", *row(k)])
        table(folder / "labels.csv", [["path", *columns], *rows])
        return folder / "labels.csv"

    @pytest.mark.parametrize(
        ("kind", "columns", "row"),
        [
            ("single-label", ["label", "group"], lambda k: ["abc"[k % 3], f"artist {k // 2}"]),
            ("key", ["key"], lambda k: [("C", "am", "E♭ Major")[k % 3]]),
            ("multi-label", ["calm", "dark", "split"], lambda k: [int(k % 3 > 0), int(k % 3 < 2), SPLITS[k % 4 % 3]]),
        ],
    )
    def test_end_to_end(self, tmp_path: Path, kind: str, columns: list[str], row: object) -> None:
        task = load_task(str(self.make(tmp_path, columns, row)))
        items = task.items()
        assert task.kind == kind and task.name == "own/labels" and len(items) == 60
        result = evaluate(task, {item.id: features(item.path) for item in items}, PROBE, seeds=(0,))
        assert result.mean(task.main_metric) > 0.9

    def test_faults_are_named(self, tmp_path: Path) -> None:
        path = self.make(tmp_path, ["key"], lambda k: ["C dorian"], n=3)
        with pytest.raises(ValueError, match=r"labels.csv, row 2, column key: key must be a tonic .* got 'C dorian'"):
            load_task(str(path)).items()
        for content, message in (
            ("path,label\nnothing.wav,a\n", "path must be a file beside it, got 'nothing.wav'"),
            ("path,label\n", "must have items, got none"),
            ("file,label\nx,a\n", "must have the columns path, got file, label"),
            (
                "path,label,key\nmusic/0.wav,a,C\n",
                "must have a column label or key, or columns of tags .*'label', 'key'",
            ),
            ("path,mood\nmusic/0.wav,sad\n", "must have a column label or key, or columns of tags .*'mood'"),
            ("path\nmusic/0.wav\n", "must have a column label or key, or columns of tags"),
            ("path,label\nmusic/0.wav\n", "line 2: must have 2 fields"),
            ("path,label\nmusic/0.wav,a\nmusic/0.wav,b\n", "each path must occur once, got 1 repetitions"),
            ("path,calm,split\nmusic/0.wav,1,train\nx,yes,test\n", "row 3, column calm: must be 0 or 1 .* got 'yes'"),
            (
                "path,label,split\nmusic/0.wav,a,dev\n",
                "row 2, column split: must be one of train, valid, test, got 'dev'",
            ),
        ):
            text(path, content)
            with pytest.raises(ValueError, match=message):
                load_task(str(path)).split_labels("train")
        with pytest.raises(ValueError, match="must be a CSV with the column path, no such file"):
            load_task(str(tmp_path / "none.csv"))

    def test_other_columns_are_ignored_and_named(self, tmp_path: Path) -> None:
        path = self.make(tmp_path, ["calm", "artist", "notes"], lambda k: [k % 2, f"artist {k}", ""], n=10)
        task = load_task(str(path))
        assert task.labels == ("calm",)
        assert "Ignored columns of labels.csv: artist, notes." in task.caveat
        assert "7 train, 1 valid, 2 test" in task.caveat

    def test_given_splits_are_kept(self, tmp_path: Path) -> None:
        path = self.make(tmp_path, ["label", "split"], lambda k: ["ab"[k % 2], SPLITS[k % 3]], n=12)
        task = load_task(str(path))
        assert Counter(item.split for item in task.items()) == dict.fromkeys(SPLITS, 4) and task.caveat == ""


@pytest.mark.parametrize("n", [10, 57, 200])
def test_splits_are_dealt_in_the_proportions_of_the_labels(n: int) -> None:
    labels = {f"group {k}": "aaab"[k % 4] for k in range(n)}
    splits = deal(labels)
    assert deal(dict(reversed(labels.items()))) == splits
    for share, split in ((0.7, "train"), (0.1, "valid"), (0.2, "test")):
        of_split = [group for group in labels if splits[group] == split]
        assert abs(len(of_split) - share * n) <= 1
        assert abs(sum(labels[group] == "b" for group in of_split) - share * n / 4) <= 1


def test_small_rules() -> None:
    splits = Counter(hashed_split(f"artist {k}", {"train": 0.7, "valid": 0.1, "test": 0.2}) for k in range(2000))
    assert abs(splits["train"] - 1400) < 80 and abs(splits["test"] - 400) < 60
    assert linked_groups({"1": ["b", "a"], "2": ["c"], "3": ["c", "b"]}) == dict.fromkeys("123", "a")
    assert beatport_id("x/10089 Some One - (Mix).mp3") == beatport_id("10089.LOFI.mp3") == "beatport 10089"
    assert one_key("Ab minor\n") == "Ab minor" and one_key("Nonsense") is None and one_key("-") is None
    assert ids_checksum(["b", "a"]) == ids_checksum(["a", "b"])


def test_names_and_tasks_in_users_files(tmp_path: Path) -> None:
    assert {"key/tunes", "genre/gtzan", "instrument/nsynth", "tagging/magnatagatune"} <= set(task_names())
    assert all(isinstance(load_task(name), Task) and load_task(name).summary for name in task_names())
    with pytest.raises(ValueError, match="unknown task 'key/tune'; did you mean key/tunes"):
        load_task("key/tune")
    text(
        tmp_path / "mine.py",
        "from m2l_bench.tasks.base import Task\n"
        "from m2l_bench.tasks.sources.nsynth import NSynth\n"
        "MINE = Task(name='mine', kind='single-label', source=NSynth())\nOTHER = 3\n",
    )
    assert load_task(f"{tmp_path}/mine.py:MINE").name == "mine"
    with pytest.raises(ValueError, match="OTHER: must be a Task, got int"):
        load_task(f"{tmp_path}/mine.py:OTHER")
    with pytest.raises(ValueError, match="must be a Python file that defines a task, got no such file"):
        load_task(f"{tmp_path}/none.py:MINE")
    text(tmp_path / "broken.py", "1 / 0\n")
    with pytest.raises(ValueError, match=r"broken\.py: importing it raised ZeroDivisionError: division by zero"):
        load_task(f"{tmp_path}/broken.py:MINE")


def test_listing_tasks_imports_nothing_heavy() -> None:
    code = (
        "import sys; from m2l_bench.tasks import task_names; task_names(); "
        "assert not {'torch', 'sklearn', 'librosa', 'mirdata'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_part_of_magnatagatune_warns(tmp_path: Path) -> None:
    home = magnatagatune(tmp_path / "home")
    with pytest.warns(IncompleteSplit, match=r"not the published split \(66 of 25863 clips; train"):
        items = load_task("tagging/magnatagatune", data_home=home).items()
    assert len(items) == 63  # without the two broken clips and the one without tags
    assert Counter(item.id[0] for item in items if item.split == "valid").keys() == {"c"}
    assert all(item.group.startswith("band_") for item in items)


def test_the_published_lists_of_magnatagatune_do_not_warn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = magnatagatune(tmp_path / "home")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        items = load_task("tagging/magnatagatune", data_home=home).items()
    parts = {split: [item.id for item in items if item.split == split] for split in SPLITS}
    lists = {split: (len(part), ids_checksum(part)) for split, part in parts.items()}
    monkeypatch.setattr("m2l_bench.tasks.sources.magnatagatune.PUBLISHED", lists)
    source = load_task("tagging/magnatagatune", data_home=home).source
    assert source.items()
    lists["test"] = (lists["test"][0], ids_checksum(parts["test"][1:]))  # one clip too many, whatever the counts say
    with pytest.warns(IncompleteSplit, match="test "):
        assert replace(source).items()

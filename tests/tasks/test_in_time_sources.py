"""Public datasets with annotations in time: synthetic folders of their layouts, read by mirdata's own loaders."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from layouts_in_time import LAYOUTS, SECONDS, Written, guitarset

import m2l_bench
from m2l_bench.tasks import load_task
from m2l_bench.tasks.annotation import Annotation
from m2l_bench.tasks.base import Task
from m2l_bench.tasks.sources.mirdata_in_time import REPLICAS, annotation_of
from m2l_bench.tasks.sources.source import SPLITS, IncompleteSplit, MissingDataset
from m2l_bench.tasks.track_scores import score

LATER = ("2005/MIDI-Unprocessed_01_R1_2008_wav--1", "2006/MIDI-Unprocessed_02_R1_2008_wav--1")  # again in a later split
UNUSED = {"beat/ballroom": REPLICAS, "notes/maestro": LATER, "beat/gtzan": ("jazz.00054", "blues.99999")}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Written]]]:
    built = {}
    for build in set(LAYOUTS.values()):
        home = tmp_path_factory.mktemp(build.__name__)
        built[build] = home, build(home)
    return {name: built[build] for name, build in LAYOUTS.items()}


@pytest.fixture
def loaded(folders: dict[str, tuple[Path, dict[str, Written]]], request: pytest.FixtureRequest) -> Task:
    return load_task(request.param, data_home=folders[request.param][0])


def found(task: Task) -> Written:
    return {name: a for split in SPLITS for name, a in task.split_annotations(split).items()}


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_annotations_are_those_that_were_written(
    name: str, folders: dict[str, tuple[Path, dict[str, Written]]]
) -> None:
    home, written = folders[name]
    task = load_task(name, data_home=home)
    expected = {track: a for track, a in written[task.kind].items() if track not in UNUSED.get(name, ())}
    assert len(expected) < len(written[task.kind]) or name not in UNUSED
    read = found(task)
    assert read.keys() == expected.keys()
    items = {item.id: item for item in task.items()}
    assert items.keys() >= read.keys() and all(item.path.is_file() for item in items.values())
    for track, annotation in read.items():
        for of_read, of_written in (
            (annotation.starts, expected[track].starts),
            (annotation.ends, expected[track].ends),
        ):
            np.testing.assert_allclose(of_read, of_written, rtol=0, atol=1e-9)
        if task.kind == "chords":
            assert annotation.values.tolist() == expected[track].values.tolist()
        else:
            np.testing.assert_allclose(annotation.values, expected[track].values, rtol=0, atol=1e-9)
    assert score(task.kind, annotation, annotation, SECONDS)[task.main_metric] == pytest.approx(1.0)


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_every_split_has_tracks_and_no_group_is_torn(
    name: str, folders: dict[str, tuple[Path, dict[str, Written]]]
) -> None:
    task = load_task(name, data_home=folders[name][0])
    assert {item.split for item in task.items()} == set(SPLITS)
    assert all(task.split_annotations(split) for split in SPLITS)
    assert (task.in_time and task.caveat) or name == "beat/gtzan"


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_a_missing_dataset_says_how_to_get_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingDataset, match=r"Run python -c .*Size: .*Licence: .*never downloaded automatically"):
        load_task(name, data_home=tmp_path / "nowhere").items()


def of_splits(task: Task) -> dict[str, set[str]]:
    """Split -> groups."""
    return {split: {item.group for item in task.items() if item.split == split} for split in SPLITS}


@pytest.mark.parametrize("loaded", ["beat/guitarset", "chord/guitarset"], indirect=True)
def test_players_of_guitarset_lie_in_one_split(loaded: Task) -> None:
    players = {split: {name[:2] for name in groups} for split, groups in of_splits(loaded).items()}
    assert players == {"train": {"00", "01", "02", "03"}, "valid": {"04"}, "test": {"05"}}
    versions = [item.id[-4:] for item in loaded.items() if item.group == "05_BN1-129-Eb"]
    assert versions == (["comp"] if loaded.kind == "chords" else ["comp", "solo"])
    assert all(item.path.parent.name == "audio_mono-mic" for item in loaded.items())


@pytest.mark.parametrize("loaded", ["beat/ballroom"], indirect=True)
def test_albums_of_ballroom_lie_in_one_split_without_replicas(loaded: Task) -> None:
    groups = {item.id: item.group for item in loaded.items()}
    assert groups["Media-104706"] == "Media-1047" and groups["Albums-Latin_Jam2-05"] == "Albums-Latin_Jam2"
    assert len(REPLICAS) == 13 and not REPLICAS & groups.keys()


@pytest.mark.parametrize("loaded", ["notes/maestro"], indirect=True)
def test_pieces_of_maestro_stay_in_the_later_split(loaded: Task) -> None:
    assert Counter(item.split for item in loaded.items()) == {"train": 4, "valid": 3, "test": 3}
    assert "Alban Berg: Sonata No. 11" in of_splits(loaded)["test"]
    # mirdata's tracks keep the MIDI files that they have read; hours of them must not pile up.
    loaded.split_annotations("test")
    assert not any("midi" in vars(track) or "notes" in vars(track) for track in loaded.source._tracks.values())
    assert loaded.source.labels("test") is loaded.source.labels("test")


@pytest.mark.parametrize("loaded", ["chord/beatles"], indirect=True)
def test_albums_of_the_beatles_lie_in_one_split(loaded: Task) -> None:
    albums = {split: {name[:2] for name in groups} for split, groups in of_splits(loaded).items()}
    assert albums == {"train": {"01", "10"}, "valid": {"05", "09"}, "test": {"03", "07", "11"}}


@pytest.mark.parametrize("loaded", ["melody/medleydb"], indirect=True)
def test_artists_of_medleydb_lie_in_one_split(loaded: Task) -> None:
    assert "MusicDelta" in of_splits(loaded)["train"]
    melody = found(loaded)["Handel_Song0"]
    assert 0.2 < np.mean(melody.values == 0) < 0.5


@pytest.mark.parametrize("loaded", ["beat/gtzan"], indirect=True)
def test_gtzan_has_items_without_beats(loaded: Task) -> None:
    items = {item.id for item in loaded.items()}
    assert len(items - found(loaded).keys()) == 1 and "jazz.00054" not in items and "blues.99999" not in items


def test_beats_beside_a_plain_copy_of_gtzan(tmp_path: Path) -> None:
    written = LAYOUTS["beat/gtzan"](tmp_path)["beats"]
    (tmp_path / "gtzan_genre_index_1.0.json").unlink()
    task = load_task("beat/gtzan", data_home=tmp_path)
    assert found(task).keys() == written.keys() - set(UNUSED["beat/gtzan"])
    (tmp_path / "gtzan_tempo_beat-main").rename(tmp_path / "elsewhere")
    with pytest.raises(MissingDataset, match="beside the folder gtzan_tempo_beat-main of"):
        load_task("beat/gtzan", data_home=tmp_path).split_annotations("train")


def test_what_mirdata_refuses_is_left_out_with_a_warning(tmp_path: Path) -> None:
    LAYOUTS["beat/ballroom"](tmp_path)
    (tmp_path / "B_1.0/annotations/beats/Media-105901.beats").write_text("2.0 1\n1.0 2\n")
    (tmp_path / "B_1.0/annotations/beats/Media-105902.beats").write_text("-1\n")
    task = load_task("beat/ballroom", data_home=tmp_path)
    with pytest.warns(IncompleteSplit, match="ballroom: the annotation of 'Media-105901' cannot be read .* increasing"):
        read = found(task)
    assert not {"Media-105901", "Media-105902"} & read.keys() and "Media-106001" in read
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert found(task).keys() == read.keys()  # read once
    (tmp_path / "B_1.0/annotations/beats/Media-106001.beats").unlink()
    with pytest.raises(MissingDataset, match=r"ballroom 1\.0 must be in"):
        found(load_task("beat/ballroom", data_home=tmp_path))


def test_chords_that_mir_eval_does_not_know_are_left_out(tmp_path: Path) -> None:
    LAYOUTS["chord/beatles"](tmp_path)
    bad = next(tmp_path.rglob("*.lab"))
    lines = "0.0 1.0 C:maj\n1.0 2.0 Q:maj\n2.0 3.0 N\n"
    for path in tmp_path.glob(f"annotations/chordlab/*/*/{bad.name}"):
        path.write_text(lines)
    task = load_task("chord/beatles", data_home=tmp_path)
    with pytest.warns(IncompleteSplit, match="beatles: .*'Q:maj'"):
        assert len(found(task)) == len(task.items()) - 1


def test_nothing_annotated_is_no_annotation() -> None:
    from mirdata.annotations import ChordData, NoteData

    nothing = ChordData(np.array([[1.0, 1.0]]), "s", ["C:maj"], "harte")
    assert annotation_of(None) is None and annotation_of(nothing) is None
    hz = annotation_of(NoteData(np.array([[1.0, 2.0], [0.5, 0.5]]), "s", np.array([441.0, 220.0]), "hz"))
    assert isinstance(hz, Annotation) and hz.values.tolist() == [69.0] and hz.starts.tolist() == [1.0]


def test_beats_of_ballroom_end_to_end(folders: dict[str, tuple[Path, dict[str, Written]]]) -> None:
    """Clicks at the annotated beats are found again, from audio files to scores."""
    task = load_task("beat/ballroom", data_home=folders["beat/ballroom"][0])
    result = m2l_bench.probe("mel", task, "linear", seeds=(0,))
    assert result.mean("beat_f") > 0.9 and not result.failures
    assert {item.id for item in result.items} == {item.id for item in task.items() if item.split == "test"}


@pytest.mark.parametrize(("name", "namespace"), [("beat/guitarset", "beat_position"), ("chord/guitarset", "chord")])
def test_jams_without_the_annotation_are_left_out(tmp_path: Path, name: str, namespace: str) -> None:
    guitarset(tmp_path)
    path = tmp_path / "annotation" / "05_BN1-129-Eb_comp.jams"
    jams = json.loads(path.read_text())
    jams["annotations"] = [a for a in jams["annotations"] if a["namespace"] != namespace]
    path.write_text(json.dumps(jams))
    task = load_task(name, data_home=tmp_path)
    assert {item.id for item in task.items()} - found(task).keys() == {path.stem}

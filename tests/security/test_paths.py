"""Tables name only files in their own folder, and suite files no code, unless the user allows it."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from m2l_bench import audio
from m2l_bench.files.untrusted import ALLOW_OUTSIDE, OutsideError, inside
from m2l_bench.report.clips import read_manifest
from m2l_bench.suite.suite import make_suite, read_suite
from m2l_bench.systems.folder import ReconstructionFolder as ReadyMade
from m2l_bench.tasks.sources.folder import LabelTable
from m2l_bench.tasks.sources.giantsteps_mtg import GiantStepsMtg
from m2l_bench.tasks.sources.magnatagatune import TAGS, MagnaTagATune
from m2l_bench.tasks.sources.nsynth import NSynth
from m2l_bench.tasks.sources.source import IncompleteSplit


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Audio outside of the folder ``inner``."""
    (tmp_path / "inner").mkdir()
    soundfile.write(tmp_path / "secret.wav", np.zeros(8000), 8000)
    return tmp_path / "secret.wav"


@pytest.mark.parametrize("name", ["../secret.wav", "a/../../secret.wav", "/etc/hostname", "link.wav", "up/secret.wav"])
def test_paths_that_lead_out_are_refused(name: str, secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = secret.parent / "inner"
    (root / "link.wav").symlink_to(secret)
    (root / "up").symlink_to(secret.parent)
    with pytest.raises(OutsideError, match=r"labels\.csv: path must lie in .*inner"):
        inside(root, name, source=root / "labels.csv")
    monkeypatch.setenv(ALLOW_OUTSIDE, "1")
    assert inside(root, name, source="x") == root / name


@pytest.mark.parametrize("name", ["a\0b.wav", "x" * 300, "x" * 5000])
def test_invalid_paths(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutsideError, match=r"labels\.csv: path must"):
        inside(tmp_path, name, source="labels.csv")


def test_a_cycle_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "labels.csv").write_text("path,label\ncircle/a.wav,x\n")
    with pytest.raises(ValueError, match=r"labels\.csv: path must"):
        LabelTable(table=tmp_path / "labels.csv").items()


def test_own_table(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = secret.parent / "inner" / "labels.csv"
    table.write_text("path,label\n../secret.wav,a\n")
    with pytest.raises(OutsideError, match=r"labels\.csv: path must lie in"):
        LabelTable(table=table).items()
    monkeypatch.setenv(ALLOW_OUTSIDE, "1")
    assert len(LabelTable(table=table).items()) == 1


def test_tables_of_datasets(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / f"nsynth-{split}").mkdir()
        note = {"instrument_str": "a", "instrument_family_str": "bass"}
        (tmp_path / f"nsynth-{split}" / "examples.json").write_text(json.dumps({"../../../etc/x": note}))
    with pytest.warns(IncompleteSplit), pytest.raises(OutsideError, match=r"examples\.json"):
        NSynth(data_home=tmp_path).items()
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "annotations.txt").write_text("ID\tMANUAL KEY\tC\n../../x\tC major\t2\n")
    with pytest.raises(OutsideError, match="must lie in"):
        GiantStepsMtg(data_home=tmp_path).items()
    row = "\t".join(["1", *["1"] * len(TAGS), "../x/y.mp3"])
    (tmp_path / "annotations_final.csv").write_text("\t".join(["clip_id", *TAGS, "mp3_path"]) + f"\n{row}\n")
    with pytest.warns(IncompleteSplit), pytest.raises(OutsideError, match=r"annotations_final\.csv"):
        MagnaTagATune(data_home=tmp_path).items()


@pytest.mark.parametrize("content", ["[]", '{"a": 1}', '{"a": {"instrument_str": 3}}', "[" * 100_000, "{"])
def test_invalid_notes(content: str, tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / f"nsynth-{split}").mkdir()
        (tmp_path / f"nsynth-{split}" / "examples.json").write_text(content)
    if content == "[]":
        content = '["x"]'
        (tmp_path / "nsynth-train" / "examples.json").write_text(content)
    with pytest.raises(ValueError, match=r"examples\.json: must hold notes"):
        NSynth(data_home=tmp_path).items()


def test_links_in_a_folder_that_the_user_named_are_followed(secret: Path) -> None:
    folder = secret.parent / "inner"
    (folder / "clip.wav").symlink_to(secret)
    assert [path.name for path in audio.list_audio(folder)] == ["clip.wav"]
    assert ReadyMade(folder).find("clip")[1] == 8000


@pytest.mark.parametrize("line", ['systems = ["evil.py:System"]', 'tasks = ["evil.py:TASK"]'])
def test_suite_files_run_no_code(line: str, secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = secret.parent / "inner"
    (inner / "evil.py").write_text("raise SystemExit('executed')")
    (inner / "suite.toml").write_text(line)
    with pytest.raises(OutsideError, match=rf"suite\.toml: .*{ALLOW_OUTSIDE}=1"):
        read_suite(inner / "suite.toml")
    monkeypatch.setenv(ALLOW_OUTSIDE, "1")
    read_suite(inner / "suite.toml")


@pytest.mark.parametrize("name", ["../../evil", "/evil", "a/b", "", ".hidden", "x" * 200, "a\n"])
def test_a_suites_name_names_no_other_folder(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        make_suite({"name": name})


def test_clips_of_a_listening_page(secret: Path) -> None:
    inner = secret.parent / "inner"
    (inner / "link.wav").symlink_to(secret)
    clip = {"id": "a", "dataset": "b", "sample_rate": 8000, "n_samples": 8000, "start": 0.0, "systems": {}}
    for name in ("../secret.wav", str(secret), "link.wav"):
        content = {"version": 1, "systems": [], "clips": [clip | {"reference": name}]}
        (inner / "manifest.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match=r"inside the folder|must lie in"):
            read_manifest(inner)


def _scripts(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    import importlib

    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "scripts")
    return importlib.import_module(name)


def test_archives_of_music_are_unpacked_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import zipfile

    script = _scripts(monkeypatch, "fetch_training_music")
    (tmp_path / "package").mkdir()
    with zipfile.ZipFile(tmp_path / "package" / "music.pk3", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../../evil.ogg", b"x")
    assert list(script.unpack(tmp_path / "package", tmp_path / "target")) == [tmp_path / "target" / "evil.ogg"]
    with zipfile.ZipFile(tmp_path / "package" / "music.pk3", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.ogg", bytes((64 << 20) + 1))
    with pytest.raises(RuntimeError, match=r"bomb\.ogg: must have at most"):
        list(script.unpack(tmp_path / "package", tmp_path / "target"))

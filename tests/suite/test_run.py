"""A run from folder to rows: counted failures, nothing computed twice, nothing overwritten, equal bytes."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from m2l_bench import assets, audio
from m2l_bench.reconstruction import mel_distance
from m2l_bench.report.contents import all_figures
from m2l_bench.report.runs import read_runs
from m2l_bench.report.significance import Pairs
from m2l_bench.results import read_items, read_rows
from m2l_bench.suite.audio_sets import find_audio
from m2l_bench.suite.data import AudioItem, from_folder
from m2l_bench.suite.engine import read_ahead
from m2l_bench.suite.local import LocalEngine, local_unless
from m2l_bench.suite.plan import Plan
from m2l_bench.suite.planning import make_plan
from m2l_bench.suite.run import run_suite
from m2l_bench.suite.suite import Suite, make_suite, read_suite
from m2l_bench.systems.catalogue import SYSTEMS

METRICS = ["si_sdr", "mel_distance"]


def _suite(folder: Path, systems: list, **more):
    return make_suite(
        {"name": "t", "systems": systems, "audio": [str(folder)], "metrics": METRICS, "tasks": [], **more}
    )


def _plan(suite: Suite) -> Plan:
    with local_unless(None) as engine:
        return make_plan(suite, engine)


def test_rows_hold_what_the_items_say(music_folder: Path, tmp_path: Path) -> None:
    result = run_suite(_suite(music_folder, ["identity", "opus:32k"]), out=tmp_path / "run")
    rows = {(row.system, row.metric, row.statistic): row for row in read_rows(result.folder)}
    identity = rows["identity", "si_sdr", "mean"]
    assert (identity.value, identity.ci_low, identity.ci_high) == (100.0, 100.0, 100.0)
    assert rows["identity", "mel_distance", "mean"].value == 0.0
    values = [item.value for item in read_items(result.folder) if (item.system, item.metric) == ("opus:32k", "si_sdr")]
    opus = rows["opus:32k", "si_sdr", "mean"]
    assert opus.value == pytest.approx(np.mean(values))
    assert opus.ci_low <= opus.value <= opus.ci_high
    assert rows["opus:32k", "si_sdr", "median"].value == pytest.approx(np.median(values))
    assert (opus.n_planned, opus.n_scored, opus.n_failed) == (3, 3, 0)
    assert rows["opus:32k", "bit_rate", "mean"].value > 10
    assert ("identity", "bit_rate", "mean") not in rows
    cards = json.loads((result.folder / "cards.json").read_text())
    assert {row.card for row in rows.values()} <= set(cards)


def test_second_run_computes_and_writes_nothing(music_folder: Path, tmp_path: Path) -> None:
    suite = _suite(music_folder, ["lowpass-7k"])
    first = run_suite(suite, out=tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in first.folder.rglob("*") if path.is_file()}
    durations: list[float | None] = []
    second = run_suite(suite, out=tmp_path / "run", on_finished=lambda job, seconds: durations.append(seconds))
    assert (first.fresh, second.fresh) == (True, False)
    assert set(durations) == {None}
    assert second.rows == first.rows
    assert {path: path.stat().st_mtime_ns for path in first.folder.rglob("*") if path.is_file()} == before


def test_equal_runs_write_equal_bytes_whatever_the_workers(music_folder: Path, tmp_path: Path) -> None:
    suite = _suite(music_folder, ["lowpass-7k", "mp3:64k"])
    run_suite(suite, out=tmp_path / "one")
    with closing(LocalEngine(workers=2)) as engine:
        run_suite(suite, out=tmp_path / "two", engine=engine)
    for file in ("rows.csv", "rows.parquet", "items.parquet", "cards.json", "failures.csv"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_a_lost_job_is_made_again_and_a_damaged_one_too(music_folder: Path, tmp_path: Path) -> None:
    suite = _suite(music_folder, ["lowpass-7k", "identity"])
    run_suite(suite, out=tmp_path / "run")
    expected = (tmp_path / "run" / "rows.csv").read_bytes()
    (segment,) = (tmp_path / "run" / "store" / "segments").glob("*.seg")
    segment.write_bytes(segment.read_bytes()[:-20])
    durations: list[float | None] = []
    run_suite(suite, out=tmp_path / "run", on_finished=lambda job, seconds: durations.append(seconds))
    assert sorted(seconds is None for seconds in durations) == [False] + [True] * 14
    assert (tmp_path / "run" / "rows.csv").read_bytes() == expected


def test_a_file_that_was_done_is_found_again_whatever_lies_beside_it(
    music_folder: Path, tmp_path: Path, music, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_suite(_suite(music_folder, ["identity"]))
    audio.write(music_folder / "0_first.wav", music(seed=9), 44100)
    durations: list[float | None] = []
    run_suite(_suite(music_folder, ["identity"]), on_finished=lambda job, seconds: durations.append(seconds))
    # The new file, which is also repeated; and three of the four pairs of two tracks are others than before.
    assert sorted(seconds is None for seconds in durations) == [False] * 5 + [True] * 7


def test_two_labels_of_one_system_share_its_jobs(music_folder: Path, tmp_path: Path) -> None:
    labels: list[str] = []
    result = run_suite(
        _suite(music_folder, ["one=identity", "two=identity"]),
        out=tmp_path / "run",
        on_finished=lambda job, seconds: labels.append(job.label),
    )
    assert labels == ["one"] * 6 + ["chance"] * 3
    assert {row.system for row in result.rows} == {"one", "two", "chance"}


def test_the_bit_rate_of_a_set_is_all_bits_over_all_seconds(music_folder: Path, tmp_path: Path, music) -> None:
    """One file of a few samples, whose container alone makes its own rate enormous, moves it by nothing to speak of."""
    audio.write(music_folder / "tiny.wav", music(n_samples=48), 48000)
    result = run_suite(_suite(music_folder, ["opus:32k"], metrics=["lag"]), out=tmp_path / "run")
    rates = {item.item: item.value for item in result.items if item.metric == "bit_rate"}
    seconds = {name: audio.info(music_folder / name).duration for name in rates}
    (row,) = (row for row in result.rows if (row.metric, row.statistic) == ("bit_rate", "mean"))
    assert row.value == pytest.approx(sum(rates[n] * seconds[n] for n in rates) / sum(seconds.values()))
    assert rates["tiny.wav"] > 1000 > row.value
    assert row.ci_low <= row.value <= row.ci_high


def test_another_plan_does_not_overwrite_a_run(music_folder: Path, tmp_path: Path) -> None:
    run_suite(_suite(music_folder, ["identity"]), out=tmp_path / "run")
    before = (tmp_path / "run" / "rows.csv").read_bytes()
    with pytest.raises(ValueError, match="holds the run of another plan"):
        run_suite(_suite(music_folder, ["lowpass-7k"]), out=tmp_path / "run")
    assert (tmp_path / "run" / "rows.csv").read_bytes() == before


def test_default_folder_shares_finished_jobs(
    music_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = run_suite(_suite(music_folder, ["identity"]))
    durations: list[float | None] = []
    second = run_suite(
        _suite(music_folder, ["identity", "lowpass-7k"]), on_finished=lambda job, seconds: durations.append(seconds)
    )
    assert first.folder != second.folder
    assert first.folder.parent == second.folder.parent == Path("results/runs")
    assert sorted(seconds is None for seconds in durations) == [False] * 6 + [True] * 9


def test_changed_content_is_another_plan(music_folder: Path, music) -> None:
    suite = _suite(music_folder, ["identity"])
    before = _plan(suite).hash
    audio.write(music_folder / "a.wav", music(seed=5), 44100)
    assert _plan(suite).hash != before


def _spoil(folder: Path, music) -> dict[str, str]:
    """Eleven kinds of bad file; name -> what its reason must say."""
    good = music(seed=7)
    (folder / "01_empty.wav").write_bytes(b"")
    (folder / "02_text.wav").write_text("not audio at all\n" * 30)
    soundfile.write(folder / "03_no_samples.wav", good.T[:0], 44100)
    for name, value in (("04_nan.wav", np.nan), ("05_infinite.wav", np.inf)):
        spoiled = good.copy()
        spoiled[0, 100] = value
        soundfile.write(folder / name, spoiled.T, 44100, subtype="FLOAT")
    for name in ("06_truncated.wav", "07_truncated.flac", "08_truncated.ogg"):
        audio.write(folder / name, good, 44100)
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    audio.write(folder / "10_silent.wav", np.zeros_like(good), 44100)
    audio.write(folder / "11_constant.wav", np.full_like(good, 0.25), 44100)
    audio.write(folder / "12_zero_channels.wav", good, 44100)
    content = bytearray((folder / "12_zero_channels.wav").read_bytes())
    content[22:24] = b"\0\0"
    (folder / "12_zero_channels.wav").write_bytes(bytes(content))
    return {
        "01_empty.wav": "0 bytes",
        "02_text.wav": "not audio",
        "03_no_samples.wav": "at least 1 sample",
        "04_nan.wav": "finite",
        "05_infinite.wav": "finite",
        "06_truncated.wav": "truncated",
        "07_truncated.flac": "truncated",
        "08_truncated.ogg": "truncated",
        "10_silent.wav": "silent",
        "11_constant.wav": "silent|constant",
        "12_zero_channels.wav": "not audio|channels",
    }


def test_eleven_kinds_of_bad_file_are_named_and_counted_and_change_nothing_else(
    music_folder: Path, tmp_path: Path, music
) -> None:
    clean = run_suite(_suite(music_folder, ["lowpass-7k"]), out=tmp_path / "clean")
    expected = _spoil(music_folder, music)
    result = run_suite(_suite(music_folder, ["lowpass-7k"]), out=tmp_path / "spoiled")
    reasons = {item.item: item.reason for item in result.items if item.metric == "si_sdr" and item.reason}
    assert set(reasons) == set(expected)
    for name, words in expected.items():
        assert any(word in reasons[name] for word in words.split("|")), (name, reasons[name])
    values = {item.item: item.value for item in clean.items if item.metric == "si_sdr"}
    again = {item.item: item.value for item in result.items if item.metric == "si_sdr" and not item.reason}
    assert again == values
    for row in result.rows:
        if row.metric == "si_sdr":
            assert (row.n_planned, row.n_scored, row.n_failed) == (14, 3, 11)
    listed = (tmp_path / "spoiled" / "failures.csv").read_text()
    assert all(name in listed for name in expected)


def test_a_users_checkpoint_keeps_the_caveat_of_its_kind(
    music_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = replace(SYSTEMS["pca"], caveat="Linear.", caveats={"": "Fitted here."})
    monkeypatch.setitem(SYSTEMS, "pca", entry)
    mine = {
        "system": "pca",
        "label": "mine",
        "checkpoint": str(Path(assets.__file__).parent / "pca" / "mdct-64x.safetensors"),
    }
    rows = run_suite(_suite(music_folder, ["pca", mine]), out=tmp_path / "run").rows
    notes = {row.system: row.notes for row in rows if row.metric == "si_sdr"}
    assert notes["pca"][-2:] == ("Linear.", "Fitted here.") and notes["mine"][-1:] == ("Linear.",)


def test_files_with_a_channel_silent_in_the_reference_are_counted_in_the_note(
    music_folder: Path, tmp_path: Path, music
) -> None:
    half = music(seed=7) * np.float32([[1.0], [0.0]])
    audio.write(music_folder / "half.wav", half, 44100)
    audio.write(music_folder / "silent.wav", 0 * half, 44100)
    result = run_suite(_suite(music_folder, ["opus:32k"]), out=tmp_path / "run")
    for row in result.rows:
        assert ("1 files have a channel that is silent in the reference and is not scored." in row.note) == (
            row.metric != "bit_rate" and row.statistic != "pooled" and row.system != "chance"
        )
        if row.metric == "si_sdr" and row.system != "chance":
            assert (row.n_scored, row.n_failed) == (4, 1)


def test_a_system_that_cannot_be_loaded_is_counted_and_the_rest_goes_on(music_folder: Path, tmp_path: Path) -> None:
    broken = {"system": "pca", "label": "broken", "checkpoint": str(tmp_path / "nowhere.safetensors")}
    result = run_suite(_suite(music_folder, [broken, "identity"]), out=tmp_path / "run")
    rows = {(row.system, row.metric, row.statistic): row for row in result.rows}
    assert rows["broken", "si_sdr", "mean"].n_failed == 3
    assert np.isnan(rows["broken", "si_sdr", "mean"].value)
    assert rows["identity", "si_sdr", "mean"].n_failed == 0
    assert any("nowhere.safetensors" in item.reason for item in result.items)


def test_a_system_that_raises_or_returns_nonsense_is_counted(music_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "import numpy as np\n"
        "class Base:\n"
        "    sample_rate, seed, fingerprint = None, 0, 'f' * 16\n"
        "    name = 'bad'\n"
        "    def __init__(self, *, seed=0): pass\n"
        "class Raises(Base):\n"
        "    def reconstruct(self, audio): raise RuntimeError('out of\\nluck')\n"
        "class Shorter(Base):\n"
        "    def reconstruct(self, audio): return audio[:, 1:]\n"
        "class Nan(Base):\n"
        "    def reconstruct(self, audio): return audio * np.nan\n"
        "class NoDecoder(Base):\n"
        "    latent_dim, latent_rate = 2, 1.0\n"
        "    def encode(self, audio): return np.zeros((1, 2, 3))\n"
    )
    names = ("Raises", "Shorter", "Nan", "NoDecoder")
    result = run_suite(_suite(music_folder, [f"{tmp_path}/bad.py:{name}" for name in names]), out=tmp_path / "run")
    reasons = {item.system.partition(":")[2]: item.reason for item in result.items if item.item == "a.wav"}
    assert reasons["Raises"] == "RuntimeError: out of luck"
    assert "must have its input's shape (2, 22050), got (2, 22049)" in reasons["Shorter"]
    assert "must be finite" in reasons["Nan"]
    assert "cannot be evaluated here: it has no reconstruct()" in reasons["NoDecoder"]


def test_a_system_that_cannot_be_loaded_is_counted_for_each_task(tmp_path: Path, music) -> None:
    lines = ["path,label,split"]
    for number in range(12):
        audio.write(tmp_path / "audio" / f"{number}.wav", music(4410, seed=number), 44100)
        lines.append(f"audio/{number}.wav,{('low', 'high')[number % 2]},{('train', 'valid', 'test')[number // 4]}")
    (tmp_path / "own.csv").write_text("\n".join(lines) + "\n")
    tasks = [str(tmp_path / "own.csv")]
    suite = make_suite({"systems": ["majority", "mfcc-chromaa"], "audio": [], "tasks": tasks, "probes": ["linear"]})
    result = run_suite(suite, out=tmp_path / "run")
    lost = [row for row in result.rows if row.system == "mfcc-chromaa"]
    assert {(row.metric, row.seed) for row in lost} == {
        (row.metric, row.seed) for row in result.rows if row.system == "majority"
    }
    assert all(row.n_failed == row.n_planned > 0 and np.isnan(row.value) for row in lost)
    assert all("unknown system 'mfcc-chromaa'" in row.note for row in lost)
    assert result.n_failed == lost[0].n_planned
    assert "mfcc-chromaa" in (tmp_path / "run" / "failures.csv").read_text()


def test_job_identity_follows_what_the_result_depends_on(music_folder: Path) -> None:
    def first(suite: Suite) -> str:
        return next(_plan(suite).first_jobs()).id

    changed = [
        _suite(music_folder, ["identity"]),
        _suite(music_folder, ["lowpass-7k"]),
        _suite(music_folder, ["identity"], metrics=["si_sdr"]),
        _suite(music_folder, ["identity"], max_length_difference=0.5),
    ]
    assert len({first(suite) for suite in changed}) == 4
    assert first(_suite(music_folder, ["other=identity"])) == first(changed[0]), "a label changes no number"


def test_embedded_audio_is_found_and_unknown_audio_is_named() -> None:
    assert len(find_audio("reconstruction/wesnoth").items) >= 24
    with pytest.raises(ValueError, match=r"audio 'nowhere': must be a folder or one of .*reconstruction/wesnoth"):
        find_audio("nowhere")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"systems": ["identity", "identity"]}, "systems: labels must differ, got identity more than once"),
        ({"metrics": ["si_sdrr"]}, "metrics: unknown metric 'si_sdrr'"),
        ({"systems": ["opus(8)"]}, r"systems: options must be NAME\(option=value, ...\), got 'opus\(8\)'"),
        ({"systems": ["a.py:A(keep=[1])"]}, "systems: options must be strings, numbers or truth values"),
        ({"seed": -1}, "seed: .*greater than or equal to 0.*got -1"),
        ({"sytems": []}, "sytems: Extra inputs are not permitted"),
        ({"systems": [{"system": "opus", "sede": 1}]}, r"systems\.0\.sede: Extra inputs"),
    ],
)
def test_suite_mistakes_name_key_constraint_and_value(content: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_suite(content)


def test_the_next_file_is_decoded_ahead_and_no_further(music_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, each error where its file stands, and never more than one file more than was asked for."""
    items = from_folder(music_folder).items
    damaged = AudioItem("absent.wav", str(music_folder / "absent.wav"), "")
    asked: list[str] = []
    load = audio.load
    monkeypatch.setattr(audio, "load", lambda path: asked.append(path) or load(path))
    given = [items[0], damaged, None, items[1], items[2]]
    reader = read_ahead(given)
    for position, item in enumerate(given):
        read = next(reader)
        if item is None:
            assert read is None
        elif item is damaged:
            with pytest.raises(audio.AudioError, match=r"absent\.wav"):
                read()
        else:
            np.testing.assert_array_equal(read()[0], load(item.path)[0])
        assert len(asked) <= position + 2
    assert next(reader, None) is None
    assert list(read_ahead([])) == []


def test_a_users_metric_gets_rows_like_any_other(music_folder: Path, tmp_path: Path) -> None:
    metric = f"{Path(__file__).parents[1]}/examples/my_metric.py:crest"
    result = run_suite(
        _suite(music_folder, ["identity", "lowpass-3.5k"], metrics=["si_sdr", metric]), out=tmp_path / "run"
    )
    rows = {row.system: row for row in result.rows if row.metric == "my_metric.py:crest" and row.statistic == "mean"}
    assert rows["identity"].value == 0.0 and rows["lowpass-3.5k"].value != 0.0
    assert rows["lowpass-3.5k"].ci_low <= rows["lowpass-3.5k"].value <= rows["lowpass-3.5k"].ci_high
    assert {row.card for row in rows.values()} == {result.cards["my_metric.py:crest"].hash}
    assert len([item for item in result.items if item.metric == "my_metric.py:crest"]) == 6


def test_a_users_metric_has_its_figures(music_folder: Path, tmp_path: Path) -> None:
    metric = f"{Path(__file__).parents[1]}/examples/my_metric.py:crest"
    run_suite(_suite(music_folder, ["opus:24k", "opus:64k", "mp3:64k"], metrics=[metric]), out=tmp_path / "run")
    results = read_runs([tmp_path / "run"])
    drawn = [figure.name for figure in all_figures(results, Pairs(results.items), [])]
    assert any("crest" in name and "against-bit-rate" in name for name in drawn), drawn


def test_a_system_is_spelled_with_options() -> None:
    given = ["mine=/x/ae.py:MyAE(keep=64, mode='a=b')", "/x/ae.py:MyAE(keep=2)", "opus:24k"]
    specs = make_suite({"systems": given}).systems
    assert [spec.label for spec in specs] == ["mine", "ae.py:MyAE(keep=2)", "opus:24k"]
    assert [spec.options for spec in specs] == [{"keep": 64, "mode": "a=b"}, {"keep": 2}, {}]
    assert {spec.system for spec in specs} == {"/x/ae.py:MyAE", "opus:24k"}


def test_folders_beside_the_user_do_not_change_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("linear", "si_sdr", "key/tunes", "opus:24k"):
        (tmp_path / name).mkdir(parents=True)
    suite = make_suite(
        {
            "systems": ["opus:24k", "a (old)/ae.py:A"],
            "metrics": ["si_sdr"],
            "tasks": ["key/tunes"],
            "probes": ["linear"],
        }
    )
    assert (suite.metrics, suite.tasks, suite.probes) == (("si_sdr",), ("key/tunes",), ("linear",))
    assert [spec.system for spec in suite.systems] == ["opus:24k", f"{tmp_path}/a (old)/ae.py:A"]
    assert make_suite({"tasks": ["my.py:T=data"]}).tasks == (f"{tmp_path}/my.py:T={tmp_path}/data",)


@pytest.mark.parametrize(
    "line", ['metrics = ["x.py:f"]', 'probes = ["x.py:knn"]', 'tasks = ["x.py:T"]', 'systems = ["x.py:A"]']
)
def test_a_suite_file_names_no_code(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.py").write_text("open('ran', 'w')\n")
    (tmp_path / "suite.toml").write_text(line + "\n")
    with pytest.raises(ValueError, match=r"x.py:\w+' would run that file's code"):
        read_suite(tmp_path / "suite.toml")
    assert not (tmp_path / "ran").exists()


def test_chance_is_another_track_in_the_place_of_each_reconstruction(music_folder: Path, tmp_path: Path, music) -> None:
    audio.write(music_folder / "long.wav", music(30000, channels=1, seed=8), 44100)  # of another length, and mono
    result = run_suite(_suite(music_folder, ["identity"]), out=tmp_path / "run")
    items = {item.item: item.value for item in result.items if (item.system, item.metric) == ("chance", "mel_distance")}
    names = sorted(items)
    assert len(names) == 4
    first, third = (audio.load(music_folder / names[k])[0] for k in (0, 2))
    third = np.tile(third, -(-first.shape[1] // third.shape[1]))[:, : first.shape[1]]
    if len(first) != len(third):
        third = np.repeat(third.mean(axis=0, keepdims=True), len(first), axis=0)
    assert items[names[0]] == pytest.approx(mel_distance(first, third, 44100).mean(), rel=1e-5)
    rows = [row for row in result.rows if row.system == "chance"]
    assert {(row.metric, row.n_planned, row.n_failed) for row in rows} == {("si_sdr", 4, 0), ("mel_distance", 4, 0)}
    with pytest.raises(ValueError, match="label must not be 'chance'"):
        _suite(music_folder, ["chance=identity"])


def test_distances_of_two_systems_are_compared_on_the_files_that_both_have(tmp_path: Path, music) -> None:
    for seed in range(12):
        audio.write(tmp_path / "music" / f"{seed:02d}.wav", music(11025, seed=seed), 44100)
    (tmp_path / "system.py").write_text(
        "class Flaky:\n    def reconstruct(self, audio):\n        if audio.std() == FAILS:\n            raise RuntimeError\n"
        "        return 0.9 * audio\n".replace("FAILS", repr(float(audio.load(tmp_path / "music" / "03.wav")[0].std())))
    )
    encoder = Path(__file__).parent.parent / "examples" / "my_encoder.py"
    systems = [f"flaky={tmp_path}/system.py:Flaky", "opus:24k"]
    suite = _suite(tmp_path / "music", systems, metrics=[f"fad:{encoder}:BandEnergies", "si_sdr"])
    result = run_suite(suite, out=tmp_path / "run")
    fad = [row for row in result.rows if row.metric.startswith("fad")]
    assert {(row.system, row.statistic): row.n_scored for row in fad} == {
        ("flaky", "corrected"): 11, ("flaky", "pooled"): 11, ("opus:24k", "corrected"): 12, ("opus:24k", "pooled"): 12
    }  # fmt: skip
    scored = {
        system: {
            item.item
            for item in result.items
            if item.system == system and item.metric.startswith("fad") and not item.reason
        }
        for system in ("flaky", "opus:24k")
    }
    assert scored["flaky"] == scored["opus:24k"] and len(scored["flaky"]) == 11


def test_a_lag_that_is_not_there_is_no_failure(tmp_path: Path, music) -> None:
    for seed in range(3):
        audio.write(tmp_path / "music" / f"{seed}.wav", music(2 * 44100, seed=seed), 44100)
    (tmp_path / "system.py").write_text(
        "import numpy as np\n\n\nclass Noise:\n    def reconstruct(self, audio):\n"
        "        return 0.1 * np.random.default_rng(1234).standard_normal(audio.shape).astype(np.float32)\n"
    )
    suite = _suite(tmp_path / "music", [f"noise={tmp_path}/system.py:Noise", "identity"], metrics=["lag", "si_sdr"])
    result = run_suite(suite, out=tmp_path / "run")
    assert result.n_failed == 0
    rows = {row.system: row for row in result.rows if (row.metric, row.statistic) == ("lag", "mean")}
    assert (rows["noise"].n_planned, rows["noise"].n_scored, rows["noise"].n_failed) == (3, 0, 0)
    summary = "no lag above chance, hence no lag, gain, polarity and aligned SI-SDR"
    assert rows["noise"].note == f"3 of 3 files are left out: {summary}."
    assert (rows["identity"].n_scored, rows["identity"].value) == (3, 0.0)


def test_stereo_metrics_and_embedding_distances_in_a_run(tmp_path: Path, music) -> None:
    """A mono file among stereo ones is left out of stereo metrics; the distance of each file has its number."""
    for seed in range(13):
        audio.write(tmp_path / "music" / f"{seed:02}.wav", music(11025, seed=seed, channels=2 if seed else 1), 44100)
    (tmp_path / "narrow.py").write_text(
        "class Narrow:\n    def reconstruct(self, audio):\n        mid = audio.mean(axis=0)\n"
        "        return mid + 0.5 * (audio - mid)\n"
    )
    encoder = f"{Path(__file__).parent.parent}/examples/my_encoder.py:BandEnergies"
    names = [f"embedding_distance:{encoder}", f"fad:{encoder}@side", f"fad:{encoder}", "width_change", "si_sdr_side"]
    suite = _suite(tmp_path / "music", [f"narrow={tmp_path}/narrow.py:Narrow", "identity"], metrics=names)
    result = run_suite(suite, out=tmp_path / "run")
    rows = {(row.system, row.metric, row.statistic): row for row in result.rows}
    width = rows["narrow", "width_change", "mean"]
    assert (width.n_planned, width.n_scored, width.n_failed) == (13, 12, 0)
    assert "1 of 13 files are left out: mono, no stereo scores." in width.notes
    assert width.value == pytest.approx(-6.0206, abs=1e-3)
    reasons = {(item.item, item.reason) for item in result.items if item.reason and item.system == "narrow"}
    assert reasons == {("00.wav", "needs 2 channels that are not silent, got 1")}
    distance, label = (
        rows["narrow", "embedding_distance:my_encoder.py:BandEnergies", "pooled"],
        "my_encoder.py:BandEnergies",
    )
    of_files = [i.value for i in result.items if i.metric == distance.metric and i.system == "narrow"]
    assert len(of_files) == distance.n_scored == 13 and np.mean(of_files) == pytest.approx(distance.value)
    assert distance.ci_low < distance.value < distance.ci_high
    side, whole = (rows["narrow", f"fad:{label}{which}", "pooled"] for which in ("@side", ""))
    assert side.n_scored == 12 and whole.n_scored == 13 and side.value > 10 * whole.value
    assert rows["identity", f"fad:{label}@side", "pooled"].value == pytest.approx(0.0, abs=1e-6)
    assert rows["identity", distance.metric, "pooled"].value == 0.0

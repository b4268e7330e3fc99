"""Readers: one encoder for all systems, a probe fitted once on originals, and what the coding costs it."""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from noise_run import ENCODER

from m2l_bench import audio, read_results
from m2l_bench.report.build import build
from m2l_bench.report.compare import compare
from m2l_bench.report.figure_data import by_compression
from m2l_bench.report.runs import read_runs
from m2l_bench.results import Item, Row, read_items, read_rows, to_parquet
from m2l_bench.statistics import mean_interval
from m2l_bench.suite.jobs.probe import probe
from m2l_bench.suite.run import run_suite
from m2l_bench.suite.suite import make_suite
from m2l_bench.suite.verify import verify

CODE = '''
import numpy as np
from pathlib import Path
from m2l_bench.files.fingerprint import fingerprint

def count(name):
    with (Path(__file__).parent / f"{name}.calls").open("a") as file:
        file.write("x")

class Bands:
    """Log energy in 32 bands, eight times a second."""
    name, sample_rate, latent_dim, latent_rate = "bands", 16000, 32, 8.0

    def __init__(self, *, seed: int = 0) -> None:
        self.seed, self.fingerprint = seed, fingerprint(self.name, {})

    def encode(self, audio):
        count(self.name)
        frames = audio[:, : audio.shape[1] // 2000 * 2000].reshape(len(audio), -1, 2000)
        power = np.abs(np.fft.rfft(frames))[..., :960].reshape(len(audio), -1, 32, 30).mean(-1)
        return np.log(power + 1e-4).swapaxes(-1, -2).astype(np.float32)

class Energy(Bands):
    """The level, and its opposite."""
    name, latent_dim = "energy", 2

    def encode(self, audio):
        level = super().encode(audio).mean(1, keepdims=True)
        return np.concatenate([level, -level], 1)

class Broken(Bands):
    name = "broken"

    def encode(self, audio):
        raise ValueError("out of order")

class Codec:
    """A gain."""
    name, sample_rate, gain = "gain", None, 0.25

    def __init__(self, *, seed: int = 0) -> None:
        self.seed, self.fingerprint = seed, fingerprint(self.name, {})

    def reconstruct(self, audio):
        count(self.name)
        return (self.gain * audio).astype(np.float32)

class Reversed(Codec):
    """Quiet becomes loud and loud quiet: nothing is lost to whom it is told."""
    name = "reversed"

    def reconstruct(self, audio):
        level = np.sqrt(np.mean(audio ** 2))
        return (audio * 0.01 / level ** 2).astype(np.float32)

class Noise(Codec):
    """Nothing is left."""
    name = "noise"

    def reconstruct(self, audio):
        return np.random.default_rng(0).normal(0, 0.1, audio.shape).astype(np.float32)

class Faulty(Codec):
    """Cannot take one of the tones."""
    name = "faulty"

    def reconstruct(self, audio):
        if audio.shape[1] == 16001:
            raise ValueError("too long")
        return audio

class Streams(Codec):
    """An autoencoder of 100 values a second and channel."""
    name, sample_rate, latent_dim, latent_rate = "streams", 16000, 10, 10.0

    def encode(self, audio):
        return np.zeros((len(audio), 10, max(1, audio.shape[1] // 1600)), np.float32)

    def decode(self, latents, n_samples):
        return np.zeros((len(latents), n_samples), np.float32)
'''

BANDS = f"{ENCODER}:BandEnergies"  # 22 frames a second


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks over the same 60 tones in noise: of three pitches that blur into each other, and quiet or loud."""
    folder = tmp_path_factory.mktemp("tones")
    rng = np.random.default_rng(0)
    pitch, level = ["path,label,split,group"], ["path,label,split,group"]
    for k in range(60):
        label, loud = ("low", "mid", "high")[k % 3], k // 3 % 2
        split = ("train", "valid", "test")[k // 20]
        frequency = {"low": 300, "mid": 420, "high": 590}[label] * rng.lognormal(0, 0.12)
        n_samples = 16001 if k == 45 else 16000
        tone = np.sin(2 * np.pi * frequency * np.arange(n_samples) / 16000) + 0.1 * rng.standard_normal(n_samples)
        audio.write(folder / "audio" / f"{k:02d}.wav", ((0.03, 0.3)[loud] * tone[None]).astype(np.float32), 16000)
        pitch.append(f"audio/{k:02d}.wav,{label},{split},{k // 2}")
        level.append(f"audio/{k:02d}.wav,{('quiet', 'loud')[loud]},{split},{k // 2}")
    (folder / "pitch.csv").write_text("\n".join(pitch) + "\n")
    (folder / "level.csv").write_text("\n".join(level) + "\n")
    (folder / "code.py").write_text(CODE)
    return folder


def suite(folder: Path, systems: tuple[str, ...], readers: tuple[str, ...], **more):
    content = {
        "name": "r",
        "systems": [f"{name}={folder}/code.py:{name}" if name[0].isupper() else name for name in systems],
        "readers": [f"{name}={folder}/code.py:{name}" if name[0].isupper() else name for name in readers],
        "audio": [],
        "tasks": [str(folder / "pitch.csv")],
        "probes": ["linear"],
        "probe_seeds": [0],
    }
    return make_suite(content | more)


def scores(rows: list[Row], metric: str = "accuracy", statistic: str = "score") -> dict[tuple[str, str], float]:
    """(system, reader) -> value of the first seed."""
    return {(r.system, r.reader): r.value for r in rows if (r.metric, r.statistic, r.seed) == (metric, statistic, 0)}


def test_a_reader_of_originals_scores_as_its_own_latents_do(tones: Path, tmp_path: Path) -> None:
    result = run_suite(suite(tones, ("Bands", "lowpass-3.5k"), ("latents", "Bands")), out=tmp_path / "run")
    own = {(r.metric, r.seed): (r.value, r.ci_low, r.ci_high) for r in result.rows if r.system == "Bands"}
    read = {
        (r.metric, r.seed): (r.value, r.ci_low, r.ci_high)
        for r in result.rows
        if (r.system, r.statistic) == ("identity", "score")
    }
    assert own and own == read, "identity was added: it is the ceiling"
    assert 0.4 < own["accuracy", 0][0] < 1
    assert {r.reader for r in result.rows if r.system == "Bands"} == {""}, "it does not reconstruct"
    assert {r.system for r in result.rows if r.statistic == "cost"} == {"lowpass-3.5k"}


def test_costs_are_paired_differences_to_the_originals(tones: Path, tmp_path: Path) -> None:
    asked = suite(tones, ("identity", "Codec", "Noise"), ("Bands",), probe_seeds=[0, 1])
    result = run_suite(asked, out=tmp_path / "run")
    values: dict[tuple[str, int], dict[str, Item]] = defaultdict(dict)
    for item in result.items:
        if item.metric == "accuracy":
            values[item.system, item.seed][item.item] = item
    costs = [row for row in result.rows if row.statistic == "cost" and row.metric == "accuracy"]
    assert {(row.system, row.seed) for row in costs} == {("Codec", 0), ("Codec", 1), ("Noise", 0), ("Noise", 1)}
    for row in costs:
        before, after = values["identity", row.seed], values[row.system, row.seed]
        lost = [before[name].value - after[name].value for name in before]
        low, high = mean_interval(lost, groups=[before[name].group for name in before])
        assert (row.value, row.ci_low, row.ci_high) == pytest.approx((np.mean(lost), low, high), nan_ok=True)
        assert (row.n_planned, row.n_scored, row.n_failed) == (20, 20, 0)
    found = scores(result.rows)
    for system, cost in scores(result.rows, statistic="cost").items():
        assert cost == pytest.approx(found["identity", "Bands"] - found[system])
    noise = next(d for d in compare(read_runs([result.folder]), "identity", "Noise").differences if d.p_value < 0.05)
    assert noise.measurement.reader == "Bands" and noise.better == "a"


def test_each_file_is_reconstructed_once_for_all_readers_and_tasks(tones: Path, tmp_path: Path) -> None:
    for path in tones.glob("*.calls"):
        path.unlink()
    tasks = [str(tones / "pitch.csv"), str(tones / "level.csv")]
    asked = suite(tones, ("Codec",), ("Bands", "Energy"), tasks=tasks)
    result = run_suite(asked, out=tmp_path / "run")
    assert (tones / "gain.calls").read_text() == "x" * 20, "the test items"
    encoded = 40 + 2 * 20  # training and validation, then the test items of identity and of the codec
    assert (tones / "bands.calls").read_text() == "x" * encoded
    assert {(r.task.partition("/")[2], r.reader) for r in result.rows if r.probe} == {
        (task, reader) for task in ("pitch", "level") for reader in ("Bands", "Energy")
    }
    again = run_suite(asked, out=tmp_path / "run")
    assert not again.fresh and (tones / "gain.calls").read_text() == "x" * 20


def test_a_refitted_reader_tells_a_shift_of_features_from_a_loss(tones: Path, tmp_path: Path) -> None:
    asked = suite(tones, ("Reversed", "Noise"), ("Energy",), refit=True, tasks=[str(tones / "level.csv")])
    result = run_suite(asked, out=tmp_path / "run")
    found = scores(result.rows)
    assert found["identity", "Energy"] == found["identity", "Energy/refit"] == 1.0
    assert (found["Reversed", "Energy"], found["Reversed", "Energy/refit"]) == (0.0, 1.0)
    assert 0.3 <= found["Noise", "Energy/refit"] <= 0.7
    costs = scores(result.rows, statistic="cost")
    assert (costs["Reversed", "Energy"], costs["Reversed", "Energy/refit"]) == (1.0, 0.0)
    checked = verify(result.folder, sample=100)
    assert checked.sound and len(checked.rows) == len(result.rows)


def test_failures_are_counted_and_leave_the_others_what_they_have(tones: Path, tmp_path: Path) -> None:
    asked = suite(tones, ("Faulty", "Codec"), ("Bands", "Broken", "Noise"))
    result = run_suite(asked, out=tmp_path / "run")
    counts = {
        (r.system, r.reader): (r.n_planned, r.n_scored, r.n_failed)
        for r in result.rows
        if (r.metric, r.statistic) == ("accuracy", "score")
    }
    assert counts["identity", "Bands"] == counts["Codec", "Bands"] == (20, 20, 0)
    assert counts["Faulty", "Bands"] == (20, 19, 1)
    assert {counts[system, "Broken"] for system in ("identity", "Codec", "Faulty")} == {(20, 0, 20)}
    assert counts["Codec", "Noise"] == (20, 0, 20)
    assert result.plan.missing_readers == {"Noise": "Noise: cannot read reconstructions: it has no encode()"}
    reasons = {(i.system, i.reader): i.reason for i in read_items(result.folder) if i.reason}
    assert reasons["Faulty", "Bands"] == "too long"
    assert "out of order" in reasons["Codec", "Broken"]
    assert "no encode()" in reasons["Codec", "Noise"]
    cost = next(r for r in result.rows if (r.system, r.statistic, r.metric) == ("Faulty", "cost", "accuracy"))
    assert (cost.value, cost.n_scored, cost.n_failed) == (0.0, 19, 1), "compared where both have a score"
    assert result.n_failed == len([i for i in read_items(result.folder) if i.reason])


def test_compression_is_measured_from_bytes_or_counted_from_latents(tones: Path, tmp_path: Path) -> None:
    result = run_suite(suite(tones, ("opus:24k", "Streams", "Codec"), ("Bands",)), out=tmp_path / "run")
    found = {(r.system, r.metric): r.value for r in result.rows if not r.probe}
    assert found["Streams", "compression_ratio"] == pytest.approx(160.0), "16,000 samples, 100 values a second"
    assert found["opus:24k", "compression_ratio"] == pytest.approx(256 / found["opus:24k", "bit_rate"], rel=1e-9)
    assert set(found) == {("Streams", "compression_ratio"), ("opus:24k", "compression_ratio"), ("opus:24k", "bit_rate")}


def test_ready_made_reconstructions_are_found_by_the_ids_of_items(tones: Path, tmp_path: Path) -> None:
    for path in sorted((tones / "audio").glob("*.wav"))[40:-1]:
        signal, rate = audio.load(path)
        audio.write(tmp_path / "made" / "audio" / path.name, 0.25 * signal, rate)
    made = {"system": "folder", "label": "made", "options": {"directory": str(tmp_path / "made")}}
    asked = suite(tones, ("Codec",), ("Bands",)).model_dump()
    result = run_suite(make_suite(asked | {"systems": [*asked["systems"], made]}), out=tmp_path / "run")
    values = {(i.system, i.item): i.value for i in result.items if (i.metric, i.seed) == ("accuracy", 0)}
    assert [
        values["made", name] for system, name in values if system == "Codec" and not name.startswith("audio/59")
    ] == [value for (system, name), value in values.items() if system == "Codec" and not name.startswith("audio/59")]
    reason = next(item.reason for item in result.items if item.system == "made" and item.reason)
    assert "must have exactly one reconstruction, got none" in reason


@pytest.mark.usefixtures("coarse_figures")
def test_tables_and_a_figure_show_what_is_lost(tones: Path, tmp_path: Path) -> None:
    tasks = [str(tones / "pitch.csv"), str(tones / "level.csv")]
    asked = suite(tones, ("opus:24k", "Noise"), ("latents", "Bands", "Energy"), tasks=tasks)
    result = run_suite(asked, out=tmp_path / "run")
    build([result.folder])
    tables, figures = result.folder / "report" / "tables", result.folder / "report" / "figures"
    assert {path.stem for path in figures.glob("*.png")} == {"readers-linear"}
    assert {path.stem for path in tables.glob("*.md")} == {
        "cost-Bands-linear", "cost-Energy-linear", "readers-own-level", "readers-own-pitch"
    }  # fmt: skip
    text = (tables / "readers-own-pitch.md").read_text()
    for heading in ("bit rate (kbit/s)", "compression ratio", " Bands ↑ |", " cost for Bands ↓ |"):
        assert heading in text
    lines = {name: [line for line in text.splitlines() if f"| {name} " in line] for name in ("Noise", "opus:24k")}
    assert "**" in "".join(lines["Noise"]) and "**" not in "".join(lines["opus:24k"]), "the significant cost is bold"
    labels = by_compression(read_runs([result.folder]), ["opus:24k", "Noise"])
    assert list(labels) == ["Noise", "opus:24k"] and labels["Noise"] == "Noise"
    assert re.fullmatch(r"opus:24k, [\d.]+( to [\d.]+)?x", labels["opus:24k"])
    results = read_results(result.folder)
    assert list(results.table("accuracy", dataset="own/pitch", reader="Bands").columns) == [
        "cost in accuracy ↓", "accuracy ↑"
    ]  # fmt: skip
    assert results.per_file("accuracy", dataset="own/pitch", reader="Bands").shape == (20, 3)
    with pytest.raises(ValueError, match="dataset, reader and probe must name one"):
        results.per_file("accuracy", dataset="own/pitch")


def test_tasks_in_time_are_read_too(tmp_path: Path) -> None:
    rng, lines = np.random.default_rng(0), ["path,beats,split"]
    for k in range(12):
        times = np.arange(0.3 + 0.02 * k, 3.9, 0.4 + 0.01 * k)
        clicks = 0.001 * rng.standard_normal(64000)
        for time in times:
            start = round(time * 16000)
            clicks[start : start + 800] += 0.3 * rng.standard_normal(800)
        audio.write(tmp_path / "audio" / f"{k}.wav", clicks[None].astype(np.float32), 16000)
        (tmp_path / f"{k}.beats").write_text("\n".join(map(str, times)) + "\n")
        lines.append(f"audio/{k}.wav,{k}.beats,{('train', 'valid', 'test')[k // 4]}")
    (tmp_path / "own.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "code.py").write_text(CODE)
    asked = suite(tmp_path, ("Codec", "Noise"), (f"bands={BANDS}",), tasks=[str(tmp_path / "own.csv")])
    result = run_suite(asked, out=tmp_path / "run")
    found = {(r.system, r.metric): r.value for r in result.rows if r.statistic == "score"}
    own = probe(BANDS, str(tmp_path / "own.csv"), "linear", seeds=[0])
    for metric in own.task.metrics:
        assert found["identity", metric] == pytest.approx(own.mean(metric), abs=1e-12)
    assert found["identity", "beat_f"] > 0.9
    costs = {r.metric: r for r in result.rows if (r.system, r.statistic) == ("Noise", "cost")}
    assert costs["beat_f"].value > 0.3 and np.isnan(costs["beat_f"].ci_low), "4 tracks are too few for an interval"
    item = next(i for i in result.items if i.system == "Codec" and i.prediction)
    assert item.reader == "bands" and item.target


def test_one_system_is_read_in_this_process(tones: Path, tmp_path: Path) -> None:
    result = run_suite(suite(tones, ("Noise", "Reversed"), ("Bands",), refit=True), out=tmp_path / "run")
    found = scores(result.rows)
    reader, system, task = f"{tones}/code.py:Bands", f"{tones}/code.py:Reversed", str(tones / "pitch.csv")
    here = {refit: probe(system, task, "linear", seeds=[0], reader=reader, refit=refit) for refit in (False, True)}
    assert here[False].mean("accuracy") == found["Reversed", "Bands"]
    assert here[True].mean("accuracy") == found["Reversed", "Bands/refit"]
    with pytest.raises(ValueError, match="refit"):
        probe(system, task, "linear", refit=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"readers": ["mel"]}, "readers need tasks"),
        ({"refit": True, "tasks": ["key/tunes"]}, "refit needs readers"),
        ({"readers": []}, "readers"),
        ({"readers": ["opus:24k"], "tasks": ["key/tunes"]}, "opus:24k has no latents"),
        ({"readers": ["mfcc-croma"], "tasks": ["key/tunes"]}, "mfcc-chroma"),
        ({"readers": ["mel", "mel"], "tasks": ["key/tunes"]}, "labels must differ"),
        ({"readers": ["mel"], "tasks": ["key/tunes"], "systems": ["identity=opus:24k"]}, "'identity' must be that of"),
    ],
)
def test_a_suite_that_cannot_be_read_is_refused(content: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_suite(content)


def test_results_from_before_there_were_readers_are_read(tones: Path, tmp_path: Path) -> None:
    result = run_suite(suite(tones, ("Bands",), ("latents",)), out=tmp_path / "run")
    old = shutil.copytree(result.folder, tmp_path / "old", ignore=shutil.ignore_patterns("store"))
    for name, kind in (("rows", Row), ("items", Item)):
        table = pq.read_table(old / f"{name}.parquet")
        pq.write_table(table.drop_columns("reader"), old / f"{name}.parquet", write_page_checksum=True)
        assert table.equals(pq.read_table(result.folder / f"{name}.parquet")) and kind
    assert read_rows(old) == read_rows(result.folder)
    assert [replace(i, value=0.0) for i in read_items(old)] == [
        replace(i, value=0.0) for i in read_items(result.folder)
    ]
    assert to_parquet(read_rows(old), Row) == (result.folder / "rows.parquet").read_bytes()

"""Probing through a run: encoded once, probed twice, failures counted, resumed at any job."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from m2l_bench import audio
from m2l_bench.probes import LinearProbe
from m2l_bench.results import read_items
from m2l_bench.suite.local import LocalEngine
from m2l_bench.suite.run import run_suite
from m2l_bench.suite.suite import make_suite

ENCODER = '''
import numpy as np
from pathlib import Path
from m2l_bench.files.fingerprint import fingerprint

class Bands:
    """Log energy in 16 bands, four times a second; counts its calls in a file beside it."""
    name, sample_rate, latent_dim, latent_rate = "bands", 44100, 16, 4.0

    def __init__(self, *, seed: int = 0) -> None:
        self.seed, self.fingerprint = seed, fingerprint("bands", {})

    def encode(self, audio):
        with Path(__file__).with_suffix(".calls").open("a") as file:
            file.write("x")
        frames = audio[:, : audio.shape[1] // 11025 * 11025].reshape(len(audio), -1, 11025)
        power = np.abs(np.fft.rfft(frames))[..., :512].reshape(len(audio), -1, 16, 32).mean(-1)
        return np.log(power + 1e-4).swapaxes(-1, -2).astype(np.float32)
'''


@pytest.fixture
def pitches(tmp_path: Path) -> Path:
    """A folder task: 36 tones, low or high, in three splits."""
    rng = np.random.default_rng(0)
    lines = ["path,label,split,group"]
    for k in range(36):
        label, split = ("low", "high")[k % 2], ("train", "valid", "test")[k // 12]
        frequency = {"low": 300, "high": 2400}[label] * rng.uniform(0.8, 1.2)
        tone = 0.1 * np.sin(2 * np.pi * frequency * np.arange(22050) / 44100) + 0.001 * rng.standard_normal(22050)
        audio.write(tmp_path / "tones" / f"{k:02d}.wav", tone[None].astype(np.float32), 44100)
        lines.append(f"tones/{k:02d}.wav,{label},{split},{k}")
    (tmp_path / "pitches.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "bands.py").write_text(ENCODER)
    return tmp_path


def _suite(folder: Path, **more):
    content = {
        "name": "p",
        "systems": [f"bands={folder}/bands.py:Bands", "identity"],
        "audio": [],
        "tasks": [str(folder / "pitches.csv")],
        "probes": ["linear"],
        "probe_seeds": [0, 1],
    }
    return make_suite(content | more)


def test_a_task_gets_rows_predictions_and_encodes_once(pitches: Path, tmp_path: Path) -> None:
    result = run_suite(_suite(pitches, probes=["linear", "mlp"]), out=tmp_path / "run")
    rows = {(row.system, row.probe, row.metric, row.seed): row for row in result.rows}
    for probe in ("linear", "mlp"):
        for seed in (0, 1):
            row = rows["bands", probe, "accuracy", seed]
            assert row.value == 1.0, "two octaves apart"
            assert (row.n_planned, row.n_scored, row.n_failed, row.split) == (12, 12, 0, "test")
    predictions = [item for item in read_items(result.folder) if item.system == "bands" and item.metric == "accuracy"]
    assert {(item.target, item.prediction) for item in predictions} == {("low", "low"), ("high", "high")}
    assert (pitches / "bands.calls").read_text() == "x" * 36
    assert "cannot be evaluated here: it has no encode()" in result.plan.unusable["identity"]
    cards = {card.hash for card in result.cards.values()}
    assert {row.card for row in result.rows} <= cards


@pytest.mark.usefixtures("coarse_figures")
def test_a_learning_curve_is_rows_and_a_figure(pitches: Path, tmp_path: Path) -> None:
    from m2l_bench.report.build import build

    result = run_suite(_suite(pitches, train_items=[2, 6, 500]), out=tmp_path / "run")
    whole, *curve = sorted({row.split for row in result.rows})
    assert (whole, curve) == ("test", ["test@12", "test@2", "test@6"])
    value = {(row.split, row.metric, row.seed): row.value for row in result.rows if row.system == "bands"}
    assert all(value["test@12", metric, seed] == value["test", metric, seed] for _, metric, seed in value)
    assert {item.split for item in result.items if item.system == "bands"} == {"test"}
    build([tmp_path / "run"])
    assert len(list((tmp_path / "run" / "report" / "figures").glob("*-linear-learning.png"))) == 1


def test_a_run_of_a_probe_with_other_settings_is_another(pitches: Path, tmp_path: Path, monkeypatch) -> None:
    def probed(folder: Path) -> set[str]:
        run_suite(_suite(pitches), out=folder)
        listed = pq.read_table(folder / "jobs-4.parquet").to_pylist()
        return {line["job"] for line in listed if line["kind"] == "probe"}

    before = probed(tmp_path / "run")
    assert before and probed(tmp_path / "run") == before
    monkeypatch.setattr("m2l_bench.suite.jobs.probe.load_probe", lambda name: LinearProbe(max_iter=7))
    with pytest.raises(ValueError, match="holds the run of another plan"):
        probed(tmp_path / "run")
    assert not before & probed(tmp_path / "other")


def test_lost_outcomes_are_made_again_and_rows_are_equal(pitches: Path, tmp_path: Path) -> None:
    run_suite(_suite(pitches), out=tmp_path / "run")
    expected = (tmp_path / "run" / "rows.csv").read_bytes()
    shutil.rmtree(tmp_path / "run" / "store")
    with closing(LocalEngine()) as engine:  # a process that has not the deleted files open
        run_suite(_suite(pitches), out=tmp_path / "run", engine=engine)
    assert (tmp_path / "run" / "rows.csv").read_bytes() == expected
    assert (pitches / "bands.calls").read_text() == "x" * 72


@pytest.mark.parametrize("why", ["1 class", "latents must have shape"])
def test_a_task_that_cannot_be_evaluated_names_every_test_item_and_the_reason(
    pitches: Path, tmp_path: Path, why: str
) -> None:
    task, code = pitches / "pitches.csv", pitches / "bands.py"
    if why == "1 class":
        task.write_text(task.read_text().replace(",low,", ",one,").replace(",high,", ",one,"))
    else:
        code.write_text(code.read_text().replace(".swapaxes(-1, -2)", "[None]"))
    result = run_suite(_suite(pitches), out=tmp_path / "run")
    failed = {item.item: item.reason for item in result.items if item.system == "bands" and item.reason}
    assert set(failed) == {f"tones/{k:02d}.wav" for k in range(24, 36)}
    (reason,) = set(failed.values())
    (note,) = {row.note for row in result.rows if row.system == "bands"}
    assert why in reason and reason in note
    assert all((row.n_scored, row.n_failed) == (0, 12) for row in result.rows if row.system == "bands")


def test_damaged_audio_is_counted_and_named(pitches: Path, tmp_path: Path) -> None:
    (pitches / "tones" / "35.wav").write_bytes(b"")
    result = run_suite(_suite(pitches), out=tmp_path / "run")
    row = next(row for row in result.rows if row.metric == "accuracy")
    assert (row.n_planned, row.n_scored, row.n_failed) == (12, 11, 1)
    reasons = {item.item: item.reason for item in result.items if item.system == "bands" and item.reason}
    assert list(reasons) == ["tones/35.wav"] and "empty" in reasons["tones/35.wav"]


def test_a_missing_dataset_is_named_and_the_rest_goes_on(pitches: Path, tmp_path: Path) -> None:
    tasks = [f"genre/gtzan={tmp_path}/nowhere", str(pitches / "pitches.csv")]
    result = run_suite(_suite(pitches, tasks=tasks), out=tmp_path / "run")
    assert "genre/gtzan" in result.plan.missing
    assert result.n_failed > 0
    assert any(row.task.endswith("pitches") or "pitches" in row.task for row in result.rows)


def test_an_unknown_task_is_an_error(pitches: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown task 'key/nothing'"):
        run_suite(_suite(pitches, tasks=["key/nothing"]), out=tmp_path / "run")


def test_a_classifier_in_a_file_is_a_probe_like_any_other(pitches: Path, tmp_path: Path) -> None:
    (pitches / "mine.py").write_text(
        "from sklearn.neighbors import KNeighborsClassifier\nknn = KNeighborsClassifier(3)\n"
    )
    probes = [f"{pitches}/mine.py:knn", "linear"]
    result = run_suite(_suite(pitches, probes=probes), out=tmp_path / "run")
    scores = {row.probe: row.value for row in result.rows if row.metric == "accuracy" and row.system == "bands"}
    assert scores.keys() == {"mine.py:knn", "linear"} and scores["mine.py:knn"] > 0.9
    (pitches / "mine.py").write_text("from sklearn.dummy import DummyClassifier\nknn = DummyClassifier()\n")
    with pytest.raises(ValueError, match="holds the run of another plan"):
        run_suite(_suite(pitches, probes=probes), out=tmp_path / "run")
    with pytest.raises(ValueError, match=r"probes: unknown probe 'liner'; did you mean linear\?"):
        _suite(pitches, probes=["liner"])

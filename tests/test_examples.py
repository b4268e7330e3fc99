"""The examples of README, CONTRIBUTING and the docs do what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import m2l_bench
from m2l_bench import audio
from m2l_bench.suite.run import run_suite
from m2l_bench.suite.suite import make_suite
from m2l_bench.tasks import load_task
from m2l_bench.tasks.base import Task

EXAMPLES = Path(__file__).parent / "examples"
ENCODER = f"{EXAMPLES}/my_encoder.py:BandEnergies"


def test_a_users_codec_gets_its_row(music_folder: Path, tmp_path: Path) -> None:
    suite = make_suite(
        {
            "systems": [f"{EXAMPLES}/my_codec.py:Downsampled", "identity"],
            "audio": [str(music_folder)],
            "metrics": ["si_sdr"],
        }
    )
    result = run_suite(suite, out=tmp_path / "run")
    values = {row.system: row.value for row in result.rows if row.statistic == "mean"}
    assert values["identity"] == 100.0
    assert 0 < values["my_codec.py:Downsampled"] < 60


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """The user's task: tones, low or high, in a folder each."""
    folder, rng = tmp_path_factory.mktemp("tones"), np.random.default_rng(0)
    for number in range(60):
        name, pitch = (("low", 300.0), ("high", 3000.0))[number % 2]
        tone = 0.1 * np.sin(2 * np.pi * pitch * rng.uniform(0.9, 1.1) * np.arange(11025) / 22050)
        audio.write(folder / name / f"{number}.wav", tone[None].astype(np.float32), 22050)
    return load_task(f"{EXAMPLES}/my_task.py:FOLDERS", data_home=folder)


def test_a_users_task_is_evaluated(task: Task) -> None:
    result = m2l_bench.probe(ENCODER, task, "linear", seeds=(0,))
    assert result.mean("accuracy") > 0.9 and set(result.labels) == {"low", "high"}


def test_a_users_probe_scores(task: Task) -> None:
    result = m2l_bench.probe(ENCODER, task, f"{EXAMPLES}/my_probe.py:knn", seeds=(0,))
    assert result.probe == "Pipeline" and result.mean("accuracy") > 0.9
    assert (
        "make_pipeline(StandardScaler(), KNeighborsClassifier(n_neighbors=5))" in (EXAMPLES / "my_probe.py").read_text()
    )


def test_a_users_encoder_is_heard_and_probed(music: Callable[..., np.ndarray], task: Task, tmp_path: Path) -> None:
    for seed in range(10):
        audio.write(tmp_path / "music" / f"{seed}.wav", music(seed=seed), 44100)
    metrics = [f"fad:{ENCODER}", f"kad:{ENCODER}(bands=8)"]
    suite = {"systems": ["identity", "opus:24k"], "audio": [str(tmp_path / "music")], "metrics": metrics}
    rows = run_suite(make_suite(suite), out=tmp_path / "run").rows
    values = {(row.system, row.metric): row.value for row in rows}
    for metric in ("fad:my_encoder.py:BandEnergies", "kad:my_encoder.py:BandEnergies(bands=8)"):
        assert abs(values["identity", metric]) < 1e-6 < values["opus:24k", metric]
    result = m2l_bench.probe(m2l_bench.load(ENCODER), task, "linear", seeds=(0,))
    assert result.mean("accuracy") > 0.9


def test_contributing_shows_the_examples_that_are_tested() -> None:
    shown = (EXAMPLES.parent.parent / "CONTRIBUTING.md").read_text()
    blocks = [block.split("```")[0] for block in shown.split("```python\n")[1:]]
    files = ("my_codec.py", "my_encoder.py", "my_task.py", "my_probe.py", "my_metric.py")
    for name, block in zip(files, blocks, strict=True):
        code = (EXAMPLES / name).read_text()
        plain = [line.split("  #")[0].strip() for line in block.splitlines() if line.strip() not in ("", "...")]
        assert all(line in code for line in plain), name
        assert f"tests/examples/{name}" in shown and len(code.splitlines()) <= 40


def test_the_notebook_page_runs(tmp_path: Path, music: Callable[..., np.ndarray]) -> None:
    for seed in range(10):
        audio.write(tmp_path / "music" / f"{seed}.wav", music(140_000, channels=1, seed=seed), 44100)
    suite = make_suite(
        {
            "systems": ["opus:24k", "mp3:64k"],
            "audio": [str(tmp_path / "music")],
            "metrics": ["si_sdr", "mel_distance", "fad:musicnn"],
        }
    )
    run_suite(suite, out=tmp_path / "run")
    page = (EXAMPLES.parent.parent / "docs" / "notebook.md").read_text(encoding="utf-8")
    code = "\n".join(block.partition("```")[0] for block in page.split("```python\n")[1:])
    names: dict[str, Any] = {}
    exec(code.replace('"RUN"', repr(str(tmp_path / "run"))), names)
    assert list(names["scores"]) == ["opus:24k", "mp3:64k", "chance"] and len(names["scores"]) == 10
    assert set(names["means"].system) == {"opus:24k", "mp3:64k", "chance"}
    assert names["axes"].get_xlabel() == "opus:24k"
    assert {"si_sdr", "mel_distance"} <= set(names["tests"].metric)


def test_the_tables_of_the_docs_are_tasks(tmp_path: Path, music: Callable[..., np.ndarray]) -> None:
    page = (EXAMPLES.parent.parent / "docs" / "data.md").read_text(encoding="utf-8")
    kinds = []
    for number, block in enumerate(page.split("```csv\n")[1:]):
        table = tmp_path / str(number) / "labels.csv"
        lines = block.partition("```")[0].splitlines()
        for line in lines[1:]:
            path, label, *_ = line.split(",")
            audio.write(table.parent / path, music(4410), 44100)
            if label.endswith(".txt"):
                (table.parent / label).parent.mkdir(exist_ok=True)
                (table.parent / label).write_text("0.05 1\n")
        table.write_text("\n".join(lines) + "\n")
        task = load_task(str(table))
        assert len(task.source.items()) == len(lines) - 1
        kinds.append((task.kind, "notes" in task.caveat))
    assert kinds == [("single-label", True), ("key", False), ("multi-label", False), ("beats", False)]

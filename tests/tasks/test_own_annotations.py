"""The user's own music with annotation files: how they are read, what is refused, and a task of each kind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import mir_eval
import numpy as np
import pyarrow.parquet as pq
import pytest
from layouts import text
from one_worker import OneWorker

from m2l_bench import audio
from m2l_bench.report.build import build
from m2l_bench.suite import data
from m2l_bench.suite.jobs.probe import ProbeJob
from m2l_bench.suite.local import LocalEngine
from m2l_bench.suite.run import run_suite
from m2l_bench.suite.suite import make_suite
from m2l_bench.tasks import load_task
from m2l_bench.tasks.annotation import OUTPUTS, Annotation
from m2l_bench.tasks.base import Task
from m2l_bench.tasks.protocol import planned_hash
from m2l_bench.tasks.sources.annotation_files import read_annotation
from m2l_bench.tasks.sources.source import SPLITS
from m2l_bench.tasks.track_scores import score

GOOD = {
    "beats": "# bar 1\n0.5\t1\n\n1, 2\n1.5 3\n",
    "onsets": "0.5\n0.5\n0.52\n  \n0.7 x\n",
    "chords": "0 1.5 C:maj(9,11)\n1.5,2,N\n#\n2.5\t4\tBb:min7/b3\n",
    "notes": "0 1 60\n0, 2, 64.5\n 1.5 3 111\n",
    "melody": "0 0\n0.01,440\n0.02 -220\n",
}
EXPECTED = {
    "beats": ([0.5, 1, 1.5], None, None),
    "onsets": ([0.5, 0.7], None, None),
    "chords": ([0, 1.5, 2, 2.5], [1.5, 2, 2.5, 4], ["C:maj(9,11)", "N", "N", "Bb:min7/b3"]),
    "notes": ([0, 0, 1.5], [1, 2, 3], [60, 64.5, 111]),
    "melody": ([0, 0.01, 0.02], None, [0, 440, 0]),
}


def written(path: Path, content: str) -> Path:
    text(path, content)
    return path


@pytest.mark.parametrize("kind", list(OUTPUTS))
@pytest.mark.parametrize(
    "change", [str, lambda content: "\ufeff" + content.replace("\n", "\r\n")], ids=["plain", "crlf"]
)
def test_lines_are_read(kind: str, change: type[str], tmp_path: Path) -> None:
    found = read_annotation(written(tmp_path / "a.txt", change(GOOD[kind])), kind)
    starts, ends, values = EXPECTED[kind]
    assert found.starts.tolist() == starts and found.ends.tolist() == (ends or starts)
    assert found.values.tolist() == (values or [])
    assert 0.0 <= score(kind, found, found, 5.0)[f"{kind.rstrip('s')}_{_MAIN[kind]}"] <= 1.0


_MAIN = {"beats": "f", "onsets": "f", "chords": "majmin", "notes": "f", "melody": "accuracy"}


def test_plain_files_are_read_as_by_mir_eval(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.1, 1, 41))
    rows = {
        "beats": [f"{time}" for time in times],
        "melody": [f"{time} {value}" for time, value in zip(times, rng.uniform(0, 900, 41), strict=True)],
        "chords": [f"{a} {b} {rng.choice(['C', 'D:min', 'N'])}" for a, b in pairwise(times)],
        "notes": [f"{a} {b} {rng.integers(16, 112)}" for a, b in pairwise(times)],
    }
    path = {kind: written(tmp_path / kind, "\n".join(lines)) for kind, lines in rows.items()}
    found = {kind: read_annotation(path[kind], kind) for kind in rows}
    np.testing.assert_array_equal(found["beats"].starts, mir_eval.io.load_events(path["beats"]))
    for ours, theirs in zip(
        (found["melody"].starts, found["melody"].values), mir_eval.io.load_time_series(path["melody"]), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    for kind, load in (("chords", mir_eval.io.load_labeled_intervals), ("notes", mir_eval.io.load_valued_intervals)):
        intervals, values = load(path[kind])
        np.testing.assert_array_equal(np.stack([found[kind].starts, found[kind].ends], 1), intervals)
        assert found[kind].values.tolist() == list(values)


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("beats", "1\n# x\n0.5\n", "line 3: time must be after that of the line before (1), got 0.5"),
        ("beats", "1\n1\n", "line 2: time must be after that of the line before (1), got 1"),
        ("onsets", "1\n1\n0.9\n", "line 3: time must not be before that of the line before (1), got 0.9"),
        ("melody", "1 440\n1 450\n", "line 2: time must be after that of the line before (1), got 1"),
        ("notes", "1 2 60\n0 2 60\n", "line 2: onset must not be before that of the line before (1), got 0"),
        ("chords", "0 2 C\n1 3 D\n", "line 2: start must not be before the end of the chord before (2), got 1"),
        ("chords", "0 2 C\n3 2.5 D\n", "line 2: end must be after start (3), got 2.5"),
        ("notes", "1 1 60\n", "line 1: offset must be after onset (1), got 1"),
        ("beats", "\n-0.1\n", "line 2: time must be a number from 0 to 30000 (seconds), got '-0.1'"),
        ("notes", "-1 2 60\n", "line 1: onset must be a number from 0 to 30000 (seconds), got '-1'"),
        ("onsets", "44100\n", "line 1: time must be a number from 0 to 30000 (seconds), got '44100'"),
        ("beats", "time\n", "line 1: time must be a number from 0 to 30000 (seconds), got 'time'"),
        ("chords", "0 nan C\n", "line 1: end must be a number from 0 to 30000 (seconds), got 'nan'"),
        ("chords", "0 1 H:maj\n", "line 1: label must be a chord in Harte's spelling, such as Bb:min7 or N, got 'H:maj'"),
        ("chords", "0 1 C maj\n", "line 1: label must be a chord in Harte's spelling, such as Bb:min7 or N, got 'C maj'"),
        ("notes", "0 1 128\n", "line 1: pitch must be a number from 0 to 127 (MIDI), got '128'"),
        ("notes", "0 1 -1\n", "line 1: pitch must be a number from 0 to 127 (MIDI), got '-1'"),
        ("notes", "0 1 C4\n", "line 1: pitch must be a number from 0 to 127 (MIDI), got 'C4'"),
        ("melody", "0 A4\n", "line 1: frequency must be a number (Hz), got 'A4'"),
        ("melody", "0 inf\n", "line 1: frequency must be a number (Hz), got 'inf'"),
        ("beats", "1 2 3\n", "line 1: must be `time [anything]`, separated by whitespace or commas, got '1 2 3'"),
        ("melody", "1\n", "line 1: must be `time frequency`, separated by whitespace or commas, got '1'"),
        ("chords", "1 2\n", "line 1: must be `start end label`, separated by whitespace or commas, got '1 2'"),
        ("notes", "1 2 60 100\n", "line 1: must be `onset offset pitch`, separated by whitespace or commas, got"),
        ("notes", "# nothing\n\n", "must have a line `onset offset pitch`, got none"),
        ("beats", "", "must have a line `time [anything]`, got none"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_line(kind: str, content: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", content)
    with pytest.raises(ValueError, match=re.escape(f"{path}") + r"(, |: )" + re.escape(message)) as error:
        read_annotation(path, kind)
    assert "\n" not in str(error.value)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe1.0")
    for path in (tmp_path / "a.txt", tmp_path, tmp_path / "none"):
        with pytest.raises(ValueError, match=re.escape(f"{path}: must be a readable text file in UTF-8 (")):
            read_annotation(path, "beats")


class TestTable:
    def make(self, folder: Path, header: str = "beats,group", row: str = "{k}.txt,artist {g}", n: int = 40) -> Path:
        lines = [f"path,{header}"]
        for k in range(n):
            audio.write(folder / f"{k}.wav", np.zeros((1, 800), np.float32), 8000)
            text(folder / f"{k}.txt", f"{k / 100}\n1\n")
            lines.append(f"{k}.wav,{row.format(k=k, g=k // 2)}")
        text(folder / "mine.csv", "\n".join(lines) + "\n")
        return folder / "mine.csv"

    def test_tracks_are_dealt_by_group_alone(self, tmp_path: Path) -> None:
        task = load_task(str(self.make(tmp_path)))
        items = task.items()
        assert (task.name, task.kind, task.in_time, task.labels) == ("own/mine", "beats", True, ())
        assert Counter(item.split for item in items) == {"train": 28, "valid": 4, "test": 8}
        assert len({(item.group, item.split) for item in items}) == 20
        assert task.caveat == "Splits assigned by group: 28 train, 4 valid, 8 test."
        found = {name: note for split in SPLITS for name, note in task.split_annotations(split).items()}
        assert len(found) == 40 and found["7.wav"].starts.tolist() == [0.07, 1.0]

    @pytest.mark.parametrize("kind", list(OUTPUTS))
    def test_the_column_is_the_kind(self, kind: str, tmp_path: Path) -> None:
        path = self.make(tmp_path, f"{kind},split", "all.txt,train", n=3)
        text(path, path.read_text().replace("1.wav,all.txt,train", "1.wav, ,valid"))
        text(tmp_path / "all.txt", GOOD[kind])
        task = load_task(str(path))
        assert task.kind == kind and not task.caveat
        assert list(task.split_annotations("train")) == ["0.wav", "2.wav"] and not task.split_annotations("valid")
        assert isinstance(task.split_annotations("train")["0.wav"], Annotation)

    def test_columns_of_two_kinds(self, tmp_path: Path) -> None:
        for header in ("beats,chords", "label,beats", "beats,key", "beats,calm", "melody,notes"):
            values = ",".join({"key": "C", "calm": "1"}.get(name, "{k}.txt") for name in header.split(","))
            path = self.make(tmp_path, header, values, n=2)
            with pytest.raises(
                ValueError, match=r"mine\.csv: must have a column label .* or one column of annotation files"
            ):
                load_task(str(path))
        task = load_task(str(self.make(tmp_path, "label,notes", "a,from {k}", n=10)))
        assert task.kind == "single-label" and "Ignored columns of mine.csv: notes." in task.caveat
        task = load_task(str(self.make(tmp_path, "drums,melody,notes", "1,0,remark", n=10)))
        assert (task.kind, task.labels) == ("multi-label", ("drums", "melody"))

    def test_faults_are_named_when_the_task_is_loaded(self, tmp_path: Path) -> None:
        path = self.make(tmp_path, row="none/{k}.txt,{g}")
        message = "mine.csv, column beats: must be a file beside the table, got 'none/0.txt' for '0.wav'"
        with pytest.raises(ValueError, match=re.escape(message)):
            load_task(str(path))
        with pytest.raises(ValueError, match=r"path must lie in .*, got '\.\./0\.txt'"):
            load_task(str(self.make(tmp_path / "in", row="../{k}.txt,{g}")))
        path = self.make(tmp_path)
        text(tmp_path / "9.txt", "2\n1\n")
        with pytest.raises(
            ValueError, match=r"9\.txt, line 2: time must be after that of the line before \(2\), got 1"
        ):
            load_task(str(path))

    def test_another_annotation_is_another_task(self, tmp_path: Path) -> None:
        path = self.make(tmp_path)

        def identities() -> tuple[str, str]:
            task = load_task(str(path))
            return planned_hash(task, task.split_annotations("test")), task.labels_hash

        first = identities()
        assert identities() == first
        of = {split: next(i.path for i in load_task(str(path)).items() if i.split == split) for split in SPLITS}
        text(of["train"].with_suffix(".txt"), "0.00001\n1\n")  # a hundredth of a millisecond
        second = identities()
        assert second[0] == first[0] and second[1] != first[1]
        text(of["test"].with_suffix(".txt"), "0.3\n")
        assert identities()[0] != first[0] and identities()[1] != second[1]


ENCODER = '''
import numpy as np
from m2l_bench.files.fingerprint import fingerprint

class Energy:
    """Log energy, 50 times a second."""
    name, sample_rate, latent_dim, latent_rate = "energy", 8000, 1, 50.0

    def __init__(self, *, seed: int = 0) -> None:
        self.seed, self.fingerprint = seed, fingerprint("energy", {})

    def encode(self, audio):
        frames = audio[:, : audio.shape[1] // 160 * 160].reshape(len(audio), -1, 160)
        return np.log((frames**2).mean(-1) + 1e-6)[:, None].astype(np.float32)
'''


def clicks(folder: Path, n: int = 15) -> Path:
    """Tracks with a click on each beat, in three splits."""
    rng = np.random.default_rng(0)
    lines = ["path,beats,split"]
    for k in range(n):
        beats = np.arange(rng.uniform(0.1, 0.3), 5, rng.uniform(0.4, 0.8))
        wave = 0.001 * rng.standard_normal(40000)
        for start in (beats * 8000).astype(int):
            wave[start : start + 160] += 0.3 * rng.standard_normal(len(wave[start : start + 160]))
        audio.write(folder / "audio" / f"{k}.wav", wave[None].astype(np.float32), 8000)
        text(folder / "beats" / f"{k}.beats", "".join(f"{beat:.3f}\t{j % 4 + 1}\n" for j, beat in enumerate(beats)))
        lines.append(f"audio/{k}.wav,beats/{k}.beats,{SPLITS[k % 3]}")
    text(folder / "beats.csv", "\n".join(lines) + "\n")
    text(folder / "energy.py", ENCODER)
    return folder / "beats.csv"


@pytest.fixture(scope="module")
def worker() -> Iterator[OneWorker]:
    engine = OneWorker()
    yield engine
    engine.end()


def test_a_run_end_to_end_and_again_with_another_annotation(tmp_path: Path, worker: OneWorker) -> None:
    suite = make_suite(
        {
            "name": "own",
            "systems": [f"energy={clicks(tmp_path).with_name('energy.py')}:Energy"],
            "audio": [],
            "tasks": [str(tmp_path / "beats.csv")],
            "probes": ["linear"],
            "probe_seeds": [0],
        }
    )

    def run(engine: LocalEngine) -> tuple[dict[str, float], set[str]]:
        data._load_task.cache_clear()  # as in a new process
        data._task_audio.cache_clear()
        rows = run_suite(suite, out=tmp_path / "run", engine=engine).rows
        assert {(row.task, row.n_planned, row.n_scored) for row in rows} == {("own/beats", 5, 5)}
        jobs = [pq.read_table(tmp_path / "run" / f"jobs-{phase}.parquet").to_pylist() for phase in (1, 4)]
        return {row.metric: row.value for row in rows}, {line["job"] for line in jobs[1]}

    values, jobs = run(worker)
    assert values["beat_f"] > 0.97 and values["beat_timing"] < 15
    text(tmp_path / "beats" / "2.beats", "4.999\n")  # a test track
    with closing(LocalEngine()) as fresh:  # a process that has not read the annotation before
        others, other_jobs = run(fresh)
    assert others["beat_f"] < 0.9 and jobs and not jobs & other_jobs


def test_classifiers_and_what_tasks_in_time_do_not_have(tmp_path: Path, worker: OneWorker) -> None:
    """No learning curve, no interval of few tracks; any classifier will do; a timeline without the audio."""
    text(tmp_path / "near.py", "from sklearn.neighbors import KNeighborsClassifier\nknn = KNeighborsClassifier()\n")
    suite = make_suite(
        {
            "name": "own",
            "systems": [f"energy={clicks(tmp_path).with_name('energy.py')}:Energy"],
            "audio": [],
            "tasks": [str(tmp_path / "beats.csv")],
            "probes": ["linear", f"{tmp_path / 'near.py'}:knn"],
            "probe_seeds": [0],
            "train_items": [2],
        }
    )
    result = run_suite(suite, out=tmp_path / "run", engine=worker)
    rows = {("linear" if row.probe == "linear" else "knn", row.metric): row for row in result.rows}
    assert {row.split for row in result.rows} == {"test"}
    assert "There are no learning curves of tasks in time." in rows["linear", "beat_f"].note
    assert "5 groups in the test: too few for an interval." in rows["linear", "beat_f"].note
    assert rows["linear", "beat_f"].value > 0.97 and np.isnan(rows["linear", "beat_f"].ci_low)
    assert (rows["knn", "beat_f"].n_failed, rows["knn", "beat_f"].n_scored) == (0, 5)
    assert rows["knn", "beat_f"].value > 0.9
    build([tmp_path / "run"])
    figures = {path.name for path in (tmp_path / "run" / "report" / "figures").iterdir()}
    assert "own-beats-linear-timeline.png" in figures


def test_other_labels_are_another_probing(tmp_path: Path) -> None:
    """Also where neither files nor splits nor test labels change."""
    for k in range(6):
        audio.write(tmp_path / f"{k}.wav", np.zeros((1, 800), np.float32), 8000)
    rows = [f"{k}.wav,{'ab'[k % 2]},{SPLITS[k // 2]}" for k in range(6)]
    text(tmp_path / "mine.csv", "\n".join(["path,label,split", *rows, ""]))
    before = load_task(str(tmp_path / "mine.csv"))
    text(tmp_path / "mine.csv", "\n".join(["path,label,split", rows[0].replace(",a,", ",b,"), *rows[1:], ""]))
    after = load_task(str(tmp_path / "mine.csv"))
    ids = [
        ProbeJob(label="x", task=Loaded(task), latents=(), missing=(), probe="linear", seeds=(0,)).id
        for task in (before, after)
    ]
    assert before.items() == after.items() and ids[0] != ids[1]
    assert planned_hash(before, before.split_labels("test")) == planned_hash(after, after.split_labels("test"))


class Loaded:
    """Stands for a task's specification."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def load(self) -> Task:
        return self.task

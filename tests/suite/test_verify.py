"""A finished run is hashed and computed again; equal bytes whatever the workers and the order of jobs."""

from __future__ import annotations

import random
import shutil
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from noise_run import ENCODER
from typer.testing import CliRunner

from m2l_bench import audio
from m2l_bench.checksums import read_checksums
from m2l_bench.cli import app
from m2l_bench.report.build import build
from m2l_bench.suite.engine import Done, Job, Workspace
from m2l_bench.suite.local import LocalEngine, local_unless
from m2l_bench.suite.run import run_suite
from m2l_bench.suite.suite import Suite, SystemSpec, make_suite
from m2l_bench.suite.verify import _close, verify

BANDS = f"{ENCODER}:BandEnergies"  # cheap to load in each worker


class Shuffled(LocalEngine):
    """Takes the jobs in another order."""

    def run(self, batches: Iterator[list[Job]], workspace: Workspace | None) -> Generator[Done]:
        jobs = [job for batch in batches for job in batch]
        return super().run(iter([[job] for job in random.Random(3).sample(jobs, len(jobs))]), workspace)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """Reconstruction of twelve files with distances of sets, and a probe over them."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    lines = ["path,label,split,group"]
    for n in range(12):
        label, split = ("low", "high")[n % 2], ("train", "valid", "test")[n // 4]
        tone = np.sin(2 * np.pi * (300 + 2000 * (n % 2) + 10 * n) * np.arange(16000) / 16000)
        signal = (0.1 * tone + 0.01 * rng.standard_normal(16000)).astype(np.float32)
        audio.write(folder / "tones" / f"{n:02d}.wav", signal[None], 16000)
        lines.append(f"tones/{n:02d}.wav,{label},{split},{n}")
    (folder / "tones.csv").write_text("\n".join(lines) + "\n")
    return make_suite(
        {
            "systems": ["identity", "opus:24k", f"bands={BANDS}"],
            "audio": [str(folder / "tones")],
            "metrics": ["si_sdr", "mel_distance", f"fad:{BANDS}", f"kad:{BANDS}"],
            "tasks": [str(folder / "tones.csv")],
            "probes": ["linear"],
            "probe_seeds": [0],
        }
    )


@pytest.fixture(scope="module")
def run(suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "one"
    run_suite(suite, out=folder)
    return folder


def test_rows_are_the_same_bytes_whatever_the_workers_and_the_order(suite: Suite, run: Path, tmp_path: Path) -> None:
    with closing(Shuffled(workers=2)) as engine:
        run_suite(suite, out=tmp_path / "run", engine=engine)
    for name in ("rows.csv", "rows.parquet", "items.parquet", "failures.csv", "cards.json"):
        assert (tmp_path / "run" / name).read_bytes() == (run / name).read_bytes(), name


def test_a_sound_run_is_hashed_whole_and_its_rows_come_out_again(run: Path) -> None:
    sums = read_checksums(run)
    assert {"rows.csv", "rows.parquet", "items.parquet", "failures.csv", "cards.json", "run.json"} == set(sums)
    found = verify(run, sample=100)
    assert found.sound, found
    assert {check.row.statistic for check in found.rows} == {"mean", "median", "pooled", "corrected", "score"}
    assert any("tones/" in check.found or ".wav scored again" in check.found for check in found.rows)


def test_a_run_is_verified_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, music_folder: Path) -> None:
    monkeypatch.chdir(tmp_path)
    suite = make_suite({"systems": ["identity"], "audio": ["music"], "metrics": ["si_sdr"], "tasks": []})
    run_suite(suite, out=Path("run"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert verify(tmp_path / "run", sample=1).sound


def test_a_system_that_cannot_be_loaded_is_a_line_beside_the_others(suite: Suite, tmp_path: Path) -> None:
    """Its rows are of the others' kind: the same cards, one number of a set, none of them known."""
    broken = SystemSpec(system="latmusic-style", checkpoint=str(tmp_path / "nothing.safetensors"), label="broken")
    metrics = ("si_sdr", "mel_distance", f"kad:{BANDS}")
    more = suite.model_copy(update={"systems": (*suite.systems, broken), "tasks": (), "metrics": metrics})
    result = run_suite(more, out=tmp_path / "run")
    kinds = {
        system: {(row.metric, row.statistic, row.card) for row in result.rows if row.system == system and row.n_planned}
        for system in ("identity", "broken")
    }
    assert kinds["broken"] == kinds["identity"]
    assert all(np.isnan(row.value) and row.n_failed == 12 for row in result.rows if row.system == "broken")
    assert verify(result.folder, sample=30).sound
    assert "| broken " in build([result.folder], listen=False).with_name("index.md").read_text()


@pytest.mark.parametrize("name", ["rows.csv", "items.parquet", "run.json"])
def test_one_changed_byte_is_named(run: Path, name: str) -> None:
    path = run / name
    before = path.read_bytes()
    changed = bytearray(before)
    changed[len(changed) // 2] ^= 1
    try:
        path.write_bytes(bytes(changed))
        result = CliRunner().invoke(app, ["verify", str(run)])
        assert result.exit_code == 2
        assert f"changed: {name}" in result.output
        path.unlink()
        assert verify(run).files == {name: "missing"}
    finally:
        path.write_bytes(before)


def test_a_damaged_outcome_is_named_and_computed_again(suite: Suite, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    for segment in (tmp_path / "run" / "store" / "segments").glob("*.seg"):
        content = bytearray(segment.read_bytes())
        content[len(content) // 3] ^= 1
        segment.write_bytes(bytes(content))
    found = verify(tmp_path / "run", sample=1)
    assert not found.sound
    assert found.files == {"store": "changed"}
    assert "is damaged or gone" in found.obstacle
    for _ in range(3):  # whoever meets a damaged outcome marks it; the same command makes it again
        try:
            run_suite(suite, out=tmp_path / "run")
        except OSError:
            continue
        break
    assert (tmp_path / "run" / "rows.csv").read_bytes() == (run / "rows.csv").read_bytes()


def test_a_row_that_does_not_come_out_again_is_named(run: Path, suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    import m2l_bench.suite.verify as module

    stored = module.read_rows(run)
    wrong = [replace(row, value=row.value + 1e-4) for row in stored]
    monkeypatch.setattr(module, "read_rows", lambda folder: wrong)
    found = verify(run, sample=4)
    assert not found.sound
    assert all("stored" in check.found for check in found.rows if not check.agrees)
    assert all(np.isnan(check.row.value) for check in found.rows if check.agrees)


@pytest.mark.parametrize(
    ("a", "b", "tolerance", "close"),
    [
        (1.0, 1.0, 0.0, True),
        (1.0, 1.0 + 1e-9, 0.0, False),
        (1.0, 1.0 + 1e-9, 1e-6, True),
        (float("nan"), float("nan"), 0.0, True),
        (float("nan"), 1.0, 1.0, False),
        ("a", "b", 1.0, False),
    ],
)
def test_values_are_equal_to_the_bit_unless_a_tolerance_is_given(
    a: object, b: object, tolerance: float, close: bool
) -> None:
    assert _close(a, b, tolerance) is close


def test_changed_audio_is_named_and_never_mixed_in(music_folder: Path, tmp_path: Path, music) -> None:
    suite = make_suite({"systems": ["identity"], "audio": [str(music_folder)], "metrics": ["si_sdr"], "tasks": []})
    run_suite(suite, out=tmp_path / "run")
    before = (tmp_path / "run" / "rows.csv").read_bytes()
    audio.write(music_folder / "a.wav", music(seed=9), 44100)
    found = verify(tmp_path / "run")
    assert found.obstacle == "the audio of music changed"
    assert not found.sound
    with pytest.raises(ValueError, match="holds the run of another plan"):
        run_suite(suite, out=tmp_path / "run")
    assert (tmp_path / "run" / "rows.csv").read_bytes() == before


def test_another_version_of_the_code_finds_no_finished_job(
    music_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import m2l_bench.suite.jobs as module
    from m2l_bench.suite.planning import make_plan

    suite = make_suite({"systems": ["identity"], "audio": [str(music_folder)], "metrics": ["si_sdr"], "tasks": []})
    with local_unless(None) as engine:
        before = make_plan(suite, engine)
        names, old_hash = {job.id for job in before.first_jobs()}, before.hash
        monkeypatch.setattr(module, "VERSION", "99.0")
        after = make_plan(suite, engine)
    assert old_hash != after.hash
    assert not names & {job.id for job in after.first_jobs()}


@pytest.mark.usefixtures("commands_share_worker", "coarse_figures")
def test_a_rebuilt_report_keeps_the_run_sound(music_folder: Path, tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    arguments = ["--audio", str(music_folder), "--system", "identity", "--metric", "si_sdr", "--workers", "1"]
    assert CliRunner().invoke(app, ["run", *arguments, "--out", run]).exit_code == 0
    assert "report/listen/index.html" in read_checksums(tmp_path / "run")
    for arguments in (["verify", run, "--sample", "1"], ["report", run], ["verify", run, "--sample", "1"]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        assert arguments[0] == "report" or "rows: 1 of 1 computed again agree" in result.stdout


def test_a_run_without_checksums_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["verify", str(tmp_path)])
    assert result.exit_code == 2
    assert "one without SHA256SUMS" in result.output
    (tmp_path / "SHA256SUMS").write_text("nonsense\n")
    assert "must hold lines of a SHA-256" in CliRunner().invoke(app, ["verify", str(tmp_path)]).output

"""Repeatability: another seed on a few files, analytic numbers, nothing for what is deterministic, counts that agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from m2l_bench import audio
from m2l_bench.cli import app
from m2l_bench.reconstruction.pair.si_sdr import LIMIT
from m2l_bench.results import Row, data_hash
from m2l_bench.suite.data import AudioItem, AudioSet
from m2l_bench.suite.jobs.repeat import REPEATABILITY_CARD, seed_change_card
from m2l_bench.suite.local import local_unless
from m2l_bench.suite.plan import repeated
from m2l_bench.suite.planning import make_plan
from m2l_bench.suite.run import RunResult, run_suite
from m2l_bench.suite.status import read_status
from m2l_bench.suite.suite import Suite, make_suite
from m2l_bench.suite.verify import verify

SYSTEMS = """
import numpy as np


class Base:
    def __init__(self, *, seed=0):
        self.seed = seed


class Noisy(Base):
    \"\"\"Adds white noise of a known level.\"\"\"

    def reconstruct(self, audio):
        return audio + 0.05 * np.random.default_rng(self.seed).standard_normal(audio.shape).astype(np.float32)


class Deterministic(Base):
    def reconstruct(self, audio):
        return 0.5 * audio


class SaysSo(Deterministic):
    \"\"\"Says that nothing depends on the seed, and may be asked once a file.\"\"\"

    is_seeded = False

    def reconstruct(self, audio):
        if self.seed:
            raise RuntimeError("nobody has to try another seed")
        return super().reconstruct(audio)


class Sometimes(Base):
    \"\"\"The seed changes the output of one file alone.\"\"\"

    def reconstruct(self, audio):
        return audio * (1 + self.seed) + self.seed * audio[::-1] if audio.shape[-1] == 11025 else 0.5 * audio


class Raises(Base):
    def reconstruct(self, audio):
        raise RuntimeError("out of luck")


class RaisesOnOne(Noisy):
    def reconstruct(self, audio):
        if audio.shape[-1] == 11025:
            raise RuntimeError("too short")
        return super().reconstruct(audio)


class RaisesWithTheNextSeed(Noisy):
    def reconstruct(self, audio):
        if audio.shape[-1] == 11025 and self.seed:
            raise RuntimeError("an odd seed")
        return super().reconstruct(audio)
"""
N_FILES = 6
SHORT = "0.wav"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six stereo files of white noise of standard deviation 0.1, the first of another length; and the systems."""
    folder = tmp_path_factory.mktemp("repeat")
    (folder / "systems.py").write_text(SYSTEMS)
    for number in range(N_FILES):
        n_samples = 22050 if number else 11025
        noise = 0.1 * np.random.default_rng(100 + number).standard_normal((2, n_samples))
        audio.write(folder / "music" / f"{number}.wav", noise.astype(np.float32), 44100)
    return folder


def _suite(folder: Path, *systems: str, metrics: tuple[str, ...] = ("si_sdr", "mel_distance")) -> Suite:
    named = [f"{name}={folder}/systems.py:{name}" if name[0].isupper() else name for name in systems]
    return make_suite({"name": "t", "systems": named, "audio": [str(folder / "music")], "metrics": metrics})


def _of_seed(result: RunResult) -> dict[tuple[str, str], Row]:
    rows = [row for row in result.rows if row.metric.partition(":")[0] in ("repeatability", "seed_change")]
    assert all(row.statistic == "mean" for row in rows)
    return {(row.system, row.metric): row for row in rows}


def test_seeded_noise_of_known_level_is_as_repeatable_as_computed(folder: Path, tmp_path: Path) -> None:
    """Two draws x + n1 and x + n2 share x alone: SI-SDR = a^2 (s + n) / (s + n - a^2 (s + n)), a = s / (s + n), of the powers."""
    result = run_suite(_suite(folder, "Noisy"), out=tmp_path / "run")
    rows = _of_seed(result)
    row = rows["Noisy", "repeatability"]
    signal, noise = 0.1**2, 0.05**2
    kept = (signal / (signal + noise)) ** 2
    assert row.value == pytest.approx(10 * np.log10(kept / (1 - kept)), abs=0.1)
    assert row.ci_low < row.value < row.ci_high
    (audio_set,) = result.plan.data
    few = repeated(audio_set)
    assert (row.n_planned, row.n_scored, row.n_failed) == (4, 4, 0)
    assert row.data_hash == data_hash((item.id, item.sha256) for item in few.items) != audio_set.hash
    items = {(item.metric, item.item): item.value for item in result.items}
    names = [item.id for item in few.items]
    assert row.value == pytest.approx(np.mean([items["repeatability", name] for name in names]))
    for metric in ("si_sdr", "mel_distance"):
        change = rows["Noisy", f"seed_change:{metric}"]
        assert change.value == pytest.approx(np.mean([items[f"seed_change:{metric}", name] for name in names]))
        assert 0 < change.value < 0.5
        card = result.cards[f"seed_change:{metric}"]
        assert card.constants["metric"] == result.cards[metric].hash
        assert (card.unit, card.higher_is_better) == (result.cards[metric].unit, False)
    assert (result.n_failed, len(rows)) == (0, 3)


def test_the_change_is_that_of_a_run_with_the_next_seed(folder: Path, tmp_path: Path) -> None:
    one, other = (
        run_suite(
            make_suite(_suite(folder, "Noisy").model_dump() | {"systems": [spec.model_copy(update={"seed": seed})]}),
            out=tmp_path / str(seed),
        )
        for seed in (0, 1)
        for spec in _suite(folder, "Noisy").systems
    )

    def scores(run: RunResult, metric: str) -> dict[str, float]:
        return {item.item: item.value for item in run.items if (item.system, item.metric) == ("Noisy", metric)}

    of = [scores(run, "si_sdr") for run in (one, other)]
    changes = scores(one, "seed_change:si_sdr")
    assert len(changes) == 4
    assert changes == pytest.approx({name: abs(of[1][name] - of[0][name]) for name in changes})


def test_a_deterministic_system_has_no_rows_although_its_fingerprint_has_the_seed(folder: Path, tmp_path: Path) -> None:
    suite = _suite(folder, "Deterministic", "identity")
    (spec, _) = suite.systems
    assert spec.load().fingerprint != spec.model_copy(update={"seed": 1}).load().fingerprint
    assert _of_seed(run_suite(suite, out=tmp_path / "run")) == {}
    said = run_suite(_suite(folder, "SaysSo"), out=tmp_path / "said")
    assert (_of_seed(said), said.n_failed) == ({}, 0)


def test_files_that_come_out_equal_count_as_unchanged(folder: Path, tmp_path: Path) -> None:
    result = run_suite(_suite(folder, "Sometimes"), out=tmp_path / "run")
    values = {(i.metric, i.item): i.value for i in result.items}
    equal = [item.id for item in repeated(result.plan.data[0]).items if item.id != SHORT]
    assert len(equal) == 3
    assert all(values["repeatability", name] == LIMIT and values["seed_change:si_sdr", name] == 0.0 for name in equal)
    assert values["repeatability", SHORT] < 20 and values["seed_change:si_sdr", SHORT] > 10


def test_the_jobs_agree_with_the_counts_and_nothing_is_repeated_of_a_folder(folder: Path, tmp_path: Path) -> None:
    ready = {"system": "folder", "label": "ready", "options": {"directory": str(folder / "music")}}
    suite = _suite(folder, "Noisy", "identity")
    suite = make_suite(suite.model_dump() | {"systems": [*suite.systems, ready]})
    result = run_suite(suite, out=tmp_path / "run")
    jobs = [(job.kind, job.label) for job in result.plan.first_jobs()]
    counts = result.plan.counts()
    assert {key: jobs.count(key) for key in counts} == counts
    assert [counts["repeat", label] for label in ("Noisy", "identity", "ready")] == [4, 4, 0]
    assert counts["reconstruct", "ready"] == N_FILES
    status = read_status(tmp_path / "run")
    assert status.planned == counts == status.done
    with local_unless(None) as engine:
        plan = make_plan(suite, engine)
    assert plan.counts({"later": (True, False)})["repeat", "later"] == 4


def test_a_resumed_run_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    suite = _suite(folder, "Noisy")
    run_suite(suite, out=tmp_path / "run")
    (segment,) = (tmp_path / "run" / "store" / "segments").glob("*.seg")
    begun = tmp_path / "again" / "store" / "segments" / segment.name
    begun.parent.mkdir(parents=True)
    begun.write_bytes(segment.read_bytes()[: segment.stat().st_size // 2])
    durations: list[float | None] = []
    run_suite(suite, out=tmp_path / "again", on_finished=lambda job, seconds: durations.append(seconds))
    assert 0 < durations.count(None) < len(durations)
    for name in ("rows.csv", "items.parquet", "cards.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "run" / name).read_bytes(), name


def test_a_failing_system_is_counted_once(folder: Path, tmp_path: Path) -> None:
    """What fails with the system's own seed is counted under the metrics; only what another seed breaks counts here."""
    result = run_suite(_suite(folder, "Raises", "RaisesOnOne", "RaisesWithTheNextSeed"), out=tmp_path / "run")
    rows = _of_seed(result)
    assert {system for system, _ in rows} == {"RaisesOnOne", "RaisesWithTheNextSeed"}
    for metric in ("repeatability", "seed_change:si_sdr", "seed_change:mel_distance"):
        row = rows["RaisesOnOne", metric]
        assert (row.n_planned, row.n_scored, row.n_failed) == (4, 3, 0)
        assert row.note == "1 of 4 files are left out: no score to compare."
    row = rows["RaisesWithTheNextSeed", "repeatability"]
    assert (row.n_planned, row.n_scored, row.n_failed, row.note) == (4, 3, 1, "")
    failed = [(item.system, item.metric) for item in result.items if item.reason]
    assert len(failed) == result.n_failed == 2 * N_FILES + 2 + 1
    assert failed.count(("RaisesWithTheNextSeed", "repeatability")) == 1


def test_such_rows_are_verified_by_repeating_a_file(folder: Path, tmp_path: Path) -> None:
    run_suite(_suite(folder, "Noisy"), out=tmp_path / "run")
    found = verify(tmp_path / "run", sample=100)
    assert found.sound, found
    checks = [check for check in found.rows if check.row.metric in ("repeatability", "seed_change:si_sdr")]
    assert len(checks) == 2 and all(check.found.endswith(".wav scored again") for check in checks)


@pytest.mark.parametrize(("n", "expected"), [(1, [0]), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (24, [3, 9, 15, 21])])
def test_repeated_files_are_spread_over_the_list(n: int, expected: list[int]) -> None:
    items = tuple(AudioItem(f"{k:02d}.wav", f"/{k:02d}.wav", "") for k in range(n))
    assert [int(item.id[:2]) for item in repeated(AudioSet("set", items)).items] == expected


@pytest.mark.parametrize(
    ("title", "expected"),
    [("Mel distance", "mel distance"), ("SI-SDR side", "SI-SDR side"), ("ViSQOL", "ViSQOL"), ("Lag", "lag")],
)
def test_titles_read_well_within_a_sentence(title: str, expected: str) -> None:
    assert seed_change_card(replace(REPEATABILITY_CARD, title=title)).title == f"change of {expected} with the seed"


def test_repeatability_is_listed() -> None:
    shown = CliRunner().invoke(app, ["show", "repeatability"]).stdout
    assert REPEATABILITY_CARD.hash in shown


def test_a_metric_with_nothing_to_measure_has_no_change(tmp_path: Path, music) -> None:
    """Mono files have no stereo scores with any seed, and no failures; a stereo one among them is counted alone."""
    (tmp_path / "systems.py").write_text(SYSTEMS)
    for number in range(3):
        audio.write(tmp_path / "music" / f"{number}.wav", music(seed=number, channels=1), 44100)
    suite = _suite(tmp_path, "Noisy", metrics=("si_sdr", "si_sdr_side"))
    mono = run_suite(suite, out=tmp_path / "mono")
    assert {metric for _, metric in _of_seed(mono)} == {"repeatability", "seed_change:si_sdr"}
    audio.write(tmp_path / "music" / "3.wav", music(seed=3), 44100)
    mixed = run_suite(suite, out=tmp_path / "mixed")
    row = _of_seed(mixed)["Noisy", "seed_change:si_sdr_side"]
    assert (row.n_planned, row.n_scored, row.n_failed) == (4, 1, 0)
    assert mono.n_failed == mixed.n_failed == 0


def test_the_group_of_a_card_is_no_part_of_its_hash() -> None:
    assert replace(REPEATABILITY_CARD, group="").hash == REPEATABILITY_CARD.hash
    assert replace(REPEATABILITY_CARD, version=2).hash != REPEATABILITY_CARD.hash

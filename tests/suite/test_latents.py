"""Latent spaces in runs: exact autoencoders, what rests on other files, failures, resuming, tables and figures."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from m2l_bench import audio, latents
from m2l_bench.cli import app
from m2l_bench.latent import sheet
from m2l_bench.latent.moments import Moments, moments
from m2l_bench.latent.rate import fit_coder
from m2l_bench.report import build as build_module
from m2l_bench.report.build import build
from m2l_bench.report.contents import all_figures
from m2l_bench.report.latent import rate_distortion
from m2l_bench.report.runs import Measurement, read_runs
from m2l_bench.results import LATENT_SPACE, Item, Row, read_items, read_rows
from m2l_bench.statistics import mean_interval
from m2l_bench.suite.plan import FOLDS
from m2l_bench.suite.run import RunResult, run_suite
from m2l_bench.suite.status import read_status
from m2l_bench.suite.suite import make_suite
from m2l_bench.suite.verify import verify

CODE = '''
import numpy as np
from pathlib import Path
from m2l_bench.files.fingerprint import fingerprint

RATE = 8000

class Base:
    sample_rate, latent_dim, latent_rate = RATE, 8, RATE / 8

    def __init__(self, *, seed: int = 0) -> None:
        self.name = type(self).__name__.lower()
        self.seed, self.fingerprint = seed, fingerprint(self.name, {})
        self.basis = np.linalg.qr(np.random.default_rng(0).standard_normal((8, 8)))[0]

    def encode(self, audio):
        with (Path(__file__).parent / f"{self.name}.calls").open("a") as file:
            file.write("x")
        padded = np.pad(audio, [(0, 0), (0, -audio.shape[-1] % 8)])
        return np.swapaxes(padded.reshape(len(audio), -1, 8) @ self.basis, 1, 2).astype(np.float32)

class Windows(Base):
    """No decoder: the level, eight times a second."""
    latent_dim, latent_rate = 2, 8.0

    def encode(self, audio):
        blocks = audio[:, : audio.shape[1] // 1000 * 1000].reshape(len(audio), -1, 1000)
        level = np.log((blocks ** 2).mean(-1) + 1e-6)
        return np.stack([level, np.abs(blocks).mean(-1)], 1).astype(np.float32)

class Orthonormal(Base):
    """Blocks of 8 samples, rotated."""

    def decode(self, latents, n_samples):
        blocks = np.swapaxes(latents, 1, 2) @ self.basis.T
        return blocks.reshape(len(latents), -1)[:, :n_samples].astype(np.float32)

    def reconstruct(self, audio):
        return self.decode(self.encode(audio), audio.shape[-1])

class Faulty(Orthonormal):
    """Does not take the loudest file."""

    def encode(self, audio):
        if np.abs(audio).max() > 0.85:
            raise ValueError("too loud for me")
        return super().encode(audio)

class Coded(Orthonormal):
    """An autoencoder with a bit stream."""

    def compress(self, audio):
        return audio.astype("<f4").tobytes()

    def decompress(self, data, channels, n_samples):
        return np.frombuffer(data, "<f4").reshape(channels, n_samples).copy()
'''
RATE, N_FILES, STEPS = 8000, 12, (0.25, 0.5, 2.0)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of white noise, louder from file to file, and the systems."""
    folder = tmp_path_factory.mktemp("latents")
    (folder / "music").mkdir()
    rng = np.random.default_rng(0)
    for number in range(N_FILES):
        noise = (0.02 + 0.003 * number) * rng.standard_normal((2, RATE // 2 + 100 * number))
        if number == 7:
            noise[0, 10] = 0.9
        audio.write(folder / "music" / f"{number:02}.wav", noise.astype(np.float32), RATE, subtype="FLOAT")
    (folder / "own.py").write_text(CODE)
    return folder


def _suite(home: Path, *systems: str, **others: object) -> dict[str, object]:
    names = [{"system": f"{home}/own.py:{name}" if name[0].isupper() else name, "label": name} for name in systems]
    content = {
        "name": "latent",
        "systems": names,
        "audio": [str(home / "music")],
        "tasks": [],
        "latent": {"steps": STEPS},
    }
    return content | {"metrics": ["si_sdr", "mel_distance", f"fad:{home}/own.py:Windows"]} | others


@pytest.fixture(scope="module")
def run(home: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    content = _suite(home, "Orthonormal", "Faulty", "Windows", "Coded", "lowpass-3.5k")
    return run_suite(make_suite(content), out=tmp_path_factory.mktemp("run") / "all")


def _row(found: RunResult | Path, system: str, metric: str, statistic: str = "", split: str = "") -> Row:
    rows = found.rows if isinstance(found, RunResult) else read_rows(found)
    mine = [r for r in rows if (r.task, r.system, r.metric, r.split) == (LATENT_SPACE, system, metric, split)]
    if statistic:
        mine = [row for row in mine if row.statistic == statistic]
    assert len(mine) == 1, [row.statistic for row in mine]
    return mine[0]


def _items(found: RunResult, system: str, metric: str, split: str = "") -> list[Item]:
    return [i for i in found.items if (i.task, i.system, i.metric, i.split) == (LATENT_SPACE, system, metric, split)]


def _stored(home: Path, *, skip: str = "") -> dict[str, np.ndarray]:
    """Latents of each file, by other means than the run's."""
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((8, 8)))[0]
    found = {}
    for path in sorted((home / "music").glob("*.wav")):
        if path.name != skip:
            signal = audio.load(path)[0]
            padded = np.pad(signal, [(0, 0), (0, -signal.shape[1] % 8)]).reshape(2, -1, 8)
            found[path.name] = np.swapaxes(padded @ basis, 1, 2).astype(np.float32)
    return found


def test_an_orthonormal_autoencoder_is_additive_homogeneous_and_of_full_rank(run: RunResult, home: Path) -> None:
    assert _row(run, "Orthonormal", "gain_linearity").value == pytest.approx(1.0, abs=1e-9)
    assert _row(run, "Orthonormal", "mixing_si_sdr").value > 90
    assert all(_row(run, "Orthonormal", f"gain_si_sdr:{g}").value > 90 for g in ("-12dB", "-6dB", "+6dB", "+12dB"))
    assert _row(run, "Orthonormal", "shift_si_sdr:1ms").value > 90  # 8 samples: a whole block
    files = [moments(each, RATE / 8) for each in _stored(home).values()]
    total = reduce(Moments.__add__, files)
    for name, value in sheet.numbers(total).items():
        row = _row(run, "Orthonormal", name, "pooled")
        assert row.value == pytest.approx(value, rel=1e-6, abs=1e-9), name
        low, high = sheet.intervals(files)[name]
        np.testing.assert_allclose([row.ci_low, row.ci_high], [low, high], rtol=1e-4)
    assert _row(run, "Orthonormal", "effective_rank").value == pytest.approx(8, abs=0.05)
    shares = [item.value for item in _items(run, "Orthonormal", "effective_rank", "component")]
    assert len(shares) == 8 and sum(shares) == pytest.approx(1) and shares == sorted(shares, reverse=True)


def test_a_number_beside_its_interval_is_explained(run: RunResult) -> None:
    rows = [
        row for row in run.rows if row.task == LATENT_SPACE and row.metric in sheet.CARDS and row.ci_low == row.ci_low
    ]
    beside = [row for row in rows if not row.ci_low <= row.value <= row.ci_high]
    assert "latent_mean" in {row.metric for row in beside}  # of noise it is 0, and never less
    assert all("less its bias" in row.note for row in beside)
    assert not [row for row in rows if row not in beside and "less its bias" in row.note]


def test_its_rate_distortion_curve_follows_the_bound_of_white_gaussian_noise(home: Path, tmp_path: Path) -> None:
    """Of 2 * 8000 white values a second, SI-SDR is 6.02 R - 1.53 dB, with R bits a value."""
    rng = np.random.default_rng(1)
    (tmp_path / "white").mkdir()
    for number in range(3):
        noise = 0.1 * rng.standard_normal((2, 2 * RATE))
        audio.write(tmp_path / "white" / f"{number}.wav", noise.astype(np.float32), RATE, subtype="FLOAT")
    latent = {"parts": ["rate_distortion"], "steps": [0.125, 0.25, 0.5]}
    content = _suite(home, "Orthonormal", audio=[str(tmp_path / "white")], metrics=["si_sdr"], latent=latent)
    found = run_suite(make_suite(content), out=tmp_path / "run")
    for step in (0.125, 0.25, 0.5):
        bits = 1000 * _row(found, "Orthonormal", "latent_bit_rate", split=f"step {step:g}").value / (2 * RATE)
        decibels = _row(found, "Orthonormal", "si_sdr", "mean", f"step {step:g}").value
        assert decibels == pytest.approx(20 * np.log10(2) * bits - 1.53, abs=0.3)


def test_the_coder_of_a_file_was_fitted_on_the_files_of_other_folds(run: RunResult, home: Path) -> None:
    stored = _stored(home)
    names = list(stored)
    for step in STEPS:
        expected = {}
        for place, name in enumerate(names):
            others = [stored[other] for k, other in enumerate(names) if k % FOLDS != place % FOLDS]
            assert len(others) in (N_FILES - 1, N_FILES - 2)
            seconds = audio.info(home / "music" / name).n_samples / RATE
            expected[name] = fit_coder(others, step).code(stored[name], seconds)[1]
        found = {item.item: item.value for item in _items(run, "Orthonormal", "latent_bit_rate", f"step {step:g}")}
        assert found == pytest.approx(expected, rel=1e-6)


def test_costs_are_paired_differences_and_bit_rates_suffice_within_the_interval(run: RunResult) -> None:
    whole = {i.item: i.value for i in run.items if (i.task, i.system, i.metric) == ("", "Orthonormal", "mel_distance")}
    row = next(
        r for r in run.rows if (r.task, r.system, r.metric, r.statistic) == ("", "Orthonormal", "mel_distance", "mean")
    )
    values = {}
    for step in STEPS:
        items = _items(run, "Orthonormal", "mel_distance", f"step {step:g}")
        lost = np.array([item.value - whole[item.item] for item in items])
        cost = _row(run, "Orthonormal", "mel_distance", "cost", f"step {step:g}")
        assert len(lost) == cost.n_scored == N_FILES
        np.testing.assert_allclose(
            [cost.value, cost.ci_low, cost.ci_high], [lost.mean(), *mean_interval(lost)], rtol=1e-9
        )
        values[step] = _row(run, "Orthonormal", "mel_distance", "mean", f"step {step:g}").value
    assert values[0.25] < values[0.5] < values[2.0]
    assert values[0.25] > row.ci_high  # the original itself is perfect, so no step is as good
    sufficient = _row(run, "Orthonormal", "sufficient_bit_rate:mel_distance")
    assert math.isnan(sufficient.value) and "the finest step is worse than unquantised" in sufficient.note
    assert sufficient.n_failed == 0


def test_the_sufficient_bit_rate_is_that_of_the_coarsest_step_before_the_first_that_is_worse(
    home: Path, tmp_path: Path
) -> None:
    """Of a system that is far from perfect, quantisation changes nothing for long."""
    code = (
        CODE
        + '''
class Poor(Orthonormal):
    """Keeps four of eight numbers of a block."""

    def decode(self, latents, n_samples):
        kept = latents.copy()
        kept[:, 4:] = 0.0
        return super().decode(kept, n_samples)
'''
    )
    (tmp_path / "own.py").write_text(code)
    content = _suite(
        home, "identity", metrics=["si_sdr"], latent={"parts": ["rate_distortion"], "steps": [0.1, 0.5, 3.0, 4.0]}
    )
    content["systems"] = [f"{tmp_path}/own.py:Poor"]
    found = run_suite(make_suite(content), out=tmp_path / "run")
    whole = next(
        r
        for r in found.rows
        if not r.task and r.statistic == "mean" and r.system == "own.py:Poor" and r.metric == "si_sdr"
    )
    values = {s: _row(found, "own.py:Poor", "si_sdr", "mean", f"step {s:g}").value for s in (0.1, 0.5, 3.0, 4.0)}
    good = [step for step, value in values.items() if value >= whole.ci_low]
    assert good == [0.1]  # four of eight numbers: 0 dB, and noise shows soon in so narrow an interval
    expected = _row(found, "own.py:Poor", "latent_bit_rate", split="step 0.1").value
    assert _row(found, "own.py:Poor", "sufficient_bit_rate:si_sdr").value == expected
    assert {row.metric for row in found.rows if row.task} == {"si_sdr", "latent_bit_rate", "sufficient_bit_rate:si_sdr"}


def test_set_metrics_are_measured_at_each_step(run: RunResult) -> None:
    values = [_row(run, "Orthonormal", "fad:own.py:Windows", "corrected", f"step {step:g}") for step in STEPS]
    assert all(row.ci_low <= row.value <= row.ci_high and row.n_scored == N_FILES for row in values)
    assert values[0].value < values[2].value


def test_a_file_that_cannot_be_encoded_is_counted_and_the_rest_is_measured(run: RunResult, home: Path) -> None:
    rows = [row for row in run.rows if (row.task, row.system) == (LATENT_SPACE, "Faulty")]
    turned_down = ("gain_", "mixing_", "sufficient_bit_rate")  # before they are encoded; a property
    measured = [row for row in rows if not row.metric.startswith(turned_down) and row.statistic != "cost"]
    assert {(row.n_planned, row.n_scored, row.n_failed) for row in measured} == {(12, 11, 1)}
    lost = [item for item in run.items if (item.task, item.system) == (LATENT_SPACE, "Faulty") and item.reason]
    assert {item.item for item in lost} == {"07.wav"}
    assert any("too loud for me" in item.reason for item in lost)
    files = [moments(each, RATE / 8) for each in _stored(home, skip="07.wav").values()]
    expected = sheet.numbers(reduce(Moments.__add__, files))["latent_std"]
    assert _row(run, "Faulty", "latent_std").value == pytest.approx(expected, rel=1e-6)


def test_encoders_have_a_sheet_and_codecs_of_their_own_bits_no_curve(run: RunResult) -> None:
    metrics = defaultdict(set)
    for row in run.rows:
        if row.task == LATENT_SPACE:
            metrics[row.system].add(row.metric)
    assert metrics["Windows"] == set(sheet.CARDS)
    assert "gain_linearity" in metrics["Coded"] and "latent_bit_rate" not in metrics["Coded"]
    assert "lowpass-3.5k" not in metrics


def test_planned_jobs_are_those_that_were_done_and_rows_come_out_again(run: RunResult, home: Path) -> None:
    status = read_status(run.folder)
    mine = {key for key in status.planned if key[1] == "Orthonormal" and key[0] != "distance"}
    assert len(mine) == 8 and all(status.planned[key] == status.done[key] for key in mine)
    assert status.planned["quantise", "Orthonormal"] == N_FILES * len(STEPS)
    assert status.failed["latents", "Faulty"] == 1
    rows = [row for row in run.rows if row.task == LATENT_SPACE]
    found = verify(run.folder, sample=30, seed=3)
    assert found.sound, [check.found for check in found.rows if not check.agrees]
    assert {check.row.task for check in found.rows} == {"", LATENT_SPACE} and len(rows) > 200


def test_finished_jobs_are_found_again_by_another_suite(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(CODE)
    content = _suite(home, metrics=["si_sdr"], latent={"parts": ["sheet"]})
    content["systems"] = [f"{tmp_path}/own.py:Orthonormal"]
    calls = tmp_path / "orthonormal.calls"
    run_suite(make_suite(content))
    before = len(calls.read_text())
    assert run_suite(make_suite(content)).fresh is False and len(calls.read_text()) == before
    more = content | {"latent": {"parts": ["sheet", "rate_distortion"], "steps": [1.0]}}
    assert run_suite(make_suite(more)).fresh
    assert len(calls.read_text()) == before  # decoding alone was missing


def test_a_single_file_has_numbers_without_intervals_and_no_coder(home: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "00.wav").write_bytes((home / "music" / "00.wav").read_bytes())
    content = _suite(home, "Orthonormal", audio=[str(tmp_path / "one")], metrics=["si_sdr"], latent={"steps": [1.0]})
    found = run_suite(make_suite(content), out=tmp_path / "run")
    rank = _row(found, "Orthonormal", "effective_rank")
    assert 7 < rank.value <= 8 and math.isnan(rank.ci_low) and rank.n_failed == 0
    mixing = _row(found, "Orthonormal", "mixing_si_sdr")
    assert math.isnan(mixing.value) and (mixing.n_scored, mixing.n_failed) == (0, 0)
    rate = _row(found, "Orthonormal", "latent_bit_rate", split="step 1")
    assert math.isnan(rate.value) and rate.n_failed == 1
    reasons = {item.reason for item in read_items(found.folder) if item.reason}
    assert any("no other files to fit the entropy model on" in reason for reason in reasons)


def test_in_one_call_the_numbers_are_those_of_a_run(
    run: RunResult, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M2L_BENCH_ALLOW_OUTSIDE", "1")
    found = latents(f"{home}/own.py:Orthonormal", home / "music")
    for name, row in found.iterrows():
        expected = _row(run, "Orthonormal", str(name))
        np.testing.assert_allclose(
            [row.value, row.ci_low, row.ci_high],
            [expected.value, expected.ci_low, expected.ci_high],
            rtol=1e-6,
            atol=1e-9,
        )
        assert row.n == expected.n_scored
    assert len(found) == len(sheet.CARDS) + 39
    assert list(latents(f"{home}/own.py:Windows", sorted((home / "music").glob("*.wav"))).index) == list(sheet.CARDS)


@pytest.mark.usefixtures("coarse_figures")
def test_the_report_has_the_tables_and_figures(run: RunResult, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {"music-Orthonormal-latent", "music-Windows-latent", "music-latent-spaces", "music-si_sdr-against-bit-rate"}
    monkeypatch.setattr(
        build_module, "all_figures", lambda *arguments: (f for f in all_figures(*arguments) if f.name in drawn)
    )
    index = build([run.folder]).with_name("index.md").read_text()
    for heading in (
        *("latent space", "latent space, gain and mixing", "latent space, shift of the audio"),
        *("latent space, noise in the latents", "bit rate that latents need to be as good as unquantised"),
        "quality against bit rate, with the latents of autoencoders quantised",
    ):
        assert f"### music: {heading}\n" in index
    main = index.partition("### music: mean over files")[2].partition("###")[0]
    assert "step" not in main and "latent" not in main
    table = (run.folder / "report" / "tables" / "music-rate-distortion.md").read_text()
    assert "| Orthonormal, step 0.25 " in table and "| *Orthonormal* " in table and "| Coded " in table
    pictures = {path.name for path in (run.folder / "report" / "figures").glob("*.png")}
    assert pictures == {f"{name}.png" for name in drawn}


def test_the_rate_figure_has_a_curve_of_each_continuous_autoencoder(run: RunResult) -> None:
    results = read_runs([run.folder])
    curves = rate_distortion(results, Measurement("music", metric="si_sdr", statistic="mean"))
    assert list(curves) == ["Orthonormal, quantised", "Faulty, quantised"]
    points, whole = curves["Orthonormal, quantised"]
    assert [point.y.value for point in points] == sorted((p.y.value for p in points), reverse=True)
    assert [point.x.value for point in points] == sorted((p.x.value for p in points), reverse=True)
    assert whole is not None and whole.value > points[0].y.value


@pytest.mark.usefixtures("commands_share_worker")
def test_the_command_prints_a_short_table_and_lists_what_it_measures(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "all_figures", lambda *arguments: ())  # they are drawn above
    arguments = [f"{home}/own.py:Orthonormal", "--audio", str(home / "music"), "--metric", "si_sdr", "--workers", "1"]
    arguments += ["--part", "sheet", "--part", "rate_distortion", "--step", "0.5", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, ["latents", *arguments])
    assert result.exit_code == 0, result.output
    assert "music: latent space [95% interval over files]" in result.stdout
    assert "effective rank" in result.stdout and "sufficient bit rate, SI-SDR (kbit/s)" in result.stdout
    assert "step 0.5" not in result.stdout
    listed = json.loads(CliRunner().invoke(app, ["list", "latents", "--json"]).stdout)
    assert {"effective_rank", "gain_linearity", "noise_si_sdr:-20dB", "latent_bit_rate"} <= {e["name"] for e in listed}


@pytest.mark.parametrize(
    ("latent", "message"),
    [
        ({"parts": ["colour"]}, r"latent.parts.0.*'sheet', 'equivariance', 'noise' or 'rate_distortion'"),
        ({"parts": []}, "latent.parts.*at least 1"),
        ({"steps": [0.0]}, "latent.steps.0.*greater than 0"),
        ({"steps": [0.5, 0.5]}, "latent.steps.*must differ, got 0.5, 0.5"),
        ({"gains": [1]}, "latent.gains"),
    ],
)
def test_bad_settings_are_named(latent: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_suite({"latent": latent})


def test_latents_need_audio_and_an_encoder() -> None:
    with pytest.raises(ValueError, match="latent needs audio to measure, got none"):
        make_suite({"latent": {}, "audio": [], "tasks": ["key/tunes"]})
    result = CliRunner().invoke(app, ["latents", "opus:32k", "identity"])
    assert result.exit_code == 2
    assert (
        "latent needs a system with latents, got none: opus:32k" in result.stderr and "Traceback" not in result.stderr
    )

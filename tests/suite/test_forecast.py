"""What a dry run and a status say: jobs, downloads, estimates with their basis, failures with their reasons."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from one_worker import OneWorker
from typer.testing import CliRunner

from m2l_bench.cli import app
from m2l_bench.suite.engine import Workspace
from m2l_bench.suite.forecast import forecast
from m2l_bench.suite.local import local_unless
from m2l_bench.suite.planning import make_plan
from m2l_bench.suite.run import run_suite
from m2l_bench.suite.status import RunLock, read_status
from m2l_bench.suite.store import Outcome
from m2l_bench.suite.suite import DEMO, EMBEDDED_SYSTEMS, Suite, make_suite, read_suite, suite_names

sys.path.insert(0, str(Path(__file__).parent.parent))
from hub import Hub

SUITES = Path(__file__).parent.parent.parent / "suites"  # a link


def _suite(folder: Path, systems: list[str], **more: object) -> Suite:
    content = {"systems": systems, "audio": [str(folder)], "metrics": ["si_sdr"], "tasks": []}
    return make_suite(content | more)


def test_nothing_is_known_before_the_first_run_and_time_after_it(
    music_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # runs below the working directory count too
    suite = _suite(music_folder, ["identity"])
    before = forecast(suite, out=tmp_path / "new")
    planned = {("reconstruct", "identity"), ("repeat", "identity"), ("reconstruct", "chance")}
    assert before.planned == dict.fromkeys(planned, 3)
    assert (before.seconds, before.basis) == ({}, ())
    run_suite(suite, out=tmp_path / "run")
    after = forecast(_suite(music_folder, ["identity", "lowpass-7k"]), out=tmp_path / "new")
    assert set(after.seconds) == planned
    assert 0 < after.seconds["reconstruct", "identity"] < 60
    assert after.basis == (str(tmp_path / "run"),)


def test_the_second_phase_is_planned_too(music_folder: Path, tmp_path: Path) -> None:
    suite = _suite(
        music_folder, ["identity", "mfcc-chroma"], metrics=["fad:musicnn"], tasks=["pitch/tonejs"], probes=["linear"]
    )
    planned = forecast(suite, out=tmp_path / "new").planned
    assert planned["reconstruct", "identity"] == planned["reconstruct", "reference"] == 3
    assert planned["distance", "identity"] == 1
    assert planned["encode", "mfcc-chroma"] == 443
    assert planned["probe", "mfcc-chroma"] == 1


def test_missing_weights_and_data_are_named_and_nothing_is_fetched(
    music_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repos = {"SonyCSLParis/music2latent": {"music2latent.pt": b"x"}}
    with Hub(repos) as hub:
        hub.patch(monkeypatch, tmp_path)
        found = forecast(
            _suite(music_folder, ["identity", "music2latent:published"], tasks=[f"genre/gtzan={tmp_path}/nowhere"]),
            out=tmp_path / "new",
        )
        assert hub.downloads() == []
    states = {who: state for who, _, state in found.downloads}
    assert states == {"SonyCSLParis/music2latent": "needed", "genre/gtzan": "missing"}
    assert found.downloads[0][1] == "music2latent.pt (233 MB, CC BY-NC 4.0)"
    assert (found.size, found.unsized) == ((233e6, 233e6), 0)
    assert found.planned["reconstruct", "music2latent:published"] == 3
    assert found.planned["repeat", "music2latent:published"] == 3
    assert not found.unusable


def test_every_file_that_is_not_cached_is_named_and_sizes_count_once(
    music_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Hub({}) as hub:
        hub.patch(monkeypatch, tmp_path)
        suite = _suite(music_folder, ["dac", "dac:44khz-continuous", "musika", "transformers:me/mine"])
        found = forecast(suite, out=tmp_path / "new")
    assert found.downloads == [
        ("descript/dac_44khz", "config.json, model.safetensors (307 MB, MIT)", "needed"),
        ("marcop/musika_ae", "enc.h5, enc2.h5, dec.h5, dec2.h5 (112 MB, MIT)", "needed"),
        ("me/mine", "config.json, model.safetensors (size and licence are on the repository's page)", "needed"),
    ]
    assert (found.size, found.unsized) == ((419e6, 419e6), 1)
    first, *others = found.plan.downloads
    half = replace(found.plan, downloads=((*first[:3], True), *others))
    monkeypatch.setattr("m2l_bench.suite.forecast.make_plan", lambda *args, **options: half)
    later = forecast(suite, out=tmp_path / "new")
    assert later.downloads[0] == ("descript/dac_44khz", "model.safetensors (307 MB, MIT)", "needed")


@pytest.mark.parametrize("name", suite_names())
def test_every_suite_that_ships_is_valid(name: str) -> None:
    assert read_suite(name) == read_suite(SUITES / f"{name}.toml")
    assert read_suite(name).name == name
    title, _, rest = (SUITES / f"{name}.toml").read_text(encoding="utf-8").partition("\n")
    assert title.startswith("# ") and len(title) <= 62, "m2l-bench list suites has a line for it"
    assert f"# m2l-bench run{'' if name == DEMO else f' {name}'}" in rest


def test_an_unknown_suite_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown suite 'prob'; did you mean probing\?"):
        read_suite("prob")
    with pytest.raises(ValueError, match="unknown suite 'xyz'; known are demo, embedded"):
        read_suite("xyz")


def test_without_arguments_the_demo_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[Suite] = []

    def refuse(suite: Suite, **how: object) -> None:
        asked.append(suite)
        raise ValueError("seen")

    monkeypatch.setattr("m2l_bench.suite.run.run_suite", refuse)
    for arguments in ([], ["--out", "run"], ["--device", "cpu"], ["embedded"], ["--system", "pca"]):
        assert CliRunner().invoke(app, ["run", *arguments]).exit_code == 2
    assert [suite.name for suite in asked] == ["demo", "demo", "demo", "embedded", "run"]
    assert asked[0] == asked[1] == read_suite(DEMO)
    assert asked[4].audio == make_suite({}).audio


def test_the_embedded_suite_file_is_the_default() -> None:
    assert read_suite(SUITES / "embedded.toml") == make_suite({})
    assert len(EMBEDDED_SYSTEMS) == len(make_suite({}).systems)


# What each needs, and how much that is.
LARGE = {
    "paper": (
        ("music2latent.pt", "musika_ae", "dac_44khz", "encodec_48khz", "clap", "vggish", "missing: musiccaps"),
        "downloads: 9, 3.4 GB to 3.5 GB\n",
    ),
    "field": (
        ("Ace-Step1.5", "SAME-S", "SAME-L", "KVAE-Audio", "EAR_VAE", "EAR_VAE2", "xcodec", "missing: song-describer"),
        "downloads: 15, 8.7 GB to 10.8 GB\n",
    ),
}


def test_large_suites_say_what_they_need_and_do_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    engine, results = OneWorker(), {}  # its process starts where all downloads would be seen
    monkeypatch.setattr("m2l_bench.cli._local", lambda **limits: engine)
    with Hub({}) as hub:
        hub.patch(monkeypatch, tmp_path / "home")
        for suite in LARGE:
            arguments = ["run", str(SUITES / f"{suite}.toml"), "--dry-run", "--workers", "1"]
            results[suite] = CliRunner().invoke(app, arguments)
        engine.end()
        assert hub.downloads() == []
    for suite, ((*downloads, data), total) in LARGE.items():
        result = results[suite]
        assert result.exit_code == 2
        assert "error: nothing can be run: all data are missing" in result.output
        lines = [line for line in result.stdout.splitlines() if line.startswith("download: ")]
        assert not [name for name in downloads if not any(name in line for line in lines)]
        assert data in result.stdout
        assert total in result.stdout
        assert "missing: tagging/magnatagatune" in result.stdout
    assert not (tmp_path / "results").exists()


def test_missing_audio_is_named_and_the_rest_goes_on(music_folder: Path, tmp_path: Path) -> None:
    result = run_suite(_suite(music_folder, ["identity"], audio=[str(music_folder), "nowhere"]), out=tmp_path / "run")
    assert "must be a folder" in result.plan.missing["nowhere"]
    assert result.n_failed == 1
    assert {row.dataset for row in result.rows} == {"music"}


@pytest.mark.usefixtures("commands_share_worker")
def test_status_counts_and_names_failures_and_a_retry_mends_them(music_folder: Path, tmp_path: Path) -> None:
    system = tmp_path / "flaky.py"
    system.write_text(
        "from pathlib import Path\n"
        "class Flaky:\n"
        "    name, sample_rate, seed, fingerprint = 'flaky', None, 0, 'f' * 16\n"
        "    def __init__(self, *, seed=0): pass\n"
        "    def reconstruct(self, audio):\n"
        f"        if not Path({str(tmp_path / 'mended')!r}).exists(): raise RuntimeError('out of luck')\n"
        "        return audio\n"
    )
    arguments = ["--audio", str(music_folder), "--system", f"flaky={system}:Flaky", "--system", "identity"]
    arguments += ["--metric", "si_sdr", "--clips", "0", "--workers", "1", "--out", str(tmp_path / "run")]
    assert CliRunner().invoke(app, ["run", *arguments]).exit_code == 2
    shown = CliRunner().invoke(app, ["status", str(tmp_path / "run")])
    assert shown.exit_code == 2
    assert "finished: 15 planned, 9 done, 6 failed" in shown.stdout
    assert "failed: flaky, reconstruct, 3 jobs: RuntimeError: out of luck" in shown.stdout
    (tmp_path / "mended").touch()
    assert CliRunner().invoke(app, ["run", *arguments]).exit_code == 2, "unasked, nothing is tried again"
    assert CliRunner().invoke(app, ["run", *arguments, "--retry-failed"]).exit_code == 0
    again = CliRunner().invoke(app, ["status", str(tmp_path / "run")])
    assert (again.exit_code, "15 done, 0 failed" in again.stdout) == (0, True)


def test_a_status_says_whether_its_run_is_alive(music_folder: Path, tmp_path: Path) -> None:
    suite = _suite(music_folder, ["identity", "lowpass-7k"])
    with local_unless(None) as engine:
        plan = make_plan(suite, engine)
    workspace = Workspace(tmp_path / "run" / "store")
    with RunLock(tmp_path / "run") as lock:
        lock.list_plan(plan, workspace)
        first, second, *_ = plan.first_jobs()
        workspace.store.put(first.id, Outcome())
        workspace.store.put(second.id, second.failed("no luck"))
        status = read_status(tmp_path / "run")
        assert status.state == "running"
        assert [counts.total() for counts in (status.planned, status.done, status.failed)] == [15, 1, 1]
        assert status.reasons == {("reconstruct", "identity", "no luck"): 1}
        with pytest.raises(ValueError, match="another process is running there"):
            RunLock(tmp_path / "run")
    assert read_status(tmp_path / "run").state == "stopped"
    with pytest.raises(ValueError, match=r"without plan\.json"):
        read_status(tmp_path)

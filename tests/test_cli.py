"""The command line: output, exit codes, one-line errors, help."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from one_worker import OneWorker
from typer.testing import CliRunner

import m2l_bench
from m2l_bench import audio, cli, console
from m2l_bench.checksums import read_checksums
from m2l_bench.cli import app
from m2l_bench.description import describe
from m2l_bench.listing import KINDS
from m2l_bench.results import read_rows


@pytest.fixture(scope="module")
def worker() -> Iterator[OneWorker]:
    engine = OneWorker()
    yield engine
    engine.end()


@pytest.fixture(autouse=True)
def commands_share_a_worker(worker: OneWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_local", lambda **limits: worker)


def invoke(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def headings(text: str) -> list[list[str]]:
    """Titles of the columns of each table, without unit and arrow."""
    lines = [line for line in text.splitlines() if line.startswith("| system")]
    return [[cell.split(" (")[0].strip(" ↓↑") for cell in line.split("|")[2:-1]] for line in lines]


def test_run_prints_a_table_and_the_run_folder(music_folder: Path, tmp_path: Path) -> None:
    arguments = ("run", "--audio", str(music_folder), "--system", "identity", "--system", "mp3:64k")
    first = invoke(*arguments, "--out", str(tmp_path / "run"), "--workers", "1")
    assert first.exit_code == 0, first.output
    assert "| identity" in first.stdout
    assert "100.0 [100.0, 100.0]" in first.stdout
    assert "planned / scored / failed: 3 / 3 / 0" in first.stdout
    assert str(tmp_path / "run") in first.stdout
    second = invoke(*arguments, "--out", str(tmp_path / "run"), "--workers", "1")
    assert "already finished, nothing was computed" in second.stdout
    assert second.stdout.splitlines()[:-1] == first.stdout.splitlines()[:-1]


@pytest.mark.usefixtures("coarse_figures")
def test_the_table_shows_the_metrics_that_were_asked_for(music_folder: Path, tmp_path: Path) -> None:
    metrics = ("--metric", "width_error", "--metric", "loudness_change", "--metric", "stft_distance")
    options = ("--clips", "0", "--workers", "1", "--out", str(tmp_path / "run"))
    result = invoke("run", "--audio", str(music_folder), "--system", "opus:24k", *metrics, *options)
    assert headings(result.stdout) == [["bit rate", "STFT distance", "Loudness change"], ["Width error"]]
    assert "music: stereo and phase, mean over files [95% interval]" in result.stdout


@pytest.mark.usefixtures("coarse_figures")
def test_many_systems_are_grouped_by_what_they_are(music_folder: Path, tmp_path: Path) -> None:
    systems = [
        part for name in ("pca", "opus:24k", "identity", "mp3:64k", "lowpass-3.5k") for part in ("--system", name)
    ]
    arguments = ("run", "--audio", str(music_folder), "--metric", "si_sdr", *systems, "--clips", "0")
    result = invoke(*arguments, "--out", str(tmp_path / "run"))
    lines = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("| ")]
    references = ["*references*", "identity", "lowpass-3.5k", "chance"]
    assert lines == ["system", *references, "*codecs*", "opus:24k", "mp3:64k", "*autoencoders*", "pca"]
    kinds = dict.fromkeys(("identity", "lowpass-3.5k"), "references") | dict.fromkeys(("opus:24k", "mp3:64k"), "codecs")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert {label: facts["kind"] for label, facts in record["systems"].items()} == kinds | {"pca": "autoencoders"}


@pytest.mark.usefixtures("coarse_figures")
def test_a_stereo_metric_alone_has_the_only_table(music_folder: Path, tmp_path: Path) -> None:
    options = ("--clips", "0", "--workers", "1", "--out", str(tmp_path / "run"))
    result = invoke("run", "--audio", str(music_folder), "--system", "identity", "--metric", "si_sdr_side", *options)
    assert headings(result.stdout) == [["SI-SDR side"]]


@pytest.mark.usefixtures("coarse_figures")
def test_the_default_suite_over_mono_files_succeeds_and_says_so(tmp_path: Path, music) -> None:
    """A mono file, a dual-mono one and one with a silent channel have no stereo scores, which is no failure of anybody."""
    mono = music(44100, channels=1)
    for name, signal in {"mono": mono, "dual": np.repeat(mono, 2, 0), "left": np.concatenate([mono, 0 * mono])}.items():
        audio.write(tmp_path / "music" / f"{name}.wav", signal, 44100)
    result = invoke(
        *("run", "--audio", str(tmp_path / "music"), "--system", "identity", "--system", "opus:24k", "--workers", "1"),
        *("--clips", "0", "--out", str(tmp_path / "run")),
    )
    assert result.exit_code == 0, result.output
    assert len(headings(result.stdout)) == 1
    rows = {(r.system, r.metric): r for r in read_rows(tmp_path / "run") if r.statistic == "mean"}
    for metric in ("si_sdr_side", "si_sdr_mid", "width_error", "width_change", "panning_error"):
        row = rows["opus:24k", metric]
        assert (row.n_planned, row.n_scored, row.n_failed) == (3, 0, 0)
        assert "3 of 3 files are left out: mono, no stereo scores." in row.notes
        assert ("chance", metric) not in rows
    assert rows["opus:24k", "phase_coherence"].n_scored == rows["chance", "phase_coherence"].n_scored == 3
    stereo = (tmp_path / "run" / "report" / "tables" / "music-stereo.md").read_text()
    assert stereo.count("3 of 3 files are left out: mono, no stereo scores.") == 1 and "failed |" not in stereo


@pytest.mark.usefixtures("coarse_figures")
def test_the_report_page_is_printed_and_opened_only_when_asked(
    music_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or len(opened) < 3)
    run, page = str(tmp_path / "run"), tmp_path / "run" / "index.html"
    arguments = ("run", "--audio", str(music_folder), "--system", "identity", "--metric", "si_sdr", "--out", run)
    assert str(page) in invoke(*arguments, "--clips", "0").stdout
    assert invoke("report", run).stdout.splitlines() == [str(page)]
    assert "index.html" in read_checksums(tmp_path / "run") and opened == []
    page.unlink()  # a run of an earlier version has none
    assert invoke(*arguments, "--clips", "0", "--open").exit_code == 0
    assert invoke("report", run, "--open").exit_code == 0
    assert opened == [page.as_uri()] * 2
    assert "no browser could be opened" in invoke("report", run, "--open").stderr


@pytest.mark.usefixtures("coarse_figures")
def test_json_is_for_machines(music_folder: Path, tmp_path: Path) -> None:
    options = ("--metric", "si_sdr", "--clips", "0", "--out", str(tmp_path / "r"), "--json")
    result = invoke("run", "--audio", str(music_folder), "--system", "identity", *options)
    content = json.loads(result.stdout)
    assert content["failed"] == 0
    assert {row["value"] for row in content["rows"] if row["system"] != "chance"} == {100.0}


@pytest.mark.usefixtures("coarse_figures")
def test_score_gives_one_row_per_system_on_the_listening_page_layout(tmp_path: Path, music) -> None:
    for folder, gain in (("real", 1.0), ("music2latent", 0.9), ("dac", 0.5)):
        for seed in range(3):
            signal = gain * music(44100, seed=seed) + 0.01 * (1 - gain) * music(44100, seed=seed + 100)
            audio.write(tmp_path / folder / f"clip {seed}.mp3", signal, 44100)
    result = invoke(
        "score",
        str(tmp_path / "real"),
        f"music2latent={tmp_path}/music2latent",
        f"dac={tmp_path}/dac",
        "--out",
        str(tmp_path / "run"),
    )
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if line.startswith(("| music2latent", "| dac"))]
    assert len(lines) == 2
    assert "planned / scored / failed: 3 / 3 / 0 for every system" in result.stdout
    assert (tmp_path / "run" / "report" / "listen" / "index.html").is_file()


@pytest.mark.usefixtures("coarse_figures")
def test_a_bad_file_gives_exit_code_2_and_the_table(music_folder: Path, tmp_path: Path) -> None:
    (music_folder / "bad.wav").write_bytes(b"")
    options = ("--metric", "si_sdr", "--clips", "0", "--out", str(tmp_path / "run"))
    result = invoke("run", "--audio", str(music_folder), "--system", "identity", *options)
    assert result.exit_code == 2
    assert "planned / scored / failed: 4 / 3 / 1" in result.stdout
    assert "bad.wav: empty" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--system", "opuss", "--audio", "FOLDER"), "unknown system 'opuss'"),
        (("run", "--metric", "sisdr", "--audio", "FOLDER"), "unknown metric 'sisdr'"),
        (("run", "--audio", "nowhere"), "audio 'nowhere': must be a folder"),
        (("run", "nowhere.toml"), "nowhere.toml: must be a readable TOML file"),
        (("score", "nowhere", "a=FOLDER"), "nowhere: must be a folder of originals"),
        (("score", "FOLDER", "a=nowhere"), "nowhere: must be a folder of reconstructions"),
        (("score", "FOLDER", "FOLDER"), "system must be NAME=DIR"),
    ],
)
def test_bad_arguments_give_one_line_and_exit_code_2(
    arguments: tuple[str, ...], message: str, music_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(*(argument.replace("FOLDER", str(music_folder)) for argument in arguments))
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


@pytest.mark.usefixtures("coarse_figures")
def test_listed_cards_are_those_of_a_run(music_folder: Path, tmp_path: Path, music) -> None:
    """Two runs: a copy is heard by the encoder once, and has no bit rate."""
    for seed in range(10):
        audio.write(tmp_path / "long" / f"{seed}.wav", music(200_000, channels=1, seed=seed), 44100)
    found: set[tuple[str, str]] = set()
    for folder, system, *metrics in (
        (tmp_path / "long", "identity", "fad:musicnn", "kad:musicnn"),
        (music_folder, "opus:24k", "si_sdr", "mel_distance"),
    ):
        options = ["--system", system, "--clips", "0", "--workers", "1", "--out", str(tmp_path / system)]
        for metric in metrics:
            options += ["--metric", metric]
        result = invoke("run", "--audio", str(folder), *options)
        assert result.exit_code == 0, result.output
        found |= {(row.metric, row.card) for row in read_rows(tmp_path / system)}
    listed = {line["name"]: line["card"] for line in json.loads(invoke("list", "metrics", "--json").stdout)}
    assert found == {
        (name, listed[name]) for name in ("bit_rate", "si_sdr", "mel_distance", "fad:musicnn", "kad:musicnn")
    }
    assert listed["fad:clap"] == "after the download"


@pytest.mark.usefixtures("coarse_figures")
def test_a_suite_file_runs(music_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(
        f'systems = ["loud=identity"]\naudio = ["{music_folder}"]\nmetrics = ["si_sdr"]\n'
    )
    result = invoke("run", "mine.toml", "--workers", "1", "--clips", "0")
    assert result.exit_code == 0, result.output
    assert "| loud" in result.stdout
    assert "results/runs/mine-" in result.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import m2l_bench",
        "import m2l_bench.cli",
        "from m2l_bench.systems import registry",
        "from m2l_bench.cli import app; app(['--help'], standalone_mode=False)",
        "from m2l_bench.cli import app; app(['run', '--help'], standalone_mode=False)",
    ],
)
def test_start_stays_light(code: str) -> None:
    heavy = ["torch", "transformers", "sklearn", "librosa", "matplotlib", "pandas", "scipy", "numba"]
    check = f"{code}; import sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version_is_printed_and_nothing_is_run() -> None:
    result = invoke("--version", "list", "systems")
    assert (result.exit_code, result.stdout) == (0, f"m2l-bench {m2l_bench.__version__}\n")


COMMANDS = typer.main.get_command(app).commands


@pytest.mark.parametrize("command", COMMANDS)
def test_short_help(command: str) -> None:
    short = invoke(command, "-h")
    assert short.exit_code == 0
    assert short.stdout == invoke(command, "--help").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_examples_that_parse(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, _, end = invoke(command, "--help").stdout.rpartition("\n\n")
    title, *lines = end.rstrip().splitlines()
    examples = [shlex.split(line) for line in lines]
    assert title.strip() == ("Example:" if len(examples) == 1 else "Examples:") and len(examples) in (1, 2)
    for program, name, *arguments in examples:
        assert (program, name) == ("m2l-bench", command)
        COMMANDS[name].make_context(
            name, arguments
        )  # as the command line does before it calls: it raises if it is wrong


def test_examples_name_what_there_is() -> None:
    known = {name for kind in KINDS.values() for name in kind.names()}
    named = re.compile(r"--(?:system|task|probe|reader|metric) (\S+)|^m2l-bench (?:show|check) (\S+)")
    for command in COMMANDS.values():
        for line in command.epilog.splitlines():
            names = [first or second for first, second in named.findall(line.strip())]
            assert all(name in known or ".py:" in name or describe(name) for name in names), line


def test_completion_is_offered_and_the_help_stays_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = invoke("--help").stdout.splitlines()
    assert any("--install-completion" in line for line in lines)
    assert len(lines) < 40 and max(map(len, lines)) <= 80
    described = {line.split()[0]: line for line in lines if line.startswith("  ")}
    assert not [name for name in COMMANDS if described[name].endswith("...")], "a description is cut"


def test_help_states_the_exit_codes() -> None:
    assert "Exit codes: 0 success; 2 " in invoke("-h").stdout


def test_dry_run_without_any_data_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.toml").write_text('systems = ["pca"]\naudio = []\ntasks = ["tagging/magnatagatune=nowhere"]\n')
    result = invoke("run", "s.toml", "--dry-run")
    assert result.exit_code == 2
    assert "nothing can be run: all data are missing" in result.stderr


def test_an_unwritable_folder_hints_at_out(music_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(30, "Read-only file system", "results")

    monkeypatch.setattr("m2l_bench.suite.run.run_suite", refuse)
    result = invoke("run", "--audio", str(music_folder), "--system", "identity")
    assert result.exit_code == 2 and "choose another folder with --out" in result.stderr


def test_equal_reasons_are_one_line() -> None:
    lines = console.by_reason(
        [("a", "no network"), ("b", "no network"), ("c.wav", "c.wav: empty"), ("d.wav", "silent")]
    )
    assert lines == ["2 files (a, b): no network", "c.wav: empty", "d.wav: silent"]

"""A finished run that is asked for again is found without a plan; what could make it another run is noticed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from m2l_bench import audio, cli
from m2l_bench.results import PAGE
from m2l_bench.suite.finished import recall, signature
from m2l_bench.suite.suite import make_suite

pytestmark = pytest.mark.usefixtures("commands_share_worker")

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def folder(music: Callable[..., np.ndarray], tmp_path: Path) -> Path:
    for seed in range(3):
        audio.write(tmp_path / "music" / f"{seed}.wav", music(22050, seed=seed), 44100)
    return tmp_path / "music"


def _run(folder: Path, *more: str, system: str = "identity") -> Result:
    arguments = ("run", "--audio", str(folder), "--system", system, "--metric", "si_sdr", "--clips", "0")
    return CliRunner().invoke(cli.app, [*arguments, "--workers", "1", *more])


def _refuse(**limits: object) -> None:
    raise AssertionError("no worker is needed")


def test_it_is_printed_again_without_a_worker(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for more in ((), ("--out", "own")):
        first = _run(folder, *more)
        with monkeypatch.context() as patched:
            patched.setattr(cli, "_local", _refuse)
            again, as_json = _run(folder, *more), _run(folder, *more, "--json")
            assert isinstance(_run(folder, *more, "--retry-failed").exception, AssertionError)
        assert first.exit_code == again.exit_code == as_json.exit_code == 0
        assert again.stdout == first.stdout.rstrip("\n") + " (already finished, nothing was computed)\n"
        assert '"fresh": false' in as_json.stdout and "identity" in as_json.stdout


def test_failures_are_said_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (folder / "broken.wav").write_bytes(b"RIFF")
    first = _run(folder)
    monkeypatch.setattr(cli, "_local", _refuse)
    again = _run(folder)
    assert first.exit_code == again.exit_code == 2
    assert "broken.wav" in again.stderr and again.stderr in first.stderr


@pytest.mark.parametrize("change", ["content", "time", "more", "less", "page", "record"])
def test_changes_are_noticed(change: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    suite = make_suite({"systems": ["identity"], "audio": [str(folder)], "metrics": ["si_sdr"], "name": "run"})
    assert recall(suite, None) is None
    _run(folder)
    (run,) = (tmp_path / "results" / "runs").glob("run-*")
    assert recall(suite, None) == run.relative_to(tmp_path)
    path = folder / "1.wav"
    about = path.stat()
    if change == "content":
        path.write_bytes(path.read_bytes()[:-2])
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    elif change == "time":
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns + 1))
    elif change == "more":
        (folder / "4.wav").write_bytes(path.read_bytes())
    elif change == "less":
        path.unlink()
    elif change == "page":
        (run / PAGE).unlink()
    else:
        (run / "run.json").unlink()
    assert recall(suite, None) is None


def test_the_users_code_and_labels_are_always_planned(folder: Path) -> None:
    content = {"systems": ["identity"], "audio": [str(folder)], "metrics": ["si_sdr"]}
    assert signature(make_suite(content))
    assert not signature(make_suite(content | {"systems": [f"{EXAMPLES}/my_codec.py:Downsampled"]}))
    assert not signature(make_suite(content | {"metrics": [f"{EXAMPLES}/my_metric.py:crest"]}))
    assert not signature(make_suite(content | {"tasks": [str(folder / "labels.csv")]}))


def test_what_a_run_left_out_is_said_again_by_a_plan(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (folder / "dangling.wav").symlink_to(tmp_path / "nowhere.wav")
    first, again = _run(folder), _run(folder)
    assert "1 paths skipped: dangling.wav (dangling link)" in first.stderr
    assert again.stderr == first.stderr


def test_links_that_lead_back_end(folder: Path) -> None:
    (folder / "again").symlink_to(folder)
    suite = make_suite({"systems": ["identity"], "audio": [str(folder)], "metrics": ["si_sdr"]})
    before = signature(suite)
    (folder / "other").mkdir()
    (folder / "other" / "5.wav").write_bytes(b"")
    assert signature(suite) not in ("", before)

"""Progress of a run: a bar on a terminal, else a line a minute; the clock is the tests'."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from m2l_bench.cli import app
from m2l_bench.progress import Shown, Tally, progress


class Clock:
    """Seconds, as a test sets them."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


PLAN = SimpleNamespace(
    counts=lambda: Counter({("reconstruct", "a"): 4, ("repeat", "a"): 2, ("reconstruct", "b:small"): 4})
)


def job(kind: str, label: str) -> SimpleNamespace:
    return SimpleNamespace(kind=kind, label=label)


def _half_done(shown: Tally | Shown, clock: Clock) -> None:
    """One job was found finished; five took 100 s each; four are left, two of them running."""
    clock.seconds += 50  # planning
    shown.plan(PLAN)
    shown.finish(job("reconstruct", "a"), None)
    done = [job("reconstruct", "a")] * 3 + [job("repeat", "a")] * 2
    for one in done:
        shown.start(one)
    for _ in range(2):
        shown.start(job("reconstruct", "b:small"))
    for one in done:
        clock.seconds += 100
        shown.finish(one, 100.0)


def test_a_line_has_counts_times_and_what_runs() -> None:
    clock = Clock()
    tally = Tally("planning", clock=clock)
    assert tally.line() == "0 planning, elapsed 0 s"
    _half_done(tally, clock)
    assert tally.line() == (
        "6 of 10 jobs, elapsed 9 min, about 7 min left, now: reconstruct b:small 0/4, 1/2 systems"
    )  # 500 s for five jobs, four left; planning is elapsed time, and no measure of a job


def test_the_time_left_is_counted_by_kind_and_system() -> None:
    clock = Clock()
    tally = Tally("planning", clock=clock)
    tally.plan(SimpleNamespace(counts=lambda: Counter({("encode", "a"): 3, ("encode", "b"): 2, ("probe", "a"): 1})))
    clock.seconds += 30
    tally.finish(job("encode", "a"), 60.0)  # two workers: 60 s of work in 30 s
    assert tally.left() == "more than 2 min left"  # four jobs of 60 s by two workers, and nothing is known of probes
    clock.seconds += 150
    tally.finish(job("encode", "b"), 300.0)  # b takes longer
    clock.seconds += 30
    tally.finish(job("probe", "a"), 60.0)
    assert tally.left() == "about 4 min left"  # 2 * 60 s and 300 s by two workers: 210 s


def test_what_runs_is_the_earliest_unfinished() -> None:
    tally = Tally("jobs", clock=Clock())
    tally.plan(PLAN)
    for kind, label in (("reconstruct", "a"), ("repeat", "a"), ("reconstruct", "b:small")):
        tally.start(job(kind, label))
    assert tally.now() == "reconstruct a 0/6"
    tally.finish(job("reconstruct", "a"), 1.0)
    assert tally.now() == "repeat a 1/6"
    tally.finish(job("reconstruct", "b:small"), 1.0)
    tally.finish(job("repeat", "a"), 1.0)
    assert tally.now() == ""


def test_without_a_terminal_there_is_a_line_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with progress("planning", clock=clock) as shown:
        shown.say("x: left out, [no] network")
        _half_done(shown, clock)
        clock.seconds += 59
        shown.finish(job("reconstruct", "b:small"), 1.0)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0] == "x: left out, [no] network"
    assert lines[1] == "2 of 10 jobs, elapsed 2 min, more than 10 min left, now: reconstruct a 2/6, 0/2 systems"
    assert len(lines) == 6, "one line for each job, 100 s apart, and none 59 s later"


def test_short_work_prints_nothing_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with progress("files", 2, clock=clock) as shown:
        clock.seconds += 59
        shown.advance()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("columns", [80, 100])
def test_the_bar_labels_its_times_and_fits(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    clock = Clock()
    with progress("planning", clock=clock) as shown:
        _half_done(shown, clock)
    text = capsys.readouterr().err.rpartition(" 6/10 jobs ")[2].partition("\n")[0].rstrip()
    assert len(" 6/10 jobs " + text) <= columns
    assert text.index("elapsed 0:09:10") < text.index("about 7 min left") < text.index("reconstruct b:small 0/4")
    if columns == 100:
        assert text.endswith("0/4, 1/2 systems")


def test_a_run_in_a_pipe_prints_no_bar(music_folder, tmp_path) -> None:
    options = ("--system", "identity", "--metric", "si_sdr", "--clips", "0", "--workers", "1")
    result = CliRunner().invoke(app, ["run", "--audio", str(music_folder), *options, "--out", str(tmp_path / "run")])
    assert result.exit_code == 0
    assert "elapsed" not in result.stderr and "\r" not in result.stderr

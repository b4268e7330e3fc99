"""Whole runs under killed processes, a full disk, a read-only place and a hanging system: equal rows or one clear error."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner, Result

from m2l_bench.cli import app
from m2l_bench.suite import local

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import fault_injection as faults

DAC_OVERRIDE, DAC_READ_SEARCH = 1, 2  # the capabilities with which permissions do not bind root


def _invoke(command: list[str]) -> Result:
    """Run a command in this process, which has everything imported."""
    _, _, _, *arguments = command  # python -m m2l_bench
    return CliRunner().invoke(app, arguments)


@contextmanager
def small_files() -> Iterator[None]:
    """No file of this process, and of those that it starts, may grow beyond 3,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def bound_by_permissions() -> Iterator[None]:
    """Take from this thread, where it is root's, what lets it read and write everything."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, before = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()  # version 3; this thread
    if libc.capget(header, before):
        raise OSError(ctypes.get_errno(), "capget failed")
    bound = (ctypes.c_uint32 * 6)(*before)
    bound[0] &= ~(1 << DAC_OVERRIDE | 1 << DAC_READ_SEARCH)  # of those in effect; it may have them again
    try:
        if libc.capset(header, bound):
            raise OSError(ctypes.get_errno(), "capset failed")
        yield
    finally:
        libc.capset(header, before)


class Undisturbed(NamedTuple):
    """Music and the run that nothing happened to."""

    music: Path
    run: Path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("faults")
    found = Undisturbed(faults.make_audio(folder / "music", 8), folder / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("m2l_bench.cli._local", lambda **limits: local.LocalEngine())  # the shared worker
        assert _invoke(faults.command(*found)).exit_code == 0
    return found


def test_killed_main_processes_and_workers_change_no_byte(undisturbed: Undisturbed, tmp_path: Path) -> None:
    music, expected = undisturbed
    tally = faults.inject(music, expected, tmp_path, kills=3, longest=5.0, seed=1)  # a run takes about as long
    assert tally.problems == []
    assert tally.kills == 3


def test_a_full_disk_is_one_clear_error_and_nothing_is_lost(
    undisturbed: Undisturbed, tmp_path: Path, capfd: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    music, expected = undisturbed
    command = [*faults.command(music, tmp_path / "run"), "--workers", "1"]
    with small_files():
        full = _invoke(command)
    assert full.exit_code == 2 and isinstance(full.exception, SystemExit)
    (line,) = [line for line in full.stderr.splitlines() if line.startswith("error: ")]
    assert "File too large" in line and "goes on from there" in line
    assert "Traceback" not in full.stderr + capfd.readouterr().err, "nor does the worker print one"
    assert not (tmp_path / "run" / "run.json").exists()
    request.getfixturevalue("commands_share_worker")  # the first command's own had the limit
    assert _invoke(command).exit_code == 0
    assert faults.compare(expected, tmp_path / "run") == []


def test_a_place_that_cannot_be_written_is_named_before_anything_is_computed(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    refused = _invoke(faults.command(undisturbed.music, tmp_path / "file" / "run"))
    assert refused.exit_code == 2 and isinstance(refused.exception, SystemExit)
    assert "error: " in refused.stderr and str(tmp_path / "file") in refused.stderr


@pytest.mark.usefixtures("commands_share_worker")
def test_a_read_only_place_is_named(undisturbed: Undisturbed, tmp_path: Path) -> None:
    place = tmp_path / "read-only"
    place.mkdir()
    place.chmod(0o555)
    with bound_by_permissions():
        refused = _invoke(faults.command(undisturbed.music, place / "run"))
    assert refused.exit_code == 2 and isinstance(refused.exception, SystemExit)
    assert "Permission denied" in refused.stderr and str(place) in refused.stderr


def test_a_system_that_hangs_is_counted_and_the_rest_equals_an_undisturbed_run(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    music, expected = undisturbed
    (tmp_path / "slow.py").write_text(
        "import time\n"
        "from pathlib import Path\n"
        "class Slow:\n"
        "    name, sample_rate = 'slow', None\n"
        "    def reconstruct(self, audio):\n"
        f"        once = Path('{tmp_path}/once')\n"
        "        if once.exists():\n"
        "            raise ValueError('hung before')\n"
        "        once.touch()\n"
        "        time.sleep(3600)\n"
    )
    slow = ["--system", f"slow={tmp_path}/slow.py:Slow", "--timeout", "6", "--workers", "1"]
    result = _invoke([*faults.command(music, tmp_path / "run"), *slow])
    assert result.exit_code == 2
    assert "killed after 6 s, the time limit of a job" in result.stderr and "hung before" in result.stderr
    found = (tmp_path / "run" / "rows.csv").read_text().splitlines()
    rows = [line for line in found if ",slow," not in line and not line.startswith("slow,")]
    assert rows == (expected / "rows.csv").read_text().splitlines()

"""Whole runs under killed processes, a full disk, a read-only place and a hanging system: equal rows or one clear error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from m2l_bench.cli import app

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import fault_injection as faults

# Run the command that follows where no file may grow beyond 3,000 bytes.
SMALL_FILES = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
os.execv(sys.argv[1], sys.argv[1:])
"""
# Permissions do not bind root: run the command that follows without the capabilities that make it so.
BOUND = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    if ctypes.CDLL(None).prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP
        sys.exit("prctl failed")
os.execv(sys.argv[1], sys.argv[1:])
"""


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=300)


class Undisturbed(NamedTuple):
    """Music and the run that nothing happened to."""

    music: Path
    run: Path
    seconds: float


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("faults")
    music = faults.make_audio(folder / "music", 8)
    return Undisturbed(music, folder / "run", faults.undisturbed(music, folder / "run"))


def test_killed_main_processes_and_workers_change_no_byte(undisturbed: Undisturbed, tmp_path: Path) -> None:
    music, expected, seconds = undisturbed
    tally = faults.inject(music, expected, tmp_path, kills=3, longest=seconds, seed=1)
    assert tally.problems == []
    assert tally.kills == 3


def test_a_full_disk_is_one_clear_error_and_nothing_is_lost(undisturbed: Undisturbed, tmp_path: Path) -> None:
    music, expected, _ = undisturbed
    command = [*faults.command(music, tmp_path / "run"), "--workers", "1"]
    full = _run(sys.executable, "-c", SMALL_FILES, *command)
    assert full.returncode == 2
    (line,) = [line for line in full.stderr.splitlines() if line.startswith("error: ")]
    assert "File too large" in line and "goes on from there" in line
    assert "Traceback" not in full.stderr
    assert not (tmp_path / "run" / "run.json").exists()
    assert _run(*command).returncode == 0
    assert faults.compare(expected, tmp_path / "run") == []


def test_a_place_that_cannot_be_written_is_named_before_anything_is_computed(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    _, _, _, *arguments = faults.command(undisturbed.music, tmp_path / "file" / "run")  # python -m m2l_bench
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2 and isinstance(refused.exception, SystemExit)
    assert "error: " in refused.stderr and str(tmp_path / "file") in refused.stderr


def test_a_read_only_place_is_named(undisturbed: Undisturbed, tmp_path: Path) -> None:
    place = tmp_path / "read-only"
    place.mkdir()
    place.chmod(0o555)
    before = (sys.executable, "-c", BOUND) if os.geteuid() == 0 else ()
    refused = _run(*before, *faults.command(undisturbed.music, place / "run"))
    assert refused.returncode == 2
    assert "Permission denied" in refused.stderr and str(place) in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_system_that_hangs_is_counted_and_the_rest_equals_an_undisturbed_run(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    music, expected, _ = undisturbed
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
    slow = ["--system", f"slow={tmp_path}/slow.py:Slow", "--timeout", "10", "--workers", "1"]
    result = _run(*faults.command(music, tmp_path / "run"), *slow)
    assert result.returncode == 2
    assert "killed after 10 s, the time limit of a job" in result.stderr and "hung before" in result.stderr
    found = (tmp_path / "run" / "rows.csv").read_text().splitlines()
    rows = [line for line in found if ",slow," not in line and not line.startswith("slow,")]
    assert rows == (expected / "rows.csv").read_text().splitlines()

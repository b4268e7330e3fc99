"""A probing run that is killed, first while it encodes and then inside the grid, goes on to the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from m2l_bench import audio
from m2l_bench.files.untrusted import ALLOW_OUTSIDE
from m2l_bench.suite.run import run_suite
from m2l_bench.suite.status import read_status
from m2l_bench.suite.suite import read_suite

REPOSITORY = Path(__file__).parents[2]
ENCODER = '''
import time
import numpy as np
from pathlib import Path
from m2l_bench.files.fingerprint import fingerprint

class Bands:
    """Log energy in 128 bands; counts its calls in a file, and waits for ever at the fortieth while told to."""
    name, sample_rate, latent_dim, latent_rate = "bands", 44100, 128, 8.0

    def __init__(self, *, seed: int = 0) -> None:
        self.seed, self.fingerprint = seed, fingerprint("bands", {})

    def encode(self, audio):
        calls = Path(__file__).with_suffix(".calls")
        with calls.open("a") as file:
            file.write("x")
        while calls.stat().st_size == 40 and Path(__file__).with_suffix(".wait").exists():
            time.sleep(0.01)
        frames = audio[:, : audio.shape[1] // 5512 * 5512].reshape(len(audio), -1, 5512)
        power = np.abs(np.fft.rfft(frames))[..., :512].reshape(len(audio), -1, 128, 4).mean(-1)
        return np.log(power + 1e-4).swapaxes(-1, -2).astype(np.float32)
'''


def _tones(folder: Path) -> Path:
    """A folder task of 96 tones in 6 classes that overlap, so that the grid has something to choose."""
    rng = np.random.default_rng(0)
    lines = ["path,label,split,group"]
    for k in range(96):
        label, split = k % 6, ("train", "train", "valid", "test")[k // 24]
        frequency = 400 * 2 ** (label / 6) * rng.uniform(0.85, 1.15)
        tone = 0.1 * np.sin(2 * np.pi * frequency * np.arange(11025) / 44100) + 0.02 * rng.standard_normal(11025)
        audio.write(folder / "tones" / f"{k:02d}.wav", tone[None].astype(np.float32), 44100)
        lines.append(f"tones/{k:02d}.wav,class {label},{split},{k}")
    (folder / "tones.csv").write_text("\n".join(lines) + "\n")
    (folder / "bands.py").write_text(ENCODER)
    (folder / "suite.toml").write_text(
        f'systems = ["bands={folder}/bands.py:Bands"]\naudio = []\ntasks = ["{folder}/tones.csv"]\n'
        'probes = ["linear", "mlp"]\nprobe_seeds = [0]\n'
    )
    return folder


def _start(folder: Path, out: Path) -> subprocess.Popen:
    """The run in a session of its own, so that its workers die with it."""
    code = (
        "import sys; from pathlib import Path; from m2l_bench.suite.run import run_suite; "
        "from m2l_bench.suite.suite import read_suite; run_suite(read_suite(sys.argv[1]), out=Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(folder / "suite.toml"), str(out)]
    environment = {**os.environ, ALLOW_OUTSIDE: "1"}  # the suite names code
    return subprocess.Popen(command, cwd=REPOSITORY, start_new_session=True, env=environment)


def _kill_when(run: subprocess.Popen, reached: Callable[[], bool]) -> None:
    """SIGKILL the run and its workers at the moment that `reached` becomes true."""
    deadline = time.monotonic() + 120
    while not reached():
        assert run.poll() is None and time.monotonic() < deadline, "the run was over before it could be killed"
        time.sleep(0.05)  # the first kill waits for the run, and the grid takes seconds
    os.killpg(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL


def test_killed_twice_and_resumed_gives_the_rows_of_an_undisturbed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out, calls = _tones(tmp_path), tmp_path / "killed", tmp_path / "bands.calls"
    wait = tmp_path / "bands.wait"

    def finished() -> int:
        return sum((status := read_status(out)).done.values()) + sum(status.failed.values())

    wait.touch()
    _kill_when(_start(folder, out), lambda: calls.exists() and calls.stat().st_size == 40)
    assert finished() == 39, "each file was stored as it was done"
    wait.unlink()

    _kill_when(_start(folder, out), lambda: finished() == 97)  # every file and the linear probe: the MLP's grid is on
    assert calls.stat().st_size == 40 + 57, "the stored files were not encoded again"
    assert not (out / "rows.csv").exists()

    assert _start(folder, out).wait(120) == 0
    assert calls.stat().st_size == 40 + 57, "the killed grid left every latent"
    monkeypatch.setenv(ALLOW_OUTSIDE, "1")
    run_suite(read_suite(folder / "suite.toml"), out=tmp_path / "undisturbed")
    for name in ("rows.csv", "rows.parquet", "items.parquet", "failures.csv", "cards.json"):
        assert (out / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes(), name
    assert (out / "rows.csv").read_text().count("accuracy") == 2

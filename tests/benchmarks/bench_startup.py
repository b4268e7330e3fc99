"""Time of commands that compute nothing: help, a finished run that is asked for again, planning many files.

Usage: python tests/benchmarks/bench_startup.py [FILES [ROUNDS]]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from m2l_bench import audio

MAIN = "import sys; from m2l_bench.cli import main; main()"
# What the main process has loaded at the end is printed last.
WITHOUT_TORCH = """
import sys
from m2l_bench.cli import main
try:
    main()
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""


def timed(arguments: list[str], folder: Path, rounds: int, code: str = MAIN) -> tuple[float, str]:
    """Median wall time of a command in seconds, and what it printed on stderr."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times), done.stderr.decode()


def main() -> None:
    n_files = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rng = np.random.default_rng(0)
        for number in range(n_files):
            noise = 0.1 * rng.standard_normal((1, 441)).astype(np.float32)
            audio.write(folder / "music" / f"{number}.wav", noise, 44100)
        print(f"m2l-bench --help: {timed(['--help'], folder, rounds)[0]:.2f} s")
        systems = ["--system", "identity", "--system", "opus:24k", "--system", "lowpass-7k"]
        run = ["run", "--audio", "reconstruction/wesnoth", *systems, "--metric", "si_sdr", "--metric", "mel_distance"]
        first, _ = timed(run, folder, 1)
        again, _ = timed(run, folder, rounds)
        print(f"a run of 25 files and 3 systems: {first:.1f} s, asked for again: {again:.2f} s")
        plan = ["run", "--audio", "music", *systems, "--metric", "si_sdr", "--dry-run"]
        planned, loaded = timed(plan, folder, max(1, rounds // 2), WITHOUT_TORCH)
        torch = "with" if loaded.split()[-1] == "True" else "without"
        print(f"planning {n_files:,} files: {planned:.1f} s, {torch} torch in the main process")


if __name__ == "__main__":
    main()

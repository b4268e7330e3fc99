"""Kill workers and main processes of a run with SIGKILL at random moments; its rows must come out as if nothing had happened.

    python tests/benchmarks/fault_injection.py [KILLS [SEED]]

Runs a small suite undisturbed, then the same suite again and again, killing (50 times in all by default) either the main
process, after which the same command is given again, or one worker. A run in which one job lost its worker twice may end
with that job failed and exit code 2: it is then repeated with --retry-failed. Exits with 1 where rows.csv, or any file of
results beside it, differs by a byte, a process is left behind, or an error is not one line.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from m2l_bench import audio

COMPARED = ("rows.csv", "rows.parquet", "items.parquet", "failures.csv", "cards.json")


@dataclass
class Tally:
    """What was done to the runs and what became of them."""

    main: int = 0
    workers: int = 0
    runs: int = 0
    retried: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return self.main + self.workers


def make_audio(folder: Path, files: int = 40) -> Path:
    """Noise and tones, 1 s each."""
    rng = np.random.default_rng(0)
    for n in range(files):
        tone = np.sin(2 * np.pi * (200 + 20 * n) * np.arange(44100) / 44100)
        signal = 0.1 * tone + 0.01 * rng.standard_normal(44100)
        audio.write(folder / f"{n:03d}.wav", signal[None].astype(np.float32), 44100)
    return folder


def command(music: Path, out: Path) -> list[str]:
    """The command line of the run."""
    chosen = ["--system", "lowpass-7k", "--system", "opus:24k", "--metric", "si_sdr", "--metric", "mel_distance"]
    options = ["--workers", "2", "--clips", "0", "--out", str(out)]
    return [sys.executable, "-m", "m2l_bench", "run", "--audio", str(music), *chosen, *options]


def compare(expected: Path, found: Path) -> list[str]:
    """Names of the result files that differ."""
    return [name for name in COMPARED if (expected / name).read_bytes() != (found / name).read_bytes()]


def disturb(
    music: Path, expected: Path, out: Path, rng: random.Random, tally: Tally, kills: int, longest: float
) -> None:
    """One run, killed at random moments until `kills` are done in all or the run is through."""
    more: list[str] = []
    while True:
        process = subprocess.Popen(
            [*command(music, out), *more], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        children: list[psutil.Process] = []
        while tally.kills < kills:
            try:
                process.wait(rng.uniform(0, longest))
                break
            except subprocess.TimeoutExpired:
                children = _children(process.pid)
            if rng.random() < 0.5 or not children:
                process.kill()
                tally.main += 1
                break
            rng.choice(children).kill()
            tally.workers += 1
        stderr = process.communicate(timeout=600)[1]
        _, left = psutil.wait_procs(children, timeout=30)
        tally.problems += [f"{out.name}: process {child.pid} was left behind" for child in left]
        if "Traceback" in stderr:
            tally.problems.append(f"{out.name}: a traceback: {stderr[-2000:]}")
            return
        if process.returncode == 0:
            break
        if process.returncode == 2:  # a job lost its worker twice
            tally.retried += 1
            more = ["--retry-failed"]
        elif process.returncode != -9:
            tally.problems.append(f"{out.name}: exit code {process.returncode}: {stderr[-500:]}")
            return
    tally.problems += [f"{out.name}: {name} differs" for name in compare(expected, out)]


def _children(pid: int) -> list[psutil.Process]:
    """The workers: not the process that tidies up after them."""
    try:
        found = psutil.Process(pid).children()
        return [child for child in found if any("spawn_main" in part for part in child.cmdline())]
    except psutil.Error:
        return []


def undisturbed(music: Path, out: Path) -> float:
    """Make the run to compare with; seconds that it took."""
    began = time.monotonic()
    subprocess.run(command(music, out), check=True, capture_output=True)
    return time.monotonic() - began


def inject(music: Path, expected: Path, folder: Path, *, kills: int, longest: float, seed: int = 0) -> Tally:
    """Kill as often as asked, each time within `longest` seconds, over as many runs as that takes."""
    rng, tally = random.Random(seed), Tally()
    while tally.kills < kills and not tally.problems:
        tally.runs += 1
        disturb(music, expected, folder / f"run-{tally.runs}", rng, tally, kills, longest)
    return tally


def full_disk(folder: Path) -> str:
    """Fill a small disk, then enlarge it: one line, exit code 2, and the same command goes on. Needs the right to mount.

    Expects the music and the undisturbed run in `folder`; returns what went wrong, or empty.
    """
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        print("full disk: not tried, this user may not mount one")
        return ""
    try:
        full = subprocess.run(command(folder / "music", disk / "run"), capture_output=True, text=True)
        errors = [line for line in full.stderr.splitlines() if line.startswith("error: ")]
        if full.returncode != 2 or len(errors) != 1 or "No space left" not in errors[0] or "Traceback" in full.stderr:
            return f"full disk: exit code {full.returncode}: {full.stderr[-500:]}"
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        subprocess.run(command(folder / "music", disk / "run"), check=True, capture_output=True)
        differing = compare(folder / "undisturbed", disk / "run")
        print(f"full disk: {errors[0]}")
        return f"full disk: {', '.join(differing)} differ" if differing else ""
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as folder:
        music, expected = make_audio(Path(folder) / "music"), Path(folder) / "undisturbed"
        longest = undisturbed(music, expected)
        tally = inject(music, expected, Path(folder), kills=kills, longest=longest, seed=seed)
        tally.problems += filter(None, [full_disk(Path(folder))])
    print(
        f"{tally.kills} kills ({tally.main} of the main process, {tally.workers} of workers) over {tally.runs} runs, "
        f"{tally.retried} repeated with --retry-failed; problems: {len(tally.problems)}"
    )
    print("\n".join(tally.problems))
    sys.exit(bool(tally.problems))


if __name__ == "__main__":
    main()

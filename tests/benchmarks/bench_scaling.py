"""How a run scales: two workers against one, cost and memory by the number of tracks, and the plan of a million jobs.

    PYTHONPATH=. python tests/benchmarks/bench_scaling.py [MOST_TRACKS]

Tracks are half a second of noise and tones, mono, 16 kHz; two systems, one metric, so that what the engine and the stores
add to each job weighs as much as it ever does. Prints measured figures only; needs an idle machine.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from m2l_bench.latents import LatentKey
from m2l_bench.results import Item
from m2l_bench.suite import plan as planning
from m2l_bench.suite.data import AudioItem, AudioSet
from m2l_bench.suite.engine import Job, JobStore, Outcome, Workspace, run_jobs
from m2l_bench.suite.local import LocalEngine
from m2l_bench.suite.run import run_suite
from m2l_bench.suite.suite import make_suite
from tests.peak_memory import peak_memory


@dataclass(frozen=True)
class Spin:
    """Arithmetic that stays in the processor's cache, about a quarter of a second."""

    number: int
    kind = "spin"
    label = "spin"

    @property
    def id(self) -> str:
        return f"{self.number:064x}"

    def kept(self, outcome: Outcome) -> list[LatentKey]:
        return []

    def failed(self, reason: str) -> Outcome:
        return Outcome()

    def run(self, workspace: Workspace) -> Outcome:
        total = 0
        for k in range(2_500_000):
            total += k & 7
        return Outcome([Item(system="s", fingerprint="f", dataset="d", metric="m", card="c", item="i", value=total)])


def throughput(folder: Path, rounds: int = 3, jobs: int = 60) -> None:
    """Jobs a second with one worker and with two, alternating; once the processes are there."""
    spent: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(rounds):
        for workers in spent:
            began: list[float] = []
            work = [Spin(n) for n in range(jobs)]
            with closing(LocalEngine(workers=workers)) as engine:
                run_jobs(
                    [Spin(10**6 + n) for n in range(workers)], JobStore(Workspace(folder / f"{turn}-{workers}")), engine
                )  # start up
                run_jobs(
                    work,
                    JobStore(Workspace(folder / f"{turn}-{workers}")),
                    engine,
                    on_started=lambda job, began=began: began.append(time.perf_counter()),
                )
                spent[workers].append(time.perf_counter() - began[0])
    one, two = (sorted(times)[rounds // 2] for times in spent.values())
    print(f"throughput of two workers over one: {one / two:.2f} (medians of {rounds}: {one:.1f} s, {two:.1f} s)")


def growth(folder: Path, sizes: list[int]) -> None:
    """Cost of each track and memory, from few tracks to many."""
    rng = np.random.default_rng(0)
    written = 0
    for size in sizes:
        for n in range(written, size):
            tone = np.sin(2 * np.pi * (200 + n % 997) * np.arange(8000) / 16000)
            signal = (0.1 * tone + 0.01 * rng.standard_normal(8000)).astype(np.float32)
            path = folder / "music" / f"{n // 100:04d}" / f"{n:06d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, signal, 16000)
        written = size
        suite = make_suite(
            {
                "systems": ["identity", "lowpass=lowpass-3.5k"],
                "audio": [str(folder / "music")],
                "metrics": ["si_sdr"],
                "tasks": [],
            }
        )
        jobs: list[float] = []
        peaks: list[int] = []

        def finished(job: Job, seconds: float | None, jobs: list[float] = jobs, peaks: list[int] = peaks) -> None:
            jobs.append(seconds or 0.0)
            if len(jobs) % 20 == 1:
                peaks.extend(peak_memory(child.pid) for child in multiprocessing.active_children())

        began = time.perf_counter()
        run_suite(suite, out=folder / f"run-{size}", on_finished=finished)
        wall = time.perf_counter() - began
        again = time.perf_counter()
        run_suite(suite, out=folder / f"run-{size}")
        again = time.perf_counter() - again
        print(
            f"{size:6d} tracks: {1e3 * wall / size:.2f} ms a track, of which {1e3 * sum(jobs) / size:.2f} in jobs; found "
            f"finished again: {1e3 * again / size:.2f} ms a track; peak memory: main process so far "
            f"{peak_memory() / 2**20:.0f} MiB, worker {max(peaks) / 2**20:.0f} MiB"
        )


def plan_of_a_million(jobs: int = 1_000_000) -> None:
    """Seconds and memory of cutting a plan and naming each job; the files are made up, so none is hashed."""
    systems = [f"s{k}=opus:{rate}k" for k, rate in enumerate((12, 16, 20, 24, 32, 40, 48, 64, 96, 128))]
    files = jobs // len(systems) * planning.SLICE
    items = tuple(
        AudioItem(f"album{k // 12:06d}/{k:08d}.flac", f"/music/album{k // 12:06d}/{k:08d}.flac", f"{k:064x}")
        for k in range(files)
    )
    planning.find_audio = lambda name: AudioSet("million", items)
    suite = make_suite({"systems": systems, "audio": ["million"], "metrics": ["si_sdr", "mel_distance"], "tasks": []})
    began = time.perf_counter()
    plan = planning.make_plan(suite)
    named = plan.hash
    print(
        f"plan of {len(plan.jobs):,} jobs over {files:,} files: {time.perf_counter() - began:.1f} s, peak memory "
        f"{peak_memory() / 2**20:.0f} MiB ({named})"
    )


def main() -> None:
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        throughput(Path(folder))
        growth(Path(folder), [size for size in (100, 1_000, 10_000) if size <= most])
    plan_of_a_million()


if __name__ == "__main__":
    main()

"""How a run scales: made-up outcomes in the store, two workers against one, cost and memory by tracks, a million jobs planned.

    PYTHONPATH=. python tests/benchmarks/bench_scaling.py [MOST_TRACKS]

Tracks are half a second of noise and tones, mono, 16 kHz; two systems, one metric, so that what the engine and the stores
add to each job weighs as much as it ever does. Prints measured figures only; needs an idle machine.
"""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from m2l_bench.suite import planning
from m2l_bench.suite.data import AudioItem, AudioSet
from m2l_bench.suite.engine import Job, Workspace, run_jobs
from m2l_bench.suite.jobs.repeat import RepeatJob
from m2l_bench.suite.local import LocalEngine
from m2l_bench.suite.run import run_suite
from m2l_bench.suite.steps import Read
from m2l_bench.suite.store import Outcome, Store
from m2l_bench.suite.suite import Suite, make_suite
from tests.peak_memory import peak_memory


@dataclass(frozen=True)
class Spin:
    """Arithmetic that stays in the processor's cache, about a quarter of a second."""

    number: int
    kind = "spin"
    label = "spin"
    item = None
    batch = 1

    @property
    def id(self) -> str:
        return f"{self.number:064x}"

    def failed(self, reason: str) -> Outcome:
        return Outcome(reason=reason)

    def run(self, store: Store, read: Read | None) -> Outcome:
        total = 0
        for k in range(2_500_000):
            total += k & 7
        return Outcome({"total": total})


def throughput(folder: Path, rounds: int = 3, jobs: int = 60) -> None:
    """Jobs a second with one worker and with two, alternating; once the processes are there."""
    spent: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(rounds):
        for workers in spent:
            workspace = Workspace(folder / f"{turn}-{workers}")
            with closing(LocalEngine(workers=workers)) as engine:
                run_jobs([Spin(10**6 + n) for n in range(workers)], workspace, engine)  # start up
                began = time.perf_counter()
                run_jobs([Spin(n) for n in range(jobs)], workspace, engine)
                spent[workers].append(time.perf_counter() - began)
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


def made_up(files: int, systems: list[str]) -> Suite:
    """A suite over files that do not exist, so that none is hashed."""
    items = tuple(
        AudioItem(f"album{k // 12:06d}/{k:08d}.flac", f"/music/album{k // 12:06d}/{k:08d}.flac", f"{k:064x}")
        for k in range(files)
    )
    planning.find_audio = lambda name: AudioSet("made-up", items)
    metrics = ["si_sdr", "mel_distance", "stft_distance"]
    return make_suite({"systems": systems, "audio": ["made-up"], "metrics": metrics, "tasks": []})


def plan_of_a_million(jobs: int = 1_000_000) -> None:
    """Seconds and memory of making a plan and naming each of its jobs."""
    systems = [f"s{k}=opus:{rate}k" for k, rate in enumerate((12, 16, 20, 24, 32, 40, 48, 64, 96, 128))]
    suite = made_up(jobs // len(systems), systems)
    with closing(LocalEngine()) as engine:
        began = time.perf_counter()
        plan = planning.make_plan(suite, engine)
        named = plan.hash
    print(
        f"plan of {jobs:,} jobs over {jobs // len(systems):,} files: {time.perf_counter() - began:.1f} s, peak memory "
        f"{peak_memory() / 2**20:.0f} MiB ({named})"
    )


def outcomes(n: int) -> None:
    """Write made-up outcomes of one system on `n` files, find them again, gather their run, and ask for it again."""
    suite = made_up(n, ["identity"])
    with tempfile.TemporaryDirectory() as place, closing(LocalEngine()) as engine:
        folder = Path(place) / "run"
        jobs = list(planning.make_plan(suite, engine).first_jobs())
        names = [job.id for job in jobs]
        form = jobs[0].failed("").value  # with whatever else the outcome of a file has
        store = Store(folder / "store")
        began = time.perf_counter()
        for k, (job, name) in enumerate(zip(jobs, names, strict=True)):
            scores = {"si_sdr": 0.001 * k, "mel_distance": 1.0 + 1e-6 * k, "stft_distance": 2.0 - 1e-6 * k}
            scored = {**form, "scores": scores, "seconds": 10.0}
            store.put(name, Outcome({"equal": True} if isinstance(job, RepeatJob) else scored))
        store.close()
        written = time.perf_counter() - began
        began = time.perf_counter()
        store = Store(folder / "store")
        assert all(store.get(name) for name in names)
        read = time.perf_counter() - began
        store.close()
        total = len(names)
        del jobs, names
        before = peak_memory()
        began = time.perf_counter()
        run_suite(suite, out=folder, engine=engine)
        gathered = time.perf_counter() - began
        began = time.perf_counter()
        again = run_suite(suite, out=folder, engine=engine)
        assert not again.fresh and len(again.rows) == 12  # mean and median of three scores, the system's and of chance
        asked = time.perf_counter() - began
    print(
        f"{total:7,} outcomes of {n:,} files: written {total / written:,.0f}/s, found and read {total / read:,.0f}/s, "
        f"run gathered in {gathered:.1f} s, asked for again in {asked:.1f} s; "
        f"peak memory {before / 2**20:.0f} MiB before the run, {peak_memory() / 2**20:.0f} MiB after it"
    )


def main() -> None:
    if sys.argv[1:2] == ["--outcomes"]:
        outcomes(int(sys.argv[2]))
        return
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    for n in (10_000, 100_000):  # each in a process of its own, so that its peak is its own
        subprocess.run([sys.executable, __file__, "--outcomes", str(n)], check=True)
    with tempfile.TemporaryDirectory() as folder:
        throughput(Path(folder))
        growth(Path(folder), [size for size in (100, 1_000, 10_000) if size <= most])
    plan_of_a_million()


if __name__ == "__main__":
    main()

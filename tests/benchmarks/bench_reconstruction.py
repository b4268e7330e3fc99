"""Scoring of 10 s stereo pairs: time of the default pair metrics, and the ratio to torchmetrics + auraloss doing the same job.

The time of a pair is processor time on one thread: of all default pair metrics, and of each group that shares transforms,
scored alone. The job of the ratio: SI-SDR, mel distance (dac-eval), STFT distance and lag of every channel, the mean over
channels. The peers are torchmetrics' SI-SDR, auraloss's MultiResolutionSTFTLoss, a mel loss in plain torch with audiotools'
conventions (its own package cannot be installed beside this one) and torch's FFT for the correlation. Both sides use all cores
in their own way: torch its threads within a pair, ours one pair a thread. Runs are interleaved; medians are quoted, and minima of
the time of a pair, which other work on the machine disturbs least. `taskset -c 0` in front gives either side one core.

    python tests/benchmarks/bench_reconstruction.py [--pairs 4] [--rounds 5]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from unittest.mock import patch

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # ours runs one pair a thread

import auraloss
import numpy as np
import scipy.fft
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

from m2l_bench.reconstruction.metrics import METRICS, score_pair
from m2l_bench.reconstruction.pair.mel import mel_filters
from m2l_bench.reconstruction.pair_metrics import PairMetric
from m2l_bench.suite.suite import EMBEDDED_METRICS

RATE, SECONDS, CHANNELS = 44_100, 10, 2
NAMES = ("si_sdr", "mel_distance", "stft_distance", "lag")
FULL = tuple(name for name in EMBEDDED_METRICS if isinstance(METRICS.get(name), PairMetric))
Pair = tuple[np.ndarray, np.ndarray]


def make_pair(seed: int, seconds: float = SECONDS) -> Pair:
    """Pink-ish noise and a delayed, noisy version of it."""
    rng = np.random.default_rng(seed)
    white = rng.standard_normal((CHANNELS, int(RATE * seconds)))
    reference = 0.02 * np.cumsum(white, axis=-1) * 0.05 + 0.05 * white
    reference -= reference.mean(axis=-1, keepdims=True)
    estimate = 0.9 * np.roll(reference, 22, axis=-1) + 0.01 * rng.standard_normal(reference.shape)
    return reference.astype(np.float32), estimate.astype(np.float32)


class Peers:
    """torchmetrics + auraloss + torch, each channel alone."""

    def __init__(self) -> None:
        self.stft_loss = auraloss.freq.MultiResolutionSTFTLoss()
        self.windows = {n: torch.hann_window(n) for n in (2048, 512)}
        self.filters = {
            n: torch.tensor(mel_filters(RATE, n, m, "slaney"), dtype=torch.float32) for n, m in ((2048, 150), (512, 80))
        }

    @torch.no_grad()
    def __call__(self, reference: np.ndarray, estimate: np.ndarray) -> dict[str, float]:
        r, e = torch.from_numpy(reference), torch.from_numpy(estimate)
        return {
            "si_sdr": float(scale_invariant_signal_distortion_ratio(e.double(), r.double(), zero_mean=True).mean()),
            "mel_distance": self.mel(r, e),
            "stft_distance": float(
                np.mean([float(self.stft_loss(y[None, None], x[None, None])) for x, y in zip(r, e, strict=True)])
            ),
            "lag": self.lag(r.double(), e.double()),
        }

    def mel(self, r: torch.Tensor, e: torch.Tensor) -> float:
        total = 0.0
        for n, window in self.windows.items():
            x, y = (
                self.filters[n] @ torch.stft(s, n, n // 4, window=window, return_complex=True).abs() for s in (r, e)
            )
            logs = (m.clamp(1e-5).pow(2).log10() for m in (x, y))
            total += float((next(logs) - next(logs)).abs().mean() + (x - y).abs().mean())
        return total

    @staticmethod
    def lag(r: torch.Tensor, e: torch.Tensor) -> float:
        most = round(0.05 * RATE)
        n = r.shape[-1] + most
        r, e = (s - s.mean(-1, keepdim=True) for s in (r, e))
        correlation = torch.fft.irfft((torch.fft.rfft(r, n).conj() * torch.fft.rfft(e, n)).sum(0), n)
        correlation = torch.cat([correlation[-most:], correlation[: most + 1]])
        return float(correlation.abs().argmax() - most)


def ours(reference: np.ndarray, estimate: np.ndarray, names: tuple[str, ...] = NAMES) -> dict[str, float]:
    return {name: float(value) for name, value in score_pair(reference, estimate, RATE, names).items()}  # type: ignore[arg-type]


def seconds_of(job: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock and processor seconds; the second says more on a machine that others use."""
    start = time.perf_counter(), time.process_time()
    job()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def groups() -> list[tuple[str, ...]]:
    """The default pair metrics, those together that one function scores."""
    found: dict[object, list[str]] = {}
    for name in FULL:
        metric = METRICS[name]
        assert isinstance(metric, PairMetric)
        found.setdefault(metric.scores or metric.score, []).append(name)
    return [tuple(names) for names in found.values()]


def milliseconds_in_transforms(pair: Pair) -> float:
    """Processor time that the default pair metrics of a pair spend in SciPy's real Fourier transforms."""
    spent = 0.0

    def timed(transform: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        def compute(*given: object, **named: object) -> np.ndarray:
            nonlocal spent
            began = time.process_time()
            found = transform(*given, **named)
            spent += time.process_time() - began
            return found

        return compute

    with (
        patch.object(scipy.fft, "rfft", timed(scipy.fft.rfft)),
        patch.object(scipy.fft, "irfft", timed(scipy.fft.irfft)),
    ):
        ours(*pair, FULL)
    return 1e3 * spent


def print_times_of_a_pair(pair: Pair, rounds: int) -> None:
    """Processor milliseconds of one pair on one thread, least and median."""
    choices = [FULL, *groups()]
    times = [[seconds_of(partial(ours, *pair, names))[1] for names in choices] for _ in range(rounds)]
    columns = [[1e3 * min(column), 1e3 * statistics.median(column)] for column in zip(*times, strict=True)]
    whole = sum(least for least, _ in columns[1:])
    print(f"all {len(FULL)} default pair metrics of a pair: {columns[0][0]:.0f} ms, median {columns[0][1]:.0f} ms")
    print(f"  {min(milliseconds_in_transforms(pair) for _ in range(rounds)):4.0f} ms of it in Fourier transforms")
    for names, (least, median) in zip(choices[1:], columns[1:], strict=True):
        print(f"  {least:4.0f} ms {median:4.0f} ms {100 * least / whole:3.0f} %  {', '.join(names)}")


def peak_mebibytes(n_pairs: int, seconds: float = SECONDS) -> float:
    """Peak allocation of numpy while the last of n pairs is scored, beyond what was held when its scoring began."""
    tracemalloc.start()
    for seed in range(n_pairs):
        pair = make_pair(seed, seconds)
        tracemalloc.reset_peak()
        held = tracemalloc.get_traced_memory()[0]
        ours(*pair)
        peak = tracemalloc.get_traced_memory()[1] - held
    tracemalloc.stop()
    return peak / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    pairs = [make_pair(seed) for seed in range(arguments.pairs)]
    peers = Peers()
    mine, theirs = ours(*pairs[0]), peers(*pairs[0])
    for name in NAMES:
        print(
            f"{name:15s} ours {mine[name]:.9g}  peers {theirs[name]:.9g}  difference {mine[name] - theirs[name]:+.1e}"
        )
    references, estimates = zip(*pairs, strict=True)
    with ThreadPoolExecutor(cores) as pool:
        jobs: dict[str, Callable[[], object]] = {
            "ours": lambda: list(pool.map(ours, references, estimates)),
            "ours, all pair metrics": lambda: list(pool.map(partial(ours, names=FULL), references, estimates)),
            "ours, one thread": lambda: [ours(*pair) for pair in pairs],
            "peers": lambda: [peers(*pair) for pair in pairs],
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
        for job in jobs.values():
            job()
        for _ in range(arguments.rounds):
            for name, job in jobs.items():
                times[name].append(seconds_of(job))
    audio = SECONDS * len(pairs)
    for name, values in times.items():
        wall, processor = (statistics.median(column) for column in zip(*values, strict=True))
        print(
            f"{name:25s} {audio / wall:5.1f} x real time on {cores} cores, {audio / processor:5.1f} a processor second"
        )
    for column, clock in enumerate(("wall clock", "processor")):
        ratios = [p[column] / o[column] for p, o in zip(times["peers"], times["ours"], strict=True)]
        print(f"peers / ours, {clock}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print_times_of_a_pair(pairs[0], 3 * arguments.rounds)
    print(f"peak memory while scoring: pair 1 {peak_mebibytes(1):.1f} MiB, pair 5 {peak_mebibytes(5):.1f} MiB")


if __name__ == "__main__":
    main()

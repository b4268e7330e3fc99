"""Set metrics against the released formulae, musicnn's speed: ratios measured in one run.

    python tests/benchmarks/bench_distribution.py [--short] [trace] [jackknife] [musicnn]

``--short`` takes the smallest sizes and one run each, to see that it works; only whole runs are to be quoted.
Every ratio is the median over interleaved runs of peer and ours. The peer is the formula that released tools share
(fadtk, frechet-audio-distance, pytorch-fid): ``trace(scipy.linalg.sqrtm(C1 @ C2))`` after ``numpy.cov``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import scipy.linalg

import m2l_bench
from m2l_bench import audio as audio_io
from m2l_bench.reconstruction.sets import frechet
from m2l_bench.reconstruction.sets.frechet import Gaussian, covariance_factor, paired_distances

SHORT = "--short" in sys.argv


def released(x: np.ndarray, y: np.ndarray) -> float:
    """The released tools' distance between two sets of windows."""
    return released_from(x.mean(axis=0), np.cov(x, rowvar=False), y.mean(axis=0), np.cov(y, rowvar=False))


def released_from(m1: np.ndarray, c1: np.ndarray, m2: np.ndarray, c2: np.ndarray) -> float:
    root = scipy.linalg.sqrtm(c1.dot(c2))
    return float((m1 - m2) @ (m1 - m2) + np.trace(c1) + np.trace(c2) - 2 * np.trace(root).real)


def ours_from(moments: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Our distance from means and covariances."""
    return frechet.distance(*(Gaussian(0, mean, covariance_factor(covariance)) for mean, covariance in moments))


def compare(
    label: str, peer: Callable[[], object], ours: Callable[[], object], *, runs: int = 3, scale: float = 1
) -> None:
    """Time both in turn; `scale` is how many times the peer would have to run for what ours does once."""
    times: dict[str, list[float]] = {"peer": [], "ours": []}
    for _ in range(1 if SHORT else runs):
        for name, work in (("peer", peer), ("ours", ours)):
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    slow, fast = np.median(times["peer"]) * scale, np.median(times["ours"])
    print(f"{label:46s} peer {slow:9.4f} s  ours {fast:9.4f} s  ratio {slow / fast:8.1f}x", flush=True)


def correlated(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    """Windows with a decaying spectrum, as embeddings have."""
    return rng.standard_normal((n, dim)) * np.linspace(1, 0.05, dim) @ np.linalg.qr(rng.standard_normal((dim, dim)))[0]


def trace() -> None:
    """From covariances (full rank) and from few windows (n << dim)."""
    rng = np.random.default_rng(0)
    for dim in (128, 512) if SHORT else (128, 512, 1024, 2048):
        x, y = correlated(rng, 2 * dim, dim), correlated(rng, 2 * dim, dim) + 0.01
        moments = [(side.mean(axis=0), np.cov(side, rowvar=False)) for side in (x, y)]
        compare(
            f"trace sqrt from covariances, d = {dim}",
            partial(released_from, *moments[0], *moments[1]),
            partial(ours_from, moments),
        )
        few = x[:100], y[:100]
        compare(
            f"whole distance, n = 100 windows, d = {dim}",
            partial(released, *few),
            partial(frechet.frechet_distance, *few),
        )


def released_without(x: list[np.ndarray], y: list[np.ndarray], files: int = 5) -> None:
    """The released distances without each of the first files."""
    whole = np.concatenate(x)
    mean, covariance = whole.mean(axis=0), np.cov(whole, rowvar=False)
    for left_out in range(files):
        drawn = np.concatenate([file for i, file in enumerate(y) if i != left_out])
        released_from(mean, covariance, drawn.mean(axis=0), np.cov(drawn, rowvar=False))


def jackknife() -> None:
    """The distances without each file, of which the interval is made; the peer computes five of them."""
    rng = np.random.default_rng(0)
    sizes = ((200, 25, 5), (200, 200, 5), (128, 200, 10))
    for dim, n_files, n_windows in sizes[: 1 if SHORT else None]:
        x = [correlated(rng, n_windows, dim) for _ in range(n_files)]
        y = [file + 0.1 * rng.standard_normal(file.shape) for file in x]
        label = f"{n_files} files x {n_windows}, d = {dim}"
        ours = partial(paired_distances, x, y, 1.0 - np.eye(n_files))
        compare(f"without each file, paired, {label}", partial(released_without, x, y), ours, scale=n_files / 5, runs=1)


def excerpts() -> list[tuple[np.ndarray, int]]:
    folder = Path(m2l_bench.__file__).parent / "assets" / "reconstruction" / "wesnoth"
    return [audio_io.load(path) for path in sorted(folder.glob("*.ogg"))]


def musicnn() -> None:
    """Seconds of audio a second of wall clock, resampling included; goal 30x on two cores."""
    from m2l_bench.reconstruction.sets.vectors import load_encoder, vectors

    encoder, files = load_encoder("musicnn"), excerpts()[: 2 if SHORT else 12]
    seconds = sum(audio.shape[1] / rate for audio, rate in files)
    for _ in range(1 if SHORT else 3):
        start, busy = time.perf_counter(), time.process_time()
        for audio, rate in files:
            vectors(encoder, audio, rate)
        wall, cpu = time.perf_counter() - start, time.process_time() - busy
        print(f"musicnn: {seconds / wall:.1f}x real time by the clock, {seconds / cpu:.1f}x per busy core", flush=True)


PARTS = {"trace": trace, "jackknife": jackknife, "musicnn": musicnn}

if __name__ == "__main__":
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, NumPy {np.__version__}, SciPy {scipy.__version__}")
    for part in [name for name in sys.argv[1:] if name != "--short"] or PARTS:
        PARTS[part]()

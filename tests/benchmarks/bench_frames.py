"""The linear probe on frames: its whole grid against one scikit-learn fit in the same run; memory against the dataset's length.

    PYTHONPATH=. OMP_NUM_THREADS=1 python tests/benchmarks/bench_frames.py [--frames 140000] [--dim 512] [--outputs 88]

The peer is one one-vs-rest logistic regression at the selected penalty. Memory: beats of tracks of a minute, probed with the
bound on frames at a tenth, for two numbers of tracks; peaks are of the process, each measured from what it held before.
"""

from __future__ import annotations

import argparse
import gc
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from bench_probes import auc, data, memory, report, timed
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from m2l_bench.probes import LinearProbe
from m2l_bench.probes.selection import fit_outputs
from m2l_bench.tasks import time as in_time
from m2l_bench.tasks.annotation import Annotation
from m2l_bench.tasks.base import Task
from m2l_bench.tasks.frames import Track
from m2l_bench.tasks.sources.source import About, Source, TaskItem
from m2l_bench.tasks.time import TOLERANCE, evaluate_in_time
from tests.peak_memory import peak_memory, restart_peak

RATE, SECONDS = 86.13, 60.0


class Minutes(Source):
    """Tracks of a minute with two beats a second."""

    about = About(name="minutes", version="1", licence="-", size="-", how="-", citation="-")

    def read(self) -> list[tuple[TaskItem, Annotation]]:
        beats = np.arange(0.25, SECONDS, 0.5)
        splits = ["test", "valid", *["train"] * (N_TRACKS - 2)]
        return [
            (TaskItem(f"{k:04d}", Path("-"), split, f"{k}"), Annotation(starts=beats, ends=beats))
            for k, split in enumerate(splits)
        ]


N_TRACKS = 0


def peak_of(n_tracks: int, dim: int) -> int:
    """Bytes that probing so many tracks takes at most, above what was held before."""
    global N_TRACKS
    N_TRACKS = n_tracks

    def track(name: str) -> Track:
        rng = np.random.default_rng(int(name))
        latents = rng.standard_normal((dim, round(SECONDS * RATE)), dtype=np.float32)
        return Track(latents=latents, rate=RATE, seconds=SECONDS)

    task = Task(name="beat/minutes", kind="beats", source=Minutes())
    gc.collect()
    before = restart_peak()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluate_in_time(task, track, [i.id for i in task.items()], LinearProbe(l2=(1.0,), max_iter=3), seeds=[0])
    return peak_memory() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("frames", 140_000), ("dim", 512), ("outputs", 88)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)

    in_time.MOST_FRAMES = 20_000
    few, many = (peak_of(n, 128) for n in (20, 200))
    print(
        f"memory: 20 minutes {few / 1e6:.0f} MB, 200 minutes {many / 1e6:.0f} MB above what was held: ratio {many / few:.2f}"
    )

    x, y = data(options.frames * 5 // 4, options.dim, options.outputs)
    x, n = x.astype(np.float32), options.frames
    scoring = lambda outputs: auc(y[n:], outputs)
    fit = lambda: fit_outputs(
        LinearProbe(tol=TOLERANCE), x[:n], y[:n], validation=(x[n:], y[n:]), scoring=scoring, softmaxes=0, seeds=[0]
    )
    start = time.process_time()
    ours, (probe,) = timed(fit)
    our_processor = time.process_time() - start
    print(f"  {probe.n_iter_} iterations, converged: {probe.converged_}; {memory()}", flush=True)
    z = (x - probe.mean_) / probe.scale_
    one = OneVsRestClassifier(LogisticRegression(C=1 / (probe.l2_ * n), max_iter=1000))
    start = time.process_time()
    theirs, _ = timed(lambda: one.fit(z[:n], y[:n]))
    processor = [our_processor], [time.process_time() - start]
    print(f"linear: {n} x {options.dim}, {options.outputs} outputs, l2 {probe.l2_:g} of {len(probe.scores_)}")
    report("whole grid", [ours], "one one-vs-rest fit", [theirs])
    report("of the processor: whole grid", processor[0], "one one-vs-rest fit", processor[1])
    print(f"  AUC {auc(y[n:], probe.logits(x[n:])):.5f} against {auc(y[n:], decision(one, z[n:])):.5f}; {memory()}")


def decision(model: OneVsRestClassifier, z: np.ndarray) -> np.ndarray:
    return np.stack([part.decision_function(z) for part in model.estimators_], axis=1)


if __name__ == "__main__":
    main()

"""How often the intervals of task scores contain the score of the population, on simulated predictions.

    PYTHONPATH=. OMP_NUM_THREADS=1 python tests/benchmarks/bench_coverage_tasks.py [REPETITIONS]

Each repetition draws a test split from a known population: 120 items, of 20 labels of 11 to 1 %, or with 20 tags of 2 to 50 %,
and logits that are a signal plus normal noise. The truth is the score of 400,000 items. Intervals of 95 % miss it below (they
end below the truth) or above. Also printed is the time of one interval, and of 2,000 bootstrap draws of the same score.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from m2l_bench.statistics import cluster_draws, draw_counts
from m2l_bench.tasks.scoring import METRICS

Sample = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Generator and number of items -> targets, logits, groups."""
N_ITEMS, N_TRUTH = 120, 400_000


def hits(accuracy: float, *, size: int = 1, shared: float = 0.0) -> Sample:
    """Items that are right or wrong, in groups of `size`; an item copies its group's draw with probability `shared`."""

    def sample(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        groups = np.arange(n) // size
        own, common = rng.random(n) < accuracy, (rng.random(n) < accuracy)[groups]
        right = np.where(rng.random(n) < shared, common, own)
        return np.ones(n, int), np.eye(2)[right.astype(int)], groups

    return sample


def keys(shares: tuple[float, ...]) -> Sample:
    """Estimates of C major: the key itself, a fifth above, the relative, the parallel and another, with these probabilities."""

    def sample(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found = np.array([0, 7, 21, 12, 1])[rng.choice(5, size=n, p=shares)]
        return np.zeros(n, int), np.eye(24)[found], np.arange(n)

    return sample


def labels(signal: float) -> Sample:
    """20 labels, from 11 to 1.3 % of the items."""
    shares = np.geomspace(1, 0.12, 20)

    def sample(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        targets = rng.choice(20, size=n, p=shares / shares.sum())
        return targets, signal * np.eye(20)[targets] + rng.standard_normal((n, 20)), np.arange(n)

    return sample


def tags(signal: float) -> Sample:
    """20 tags, on 2 to 50 % of the items."""

    def sample(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        targets = (rng.random((n, 20)) < np.geomspace(0.02, 0.5, 20)).astype(int)
        return targets, signal * targets + rng.standard_normal((n, 20)), np.arange(n)

    return sample


CASES: dict[str, tuple[str, Sample]] = {
    "accuracy 0.5": ("accuracy", hits(0.5)),
    "accuracy 0.9": ("accuracy", hits(0.9)),
    "accuracy 0.998": ("accuracy", hits(0.998)),
    "accuracy 0.5, 30 groups of 4": ("accuracy", hits(0.5, size=4, shared=0.7)),
    "accuracy 0.9, 30 groups of 4": ("accuracy", hits(0.9, size=4, shared=0.7)),
    "accuracy 0.998, 30 groups of 4": ("accuracy", hits(0.998, size=4, shared=0.7)),
    "MIREX, poor": ("key_mirex", keys((0.2, 0.2, 0.1, 0.1, 0.4))),
    "MIREX, good": ("key_mirex", keys((0.7, 0.1, 0.05, 0.05, 0.1))),
    "MIREX, near 1": ("key_mirex", keys((0.97, 0.015, 0.005, 0.005, 0.005))),
    "macro F1, middling": ("macro_f1", labels(2.0)),
    "macro F1, good": ("macro_f1", labels(3.5)),
    "macro F1, near 1": ("macro_f1", labels(5.5)),
    "ROC-AUC, middling": ("roc_auc", tags(1.5)),
    "ROC-AUC, good": ("roc_auc", tags(3.0)),
    "PR-AUC, poor": ("average_precision", tags(0.7)),
    "PR-AUC, middling": ("average_precision", tags(1.5)),
    "PR-AUC, good": ("average_precision", tags(3.0)),
    "PR-AUC, near 1": ("average_precision", tags(5.0)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repetitions", type=int, nargs="?", default=1000)
    n = parser.parse_args().repetitions
    print("| case | truth | coverage | below | above | mean width | ms | ms, bootstrap |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for number, (case, (name, sample)) in enumerate(CASES.items()):
        metric = METRICS[name]
        targets, logits, _ = sample(np.random.default_rng(10_000), N_TRUTH)
        truth = metric.prepare(targets, logits)(np.ones(N_TRUTH))
        rng = np.random.default_rng(number)
        ends, seconds = np.empty((n, 2)), 0.0
        for k in range(n):
            targets, logits, groups = sample(rng, N_ITEMS)
            prepared = metric.prepare(targets, logits)
            start = time.perf_counter()
            ends[k] = metric.interval.of(prepared, groups)
            seconds += time.perf_counter() - start
        start = time.perf_counter()
        for picks in cluster_draws(N_ITEMS):
            for weights in draw_counts(picks):
                prepared(weights)
        bootstrap = time.perf_counter() - start
        below, above = np.mean(ends[:, 1] < truth), np.mean(ends[:, 0] > truth)
        print(
            f"| {case} | {truth:.4f} | {1 - below - above:.1%} | {below:.1%} | {above:.1%} "
            f"| {np.mean(ends[:, 1] - ends[:, 0]):.3f} | {1000 * seconds / n:.1f} | {1000 * bootstrap:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

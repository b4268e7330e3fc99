"""How long the probes' whole grids take, against one fit with the usual tools in the same run.

    PYTHONPATH=. OMP_NUM_THREADS=1 python tests/benchmarks/bench_probes.py [--items 10000] [--dim 512] [--tags 50] [--rounds 3]

Linear: a path of 8 penalties for all tags, against *one* scikit-learn one-vs-rest fit at the selected penalty.
MLP: 8 grid points x 3 seeds, against one fit of the same network with torch.nn, autograd and torch.optim.AdamW, at the
selected learning rate, for as many epochs as the selected model trained. Rounds alternate; medians are printed. Peak memory
is that of the process.

    PYTHONPATH=. OMP_NUM_THREADS=1 python tests/benchmarks/bench_probes.py --large [--items 19000] [--dim 8192] [--folder /tmp]

Linear alone, from a memory-mapped float32 file in a temporary folder (700 MB): the path of 8 penalties on all items, and on a
tenth of them the path and one scikit-learn fit at its penalty; each once, in a process of its own. Peak memory includes the
pages of the file that the process has mapped.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from m2l_bench.probes import LinearProbe, MLPProbe, fit_seeds
from m2l_bench.tasks.scoring import METRICS
from tests.peak_memory import peak_memory

T = TypeVar("T")


def data(n: int, dim: int, tags: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlated features of falling variance, tags from common to rare (40 to 4 %)."""
    rng = np.random.default_rng(0)
    base = rng.standard_normal((n, 64))
    x = base @ rng.standard_normal((64, dim)) * np.exp(-np.arange(dim) / 100) + 0.5 * rng.standard_normal((n, dim))
    scores = 1.5 * base @ rng.standard_normal((64, tags)) / 8 + rng.logistic(size=(n, tags))
    return x, (
        scores > [np.quantile(s, q) for s, q in zip(scores.T, np.linspace(0.6, 0.96, tags), strict=True)]
    ).astype(int)


def timed(call: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def timed_twice(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds, by the clock and of the processor."""
    start = time.process_time()
    seconds, _ = timed(call)
    return seconds, time.process_time() - start


def auc(targets: np.ndarray, logits: np.ndarray) -> float:
    return METRICS["roc_auc"].prepare(targets, logits)(np.ones(len(targets)))


def plain_network(x: np.ndarray, y: np.ndarray, *, rate: float, decay: float, epochs: int) -> None:
    """One fit of the network, as one would write it."""
    z, target = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
    layers = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], 512), torch.nn.ReLU(), torch.nn.Dropout(0.25), torch.nn.Linear(512, y.shape[1])
    )
    optimiser = torch.optim.AdamW(layers.parameters(), lr=rate, weight_decay=decay)
    loss = torch.nn.BCEWithLogitsLoss()
    for _ in range(epochs):
        for batch in torch.randperm(len(z)).split(64):
            optimiser.zero_grad()
            loss(layers(z[batch]), target[batch]).backward()
            optimiser.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", action="store_true", help="Linear probe of a memory-mapped file.")
    parser.add_argument("--folder", help="Where --large makes its temporary folder.")
    for name in ("items", "dim", "tags", "rounds"):
        parser.add_argument(f"--{name}", type=int)
    options = parser.parse_args()
    defaults = {"items": 19_000, "dim": 8_192} if options.large else {"items": 10_000, "dim": 512}
    for name, default in (defaults | {"tags": 50, "rounds": 3}).items():
        if getattr(options, name) is None:
            setattr(options, name, default)
    if options.large:
        large(options.items, options.dim, options.tags, options.folder)
        return
    torch.set_num_threads(1)
    x, y = data(options.items, options.dim, options.tags)
    a, b = int(0.7 * len(x)), int(0.85 * len(x))
    train, valid, test = (x[:a], y[:a]), (x[a:b], y[a:b]), (x[b:], y[b:])
    scoring = lambda targets, logits, _: auc(targets, logits)
    linear, mlp = LinearProbe(scoring=scoring), MLPProbe(scoring=scoring)

    times: dict[str, list[float]] = {"grid": [], "one": [], "mlp grid": [], "mlp one": []}
    for _ in range(options.rounds):
        seconds, probe = timed(lambda: linear.fit(*train, validation=valid))
        times["grid"].append(seconds)
        z = (x - probe.mean_) / probe.scale_
        one = OneVsRestClassifier(LogisticRegression(C=1 / (probe.l2_ * a), max_iter=1000))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seconds, _ = timed(partial(one.fit, z[:a], train[1]))
        times["one"].append(seconds)
    theirs = np.stack([e.decision_function(z[b:]) for e in one.estimators_], axis=1)
    print(f"linear: {options.items} x {options.dim}, {options.tags} tags, l2 {probe.l2_:g} of {len(probe.scores_)}")
    report("whole grid", times["grid"], "one one-vs-rest fit", times["one"])
    print(f"  AUC {auc(test[1], probe.logits(test[0])):.5f} against {auc(test[1], theirs):.5f}; memory {memory()}")

    for _ in range(options.rounds):
        seconds, probes = timed(lambda: fit_seeds(mlp, *train, validation=valid, seeds=(0, 1, 2)))
        times["mlp grid"].append(seconds)
        best = probes[0]
        settings = {"rate": best.learning_rate_, "decay": best.weight_decay_, "epochs": best.n_iter_}
        seconds, _ = timed(partial(plain_network, z[:a], train[1], **settings))
        times["mlp one"].append(seconds)
    print(f"MLP: 8 grid points x 3 seeds; one fit: {settings}")
    report("whole grid, 3 seeds", times["mlp grid"], "one fit", times["mlp one"])
    print(f"  AUC {', '.join(f'{auc(test[1], p.logits(test[0])):.5f}' for p in probes)}; memory {memory()}")


def write_large(path: Path, n: int, dim: int, tags: int) -> np.ndarray:
    """Write features, each a mixture of 512 components of falling variance and noise; return their tags (40 to 4 %)."""
    rng = np.random.default_rng(0)
    falling = np.arange(1, 513, dtype=np.float32) ** -0.5
    mixture = rng.standard_normal((512, dim), dtype=np.float32)
    weights = 0.5 * rng.standard_normal((512, tags))
    x = np.lib.format.open_memmap(path, "w+", np.float32, (n, dim))
    scores = rng.logistic(size=(n, tags))
    for start in range(0, n, 1000):
        rows = slice(start, min(start + 1000, n))
        base = falling * rng.standard_normal((rows.stop - start, 512), dtype=np.float32)
        x[rows] = base @ mixture + rng.standard_normal((rows.stop - start, dim), dtype=np.float32)
        scores[rows] += base @ weights
    x.flush()
    return (scores > np.quantile(scores, np.linspace(0.6, 0.96, tags), axis=0).diagonal()).astype(int)


def fit_large(
    path: Path, y: np.ndarray, n: int, held: int, l2: float | None
) -> tuple[tuple[float, float], float, float, int]:
    """Fit `n` items of a file, and test the `held` last ones: times, AUC, penalty and peak memory.

    With a penalty: one scikit-learn fit, else the path of penalties, selected on the items before the last ones.
    """
    torch.set_num_threads(1)
    x = np.load(path, mmap_mode="r")
    train, valid, test = slice(n), slice(-2 * held, -held), slice(-held, None)
    if l2 is None:
        probe = LinearProbe(scoring=lambda targets, logits, _: auc(targets, logits))
        seconds = timed_twice(lambda: probe.fit(x[train], y[train], validation=(x[valid], y[valid])))
        print(
            f"    {probe.n_iter_} iterations, converged: {probe.converged_}, validation AUCs {probe.scores_.round(5)}"
        )
        return seconds, auc(y[test], probe.logits(x[test])), probe.l2_, peak_memory()
    one = make_pipeline(StandardScaler(), OneVsRestClassifier(LogisticRegression(C=1 / (l2 * n), max_iter=1000)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds = timed_twice(lambda: one.fit(x[train], y[train]))
    return seconds, auc(y[test], one.decision_function(x[test])), l2, peak_memory()


def large(items: int, dim: int, tags: int, folder: str | None) -> None:
    held = items // 10
    with tempfile.TemporaryDirectory(dir=folder) as made:
        path = Path(made) / "features.npy"
        y = alone(write_large, path, items + 2 * held, dim, tags)

        def show(what: str, n: int, l2: float | None = None) -> float:
            print(f"{what}, {n} x {dim}, {tags} tags", flush=True)
            (seconds, processor), score, l2, peak = alone(fit_large, path, y, n, held, l2)
            times = f"{seconds:.1f} s, {processor:.1f} s of the processor"
            print(f"  {times}, {peak / 1e9:.2f} GB, AUC {score:.5f}, l2 {l2:g}", flush=True)
            return l2

        selected = show("linear: whole grid", items // 10)
        show("scikit-learn: one one-vs-rest fit", items // 10, selected)
        show("linear: whole grid", items)


def alone(call: Callable[..., Any], *arguments: object) -> Any:
    """Call a function in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(call, *arguments).result()


def report(ours: str, our_times: list[float], theirs: str, their_times: list[float]) -> None:
    mine, other = statistics.median(our_times), statistics.median(their_times)
    print(f"  {ours} {mine:.2f} s, {theirs} {other:.2f} s: ratio {mine / other:.2f}")


def memory() -> str:
    return f"{peak_memory() / 1e9:.2f} GB at most so far"


if __name__ == "__main__":
    main()

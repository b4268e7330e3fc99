"""How long the probes' whole grids take, against one fit with the usual tools in the same run.

    PYTHONPATH=. OMP_NUM_THREADS=1 python tests/benchmarks/bench_probes.py [--items 10000] [--dim 512] [--tags 50] [--rounds 3]

Linear: a path of 8 penalties for all tags, against *one* scikit-learn one-vs-rest fit at the selected penalty.
MLP: 8 grid points x 3 seeds, against one fit of the same network with torch.nn, autograd and torch.optim.AdamW, at the
selected learning rate, for as many epochs as the selected model trained. Rounds alternate; medians are printed. Peak memory
is that of the process.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from m2l_bench.probes import LinearProbe, MLPProbe, fit_seeds
from m2l_bench.tasks.scoring import METRICS
from tests.peak_memory import peak_memory


def data(n: int, dim: int, tags: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlated features of falling variance, tags from common to rare (40 to 4 %)."""
    rng = np.random.default_rng(0)
    base = rng.standard_normal((n, 64))
    x = base @ rng.standard_normal((64, dim)) * np.exp(-np.arange(dim) / 100) + 0.5 * rng.standard_normal((n, dim))
    scores = 1.5 * base @ rng.standard_normal((64, tags)) / 8 + rng.logistic(size=(n, tags))
    return x, (
        scores > [np.quantile(s, q) for s, q in zip(scores.T, np.linspace(0.6, 0.96, tags), strict=True)]
    ).astype(int)


def timed(call: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


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
    for name, default in (("items", 10_000), ("dim", 512), ("tags", 50), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
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
            seconds, _ = timed(lambda one=one, z=z: one.fit(z[:a], train[1]))
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
        seconds, _ = timed(lambda s=settings, z=z: plain_network(z[:a], train[1], **s))
        times["mlp one"].append(seconds)
    print(f"MLP: 8 grid points x 3 seeds; one fit: {settings}")
    report("whole grid, 3 seeds", times["mlp grid"], "one fit", times["mlp one"])
    print(f"  AUC {', '.join(f'{auc(test[1], p.logits(test[0])):.5f}' for p in probes)}; memory {memory()}")


def report(ours: str, our_times: list[float], theirs: str, their_times: list[float]) -> None:
    mine, other = statistics.median(our_times), statistics.median(their_times)
    print(f"  {ours} {mine:.2f} s, {theirs} {other:.2f} s: ratio {mine / other:.2f}")


def memory() -> str:
    return f"{peak_memory() / 1e9:.2f} GB at most so far"


if __name__ == "__main__":
    main()

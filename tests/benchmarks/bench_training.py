"""Time of a training step against a plain transcription of the same recipe, with equal weights, data and noise.

Each trainer has a process of its own: ours, as `m2l-bench train` runs, and the plain one; then ours with memory given back as
the plain one's is, and the plain one with memory kept as ours is. Prints, for each configuration, the loss of the first step
(they must agree), the median time of each, and the ratios. Steps alternate, so that a busy machine slows all. Run it with
nothing else running:

    python tests/benchmarks/bench_training.py [THREADS ...]        # 1 and 2 by default
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time
from multiprocessing.connection import Connection

import torch
from plain_training import PlainTrainer

from m2l_bench.memory import keep_freed_memory
from m2l_bench.music2latent.config import Config
from m2l_bench.music2latent.network import Music2LatentNetwork
from m2l_bench.training.music2latent.loss import ConsistencyLoss
from m2l_bench.training.optimization import AveragedWeights

SMALL = Config(
    hop=1024,
    width=8,
    multipliers=(1, 2, 4, 8, 8),
    blocks=(1, 1, 1, 1, 1),
    attention=(False, False, False, True, True),
    frequency_only=(True, True, False, False),
    bottleneck_width=128,
    embedding_width=64,
    unused_embedding=False,
)
SIXTEEN = Config(
    window=1024,
    width=16,
    blocks=(1, 1, 1, 1, 1),
    bottleneck_width=128,
    unused_embedding=False,
)
CASES = {"small, batch 4 x 16 frames": (SMALL, 4, 16), "base width 16, 512 bins, batch 8 x 64 frames": (SIXTEEN, 8, 64)}
ROUNDS = 9


class OurTrainer:
    """The package's step without the schedules, as the plain one's."""

    def __init__(self, config: Config) -> None:
        self.network = Music2LatentNetwork(config)
        self.objective = ConsistencyLoss(self.network)
        self.average = AveragedWeights(self.network)
        self.optimizer = torch.optim.RAdam(self.network.parameters(), lr=1e-4, foreach=True)

    def step(self, x: torch.Tensor, noise: torch.Tensor, u: torch.Tensor, dt: float) -> float:
        loss = self.objective(x, noise, u, dt).loss.mean()
        loss.backward()
        torch.nn.utils.get_total_norm([p.grad for p in self.network.parameters() if p.grad is not None])
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update(self.network)
        return loss.item()


class Contestant:
    """A trainer in a process of its own, which takes a step when asked.

    Parameters
    ----------
    case : str
        Key of CASES.
    threads : int
    plain, keep : bool
        Whether it is the plain trainer, and whether memory is kept.
    """

    def __init__(self, case: str, threads: int, *, plain: bool, keep: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read when the new process loads its libraries
        self.process = context.Process(target=_serve, args=(theirs, case, threads, plain, keep), daemon=True)
        self.process.start()

    def step(self) -> tuple[float, float]:
        """Loss, and wall time in seconds."""
        self.connection.send(True)
        loss, seconds = self.connection.recv()
        return loss, seconds

    def close(self) -> None:
        self.connection.send(False)
        self.process.join()


def _serve(connection: Connection, case: str, threads: int, plain: bool, keep: bool) -> None:
    if keep:
        keep_freed_memory()
    torch.set_num_threads(threads)
    config, batch, frames = CASES[case]
    torch.manual_seed(0)
    x, noise = torch.randn(batch, 2, config.bins, frames), torch.randn(batch, 2, config.bins, frames)
    u = 0.1 + 0.8 * torch.rand(batch)
    ours = OurTrainer(config)
    with torch.no_grad():
        for parameter in ours.network.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.02)
    trainer: OurTrainer | PlainTrainer = ours
    if plain:
        trainer = PlainTrainer(config)
        trainer.network.take(ours.network.state_dict())
        del ours
    while connection.recv():
        start = time.perf_counter()
        loss = trainer.step(0.5 * x, noise, u, 0.05)
        connection.send((loss, time.perf_counter() - start))


def race(case: str, threads: int) -> None:
    """Print losses, times and ratios of the contestants."""
    contestants = {
        "ours": Contestant(case, threads, plain=False, keep=True),
        "plain": Contestant(case, threads, plain=True, keep=False),
        "ours, memory given back": Contestant(case, threads, plain=False, keep=False),
        "plain, memory kept": Contestant(case, threads, plain=True, keep=True),
    }
    losses = {name: each.step()[0] for name, each in contestants.items()}
    for each in contestants.values():
        each.step()  # the optimiser's moments, and a heap that has grown
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, each in contestants.items():
            times[name].append(each.step()[1])
    for each in contestants.values():
        each.close()
    print(f"{case}, {threads} threads: median of {ROUNDS} steps", flush=True)
    for name, column in times.items():
        ratio = statistics.median(b / a for a, b in zip(times["ours"], column, strict=True))
        print(f"  {name}: loss {losses[name]:.5f}, {statistics.median(column):.3f} s, {ratio:.2f} x ours", flush=True)


if __name__ == "__main__":
    for count in [int(word) for word in sys.argv[1:]] or [1, 2]:
        for each in CASES:
            race(each, count)

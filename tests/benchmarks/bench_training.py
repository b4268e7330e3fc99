"""Time of a training step against a plain transcription of the same recipe, with equal weights, data and noise.

Prints, for each configuration: both losses of the first step (they must agree), the median time of each, and their
ratio. Steps of both alternate, so that a busy machine slows both. Run it with one thread and nothing else running:

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_training.py
"""

from __future__ import annotations

import statistics
import time

import torch
from plain_training import PlainTrainer

from m2l_bench.music2latent.config import Config
from m2l_bench.music2latent.network import Music2LatentNetwork
from m2l_bench.music2latent.objective import ConsistencyLoss
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
CASES = {"small, batch 4 x 16 frames": (SMALL, 4, 16), "base width 16, 512 bins, batch 4 x 64 frames": (SIXTEEN, 4, 64)}
ROUNDS = 9


class OurTrainer:
    """The package's step without the schedules, as the plain one's."""

    def __init__(self, config: Config) -> None:
        self.network = Music2LatentNetwork(config)
        self.objective = ConsistencyLoss(self.network)
        self.average = AveragedWeights(self.network)
        self.optimizer = torch.optim.RAdam(self.network.parameters(), lr=1e-4)

    def step(self, x: torch.Tensor, noise: torch.Tensor, u: torch.Tensor, dt: float) -> float:
        loss = self.objective(x, noise, u, dt).loss.mean()
        loss.backward()
        torch.nn.utils.get_total_norm([p.grad for p in self.network.parameters() if p.grad is not None])
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update(self.network)
        return loss.item()


Arguments = tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]


def seconds(trainer: OurTrainer | PlainTrainer, arguments: Arguments) -> float:
    """Wall time of a step."""
    start = time.perf_counter()
    trainer.step(*arguments)
    return time.perf_counter() - start


def main() -> None:
    torch.set_num_threads(1)
    for name, (config, batch, frames) in CASES.items():
        torch.manual_seed(0)
        ours, plain = OurTrainer(config), PlainTrainer(config)
        with torch.no_grad():
            for parameter in ours.network.parameters():
                if not parameter.any():
                    parameter.normal_(0, 0.02)
        plain.network.take(ours.network.state_dict())
        x, noise = torch.randn(batch, 2, config.bins, frames), torch.randn(batch, 2, config.bins, frames)
        arguments = (0.5 * x, noise, 0.1 + 0.8 * torch.rand(batch), 0.05)
        losses = ours.step(*arguments), plain.step(*arguments)
        times = [(seconds(ours, arguments), seconds(plain, arguments)) for _ in range(ROUNDS)]
        mine, theirs = (statistics.median(column) for column in zip(*times, strict=True))
        ratio = statistics.median(b / a for a, b in times)
        print(
            f"{name}: loss {losses[0]:.5f} and plain {losses[1]:.5f}; step {mine:.3f} s and plain {theirs:.3f} s:"
            f" {ratio:.2f} x faster (median of {ROUNDS} ratios)"
        )


if __name__ == "__main__":
    main()

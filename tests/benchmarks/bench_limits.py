"""What the costliest steps take, against the time that their arithmetic would take at the machine's own rate.

Run from the repository's root: ``PYTHONPATH=. OMP_NUM_THREADS=1 python tests/benchmarks/bench_limits.py [ROUNDS]``.
The rates are measured in the same run, of processor time in one thread: a 3x3 convolution of 128 channels, matrix products
in float32 and float64, real Fourier transforms as SciPy takes them, a copy of memory. The arithmetic is what PyTorch
counts of a step's convolutions and matrix products, or the samples that are transformed. The rest of a step goes through
memory, which is why the copy is printed.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
import torch
from bench_probes import auc, data
from bench_training import SIXTEEN, OurTrainer
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from m2l_bench.music2latent.config import PUBLISHED
from m2l_bench.music2latent.network import Music2LatentNetwork
from m2l_bench.probes.linear import LinearProbe
from m2l_bench.reconstruction.pair import stft
from m2l_bench.systems.encoders.musicnn import Musicnn

Job = Callable[[], object]


@dataclass(frozen=True)
class Step:
    """A step, and the rate that limits it.

    Attributes
    ----------
    name : str
    job : callable
    limit : str
        Key of what :func:`rates` measures.
    work : float, optional
        In the rate's unit; by default PyTorch counts the job's operations.
    """

    name: str
    job: Job
    limit: str
    work: float | None = None


def seconds(job: Job) -> float:
    """Processor time."""
    start = time.process_time()
    job()
    return time.process_time() - start


class Counter(TorchDispatchMode):
    """Counts the operations of convolutions and matrix products. PyTorch's own counter also follows modules, which fails
    where a part of a network runs without gradients.
    """

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, count = kwargs or {}, flop_registry.get(func.overloadpacket)
        if count is None:
            with self:
                result = func.decompose(*args, **kwargs)  # into operations that are counted
            return func(*args, **kwargs) if result is NotImplemented else result
        result = func(*args, **kwargs)
        self.total += count(*args, **kwargs, out_val=result)
        return result


def operations(job: Job) -> float:
    """1e9 floating-point operations."""
    with Counter() as counter:
        job()
    return counter.total / 1e9


def rates(rounds: int) -> dict[str, tuple[float, str]]:
    """The best rate of each kind, and its unit."""
    x = torch.randn(1, 128, 96, 256).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(128, 128, 3, 3).contiguous(memory_format=torch.channels_last)
    square = torch.randn(2048, 2048)
    doubles = square.double()
    frames = np.random.default_rng(0).standard_normal((64, 1024))
    block, copy = np.ones(2**25), np.ones(2**25)

    def transform() -> None:
        for _ in range(100):
            scipy.fft.rfft(frames)

    jobs: dict[str, tuple[Job, float, str]] = {
        "convolution": (lambda: functional.conv2d(x, kernel, padding=1), 2 * 9 * 128**2 * 96 * 256 / 1e9, "GFLOP/s"),
        "float32 product": (lambda: square @ square, 2 * 2048**3 / 1e9, "GFLOP/s"),
        "float64 product": (lambda: doubles @ doubles, 2 * 2048**3 / 1e9, "GFLOP/s"),
        "Fourier transform": (transform, 100 * frames.size / 1e9, "Gsample/s"),
        "copy": (lambda: np.copyto(copy, block), 2 * block.nbytes / 1e9, "GB/s, read and written"),
    }
    with torch.inference_mode():
        return {
            name: (work / min(seconds(job) for _ in range(3 * rounds)), unit)
            for name, (job, work, unit) in jobs.items()
        }


def inference() -> list[Step]:
    """The published network on 5 s of one channel, random weights."""
    torch.manual_seed(0)
    network = Music2LatentNetwork(PUBLISHED).eval().requires_grad_(False)
    frames = round(5 * PUBLISHED.latent_rate) * PUBLISHED.time_downsampling
    x, sigma = torch.randn(1, 2, PUBLISHED.bins, frames), torch.tensor([80.0])
    with torch.inference_mode():
        code = network.encode(x)

    def quietly(job: Job) -> Job:
        def run() -> None:
            with torch.inference_mode():
                job()

        return run

    return [
        Step("Music2Latent, encode", quietly(lambda: network.encode(x)), "convolution"),
        Step(
            "Music2Latent, decode",
            quietly(lambda: network.denoise(80 * x, sigma, network.pyramid(code))),
            "convolution",
        ),
    ]


def training() -> Step:
    """A step of base width 16 on 512 bins, batch 8 x 64 frames."""
    torch.manual_seed(0)
    trainer = OurTrainer(SIXTEEN)
    x, u = 0.5 * torch.randn(8, 2, SIXTEEN.bins, 64), 0.1 + 0.8 * torch.rand(8)
    noise = torch.randn_like(x)
    return Step("a training step", lambda: trainer.step(x, noise, u, 0.05), "convolution")


def stft_distance() -> Step:
    """A 10 s stereo pair at 44.1 kHz."""
    rng = np.random.default_rng(0)
    samples = 441_000
    reference = rng.standard_normal((2, samples)) * 0.1
    estimate = reference + 0.01 * rng.standard_normal(reference.shape)
    work = sum(4 * (1 + samples // hop) * n_fft for n_fft, hop, _ in stft.RESOLUTIONS) / 1e9
    return Step("STFT distance", lambda: stft.score(reference, estimate, 44_100), "Fourier transform", work)


def linear_probe() -> Step:
    """10,000 x 512 features, 50 tags, 8 penalties."""
    x, y = data(12_000, 512, 50)
    probe = LinearProbe(scoring=lambda targets, logits, _: auc(targets, logits))

    def fit() -> None:
        probe.fit(x[:10_000], y[:10_000], validation=(x[10_000:], y[10_000:]))

    return Step("linear probe, the grid", fit, "float64 product")


def musicnn() -> Step:
    """10 s of noise."""
    encoder = Musicnn(device="cpu")
    audio = (0.1 * np.random.default_rng(0).standard_normal((1, 160_000))).astype(np.float32)
    return Step("musicnn, 10 s", lambda: encoder.encode(audio), "convolution")


def main(rounds: int) -> None:
    limits = rates(rounds)
    for name, (rate, unit) in limits.items():
        print(f"{name}: {rate:.3g} {unit}")
    print("step | processor seconds | work | limit | share of it")
    for step in [*inference(), training(), stft_distance(), linear_probe(), musicnn()]:
        rate, unit = limits[step.limit]
        work = operations(step.job) if step.work is None else step.work
        step.job()  # memory that has grown, an optimiser's moments
        taken = statistics.median(seconds(step.job) for _ in range(rounds))
        print(
            f"{step.name} | {taken:.3f} | {work:.3g} {unit.partition('/')[0]} | {step.limit} | {work / rate / taken:.0%}"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
